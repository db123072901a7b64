"""What the model sees in the place of exact blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.picture.exact import ExactBlocks

_POOL = 8


def paint_over(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) whose masked blocks continue the others smoothly.

    The model then spends next to nothing on them, and sees no edge where they begin.
    """
    height, width = pixels.shape[:2]
    covered = ExactBlocks(mask, pixels).covered
    x = _padded(pixels.astype(np.float32), _POOL)
    below, right = x.shape[0] - height, x.shape[1] - width
    seen = np.pad(~covered, ((0, below), (0, right))).astype(np.float32)[..., None]
    smooth = _enlarged(_fill(*_pool(x, seen, _POOL)), _POOL)[:height, :width]
    painted = np.rint(smooth).clip(0, 255).astype(np.uint8)
    return np.where(covered[..., None], painted, pixels)


def _padded(x: NDArray[np.floating], multiple: int) -> NDArray[np.floating]:
    """Repeat the last values of (h, w, C) up to a multiple of both sides."""
    below, right = -x.shape[0] % multiple, -x.shape[1] % multiple
    return np.pad(x, ((0, below), (0, right), (0, 0)), mode="edge")


def _pool(
    x: NDArray[np.floating], seen: NDArray[np.floating], factor: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return means of what is seen of (h, w, C), 0 where nothing is, and where something is."""
    weight = _means(seen, factor)
    return _means(x * seen, factor) / np.maximum(weight, 1e-6), (weight > 0).astype(np.float32)


def _means(x: NDArray[np.floating], factor: int) -> NDArray[np.floating]:
    """Return means of squares, their values added up row by row."""
    height, width, channels = x.shape
    cells = x.reshape(height // factor, factor, width // factor, factor, channels)
    total = np.zeros((height // factor, width // factor, channels), np.float32)
    for row in range(factor):
        for column in range(factor):
            total += cells[:, row, :, column]
    return total / np.float32(factor**2)


def _enlarged(x: NDArray[np.floating], factor: int) -> NDArray[np.floating]:
    """Interpolate (h, w, C) linearly to sides `factor` times as long.

    Sums are rounded to single precision one by one, in the order of torch's bilinear filter, which
    did this before: the same files.
    """
    (upper, lower, down), (left, right, across) = (_neighbours(n, factor) for n in x.shape[:2])
    down, across = down[:, None, None], across[:, None]
    total = ((1 - down) * across) * x[upper][:, right]
    for weight, corner in (
        ((1 - down) * (1 - across), x[upper][:, left]),
        (down * (1 - across), x[lower][:, left]),
        (down * across, x[lower][:, right]),
    ):
        total = (weight.astype(np.float64) * corner + total).astype(np.float32)
    return total


def _neighbours(
    length: int, factor: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.floating]]:
    """Return for each place of a longer side the two it lies between, and how far."""
    places = np.maximum((np.arange(length * factor) + 0.5) / factor - 0.5, 0).astype(np.float32)
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, length - 1), places - first.astype(np.float32)


def _fill(x: NDArray[np.floating], seen: NDArray[np.floating]) -> NDArray[np.floating]:
    """Fill what is not seen of (h, w, C) from coarser and coarser means."""
    if seen.all() or max(x.shape[:2]) == 1:
        return x if seen.any() else np.full_like(x, 128.0)
    height, width = x.shape[:2]
    below, right = height % 2, width % 2
    coarse = _pool(_padded(x, 2), np.pad(seen, ((0, below), (0, right), (0, 0))), 2)
    guess = _enlarged(_fill(*coarse), 2)
    return np.where(seen > 0, x, guess[:height, :width])
