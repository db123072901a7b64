"""Pictures that are coded at half their size: smaller for the encoder, large again for the decoder.

At the lowest rates the bits go further on a quarter of the samples. Both ways it is Lanczos' kernel
of three lobes; enlarging is part of the format (SPEC 1.7).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcodec.codec.stream.container import Header
from imgcodec.codec.stream.tiles import Tile, tile_grid

MARGIN_PX = 3
"""Samples on each side that the kernel reaches, of the smaller picture."""


def halve(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) at half its size, sides rounded up."""
    height, width = pixels.shape[:2]
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    size = (even.shape[1] // 2, even.shape[0] // 2)
    return np.asarray(Image.fromarray(even).resize(size, Image.Resampling.LANCZOS))


def enlarge(
    windows: Iterator[tuple[Tile, NDArray[np.uint8]]], coded: Tile, shown: Tile, header: Header
) -> Iterator[tuple[Tile, NDArray[np.uint8]]]:
    """Yield the windows that make up a rectangle of a picture, each with its pixels (h, w, 3).

    Args:
        windows: those of `coded`.
        coded: what of the smaller picture the rectangle needs, with `MARGIN_PX`.
        shown: the rectangle.
        header: of the file.
    """
    small = np.empty((coded.height, coded.width, 3), np.uint8)
    for window, pixels in windows:
        window.seen_from(coded.top, coded.left).cut(small)[:] = pixels
    for part in tile_grid(shown.height, shown.width, header.tile_px, 1):
        window = Tile(shown.top + part.top, shown.left + part.left, part.height, part.width)
        needed = window.reduced(2, MARGIN_PX, header.coded_size)
        image = Image.fromarray(needed.seen_from(coded.top, coded.left).cut(small))
        image = image.resize((2 * needed.width, 2 * needed.height), Image.Resampling.LANCZOS)
        large = window.seen_from(2 * needed.top, 2 * needed.left).cut(np.asarray(image))
        yield window, large.copy()
