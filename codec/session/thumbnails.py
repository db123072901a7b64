"""Small pictures straight from the latents, without the synthesis; see `numeric.thumbnail`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.session.tiling import to_pixels
from imgcodec.codec.stream.tiles import Tile
from imgcodec.codec.weights.store import LoadedModel


def can_shrink(loaded: LoadedModel, shown: Tile, scale: int, reduction: int) -> bool:
    """Return whether a rectangle can be had at a scale without the synthesis.

    Args:
        loaded: model and maps.
        shown: the rectangle, of the picture as it is shown.
        scale: to which it is reduced.
        reduction: by how much it is coded smaller.
    """
    stride = loaded.model.stride_px * reduction
    is_aligned = shown.top % stride == shown.left % stride == 0
    return is_aligned and scale % reduction == 0 and scale // reduction in loaded.thumbnails


def needs_leading_alone(loaded: LoadedModel, scale: int) -> bool:
    """Return whether the latents that lead are enough for a scale."""
    leading = loaded.model.leading_channels
    return leading > 0 and loaded.thumbnails[scale].channels == leading


def shrink(
    loaded: LoadedModel, y_hat: NDArray[np.float32], scale: int, shown: Tile
) -> NDArray[np.uint8]:
    """Return the pixels (h, w, 3) of a rectangle at a scale, sides rounded up.

    Args:
        loaded: model and maps.
        y_hat: latents of the rectangle, or where they are enough those that lead.
        scale: one for which there is a map.
        shown: the rectangle.
    """
    latents: Any = y_hat
    if not needs_leading_alone(loaded, scale):
        latents = loaded.model.fine_latents(y_hat)
    x = loaded.thumbnails[scale](latents)
    return to_pixels(x[:, :, : -(-shown.height // scale), : -(-shown.width // scale)])
