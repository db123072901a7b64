"""Complexity of a model: multiply-adds per pixel, counted while it runs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from imgcodec.codec.models.base import CodecModel
from imgcodec.codec.models.coders import Block, Count, IntegerCoder

SIDE_PX = 512


class _Zeros(IntegerCoder):
    def exchange(
        self, block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32] | None
    ) -> NDArray[np.int32] | None:
        return np.zeros(indexes.shape, np.int32)


@torch.no_grad()
def kmac_per_pixel(model: CodecModel) -> tuple[float, float]:
    """Return thousand multiply-adds per pixel of encoding and of decoding.

    Convolutions and matrix products are counted, of float and exact networks alike; the shifted
    adds of exact depthwise layers, element-wise work and entropy coding are not.
    """
    from torch.utils.flop_counter import FlopCounterMode  # not in the oldest torch that decodes

    grid = SIDE_PX // model.stride_px
    x = torch.rand(1, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))
    quality = 50

    tables = model.default_tables()
    with FlopCounterMode(display=False) as encoding:
        y = model.analysis(x, quality)
        model.code((grid, grid), quality, Count(tables), y)
    with FlopCounterMode(display=False) as decoding:
        model.synthesis(model.code((grid, grid), quality, _Zeros(tables)), quality)
    scale = 2 * 1000 * SIDE_PX**2
    return encoding.get_total_flops() / scale, decoding.get_total_flops() / scale
