"""uint8 arrays to tensors for the metrics that run on torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from imgcodec.eval.metrics.base import RgbArray


def to_tensor(rgb: RgbArray, device: str) -> Any:
    """Return a uint8 HxWx3 array as a float32 tensor (1, 3, H, W) in 0..255."""
    import torch

    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))  # (3, H, W)
    return torch.from_numpy(planes).to(device=device, dtype=torch.float32)[None]
