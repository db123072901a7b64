"""Exact networks: integers in, table rows out, bit-identical on every machine.

A layer's weights lie on the grid 2**-WEIGHT_BITS, activations on 2**-ACTIVATION_BITS within
[0, ACTIVATION_MAX), biases on 2**-BIAS_BITS. In float64 every product and every partial sum is
then a multiple of 2**-BIAS_BITS (or coarser) and far below 2**53 of these units, so each addition
is exact and no order of summation, no library and no thread count can change a bit. The only
operations are +, *, comparison, floor and scaling by powers of two. Pointwise layers are matrix
products, depthwise layers nine shifted multiply-adds: nothing that a library could replace by a
transform algorithm such as Winograd's.

Every net is written once, over an arithmetic: `FLOAT` for training, where the same parameters run
in plain floating point, `EXACT` for coding, once `snap_` has rounded them onto the grids.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WEIGHT_BITS = 12
WEIGHT_MAX = 8.0
ACTIVATION_BITS = 8
ACTIVATION_MAX = 16.0
BIAS_BITS = 20
MAGNITUDE_MAX = 2**15
SUM_BITS = 53


def on_grid(x: Tensor, bits: int) -> Tensor:
    """Round to multiples of 2**-bits (float64, halves up)."""
    return (x.double() * 2.0**bits).add_(0.5).floor_().mul_(2.0**-bits)


def compand(q: Tensor) -> Tensor:
    """Squeeze |q| to about 1.3 * log2(1 + |q|) by dyadic, piecewise linear pieces.

    Exact for integers in any float type of 24 or more bits.
    """
    a = q.abs()
    return a.clamp(max=2) * 0.5 + a.clamp(max=8) * 0.125 + a.clamp(max=32) * 0.03125


class FloatArithmetic:
    """Layers of exact networks as training computes them: quickly, differentiably, about right."""

    dtype = torch.float32

    def pointwise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out, H, W)."""
        return F.conv2d(x, weight, bias)

    def depthwise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve (B, C, H, W) with a 3x3 window of zero padding in each channel."""
        return F.conv2d(x, weight, bias, padding=1, groups=x.shape[1])

    def activate(self, x: Tensor) -> Tensor:
        """Clamp to [0, ACTIVATION_MAX)."""
        return x.clamp(0.0, ACTIVATION_MAX)


class ExactArithmetic:
    """The same for coding: float64 on the grids, every sum exact in any order."""

    dtype = torch.float64

    def pointwise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Map (1, C, H, W) on the activation grid to (1, out, H, W), without rounding."""
        _, channels, height, width = x.shape
        out = weight[:, :, 0, 0] @ x.reshape(channels, height * width)
        return out.add_(bias[:, None]).reshape(1, -1, height, width)

    def depthwise(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve (1, C, H, W) on the activation grid, as nine shifted multiply-adds."""
        height, width = x.shape[2:]
        padded = F.pad(x, (1, 1, 1, 1))
        out = bias[:, None, None].expand_as(x).clone()
        for dy in range(3):
            for dx in range(3):
                window = padded[:, :, dy : dy + height, dx : dx + width]
                out.addcmul_(window, weight[:, 0, dy, dx][:, None, None])
        return out

    def activate(self, x: Tensor) -> Tensor:
        """Round onto the activation grid and clamp to [0, ACTIVATION_MAX)."""
        grid = 2.0**-ACTIVATION_BITS
        return on_grid(x, ACTIVATION_BITS).clamp(0.0, ACTIVATION_MAX - grid)


Arithmetic = FloatArithmetic | ExactArithmetic
FLOAT, EXACT = FloatArithmetic(), ExactArithmetic()


class ExactPointwise(nn.Module):
    """1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, zero: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        if zero:
            nn.init.zeros_(self.weight)
        else:
            nn.init.kaiming_uniform_(self.weight, a=1.0)

    def forward(self, x: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Map (B, C, H, W) to (B, out, H, W)."""
        return arithmetic.pointwise(x, self.weight, self.bias)

    def largest_sum(self, activation_max: float) -> float:
        """Return a bound on every partial sum, in units of the finest grid."""
        return _largest_sum(self.weight, self.bias, activation_max)


class ExactDepthwise(nn.Module):
    """Depthwise 3x3 convolution with zero padding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 1, 3, 3) * 0.1)
        self.bias = nn.Parameter(torch.zeros(channels))
        with torch.no_grad():
            self.weight[:, :, 1, 1].add_(1.0)

    def forward(self, x: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return arithmetic.depthwise(x, self.weight, self.bias)

    def largest_sum(self, activation_max: float) -> float:
        """Return a bound on every partial sum, in units of the finest grid."""
        return _largest_sum(self.weight, self.bias, activation_max)


def _largest_sum(weight: Tensor, bias: Tensor, activation_max: float) -> float:
    bound = weight.detach().double().abs().sum(dim=(1, 2, 3)) * activation_max
    return float((bound + bias.detach().double().abs()).max())


def snap_(module: nn.Module) -> None:
    """Round the parameters of every exact layer below `module` onto their grids, in place.

    Raises:
        ValueError: a sum could leave the 53 bits in which float64 arithmetic is exact.
    """
    limit = 2.0 ** (SUM_BITS - WEIGHT_BITS - BIAS_BITS)
    for name, layer in module.named_modules():
        if not isinstance(layer, ExactPointwise | ExactDepthwise):
            continue
        edge = WEIGHT_MAX - 2.0**-WEIGHT_BITS
        layer.weight.data = on_grid(layer.weight.data, WEIGHT_BITS).clamp(-edge, edge)
        layer.bias.data = on_grid(layer.bias.data, BIAS_BITS)
        if layer.largest_sum(MAGNITUDE_MAX) >= limit:
            raise ValueError(f"exact layer {name}: sums may exceed {SUM_BITS} bits")
