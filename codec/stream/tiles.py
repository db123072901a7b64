"""Tiles of a picture: a grid of rectangles, and nothing that needs torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Tile:
    """A rectangle of a picture in pixels.

    Tiles of a file and regions of latents are multiples of the stride, at the right and bottom
    beyond the picture; rectangles that someone wants to see are not.
    """

    top: int
    left: int
    height: int
    width: int

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what of pixels (H, W, ...) lies in the rectangle."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def seen_from(self, top: int, left: int) -> Tile:
        """Return the rectangle with its place relative to that of a corner."""
        return Tile(self.top - top, self.left - left, self.height, self.width)

    def reduced(self, reduction: int, margin: int, size: tuple[int, int]) -> Tile:
        """Return the part of a smaller picture that the rectangle lies in.

        Args:
            reduction: how much smaller.
            margin: pixels of the smaller picture to add around it, as far as it goes.
            size: rows and columns of the smaller picture.
        """
        top, left = (max(0, start // reduction - margin) for start in (self.top, self.left))
        bottom, right = (
            min(side, -(-end // reduction) + margin)
            for end, side in zip(
                (self.top + self.height, self.left + self.width), size, strict=True
            )
        )
        return Tile(top, left, bottom - top, right - left)


def tile_grid(height: int, width: int, tile_px: int, stride_px: int) -> list[Tile]:
    """Return the tiles of a picture, row-major, its sides padded up to the stride."""
    return [
        Tile(
            top,
            left,
            padded(min(tile_px, height - top), stride_px),
            padded(min(tile_px, width - left), stride_px),
        )
        for top in range(0, height, tile_px)
        for left in range(0, width, tile_px)
    ]


def do_overlap(one: Tile, other: Tile) -> bool:
    """Return whether two rectangles have a pixel in common."""
    return (
        one.top < other.top + other.height
        and other.top < one.top + one.height
        and one.left < other.left + other.width
        and other.left < one.left + one.width
    )


def padded(side: int, stride: int) -> int:
    """Return the next multiple of the stride."""
    return -(-side // stride) * stride
