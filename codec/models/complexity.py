"""Complexity of a model: multiply-adds per pixel, counted while it runs."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from imgcodec.codec.models.base import CodecModel, Pass, drive

SIDE_PX = 512


@torch.no_grad()
def kmac_per_pixel(model: CodecModel) -> tuple[float, float]:
    """Return thousand multiply-adds per pixel of encoding and of decoding.

    Convolutions and matrix products are counted, of float and exact networks alike; the shifted
    adds of exact depthwise layers, element-wise work and entropy coding are not.
    """
    grid = SIDE_PX // model.stride_px
    x = torch.rand(1, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))
    quality = 50

    def zeros(request: Pass) -> np.ndarray:
        return np.zeros(request.indexes.shape, np.int32)

    with FlopCounterMode(display=False) as encoding:
        y = model.analysis(x, quality)
        drive(model.passes((grid, grid), quality, y), lambda request: request.q)
    with FlopCounterMode(display=False) as decoding:
        y_hat = drive(model.passes((grid, grid), quality), zeros)
        model.synthesis(y_hat, quality)
    scale = 2 * 1000 * SIDE_PX**2
    return encoding.get_total_flops() / scale, decoding.get_total_flops() / scale
