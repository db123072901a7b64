"""Bits of integers under zero-mean normals, and of choices, with gradients (training)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from imgcodec.codec.numeric import choices
from imgcodec.codec.numeric.rate import NUM_ROWS, ROWS_PER_NEPER, SCALE_MIN


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


def bits_of_choices(chosen: Tensor, rows: Tensor) -> Tensor:
    """Return the bits of choices 0 and 1 under real-valued rows of the same shape."""
    logits = (clamp_rows(rows, choices.NUM_ROWS) - choices.CENTRE) / choices.ROWS_PER_LOGIT
    loss = F.binary_cross_entropy_with_logits(logits, chosen.float(), reduction="none")
    return loss * (1.0 / math.log(2.0))
