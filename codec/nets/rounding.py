"""Rounding that weighs bits against squared error (encoder only, no part of the format)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from imgcodec.codec.nets.exact import MAGNITUDE_MAX
from imgcodec.codec.nets.rate import bits_of_integers, bits_of_residual, rows_to_indexes

THRESHOLD_MAX = 0.99


def rounding_thresholds(
    code_lengths: np.ndarray, half_widths: np.ndarray, strength: float
) -> np.ndarray:
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


def scale_thresholds(thresholds: Tensor, factor: float) -> Tensor:
    """Return the thresholds of another strength, that of the given ones times a factor >= 0.

    With the factor 1 they stay the same, bit by bit.
    """
    return (0.5 + (thresholds - 0.5) * factor).clamp(max=THRESHOLD_MAX)


def round_by_cost(x: Tensor, indexes: Tensor, thresholds: Tensor) -> Tensor:
    """Round to the integers that cost least in bits and squared error together.

    Args:
        x: values in quantisation steps.
        indexes: table row of each value, int64.
        thresholds: (R, K) from `rounding_thresholds`.
    """
    magnitude = x.abs()
    lower = torch.floor(magnitude)
    columns = thresholds.shape[1]
    cell = lower.long().clamp(max=columns - 1)
    threshold = thresholds.take(indexes * columns + cell)
    return torch.copysign(lower + (magnitude - lower > threshold), x)


class CodedRounding:
    """Rounding of a training batch: the integers that would be sent, straight through.

    Their bits are those of the integers, but the gradient in the latents is that of noisy ones:
    table rows learn from true integers, transforms from a smooth rate.
    """

    def __init__(self, thresholds: Tensor) -> None:
        self._thresholds = thresholds

    def __call__(self, x: Tensor, rows: Tensor | None, part: int) -> Tensor:
        """Return integers of values in steps, by cost under real-valued rows, if any.

        Args:
            x: values in quantisation steps.
            rows: real-valued table rows of the same shape, None for plain rounding.
            part: number of the latents that they belong to.
        """
        plain = x.detach()
        if rows is None:
            return x + (torch.round(plain) - plain)
        q = round_by_cost(plain, rows_to_indexes(rows.detach()), self._thresholds)
        return x + (q - plain)

    @staticmethod
    def seen(integers: Tensor) -> Tensor:
        """Return the integers as the networks of later rows see them."""
        return integers.detach()

    def bits(self, integers: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        """Return the bits of each of the integers that were made of `x`."""
        return bits_of_integers(integers.detach(), x, rows)


class SmoothRounding(CodedRounding):
    """The same without the noise: the gradient is the mean over all noise."""

    def bits(self, integers: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        """Return the bits of each of the integers that were made of `x`."""
        upper, lower = (bits_of_residual(x.detach() + half, rows.detach()) for half in (0.5, -0.5))
        smooth = (upper - lower) * x
        return bits_of_residual(integers.detach(), rows) + smooth - smooth.detach()


class GivenIntegers:
    """No rounding: integers that are known, and what they do to everything after them.

    Attributes:
        rows: of each part, the real-valued table rows when it was last asked for.
    """

    def __init__(self, integers: Sequence[Tensor]) -> None:
        self._integers = integers
        self.rows: dict[int, Tensor] = {}

    def __call__(self, x: Tensor, rows: Tensor | None, part: int) -> Tensor:
        """Return the integers of a part."""
        if rows is not None:
            self.rows[part] = rows.detach()
        return self._integers[part]

    @staticmethod
    def seen(integers: Tensor) -> Tensor:
        """Return the integers as the networks of later rows see them."""
        return integers

    def bits(self, integers: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        """Return bits whose gradient is that of the rows alone."""
        return bits_of_residual(integers.detach(), rows)


Rounding = CodedRounding | GivenIntegers


def to_integers(x: Tensor) -> np.ndarray:
    """Return rounded values as int32, within what the networks of table rows may see."""
    limit = float(MAGNITUDE_MAX - 1)
    return x.clamp(-limit, limit).to(torch.int32).cpu().numpy()
