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

What is exact a module says itself: its class attribute `exact_grids` maps the names of its own
parameters and buffers on which table rows depend to their grids. `exact_tensors` finds them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

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


@dataclass(frozen=True)
class Grid:
    """Where the elements of an exact tensor may lie.

    Attributes:
        bits: they are multiples of 2**-bits.
        limit: their largest magnitude, itself a multiple.
    """

    bits: int
    limit: float = math.inf

    def snap(self, x: Tensor) -> Tensor:
        """Return the nearest tensor on the grid (float64, halves up)."""
        return on_grid(x, self.bits).clamp_(-self.limit, self.limit)


WEIGHTS = Grid(WEIGHT_BITS, WEIGHT_MAX - 2.0**-WEIGHT_BITS)
BIASES = Grid(BIAS_BITS)


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


class ExactLayer(nn.Module):
    """Weight (out, in, height, width) and bias (out,) whose sums have to fit SUM_BITS."""

    exact_grids: ClassVar = {"weight": WEIGHTS, "bias": BIASES}
    weight: nn.Parameter
    bias: nn.Parameter

    def largest_sum(self, activation_max: float) -> float:
        """Return a bound on the magnitude of every partial sum."""
        bound = self.weight.detach().double().abs().sum(dim=(1, 2, 3)) * activation_max
        return float((bound + self.bias.detach().double().abs()).max())


class ExactPointwise(ExactLayer):
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


class ExactDepthwise(ExactLayer):
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


def exact_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor, Grid]]:
    """Yield the full name, the tensor and the grid of everything that table rows depend on."""
    for path, module in model.named_modules():
        grids: Mapping[str, Grid] = getattr(module, "exact_grids", {})
        for name, grid in grids.items():
            yield f"{path}.{name}" if path else name, getattr(module, name), grid


def snap_(model: nn.Module) -> None:
    """Move the exact tensors of a model to float64 and onto their grids, in place.

    Raises:
        ValueError: a sum could leave the 53 bits in which float64 arithmetic is exact.
    """
    for _, tensor, grid in exact_tensors(model):
        tensor.data = grid.snap(tensor.data)
    limit = 2.0 ** (SUM_BITS - WEIGHT_BITS - BIAS_BITS)
    for name, layer in model.named_modules():
        if isinstance(layer, ExactLayer) and layer.largest_sum(MAGNITUDE_MAX) >= limit:
            raise ValueError(f"exact layer {name}: sums may exceed {SUM_BITS} bits")
