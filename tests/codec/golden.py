"""Golden files: small streams of synthetic pictures with the hash of their integers.

``python -m tests.codec.golden`` writes them anew; do that when the shipped weights change, and
only then: a hash that changes under the same weights means that old files no longer decode.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GOLDEN_DIR = Path(__file__).resolve().parent.parent / "golden"
GOLDEN_FILE = GOLDEN_DIR / "golden.json"


def golden_pictures() -> dict[str, tuple[np.ndarray, str, int, int]]:
    """Return name: (pixels, model, quality, tile side) of every golden file."""
    import imgcodec
    from tests.codec.conftest import smooth_pictures

    waves = smooth_pictures(3, side=160)
    generator = np.random.default_rng(9)
    noise = generator.integers(0, 256, (48, 80, 3), dtype=np.uint8)
    gray = waves[0][:, :, 0]
    rgba = np.dstack([waves[1][:40, :40], np.tile(np.arange(40, dtype=np.uint8) * 6, (40, 1))])
    tiles = np.tile(waves[0], (2, 3, 1))[:300, :430]
    files = {
        "beta-waves-q60.cvb": (waves[1], "beta", 60, 1024),
        "beta-noise-q95.cvb": (noise, "beta", 95, 1024),
        "beta-alpha-q70.cvb": (rgba, "beta", 70, 1024),
    }
    for family in sorted({info.family for info in imgcodec.list_models()}):
        files[f"{family}-waves-q1.cvb"] = (waves[0], family, 1, 1024)
        files[f"{family}-waves-q100.cvb"] = (waves[2], family, 100, 1024)
        files[f"{family}-gray-q50.cvb"] = (gray, family, 50, 1024)
        files[f"{family}-tiles-q40.cvb"] = (tiles, family, 40, 256)
        files[f"{family}-pixel-q60.cvb"] = (np.full((1, 1, 3), 77, np.uint8), family, 60, 1024)
    return files


def main() -> None:
    """Write every golden file and the JSON file of their hashes."""
    import imgcodec

    GOLDEN_DIR.mkdir(exist_ok=True)
    for old in GOLDEN_DIR.glob("*.cvb"):
        old.unlink()
    entries = {}
    for name, (pixels, model, quality, tile_px) in golden_pictures().items():
        data = imgcodec.encode(pixels, model=model, quality=quality, tile_px=tile_px)
        (GOLDEN_DIR / name).write_bytes(data)
        found = imgcodec.inspect(data, verify=True)
        back = np.asarray(imgcodec.decode(data).convert("RGB")).reshape(-1, 3)
        entries[name] = {
            "model": found.model,
            "integers_sha256": found.integers_sha256,
            "mean_rgb": [round(float(v), 3) for v in back.mean(axis=0)],
        }
    GOLDEN_FILE.write_text(json.dumps(entries, indent=2) + "\n")


if __name__ == "__main__":
    main()
