"""What a model makes of a part of a picture: bits and errors of its blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.families.coders import Block, Count
from imgcodec.codec.picture.exact import BLOCK_PX, block_grid
from imgcodec.codec.session.allocation import rate_weight
from imgcodec.codec.session.tiling import analyse_tile, to_pixels
from imgcodec.codec.stream.tiles import Tile
from imgcodec.codec.weights.store import LoadedModel


def measure_tile(
    loaded: LoadedModel, pixels: NDArray[np.uint8], tile: Tile, quality: int
) -> NDArray[np.float64]:
    """Return bits plus lambda times squared error in grey levels, for each block of a tile.

    Args:
        loaded: model and tables.
        pixels: the picture (H, W, 3).
        tile: a part of it, whose corner is that of a block, in multiples of the stride.
        quality: 1 to 100.
    """
    model, stride = loaded.model, loaded.model.stride_px
    y = analyse_tile(model, pixels, tile, quality)
    shape = (tile.height // stride, tile.width // stride)
    bits = np.zeros(shape)

    def observe(block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32]) -> None:
        bits[:] += block.map(loaded.tables.code_lengths(q, indexes), shape)

    y_hat = model.code(shape, quality, Count(loaded.tables, observe=observe), y)
    x_hat = to_pixels(model.synthesis(y_hat, quality)).astype(np.float32)
    shown = pixels[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
    error = x_hat[: shown.shape[0], : shown.shape[1]] - shown
    squares = rate_weight(model, quality) * np.square(error, dtype=np.float64).mean(axis=2)
    finer = max(1, stride // BLOCK_PX)
    bits = np.repeat(np.repeat(bits / finer**2, finer, axis=0), finer, axis=1)
    return _sums(bits, max(1, BLOCK_PX // stride), tile) + _sums(squares, BLOCK_PX, tile)


def _sums(values: NDArray[np.float64], side: int, tile: Tile) -> NDArray[np.float64]:
    """Return sums over squares of a side, one for each block of the tile."""
    starts = [np.arange(0, length, side) for length in values.shape]
    sums = np.add.reduceat(np.add.reduceat(values, starts[0]), starts[1], axis=1)
    rows, columns = block_grid(tile.height, tile.width)
    padded = np.zeros((rows, columns))
    padded[: sums.shape[0], : sums.shape[1]] = sums[:rows, :columns]
    return padded
