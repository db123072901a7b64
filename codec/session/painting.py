"""What the model sees in the place of exact blocks."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from imgcodec.codec.picture.exact import ExactBlocks

_POOL = 8


def paint_over(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) whose masked blocks continue the others smoothly.

    The model then spends next to nothing on them, and sees no edge where they begin.
    """
    height, width = pixels.shape[:2]
    covered = ExactBlocks(mask, pixels).covered
    x = torch.tensor(pixels).permute(2, 0, 1)[None].float()
    below, right = -height % _POOL, -width % _POOL
    x = F.pad(x, (0, right, 0, below), mode="replicate")
    seen = torch.from_numpy(~covered)[None, None].float()
    seen = F.pad(seen, (0, right, 0, below))
    filled = _fill(*_pool(x, seen, _POOL))
    smooth = F.interpolate(filled, scale_factor=_POOL, mode="bilinear", align_corners=False)
    painted = smooth[0, :, :height, :width].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    return np.where(covered[..., None], painted, pixels)


def _pool(x: Tensor, seen: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Return means of what is seen of (1, 3, h, w), 0 where nothing is, and where something is."""
    weight = F.avg_pool2d(seen, factor)
    return F.avg_pool2d(x * seen, factor) / weight.clamp_min(1e-6), (weight > 0).float()


def _fill(x: Tensor, seen: Tensor) -> Tensor:
    """Fill what is not seen from coarser and coarser means."""
    if bool(seen.all()) or max(x.shape[2:]) == 1:
        return x if bool(seen.any()) else torch.full_like(x, 128.0)
    size = x.shape[2:]
    below, right = size[0] % 2, size[1] % 2
    padded = F.pad(x, (0, right, 0, below), mode="replicate")
    coarse = _fill(*_pool(padded, F.pad(seen, (0, right, 0, below)), 2))
    guess = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.where(seen > 0, x, guess[:, :, : size[0], : size[1]])
