"""Rate: its axis from quality to lambda, and which table row stands for which deviation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.numeric.arrays import Array, cast, namespace

SCALE_MIN = 0.11
"""Standard deviation of table row 0; row r has ``SCALE_MIN * exp(r / ROWS_PER_NEPER)``."""
ROWS_PER_NEPER = 8
NUM_ROWS = 64

LEVEL_STEPS = 64
"""Positions on the rate axis between two anchors: levels are multiples of 1/64, exactly."""


@dataclass(frozen=True)
class RateAxis:
    """Anchors of the rate, equal factors of lambda apart, from level 0 to num_anchors - 1.

    Attributes:
        num_anchors: A.
        lambda_min, lambda_max: lambda of the first and of the last anchor.
        positions: for each quality from 1 to 100 its level in units of 1/64, where qualities are
            calibrated; else they are equal steps of the level.
    """

    num_anchors: int
    lambda_min: float
    lambda_max: float
    positions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        last = (self.num_anchors - 1) * LEVEL_STEPS
        is_rising = list(self.positions) == sorted(self.positions)
        if self.positions and not (
            len(self.positions) == 100 and is_rising and self.positions[0] >= 0
            and self.positions[-1] <= last
        ):  # fmt: skip
            raise ValueError(f"positions must be 100 rising numbers from 0 to {last}")

    def lambdas(self, level: Array) -> Array:
        """Return lambda (of bpp + lambda * 255^2 * MSE) of levels."""
        span = math.log(self.lambda_max / self.lambda_min)
        return self.lambda_min * namespace(level).exp(level * (span / (self.num_anchors - 1)))

    def steps(self) -> NDArray[np.float64]:
        """Return the step of the uniform quantiser of each anchor, (A,), for pixels in [0, 1].

        There d(bits)/d(step) balances lambda * 255^2 * d(MSE).
        """
        lambdas = self.lambdas(np.arange(self.num_anchors, dtype=np.float64))
        return np.sqrt(12 * 3 / (2 * math.log(2) * lambdas)) / 255.0

    def position(self, quality: int) -> int:
        """Return the level of a quality, 1 to 100, in units of 1/64."""
        if self.positions:
            return self.positions[quality - 1]
        return (quality - 1) * (self.num_anchors - 1) * LEVEL_STEPS // 99

    def weights(self, position: int) -> NDArray[np.float64]:
        """Return the (A,) weights that interpolate between anchors: multiples of 1/64.

        Positions beyond the ends count as the ends.
        """
        last = self.num_anchors - 1
        anchor, step = divmod(min(max(position, 0), last * LEVEL_STEPS), LEVEL_STEPS)
        weights = np.zeros(last + 1)
        weights[anchor] = (LEVEL_STEPS - step) / LEVEL_STEPS
        if step:
            weights[anchor + 1] = step / LEVEL_STEPS
        return weights


def rows_to_indexes(rows: Array) -> Array:
    """Round real-valued rows (exact float64) to table indexes."""
    xp = namespace(rows)
    return cast(xp.clip(xp.floor(rows + 0.5), 0, NUM_ROWS - 1), "int64")
