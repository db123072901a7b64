"""Targets: find the quality that gives a file of a size, or a picture of a likeness.

File size and likeness rise with quality, which the bisection relies on; what it returns was
encoded and measured, so that a size is never exceeded and a likeness always reached. Sizes
between those of two qualities come from the higher one with a rounding that favours small files;
likenesses beyond the highest quality, from exact blocks.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

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

Made = TypeVar("Made")
Measure = Callable[[NDArray[np.uint8], NDArray[np.uint8]], float]
Repair = Callable[[float], bytes]
"""Return a file with a share of what is not exact yet, 0 to 1, made exact: with 1, everything."""


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
        quality: the quality it was encoded with; 100 where more blocks had to be made exact.
        value: its bytes, bits per pixel or measured value, in the units of the target.
    """

    data: bytes
    quality: int
    value: float


def last_below(
    make: Callable[[int], Made], is_below: Callable[[Made], bool]
) -> tuple[int, dict[int, Made]]:
    """Return the last number from 1 to 100 whose result is below, 0 where none is, and all results.

    Args:
        make: what is made of a number.
        is_below: holds for the results of numbers from 1 up to some point and not beyond.
    """
    results: dict[int, Made] = {}
    low, high = 0, MAX_QUALITY + 1
    while high - low > 1:
        middle = (low + high) // 2
        results[middle] = make(middle)
        if is_below(results[middle]):
            low = middle
        else:
            high = middle
    return low, results


def meet_target(
    target: Target,
    original: NDArray[np.uint8],
    encode: Callable[[int, float], bytes],
    decode: Callable[[bytes], NDArray[np.uint8]],
    repair: Callable[[bytes], Repair] | None = None,
    between: Callable[[int], Sequence[Callable[[], bytes]]] = lambda _: (),
) -> Found:
    """Return the best file within a size, or the smallest that reaches a likeness.

    Args:
        target: the target.
        original: the picture, uint8 (H, W, 3).
        encode: the file of a quality and a rounding as in `CodecModel.passes`.
        decode: the picture of a file, uint8 (H, W, 3).
        repair: for likenesses beyond quality 100: takes the file of that quality; None where
            there is nothing beyond.
        between: what makes files, by size, that are larger than those of a quality and maybe
            smaller than those of the next.

    Raises:
        UnreachableTargetError: even quality 1 is too large, or nothing is similar enough; the
            message says what can be reached.
        OptionError: the target is not a positive number.
    """
    if not (math.isfinite(target.value) and (target.measure or target.value > 0)):
        raise OptionError(f"the target {target.name} must be a positive number")

    def found(data: bytes, quality: int) -> Found:
        return Found(data, quality, _value(target, original, data, decode))

    def encoded(quality: int, rounding: float = 1.0) -> Found:
        return found(encode(quality, rounding), quality)

    def is_short(file: Found) -> bool:
        return file.value > target.value if target.lower_is_better else file.value < target.value

    if target.measure is None:
        last, tried = last_below(encoded, lambda file: file.value <= target.value)
        if 0 < last < MAX_QUALITY:
            best = _fill(target.value, tried[last], tried[last + 1], encoded)
            if best.value < CLOSE_ENOUGH * target.value:
                rest = _last_within(target.value, between(last), lambda data: found(data, last))
                best = max([best, *rest], key=lambda file: file.value)
            return best
        if last == MAX_QUALITY:
            return tried[last]
    else:
        last, tried = last_below(encoded, is_short)
        if last < MAX_QUALITY:
            return tried[last + 1]
    files = list(tried.values())
    if target.measure is not None and repair is not None:
        repaired = repair(tried[MAX_QUALITY].data)
        last, with_exact = last_below(
            lambda percent: found(repaired(percent / 100), MAX_QUALITY), is_short
        )
        if last < MAX_QUALITY:
            return with_exact[last + 1]
        files += with_exact.values()
    is_least = target.measure is None or target.lower_is_better
    best = (min if is_least else max)(files, key=lambda file: file.value)
    raise UnreachableTargetError(
        f"target {target.name} {target.value:g} is out of reach: "
        f"the best is {best.value:g}, with quality {best.quality}"
    )


def _value(
    target: Target,
    original: NDArray[np.uint8],
    data: bytes,
    decode: Callable[[bytes], NDArray[np.uint8]],
) -> float:
    """Return what a target is about, of a file."""
    if target.measure is not None:
        value = float(target.measure(original, decode(data)))
        if math.isnan(value):
            raise UnreachableTargetError(f"{target.name} is not defined for such a picture")
        return value
    if target.name == "bpp":
        return 8 * len(data) / (original.shape[0] * original.shape[1])
    return float(len(data))


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


def _last_within(
    limit: float, makers: Sequence[Callable[[], bytes]], found: Callable[[bytes], Found]
) -> list[Found]:
    """Return the last of some files, in order of their size, that is within a size, if any."""
    made: dict[int, Found] = {}

    def size(number: int) -> float:
        made[number] = found(makers[number]())
        return made[number].value

    last = bisect_right(range(len(makers)), limit, key=size) - 1
    return [made[last]] if last >= 0 else []


def psnr_db(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Return the PSNR of two uint8 pictures of equal shape in dB, infinite where they are equal."""
    total = 0
    for top in range(0, original.shape[0], _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        error = original[rows].astype(np.int32) - decoded[rows]
        total += int(np.square(error).sum(dtype=np.int64))
    return 10 * math.log10(255**2 * original.size / total) if total else math.inf
