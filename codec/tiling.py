"""Tiles: large pictures in bounded memory, without seams.

Transforms see a tile with a halo as wide as their receptive field, so that what they compute
inside the tile is what they would have computed on the whole picture. Entropy models see the
tile alone, so that every tile is a stream of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imgcodec.codec.models.base import CodecModel


@dataclass(frozen=True)
class Tile:
    """A rectangle of the padded picture in pixels; all numbers are multiples of the stride."""

    top: int
    left: int
    height: int
    width: int


def tile_grid(height: int, width: int, tile_px: int, stride_px: int) -> list[Tile]:
    """Return the tiles of a picture, row-major, its sides padded up to the stride."""
    return [
        Tile(
            top,
            left,
            _padded(min(tile_px, height - top), stride_px),
            _padded(min(tile_px, width - left), stride_px),
        )
        for top in range(0, height, tile_px)
        for left in range(0, width, tile_px)
    ]


def analyse_tile(model: CodecModel, pixels: NDArray[np.uint8], tile: Tile, quality: int) -> Tensor:
    """Return y (1, M, h, w) of one tile of a picture (H, W, 3).

    The picture is continued beyond its right and bottom edges by repeating its last pixels.
    """
    stride = model.stride_px
    height, width = (_padded(side, stride) for side in pixels.shape[:2])
    outer = _with_halo(tile, model.analysis_halo_px, height, width)
    rows = np.minimum(np.arange(outer.top, outer.top + outer.height), pixels.shape[0] - 1)
    columns = np.minimum(np.arange(outer.left, outer.left + outer.width), pixels.shape[1] - 1)
    region = torch.from_numpy(pixels[rows[0] : rows[-1] + 1][rows - rows[0]][:, columns])
    x = region.permute(2, 0, 1)[None].float().div_(255.0)
    y = model.analysis(x.contiguous(memory_format=torch.channels_last), quality)
    return _inner(y, tile, outer, stride)


def synthesise(
    model: CodecModel, y_hat: Tensor, quality: int, height: int, width: int, tile_px: int
) -> Iterator[tuple[Tile, NDArray[np.uint8]]]:
    """Yield each tile with its pixels (h, w, 3), cropped to the picture.

    Args:
        y_hat: (1, M, H / stride, W / stride) latents of the whole picture.
    """
    stride = model.stride_px
    padded = (y_hat.shape[2] * stride, y_hat.shape[3] * stride)
    for tile in tile_grid(height, width, tile_px, stride):
        outer = _with_halo(tile, model.synthesis_halo_px, *padded)
        window = y_hat[
            :,
            :,
            outer.top // stride : (outer.top + outer.height) // stride,
            outer.left // stride : (outer.left + outer.width) // stride,
        ]
        x_hat = model.synthesis(window.contiguous(memory_format=torch.channels_last), quality)
        inner = _inner(x_hat, tile, outer, 1)
        inner = inner[:, :, : height - tile.top, : width - tile.left]
        pixels = inner[0].permute(1, 2, 0).mul(255.0).round_().clamp_(0, 255).to(torch.uint8)
        yield tile, pixels.numpy()


def _padded(side: int, stride: int) -> int:
    return -(-side // stride) * stride


def _with_halo(tile: Tile, halo: int, height: int, width: int) -> Tile:
    top, left = max(0, tile.top - halo), max(0, tile.left - halo)
    bottom = min(height, tile.top + tile.height + halo)
    right = min(width, tile.left + tile.width + halo)
    return Tile(top, left, bottom - top, right - left)


def _inner(x: Tensor, tile: Tile, outer: Tile, stride: int) -> Tensor:
    top, left = (tile.top - outer.top) // stride, (tile.left - outer.left) // stride
    return x[:, :, top : top + tile.height // stride, left : left + tile.width // stride]
