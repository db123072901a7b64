"""Rate: its axis from quality to lambda, and the bits of integers under zero-mean normals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

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

    def lambdas(self, level: Tensor) -> Tensor:
        """Return lambda (of bpp + lambda * 255^2 * MSE) of levels."""
        span = math.log(self.lambda_max / self.lambda_min)
        return self.lambda_min * torch.exp(level * (span / (self.num_anchors - 1)))

    def steps(self) -> Tensor:
        """Return the step of the uniform quantiser of each anchor, (A,), for pixels in [0, 1].

        There d(bits)/d(step) balances lambda * 255^2 * d(MSE).
        """
        lambdas = self.lambdas(torch.arange(self.num_anchors, dtype=torch.float64))
        return torch.sqrt(12 * 3 / (2 * math.log(2) * lambdas)) / 255.0

    def position(self, quality: int) -> int:
        """Return the level of a quality, 1 to 100, in units of 1/64."""
        if self.positions:
            return self.positions[quality - 1]
        return (quality - 1) * (self.num_anchors - 1) * LEVEL_STEPS // 99

    def weights(self, position: int) -> Tensor:
        """Return the float64 (A,) weights that interpolate between anchors: multiples of 1/64.

        Positions beyond the ends count as the ends.
        """
        last = self.num_anchors - 1
        anchor, step = divmod(min(max(position, 0), last * LEVEL_STEPS), LEVEL_STEPS)
        weights = torch.zeros(last + 1, dtype=torch.float64)
        weights[anchor] = (LEVEL_STEPS - step) / LEVEL_STEPS
        if step:
            weights[anchor + 1] = step / LEVEL_STEPS
        return weights


def rows_to_indexes(rows: Tensor) -> Tensor:
    """Round real-valued rows (exact float64) to table indexes."""
    return torch.floor(rows + 0.5).clamp(0, NUM_ROWS - 1).long()


class _ClampThrough(torch.autograd.Function):
    """Clamp whose gradient passes where it leads back into the range."""

    @staticmethod
    def forward(ctx, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = (low, high)
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        keep = ((x >= low) | (grad < 0)) & ((x <= high) | (grad > 0))
        return grad * keep, None, None


def clamp_rows(rows: Tensor, num_rows: int) -> Tensor:
    """Return real-valued rows, in float32, within those that there are; see `_ClampThrough`."""
    return _ClampThrough.apply(rows.float(), 0.0, float(num_rows - 1))


def bits_of_residual(residual: Tensor, rows: Tensor) -> Tensor:
    """Return bits per element of `residual` (integers or noisy) under the normals of `rows`.

    Args:
        residual: float tensor of any shape, in quantisation steps.
        rows: float tensor of the same shape, real-valued table rows.

    Returns:
        float32 tensor of bits, differentiable in both arguments.
    """
    rows = clamp_rows(rows, NUM_ROWS)
    inverse = torch.exp(rows * (-1.0 / ROWS_PER_NEPER)) * (1.0 / (SCALE_MIN * math.sqrt(2.0)))
    magnitude = residual.float().abs()
    # Upper tail differences by erfc keep precision far from the centre.
    upper = torch.special.erfc((magnitude - 0.5) * inverse)
    lower = torch.special.erfc((magnitude + 0.5) * inverse)
    probability = 0.5 * (upper - lower)
    return -torch.log2(probability.clamp_min(2.0**-24) + 1e-12)


def bits_of_integers(integers: Tensor, latents: Tensor, rows: Tensor) -> Tensor:
    """Return the bits of integers, with a smooth gradient in the latents they were rounded from.

    The gradient in `rows` is that of the integers' own likelihood; the gradient in `latents` is
    that of latents with additive uniform noise (Balle et al. arXiv 1611.01704).

    Args:
        integers: rounded latents, no gradient.
        latents: what was rounded, same shape.
        rows: real-valued table rows, same shape.
    """
    noisy = latents + torch.rand_like(latents) - 0.5
    smooth = bits_of_residual(noisy, rows.detach())
    return bits_of_residual(integers, rows) + smooth - smooth.detach()
