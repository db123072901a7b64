"""What beginnings and reductions of files show.

    python -m imgcodec.eval.partial --dataset kodak beta hier vq cv

prints a CSV table, a line for each image, model and part of its file: `part` is "beginning", with
the share of the file that is there and the PSNR of what it shows against the image; or "scale",
with the reduction and the PSNR of the small picture against the whole decoded one, reduced.
`seconds` are those of decoding the part, `whole_seconds` those of the whole file at full size, and
`memory` and `whole_memory` how far the resident memory rose meanwhile, in bytes.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcodec.codec import api
from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.session.targets import psnr_db
from imgcodec.codec.weights.installed import find_model
from imgcodec.datasets.images import open_dataset
from imgcodec.eval.memory import peak_memory

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.95)
SCALES = (2, 4, 8, 16)


def measure(
    name: str, pixels: NDArray[np.uint8], model: str, quality: int
) -> Iterator[dict[str, Any]]:
    """Yield the lines of one image (H, W, 3) under one model."""
    info = find_model(model)
    data = api.encode(pixels, model=model, quality=quality)
    api.decode(data, model=model)  # the first one loads the model
    whole, whole_cost = _decode(data, model)
    common = {"image": name, "model": info.id, "quality": quality, "bytes": len(data)}
    common |= {f"whole_{key}": value for key, value in whole_cost.items()}
    for share in SHARES:
        part = data[: round(share * len(data))]
        try:
            shown, cost = _decode(part, model, allow_truncated=True)
            psnr = psnr_db(pixels, np.asarray(shown.convert("RGB")))
        except CorruptStreamError:  # it ends before the first integer
            psnr, cost = math.nan, {"seconds": math.nan, "memory": math.nan}
        yield common | {"part": "beginning", "of": share, "psnr": round(psnr, 3), **cost}
    for scale in SCALES:
        shown, cost = _decode(data, model, scale=scale)
        reduced = np.asarray(whole.convert("RGB").reduce(scale))
        psnr = psnr_db(reduced, np.asarray(shown.convert("RGB")))
        yield common | {"part": "scale", "of": scale, "psnr": round(psnr, 3), **cost}


def _decode(data: bytes, model: str, **options: Any) -> tuple[Image.Image, dict[str, Any]]:
    started = time.perf_counter()
    with peak_memory() as memory:
        picture = api.decode(data, model=model, **options)
    seconds = round(time.perf_counter() - started, 4)
    return picture, {"seconds": seconds, "memory": memory.bytes}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the lines of all images and models."""
    parser = argparse.ArgumentParser(prog="python -m imgcodec.eval.partial")
    parser.add_argument("models", nargs="+", help="families, model ids or weights files")
    parser.add_argument("--dataset", default="kodak", help="name, folder or pattern")
    parser.add_argument("--quality", type=int, default=60)
    options = parser.parse_args(arguments)
    writer = None
    dataset = open_dataset(options.dataset)
    for index, name in enumerate(dataset.image_names):
        pixels = dataset.load(index)
        for model in options.models:
            for line in measure(name, pixels, model, options.quality):
                if writer is None:
                    writer = csv.DictWriter(sys.stdout, list(line), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(line)


if __name__ == "__main__":
    main()
