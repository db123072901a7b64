"""Golden files: small streams of synthetic pictures with the hash of their integers.

They lie in one folder for each id of weights and stay: a hash that changes under the same id means
that old files no longer decode. `codec/weights/ids.json` pins the hash of every id, for good; an
id that is given up before any release is listed there as withdrawn, and only then its golden
files may go. ``python -m tests.codec.golden`` pins new weights and writes their golden files.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GOLDEN_DIR = Path(__file__).resolve().parent.parent / "golden"
ENTRIES = "golden.json"


def golden_pictures() -> dict[str, tuple[np.ndarray, int, int]]:
    """Return name: (pixels, quality, tile side) of every golden file of an id."""
    from tests.codec.conftest import smooth_pictures

    waves = smooth_pictures(3, side=160)
    noise = np.random.default_rng(9).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    rgba = np.dstack([waves[1][:40, :40], np.tile(np.arange(40, dtype=np.uint8) * 6, (40, 1))])
    tiles = np.tile(waves[0], (2, 3, 1))[:300, :430]
    return {
        "waves-q1.cvb": (waves[0], 1, 1024),
        "waves-q60.cvb": (waves[1], 60, 1024),
        "waves-q100.cvb": (waves[2], 100, 1024),
        "noise-q95.cvb": (noise, 95, 1024),
        "alpha-q70.cvb": (rgba, 70, 1024),
        "gray-q50.cvb": (waves[0][:, :, 0], 50, 1024),
        "tiles-q40.cvb": (tiles, 40, 256),
        "pixel-q60.cvb": (np.full((1, 1, 3), 77, np.uint8), 60, 1024),
        "odd-q3.cvb": (waves[2][:151, :117], 3, 1024),
    }


def main() -> None:
    """Pin the installed weights that are not, and write their golden files."""
    import imgcodec
    from imgcodec.codec.weights.installed import IDS_FILE, read_ids

    ids = read_ids()
    for info in imgcodec.list_models():
        ids.setdefault(info.id, {"hash": info.hash})
        folder = GOLDEN_DIR / info.id
        if folder.exists():
            continue
        folder.mkdir(parents=True)
        entries = {}
        for name, (pixels, quality, tile_px) in golden_pictures().items():
            data = imgcodec.encode(pixels, model=info.id, quality=quality, tile_px=tile_px)
            (folder / name).write_bytes(data)
            found = imgcodec.inspect(data, verify=True)
            back = np.asarray(imgcodec.decode(data).convert("RGB")).reshape(-1, 3)
            entries[name] = {
                "integers_sha256": found.integers_sha256,
                "mean_rgb": [round(float(v), 3) for v in back.mean(axis=0)],
            }
        (folder / ENTRIES).write_text(json.dumps(entries, indent=2) + "\n")
    IDS_FILE.write_text(json.dumps(ids, indent=2) + "\n")


if __name__ == "__main__":
    main()
