"""The maps of `numeric.thumbnail`, fitted to what a model decodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from imgcodec.codec.families.base import CodecModel
from imgcodec.codec.families.coders import Count
from imgcodec.codec.numeric.thumbnail import SCALES, STRIDE, Thumbnail
from imgcodec.codec.session.tiling import analyse_whole
from imgcodec.codec.stream.tables import Tables

QUALITIES = (10, 40, 70, 95)
SIDE_PX = 512
MAX_PICTURES = 60
LEADING_SCALE = 8
"""From this reduction on the latents that lead are enough."""
RIDGE = 1e-6


@torch.no_grad()
def fit_thumbnails(
    model: CodecModel, tables: Tables, pictures: Sequence[NDArray[np.uint8]]
) -> dict[int, Thumbnail]:
    """Return the maps of all reductions, by least squares; none for models that have no use.

    Args:
        model: as the codec runs it.
        tables: of the model.
        pictures: RGB uint8 arrays (H, W, 3); up to 60 are used, each at one of four qualities.
    """
    step = max(1, len(pictures) // MAX_PICTURES)
    sums: dict[int, list[Tensor]] = {}
    for number, picture in enumerate(pictures[::step][:MAX_PICTURES]):
        quality = QUALITIES[number % len(QUALITIES)]
        height, width = (
            min(side, SIDE_PX) // model.stride_px * model.stride_px for side in picture.shape[:2]
        )
        y = analyse_whole(model, picture[:height, :width], quality)
        y_hat = model.code((y.shape[2], y.shape[3]), quality, Count(tables), y)
        latents = model.fine_latents(y_hat)
        if latents is None:
            return {}
        decoded = torch.from_numpy(model.synthesis(y_hat, quality)).clamp(0, 1)
        seen = torch.from_numpy(latents[0]).flatten(1).double()
        for scale in SCALES:
            small = F.pixel_unshuffle(F.avg_pool2d(decoded, scale), STRIDE // scale)
            used = seen[: _channels(model, scale)]
            used = torch.cat([used, torch.ones_like(used[:1])])
            products = [used @ used.T, used @ small[0].flatten(1).double().T]
            for total, product in zip(sums.setdefault(scale, products), products, strict=True):
                if total is not product:
                    total += product
    return {scale: _solve(*products) for scale, products in sums.items()}


def _channels(model: CodecModel, scale: int) -> int | None:
    return (model.leading_channels or None) if scale >= LEADING_SCALE else None


def _solve(squares: Tensor, products: Tensor) -> Thumbnail:
    """Return the map of normal equations; a little of each channel's own power is added."""
    ridge = torch.diag(squares.diagonal() * RIDGE + 1e-9)
    solution = torch.linalg.solve(squares + ridge, products).T
    weight, bias = solution[:, :-1, None, None].float(), solution[:, -1].float()
    return Thumbnail(weight.numpy(), bias.numpy())
