"""Context of the masked passes: which symbols, with which means, under which table rows."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.errors import OptionError
from imgcodec.codec.nets.blocks import Block, pointwise
from imgcodec.codec.nets.exact import (
    BIASES,
    Arithmetic,
    ExactDepthwise,
    ExactPointwise,
    compand,
)

INTEGER_MAX = 64
"""Networks of rows see integers clamped to this."""


def pass_masks(num_passes: int, channels: int) -> Tensor:
    """Return bool (num_passes, channels, 2, 2): what each pass codes in a 2x2 cell.

    Channels fall into `num_passes` interleaved groups. With four passes group g of phase f is
    coded in pass ``g ^ f``: every pass codes a quarter of the channels at every position and a
    different quarter at each neighbour. With two, the halves have opposite checkerboard phases.

    Raises:
        OptionError: another number of passes, which would leave latents out.
    """
    if num_passes not in (2, 4):
        raise OptionError(f"num_passes is 2 or 4, not {num_passes}")
    group = torch.arange(channels) % num_passes
    masks = torch.zeros(num_passes, channels, 2, 2, dtype=torch.bool)
    for row in range(2):
        for column in range(2):
            phase = 2 * row + column if num_passes == 4 else (row + column) % 2
            for index in range(num_passes):
                masks[index, :, row, column] = (group ^ phase) == index
    return masks


def tile_cell(cell: Tensor, shape: torch.Size) -> Tensor:
    """Repeat a (C, 2, 2) cell over the last two sides of `shape`."""
    height, width = shape[-2:]
    return cell.repeat(1, -(-height // 2), -(-width // 2))[:, :height, :width]


class MeanNet(nn.Module):
    """Means of one pass from the hyper features and the y_hat decoded so far (float).

    Args:
        latent_channels: M.
        width: of the features.
        first: nothing is decoded yet.
        blocks: residual blocks.
    """

    def __init__(self, latent_channels: int, width: int, *, first: bool, blocks: int = 1) -> None:
        super().__init__()
        self.features = pointwise(width, width)
        self.decoded = None if first else pointwise(latent_channels, width)
        self.phase = nn.Parameter(torch.zeros(width, 2, 2))
        self.block = Block(width)
        self.more_blocks = nn.Sequential(*(Block(width) for _ in range(blocks - 1)))
        self.out = pointwise(width, latent_channels, zero=True)

    def forward(self, features: Tensor, decoded: Tensor) -> Tensor:
        """Map features (B, C, h, w) and normalised y_hat (B, M, h, w) to (B, M, h, w)."""
        x = self.features(features) + tile_cell(self.phase, features.shape)
        if self.decoded is not None:
            x = x + self.decoded(decoded)
        return self.out(self.more_blocks(self.block(F.leaky_relu(x, 0.1))))


class RowNet(nn.Module):
    """Log-scale offsets of one pass from exact hyper features and integers decoded so far."""

    exact_grids: ClassVar = {"phase": BIASES}

    def __init__(self, latent_channels: int, width: int, *, first: bool) -> None:
        super().__init__()
        self.features = ExactPointwise(width, width)
        self.decoded = None if first else ExactPointwise(latent_channels, width)
        self.phase = nn.Parameter(torch.zeros(width, 2, 2))
        self.depthwise = ExactDepthwise(width)
        self.mix = ExactPointwise(width, width)
        self.out = ExactPointwise(width, latent_channels, zero=True)

    def forward(self, features: Tensor, decoded: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Map (B, E, h, w) and companded integers (B, M, h, w) to (B, M, h, w)."""
        x = self.features(features, arithmetic) + tile_cell(self.phase, features.shape)
        if self.decoded is not None:
            x = x + self.decoded(decoded, arithmetic)
        x = self.depthwise(arithmetic.activate(x), arithmetic)
        x = self.mix(arithmetic.activate(x), arithmetic)
        return self.out(arithmetic.activate(x), arithmetic)


class RowFeatures(nn.Module):
    """Hyper features of the rows: from z at 1/64 to 1/16."""

    exact_grids: ClassVar = {"level": BIASES}

    def __init__(self, hyper_channels: int, width: int, num_anchors: int) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(num_anchors, width))
        self.first = ExactPointwise(hyper_channels, width)
        self.depthwise = ExactDepthwise(width)
        self.up1 = ExactPointwise(width, 4 * width)
        self.up2 = ExactPointwise(width, 4 * width)

    def forward(self, z: Tensor, weights: Tensor, arithmetic: Arithmetic) -> Tensor:
        """Map integers z (B, Nz, h/4, w/4), of rates (B, A), to (B, E, h, w)."""
        z = z.to(arithmetic.dtype).clamp(-INTEGER_MAX, INTEGER_MAX)
        level = (weights @ self.level)[:, :, None, None]
        x = arithmetic.activate(self.first(z, arithmetic) + level)
        x = arithmetic.activate(self.depthwise(x, arithmetic))
        x = F.pixel_shuffle(arithmetic.activate(self.up1(x, arithmetic)), 2)
        return F.pixel_shuffle(arithmetic.activate(self.up2(x, arithmetic)), 2)


class RowStage(nn.Module):
    """Features of the rows of a level: from the integers and features of the level above it."""

    exact_grids: ClassVar = {"level": BIASES}

    def __init__(self, latent_channels: int, in_width: int, width: int, num_anchors: int) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(2 * num_anchors, width))
        self.decoded = ExactPointwise(2 * latent_channels, width)
        self.carried = ExactPointwise(in_width, width)
        self.depthwise = ExactDepthwise(width)
        self.up = ExactPointwise(width, 4 * width)

    def forward(
        self, q: Tensor, features: Tensor, weights: Tensor, arithmetic: Arithmetic
    ) -> Tensor:
        """Map integers (B, M, h, w) and (B, in, h, w) to (B, E, 2h, 2w).

        Args:
            q: integers of the level above.
            features: with which their rows were found.
            weights: (B, 2 A) anchor weights of the level above and of this one.
            arithmetic: of the training or of the codec.
        """
        q = q.to(arithmetic.dtype)
        seen = torch.cat([q.clamp(-INTEGER_MAX, INTEGER_MAX), compand(q)], dim=1)
        level = (weights @ self.level)[:, :, None, None]
        x = self.decoded(seen, arithmetic) + self.carried(features, arithmetic) + level
        x = self.depthwise(arithmetic.activate(x), arithmetic)
        return F.pixel_shuffle(arithmetic.activate(self.up(arithmetic.activate(x), arithmetic)), 2)


class RowContext(nn.Module):
    """Features of the rows of every level of a pyramid; at the coarsest, of the rate alone.

    Args:
        latent_channels: M of all levels but the finest.
        widths: E of all levels.
        num_anchors: A.
    """

    exact_grids: ClassVar = {"level": BIASES}

    def __init__(
        self, latent_channels: tuple[int, ...], widths: tuple[int, ...], num_anchors: int
    ) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(num_anchors, widths[0]))
        self.stages = nn.ModuleList(
            RowStage(channels, width, finer, num_anchors)
            for channels, (width, finer) in zip(latent_channels, pairwise(widths), strict=True)
        )

    def start(self, weights: Tensor, size: tuple[int, int], arithmetic: Arithmetic) -> Tensor:
        """Return the features of the coarsest level, (B, E, h, w), of rates (B, A)."""
        level = arithmetic.activate(weights @ self.level)
        return level[:, :, None, None].expand(-1, -1, *size)
