"""Small pictures straight from the latents, without the synthesis; see `nets.thumbnail`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imgcodec.codec.stream.tiles import Tile
from imgcodec.codec.weights.store import LoadedModel


def can_shrink(loaded: LoadedModel, shown: Tile, scale: int) -> bool:
    """Return whether a rectangle can be had at a scale without the synthesis."""
    stride = loaded.model.stride_px
    return scale in loaded.thumbnails and shown.top % stride == shown.left % stride == 0


def needs_leading_alone(loaded: LoadedModel, scale: int) -> bool:
    """Return whether the latents that lead are enough for a scale."""
    leading = loaded.model.leading_channels
    return leading > 0 and loaded.thumbnails[scale].channels == leading


def shrink(loaded: LoadedModel, y_hat: Tensor, scale: int, shown: Tile) -> NDArray[np.uint8]:
    """Return the pixels (h, w, 3) of a rectangle at a scale, sides rounded up.

    Args:
        loaded: model and maps.
        y_hat: latents of the rectangle, or where they are enough those that lead.
        scale: one for which there is a map.
        shown: the rectangle.
    """
    latents = y_hat
    if not needs_leading_alone(loaded, scale):
        latents = loaded.model.fine_latents(y_hat)
    x = loaded.thumbnails[scale](latents)[0]
    x = x[:, : -(-shown.height // scale), : -(-shown.width // scale)]
    pixels = x.permute(1, 2, 0).mul(255.0).round_().clamp_(0, 255).to(torch.uint8)
    return np.ascontiguousarray(pixels.numpy())
