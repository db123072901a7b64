"""Targets: find the quality that gives a file of a size, or a picture of a likeness.

File size and likeness rise with quality, which the bisection relies on; what it returns was
encoded and measured, so that a size is never exceeded and a likeness always reached. Sizes
between those of two qualities come from the higher one with a rounding that favours small files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import OptionError, UnreachableTargetError

MAX_QUALITY = 100
MAX_ROUNDING = 1.5
"""Beyond it a file of the quality below is the better one."""
MAX_ROUNDINGS = 4
CLOSE_ENOUGH = 0.99
"""Part of a size that a file has to fill for the search to end."""
_ROWS_AT_ONCE = 256

Measure = Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]


@dataclass(frozen=True)
class Target:
    """What a file should be like: at most so many bytes, or at least so similar.

    Attributes:
        name: "bytes", "bpp", or what `measure` measures.
        value: bytes, bits per pixel, or the value that `measure` should reach.
        measure: function of original and decoded picture, both uint8 (H, W, 3); None for "bytes"
            and "bpp".
        lower_is_better: `measure` is a distance.
    """

    name: str
    value: float
    measure: Measure | None = None
    lower_is_better: bool = False


@dataclass(frozen=True)
class Found:
    """The file that meets a target.

    Attributes:
        data: the file.
        quality: the quality it was encoded with.
        value: its bytes, bits per pixel or measured value, in the units of the target.
    """

    data: bytes
    quality: int
    value: float


def search_quality(is_below: Callable[[int], bool]) -> int:
    """Return the highest quality for which `is_below` holds, 0 where it never does.

    Args:
        is_below: holds for qualities from 1 up to some point and not beyond.
    """
    low, high = 0, MAX_QUALITY + 1
    while high - low > 1:
        middle = (low + high) // 2
        if is_below(middle):
            low = middle
        else:
            high = middle
    return low


def meet_target(
    target: Target,
    original: NDArray[np.uint8],
    encode: Callable[[int, float], bytes],
    decode: Callable[[bytes], NDArray[np.uint8]],
) -> Found:
    """Return the best file within a size, or the smallest that reaches a likeness.

    Args:
        target: the target.
        original: the picture, uint8 (H, W, 3).
        encode: the file of a quality and a rounding as in `CodecModel.passes`.
        decode: the picture of a file, uint8 (H, W, 3).

    Raises:
        UnreachableTargetError: even quality 1 is too large, or even 100 not similar enough.
        OptionError: the target is not a positive number.
    """
    if not (math.isfinite(target.value) and (target.measure or target.value > 0)):
        raise OptionError(f"the target {target.name} must be a positive number")
    tried: dict[int, Found] = {}

    def encoded(quality: int, rounding: float = 1.0) -> Found:
        data = encode(quality, rounding)
        if target.measure is not None:
            value = float(target.measure(original, decode(data)))
            if math.isnan(value):
                raise UnreachableTargetError(f"{target.name} is not defined for such a picture")
        elif target.name == "bpp":
            value = 8 * len(data) / (original.shape[0] * original.shape[1])
        else:
            value = float(len(data))
        return Found(data, quality, value)

    def at(quality: int) -> float:
        tried[quality] = encoded(quality)
        return tried[quality].value

    def is_short(quality: int) -> bool:
        value = at(quality)
        return value > target.value if target.lower_is_better else value < target.value

    if target.measure is None:
        quality, end = search_quality(lambda quality: at(quality) <= target.value), 1
    else:
        quality, end = search_quality(is_short) + 1, MAX_QUALITY
    if quality not in tried:
        raise UnreachableTargetError(
            f"target {target.name} {target.value:g} is out of reach: "
            f"quality {end} gives {tried[end].value:g}"
        )
    if target.measure is None and quality < MAX_QUALITY:
        return _fill(target.value, tried[quality], tried[quality + 1], encoded)
    return tried[quality]


def _fill(limit: float, best: Found, above: Found, encode: Callable[[int, float], Found]) -> Found:
    """Return the largest file within a size, of `best` and of `above` with stronger rounding."""
    low, high = 1.0, MAX_ROUNDING
    for _ in range(MAX_ROUNDINGS):
        if best.value >= CLOSE_ENOUGH * limit:
            break
        rounding = (low + high) / 2
        found = encode(above.quality, rounding)
        if found.data == above.data:
            break  # the family rounds in one way only
        if found.value > limit:
            low = rounding
        else:
            high = rounding
            best = max(best, found, key=lambda file: file.value)
    return best


def psnr_db(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Return the PSNR of two uint8 pictures of equal shape in dB, infinite where they are equal."""
    total = 0
    for top in range(0, original.shape[0], _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        error = original[rows].astype(np.int32) - decoded[rows]
        total += int(np.square(error).sum(dtype=np.int64))
    return 10 * math.log10(255**2 * original.size / total) if total else math.inf
