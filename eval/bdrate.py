"""Bjontegaard delta rate: how many bits a codec saves at equal quality.

The package bjontegaard interpolates curves as log10(rate) over quality and averages the difference
over the quality interval that both cover. Points that it should not see are left out here, and when
the common interval is short the number is refused rather than guessed.

Source: G. Bjontegaard, VCEG-M33 (2001); piecewise cubic (pchip) variant: VCEG-AL23 / JCTVC
common test conditions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imgcodec.codec.errors import CodecError

Method = Literal["pchip", "cubic"]
FloatArray = npt.NDArray[np.float64]
MIN_OVERLAP = 0.25


class BdRateError(CodecError, ValueError):
    """Two curves cannot be compared: too few points, or they hardly overlap."""


@dataclasses.dataclass(frozen=True)
class BdRate:
    """A BD-rate and what it rests on.

    Attributes:
        percent: mean rate difference of the test codec at equal quality; negative: it saves bits.
        low, high: the common quality interval.
        overlap: length of that interval relative to the shorter of the two curves, 0 to 1.
        overlap_anchor, overlap_test: the same relative to each curve.
        method: interpolation used.
        dropped: points left out because another point of the curve is smaller and as good.
    """

    percent: float
    low: float
    high: float
    overlap: float
    overlap_anchor: float
    overlap_test: float
    method: str
    dropped: int


def bd_rate(
    rates_anchor: Sequence[float] | FloatArray,
    quality_anchor: Sequence[float] | FloatArray,
    rates_test: Sequence[float] | FloatArray,
    quality_test: Sequence[float] | FloatArray,
    *,
    method: Method = "pchip",
    min_overlap: float = MIN_OVERLAP,
    higher_is_better: bool = True,
) -> BdRate:
    """Return the BD-rate together with the interval it was taken over.

    Negative means that the test codec needs fewer bits than the anchor at the same quality:
    -30 is 30 % smaller files.

    Args:
        rates_anchor: rates of the anchor (bpp or bytes, any one unit), in any order, positive.
        quality_anchor: its quality (PSNR in dB, MS-SSIM in dB, LPIPS, ...) at those rates.
        rates_test: rates of the codec under test, in the same unit.
        quality_test: its quality.
        method: `pchip` (piecewise cubic, shape preserving) or `cubic` (one polynomial of degree
            3 fitted to all points, as in VCEG-M33).
        min_overlap: least common interval, relative to the shorter curve.
        higher_is_better: False for distances such as LPIPS.

    Raises:
        BdRateError: fewer than 2 usable points (4 for `cubic`), or too little overlap.
    """
    if method not in ("pchip", "cubic"):
        raise ValueError(f"unknown BD-rate method {method!r}: use pchip or cubic")
    sign = 1.0 if higher_is_better else -1.0
    anchor, dropped_anchor = _clean(rates_anchor, quality_anchor, sign, "anchor")
    test, dropped_test = _clean(rates_test, quality_test, sign, "test")
    least = 4 if method == "cubic" else 2
    for points, what in ((anchor, "anchor"), (test, "test")):
        if len(points) < least:
            raise BdRateError(
                f"{what} curve has {len(points)} usable points, {method} needs {least}"
            )
    low, high = max(anchor[0, 1], test[0, 1]), min(anchor[-1, 1], test[-1, 1])
    spans = anchor[-1, 1] - anchor[0, 1], test[-1, 1] - test[0, 1]
    common = max(high - low, 0.0)
    overlap = common / min(spans)
    if overlap < min_overlap or common == 0.0:
        raise BdRateError(
            f"curves overlap over {100 * overlap:.0f} % of the shorter one, "
            f"less than {100 * min_overlap:.0f} %: anchor {_span(anchor, sign)}, "
            f"test {_span(test, sign)}"
        )
    import bjontegaard

    percent = bjontegaard.bd_rate(
        *anchor.T, *test.T, method=method, require_matching_points=False, min_overlap=0.0
    )
    bounds = sorted((sign * low, sign * high))
    return BdRate(
        percent=float(percent),
        low=float(bounds[0]),
        high=float(bounds[1]),
        overlap=float(overlap),
        overlap_anchor=float(common / spans[0]),
        overlap_test=float(common / spans[1]),
        method=method,
        dropped=dropped_anchor + dropped_test,
    )


def _clean(rates: Any, quality: Any, sign: float, what: str) -> tuple[FloatArray, int]:
    """Return points (rate, sign * quality) rising strictly in both, and how many were dominated."""
    rate_array = np.asarray(rates, dtype=np.float64)
    quality_array = np.asarray(quality, dtype=np.float64) * sign
    if rate_array.shape != quality_array.shape or rate_array.ndim != 1:
        raise BdRateError(
            f"{what} curve: {rate_array.shape} rates but {quality_array.shape} qualities"
        )
    points = np.stack([rate_array, quality_array], axis=1)
    points = points[np.isfinite(points).all(axis=1) & (rate_array > 0)]
    points = points[np.lexsort((-points[:, 1], points[:, 0]))]
    kept: list[npt.NDArray[np.float64]] = []
    for point in points:
        if not kept or point[1] > kept[-1][1]:
            kept.append(point)
    return np.array(kept).reshape(-1, 2), len(points) - len(kept)


def _span(points: FloatArray, sign: float) -> str:
    low, high = sorted((sign * points[0, 1], sign * points[-1, 1]))
    return f"{low:.4g} to {high:.4g}"
