"""Exact networks in training: their parameters, plain floating point, and the way onto the grids.

Networks are functions over their parameters and an arithmetic (`families.rows`, `families.prior`);
why they are exact in the codec `numeric.exact` says. Here are the parameters as modules, and
`FLOAT`, which computes the same quickly, differentiably, and about right, until `snap_` rounds the
parameters onto their grids.

What is exact a module says itself: its class attribute `exact_grids` maps the names of its own
parameters and buffers on which table rows depend to their grids. `exact_tensors` finds them all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.numeric.exact import (
    ACTIVATION_MAX,
    BIAS_BITS,
    INPUT_MAX,
    SUM_BITS,
    WEIGHT_BITS,
)

WEIGHT_MAX = 8.0


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
        x = (x.double() * 2.0**self.bits).add_(0.5).floor_().mul_(2.0**-self.bits)
        return x.clamp_(-self.limit, self.limit)


WEIGHTS = Grid(WEIGHT_BITS, WEIGHT_MAX - 2.0**-WEIGHT_BITS)
BIASES = Grid(BIAS_BITS)


class FloatArithmetic:
    """Layers of exact networks as training computes them; see `numeric.exact.Arithmetic`."""

    dtype = "float32"

    def pointwise(self, x: Tensor, layer: Any, onto: Tensor | None = None) -> Tensor:
        """Map (B, C, H, W) to (B, out, H, W), added to `onto` if that is given."""
        out = F.conv2d(x, layer.weight, layer.bias)
        return out if onto is None else onto + out

    def depthwise(self, x: Tensor, layer: Any) -> Tensor:
        """Convolve (B, C, H, W) with a 3x3 window of zero padding in each channel."""
        return F.conv2d(x, layer.weight, layer.bias, padding=1, groups=x.shape[1])

    def activate(self, x: Tensor) -> Tensor:
        """Clamp to [0, ACTIVATION_MAX)."""
        return x.clamp(0.0, ACTIVATION_MAX)


FLOAT = FloatArithmetic()


class ExactLayer(nn.Module):
    """Weight (out, in, height, width) and bias (out,) whose sums have to fit SUM_BITS."""

    exact_grids: ClassVar = {"weight": WEIGHTS, "bias": BIASES}
    weight: nn.Parameter
    bias: nn.Parameter

    def largest_sum(self, input_max: float) -> float:
        """Return a bound on the magnitude of every partial sum."""
        bound = self.weight.detach().double().abs().sum(dim=(1, 2, 3)) * input_max
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


class ExactDepthwise(ExactLayer):
    """Depthwise 3x3 convolution with zero padding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 1, 3, 3) * 0.1)
        self.bias = nn.Parameter(torch.zeros(channels))
        with torch.no_grad():
            self.weight[:, :, 1, 1].add_(1.0)


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
        if isinstance(layer, ExactLayer) and layer.largest_sum(INPUT_MAX) >= limit:
            raise ValueError(f"exact layer {name}: sums may exceed {SUM_BITS} bits")
