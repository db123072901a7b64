"""Arrays of NumPy and tensors of torch, alike where a walk needs both.

A walk runs over NumPy in the codec and over torch in training. Most of what it does is spelled the
same in both (`namespace`); the functions here are what is not. torch is imported where a tensor
comes along, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np

from imgcodec.processors import num_threads

Array: TypeAlias = Any
"""An array of NumPy or a tensor of torch."""


def is_numpy(x: Array) -> bool:
    """Return whether an array is one of NumPy."""
    return isinstance(x, np.ndarray)


def namespace(x: Array) -> Any:
    """Return the module with `where`, `exp`, `clip`, `floor`, `abs` and so on for an array."""
    if is_numpy(x):
        return np
    import torch

    return torch


def cast(x: Array, dtype: str) -> Array:
    """Return an array in another type, such as "float32", itself if it is of that type."""
    if is_numpy(x):
        return x.astype(dtype, copy=False)
    return x.to(getattr(namespace(x), dtype))


def cast_like(x: Array, other: Array) -> Array:
    """Return an array in the type of another."""
    return x.astype(other.dtype, copy=False) if is_numpy(x) else x.to(other.dtype)


def like(values: np.ndarray, other: Array) -> Array:
    """Return an array of NumPy as one of the kind, and on the device, of another."""
    if is_numpy(other):
        return values
    return namespace(other).from_numpy(values).to(other.device)


def zeros(shape: Sequence[int], dtype: str, other: Array) -> Array:
    """Return zeros of the kind of another array."""
    if is_numpy(other):
        return np.zeros(shape, dtype)
    return other.new_zeros(shape, dtype=getattr(namespace(other), dtype))


def ones(shape: Sequence[int], dtype: str, other: Array) -> Array:
    """Return ones (true) of the kind of another array."""
    if is_numpy(other):
        return np.ones(shape, dtype)
    return other.new_ones(shape, dtype=getattr(namespace(other), dtype))


def arange(count: int, other: Array) -> Array:
    """Return 0 to count - 1, int64, of the kind, and made on the device, of another array."""
    if is_numpy(other):
        return np.arange(count, dtype=np.int64)
    return namespace(other).arange(count, device=other.device)


def concat(parts: Sequence[Array], axis: int) -> Array:
    """Join arrays along an axis."""
    if is_numpy(parts[0]):
        return np.concatenate(parts, axis)
    return namespace(parts[0]).cat(list(parts), axis)


def permute(x: Array, axes: Sequence[int]) -> Array:
    """Reorder axes."""
    return np.transpose(x, axes) if is_numpy(x) else x.permute(*axes)


def expand(x: Array, shape: Sequence[int]) -> Array:
    """Return a view in which sides of length 1 are as long as in `shape`."""
    return np.broadcast_to(x, shape) if is_numpy(x) else x.expand(*shape)


def detach(x: Array) -> Array:
    """Return the same without its gradient."""
    return x if is_numpy(x) else x.detach()


def pad(x: Array, below: int, right: int, *, repeat: bool = False) -> Array:
    """Continue (B, C, h, w) below and on the right, by zeros or by its last values."""
    if not (below or right):
        return x
    if is_numpy(x):
        widths = ((0, 0), (0, 0), (0, below), (0, right))
        return np.pad(x, widths, mode="edge" if repeat else "constant")
    mode = "replicate" if repeat else "constant"
    return namespace(x).nn.functional.pad(x, (0, right, 0, below), mode=mode)


def pixel_shuffle(x: Array, factor: int) -> Array:
    """Map (B, C * f^2, h, w) to (B, C, f h, f w)."""
    if factor == 1:
        return x
    if not is_numpy(x):
        return namespace(x).nn.functional.pixel_shuffle(x, factor)
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels // factor**2, factor, factor, height, width)
    x = x.transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, -1, height * factor, width * factor)


def pixel_unshuffle(x: Array, factor: int) -> Array:
    """Map (B, C, f h, f w) to (B, C * f^2, h, w)."""
    if factor == 1:
        return x
    if not is_numpy(x):
        return namespace(x).nn.functional.pixel_unshuffle(x, factor)
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // factor, factor, width // factor, factor)
    x = x.transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(batch, channels * factor**2, height // factor, width // factor)


def gather(x: Array, mask: Array) -> Array:
    """Return the values (B, n) of (B, C, h, w) under a mask, bool (C, h, w)."""
    if is_numpy(x) and len(x) == 1:
        return x[0][mask][None]  # a mask of all axes: much faster
    return x[:, mask]


def scatter(values: Array, mask: Array, shape: Sequence[int]) -> Array:
    """Return an array of a shape (B, C, h, w) with values (B, n) under a mask, else 0."""
    if is_numpy(values):
        x = np.zeros(shape, values.dtype)
        for one, own in zip(x, values, strict=True):
            one[mask] = own
        return x
    return values.new_zeros(shape).masked_scatter(mask, values)


def beside(function: Callable[..., Array], *arguments: Any) -> Callable[[], Array]:
    """Return what waits for the result of a function.

    Of arrays of NumPy, where threads are to be had, it is computed beside what follows; of tensors
    at once, since gradients and captured steps know one thread.
    """
    if num_threads() == 1 or not any(map(is_numpy, arguments)):
        result = function(*arguments)
        return lambda: result
    # A pool for this alone: one that stayed would have lost its thread where a process forks.
    pool = ThreadPoolExecutor(1, "beside")
    started = pool.submit(function, *arguments)
    pool.shutdown(wait=False)
    return started.result


def to_numpy(x: Array) -> np.ndarray:
    """Return an array of NumPy, without a copy where that can be."""
    return x if is_numpy(x) else x.detach().cpu().numpy()
