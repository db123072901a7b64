"""Golden files: small streams of synthetic pictures with the hash of their integers.

``python -m tests.codec.golden`` writes those of new weights; the others stay: a hash that changes
under the same weights means that old files no longer decode.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GOLDEN_DIR = Path(__file__).resolve().parent.parent / "golden"
FIRST_IDS = {"beta-base-2", "hier-base-1", "vq-base-1", "cv-base-1", "convvae-mnist-1"}
"""Models whose golden files are named after their families."""
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
        "beta-waves-q60.cvb": (waves[1], "beta-base-2", 60, 1024),
        "beta-noise-q95.cvb": (noise, "beta-base-2", 95, 1024),
        "beta-alpha-q70.cvb": (rgba, "beta-base-2", 70, 1024),
    }
    for info in imgcodec.list_models():
        name = info.family if info.id in FIRST_IDS else info.id
        files[f"{name}-waves-q1.cvb"] = (waves[0], info.id, 1, 1024)
        files[f"{name}-waves-q100.cvb"] = (waves[2], info.id, 100, 1024)
        files[f"{name}-gray-q50.cvb"] = (gray, info.id, 50, 1024)
        files[f"{name}-tiles-q40.cvb"] = (tiles, info.id, 40, 256)
        files[f"{name}-pixel-q60.cvb"] = (np.full((1, 1, 3), 77, np.uint8), info.id, 60, 1024)
    return files


def main() -> None:
    """Write the golden files that are missing, and their hashes."""
    import imgcodec

    GOLDEN_DIR.mkdir(exist_ok=True)
    entries = json.loads(GOLDEN_FILE.read_text()) if GOLDEN_FILE.exists() else {}
    for name, (pixels, model, quality, tile_px) in golden_pictures().items():
        if name in entries:
            continue
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
