"""Rounding that weighs bits against squared error (encoder only, no part of the format)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.numeric.arrays import Array, cast, namespace, to_numpy
from imgcodec.codec.numeric.exact import MAGNITUDE_MAX

THRESHOLD_MAX = 0.99


def rounding_thresholds(
    code_lengths: NDArray, half_widths: NDArray, strength: float
) -> NDArray[np.float32]:
    """Return the fractions above which the encoder rounds away from zero.

    With gains at the uniform quantiser of lambda, a squared error of e steps costs as much as
    6 / ln(2) * e**2 bits. Rounding n + f up rather than down is worth its extra bits d when
    ``6 / ln(2) * (2 f - 1) > d``.

    Args:
        code_lengths: (R, S) bits of each symbol.
        half_widths: (R,) half widths h; symbol n + h is the integer n.
        strength: share of d to heed, 0 for plain rounding.

    Returns:
        float32 (R, K): fractions in [0.5, 1) by row and integer n < K - 1; 0.5 for larger n.
    """
    num_rows, width = len(half_widths), int(half_widths.max()) + 1
    thresholds = np.full((num_rows, width + 1), 0.5, np.float32)
    for row, half in enumerate(half_widths):
        upper = code_lengths[row, half : 2 * half + 1]
        extra = np.maximum(upper[1:] - upper[:-1], 0)
        fractions = 0.5 + strength * extra * (math.log(2) / 12)
        thresholds[row, :half] = np.minimum(fractions, THRESHOLD_MAX)
    return thresholds


def round_by_cost(x: Array, indexes: Array, thresholds: Array) -> Array:
    """Round to the integers that cost least in bits and squared error together.

    Args:
        x: values in quantisation steps.
        indexes: table row of each value, int64.
        thresholds: (R, K) from `rounding_thresholds`.
    """
    xp = namespace(x)
    magnitude = xp.abs(x)
    lower = xp.floor(magnitude)
    columns = thresholds.shape[1]
    # The second clip is for what is no number: a diverged step of training.
    cell = xp.clip(cast(xp.clip(lower, 0, columns - 1), "int64"), 0, columns - 1)
    threshold = xp.take(thresholds, indexes * columns + cell)
    return xp.copysign(lower + (magnitude - lower > threshold), x)


def to_integers(x: Array) -> NDArray[np.int32]:
    """Return rounded values as int32, within what the networks of table rows may see."""
    limit = float(MAGNITUDE_MAX - 1)
    return to_numpy(cast(namespace(x).clip(x, -limit, limit), "int32"))
