"""Tiles: large pictures in bounded memory, without seams.

Transforms see a tile with a halo as wide as their receptive field, so that what they compute
inside the tile is what they would have computed on the whole picture. Entropy models see the
tile alone, so that every tile is a stream of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.families.base import CodecModel
from imgcodec.codec.stream.tiles import Tile, padded, tile_grid


def analyse_tile(
    model: CodecModel, pixels: NDArray[np.uint8], tile: Tile, quality: int
) -> NDArray[np.float32]:
    """Return y (1, M, h, w) of one tile of a picture (H, W, 3).

    The picture is continued beyond its right and bottom edges by repeating its last pixels.
    """
    stride = model.stride_px
    height, width = (padded(side, stride) for side in pixels.shape[:2])
    outer = _with_halo(tile, model.analysis_halo_px, height, width)
    rows = np.minimum(np.arange(outer.top, outer.top + outer.height), pixels.shape[0] - 1)
    columns = np.minimum(np.arange(outer.left, outer.left + outer.width), pixels.shape[1] - 1)
    region = pixels[rows[0] : rows[-1] + 1][rows - rows[0]][:, columns].astype(np.float32)
    region /= 255.0
    return _inner(model.analysis(region.transpose(2, 0, 1)[None], quality), tile, outer, stride)


def analyse_whole(
    model: CodecModel, pixels: NDArray[np.uint8], quality: int
) -> NDArray[np.float32]:
    """Return y (1, M, h, w) of a picture (H, W, 3) as a single tile."""
    sides = (padded(side, model.stride_px) for side in pixels.shape[:2])
    return analyse_tile(model, pixels, Tile(0, 0, *sides), quality)


def region_of(
    model: CodecModel, crop: Tile, height: int, width: int, *, with_halo: bool = True
) -> Tile:
    """Return the part of the padded picture whose latents a rectangle of pixels depends on."""
    stride = model.stride_px
    size = padded(height, stride), padded(width, stride)
    halo = model.synthesis_halo_px if with_halo else 0
    return _with_halo(_aligned(crop, stride), halo, *size)


def synthesise(
    model: CodecModel,
    y_hat: NDArray[np.float32],
    quality: int,
    crop: Tile,
    height: int,
    width: int,
    tile_px: int,
) -> Iterator[tuple[Tile, NDArray[np.uint8]]]:
    """Yield the windows that make up a rectangle of a picture, each with its pixels (h, w, 3).

    Args:
        y_hat: (1, M, h, w) latents of `region_of(model, crop, height, width)`.
        crop: the rectangle; the windows start at its corner, not at the tiles of the file.
        height: of the picture.
        width: of the picture.
        tile_px: side of the windows; those at the right and bottom may be smaller.
    """
    stride = model.stride_px
    region = region_of(model, crop, height, width)
    for part in tile_grid(crop.height, crop.width, tile_px, 1):
        window = Tile(crop.top + part.top, crop.left + part.left, part.height, part.width)
        outer = region_of(model, window, height, width)
        top, left = (outer.top - region.top) // stride, (outer.left - region.left) // stride
        bottom, right = top + outer.height // stride, left + outer.width // stride
        place = outer.top // stride, outer.left // stride
        x_hat = model.synthesis(y_hat[:, :, top:bottom, left:right], quality, place)
        yield window, to_pixels(_inner(x_hat, window, outer, 1))


def to_pixels(x_hat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a picture (1, 3, H, W) in [0, 1] as grey levels (H, W, 3), rounded and clamped."""
    levels = x_hat[0] * np.float32(255.0)
    np.rint(levels, out=levels)
    return np.ascontiguousarray(np.clip(levels, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _aligned(tile: Tile, stride: int) -> Tile:
    top, left = tile.top // stride * stride, tile.left // stride * stride
    height = padded(tile.top + tile.height - top, stride)
    return Tile(top, left, height, padded(tile.left + tile.width - left, stride))


def _with_halo(tile: Tile, halo: int, height: int, width: int) -> Tile:
    top, left = max(0, tile.top - halo), max(0, tile.left - halo)
    bottom = min(height, tile.top + tile.height + halo)
    right = min(width, tile.left + tile.width + halo)
    return Tile(top, left, bottom - top, right - left)


def _inner(x: NDArray, tile: Tile, outer: Tile, stride: int) -> NDArray:
    top, left = (tile.top - outer.top) // stride, (tile.left - outer.left) // stride
    return x[:, :, top : top + tile.height // stride, left : left + tile.width // stride]
