"""The choice of those parts of an image with the most to see."""

from __future__ import annotations

import numpy as np

from imgcodec.codec.stream.tiles import Tile
from imgcodec.eval.anchors.base import RgbArray


def detail_window(rgb: RgbArray, height: int, width: int) -> Tile:
    """Return the window of the given size with the most fine detail in a uint8 HxWx3 array."""
    return detail_windows(rgb, height, width, 1)[0]


def detail_windows(rgb: RgbArray, height: int, width: int, num_windows: int) -> list[Tile]:
    """Return up to `num_windows` disjoint windows, the one with the most detail first.

    Detail is the mean of the square root of the gradient, so that a single strong edge does not
    outweigh texture. Tiles lie on a grid of an eighth of their size.
    """
    full_height, full_width = rgb.shape[:2]
    height, width = min(height, full_height), min(width, full_width)
    luma = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    energy = np.zeros_like(luma)
    energy[:, :-1] += np.abs(np.diff(luma, axis=1))
    energy[:-1] += np.abs(np.diff(luma, axis=0))
    sums = np.zeros((full_height + 1, full_width + 1))
    sums[1:, 1:] = np.sqrt(energy).cumsum(axis=0).cumsum(axis=1)
    step_y, step_x = max(1, height // 8), max(1, width // 8)
    tops = np.arange(0, full_height - height + 1, step_y)
    lefts = np.arange(0, full_width - width + 1, step_x)
    grid_y, grid_x = np.meshgrid(tops, lefts, indexing="ij")
    scores = (
        sums[grid_y + height, grid_x + width]
        - sums[grid_y, grid_x + width]
        - sums[grid_y + height, grid_x]
        + sums[grid_y, grid_x]
    )
    chosen: list[Tile] = []
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        y, x = int(grid_y.flat[flat]), int(grid_x.flat[flat])
        if all(abs(y - w.top) >= height or abs(x - w.left) >= width for w in chosen):
            chosen.append(Tile(y, x, height, width))
            if len(chosen) == num_windows:
                break
    return chosen
