"""Complexity of a model: multiply-adds per pixel, counted while it runs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from imgcodec.codec.families.coders import Block, Coder
from imgcodec.codec.models.base import TorchModel
from imgcodec.codec.nets.exact import FloatArithmetic

SIDE_PX = 512


class _Zeros(Coder):
    def code(self, block: Block, error: Tensor | None, rows: Tensor) -> Tensor | None:
        return torch.zeros_like(rows, dtype=torch.float32)


class _Counted(FloatArithmetic):
    """Without the shifted adds of depthwise layers."""

    def depthwise(self, x: Tensor, layer: object) -> Tensor:
        return x


@torch.no_grad()
def kmac_per_pixel(model: TorchModel) -> tuple[float, float]:
    """Return thousand multiply-adds per pixel of encoding and of decoding.

    Convolutions and matrix products are counted, of float and exact networks alike; the shifted
    adds of exact depthwise layers, element-wise work and entropy coding are not.
    """
    from torch.utils.flop_counter import FlopCounterMode  # not in the oldest torch that decodes

    shape = (SIDE_PX // model.stride_px,) * 2
    model = copy.deepcopy(model).float()
    x = torch.rand(1, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))
    quality, coder, arithmetic = 50, _Zeros(), _Counted()
    with FlopCounterMode(display=False) as encoding:
        model.code(shape, quality, coder, model.analysis(x, quality), arithmetic=arithmetic)
    with FlopCounterMode(display=False) as decoding:
        model.synthesis(model.code(shape, quality, coder, arithmetic=arithmetic), quality)
    scale = 2 * 1000 * SIDE_PX**2
    return encoding.get_total_flops() / scale, decoding.get_total_flops() / scale
