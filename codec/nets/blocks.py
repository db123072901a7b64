"""Convolutional blocks of the float transforms (analysis, synthesis, mean prediction).

No layer works at full resolution: pictures enter through a pixel-unshuffle by 8 and all the
arithmetic is pointwise or depthwise at 1/8 and 1/16, which is what makes a plain CPU fast enough.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH_LIMIT = 1.5


def pointwise(in_channels: int, out_channels: int, *, zero: bool = False) -> nn.Conv2d:
    """Return a 1x1 convolution that keeps the variance, or one that starts at zero."""
    layer = nn.Conv2d(in_channels, out_channels, 1)
    if zero:
        nn.init.zeros_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=in_channels**-0.5)
    nn.init.zeros_(layer.bias)
    return layer


class Block(nn.Module):
    """Residual block: depthwise 3x3 between two pointwise layers, then a gated pointwise pair.

    ``x + pw(dw3x3(act(pw(x))))`` followed by ``x + pw(a * sigmoid(b))`` with ``a, b = pw(x)``.
    Relative of the depth-conv block of DCVC-RT (arXiv 2502.20762, section 3) with a sigmoid gate.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial_in = pointwise(channels, channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.spatial_out = pointwise(channels, channels)
        self.gate_in = pointwise(channels, 2 * channels)
        self.gate_out = pointwise(channels, channels)
        with torch.no_grad():
            self.depthwise.weight.mul_(0.5)
            self.depthwise.weight[:, :, 1, 1].add_(1.0)
            nn.init.zeros_(self.depthwise.bias)
            self.spatial_out.weight.mul_(0.5)
            self.gate_out.weight.mul_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        x = x + self.spatial_out(self.depthwise(F.leaky_relu(self.spatial_in(x), 0.1)))
        a, b = self.gate_in(x).chunk(2, dim=1)
        return x + self.gate_out(a * torch.sigmoid(b))

    @torch.no_grad()
    def init_as_identity_(self) -> None:
        """Let the block change nothing until training says what: a grown model starts as good."""
        for layer in (self.spatial_out, self.gate_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class Down(nn.Module):
    """Halve the resolution: pixel-unshuffle by 2 and a pointwise layer."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mix = pointwise(4 * in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out, H/2, W/2)."""
        return self.mix(F.pixel_unshuffle(x, 2))


class Up(nn.Module):
    """Double the resolution: a pointwise layer and pixel-shuffle by 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.mix = pointwise(in_channels, 4 * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out, 2H, 2W)."""
        return F.pixel_shuffle(self.mix(x), 2)


def widening_of(widths: nn.Conv2d, features: Tensor) -> Tensor:
    """Return what multiplies the gains of latents (B, M, h, w), by features of their step width.

    The step lies within a factor exp(+-`WIDTH_LIMIT`) of that of its channel.
    """
    return torch.exp(-widths(features).float().clamp(-WIDTH_LIMIT, WIDTH_LIMIT))


def anchor_weights(level: Tensor, num_anchors: int) -> Tensor:
    """Return (B, num_anchors) weights that interpolate linearly between rate anchors.

    Args:
        level: (B,) float position on the rate axis, 0 (lowest rate) to ``num_anchors - 1``.
    """
    anchors = torch.arange(num_anchors, device=level.device, dtype=level.dtype)
    return (1.0 - (level[:, None] - anchors).abs()).clamp_min(0.0)


class LevelAffine(nn.Module):
    """Scale and shift channels by vectors interpolated between the rate anchors."""

    def __init__(self, channels: int, num_anchors: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(num_anchors, channels))
        self.shift = nn.Parameter(torch.zeros(num_anchors, channels))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape; `weights` from `anchor_weights`."""
        scale = (weights @ self.log_scale).exp()[:, :, None, None]
        shift = (weights @ self.shift)[:, :, None, None]
        return x * scale.to(x.dtype) + shift.to(x.dtype)
