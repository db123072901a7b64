"""Context of the masked passes: means, and the parameters of `families.rows`."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.families.rows import tile_cell
from imgcodec.codec.nets.blocks import Block, pointwise
from imgcodec.codec.nets.exact import BIASES, ExactDepthwise, ExactPointwise


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
        x = self.features(features) + tile_cell(self.phase, features.shape[2:])
        if self.decoded is not None:
            x = x + self.decoded(decoded)
        return self.out(self.more_blocks(self.block(F.leaky_relu(x, 0.1))))


class RowNet(nn.Module):
    """Log-scale offsets of one pass, by `row_net`."""

    exact_grids: ClassVar = {"phase": BIASES}

    def __init__(self, latent_channels: int, width: int, *, first: bool) -> None:
        super().__init__()
        self.features = ExactPointwise(width, width)
        self.decoded = None if first else ExactPointwise(latent_channels, width)
        self.phase = nn.Parameter(torch.zeros(width, 2, 2))
        self.depthwise = ExactDepthwise(width)
        self.mix = ExactPointwise(width, width)
        self.out = ExactPointwise(width, latent_channels, zero=True)


class RowFeatures(nn.Module):
    """Hyper features of the rows, by `row_features`."""

    exact_grids: ClassVar = {"level": BIASES}

    def __init__(self, hyper_channels: int, width: int, num_anchors: int) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(num_anchors, width))
        self.first = ExactPointwise(hyper_channels, width)
        self.depthwise = ExactDepthwise(width)
        self.up1 = ExactPointwise(width, 4 * width)
        self.up2 = ExactPointwise(width, 4 * width)


class RowStage(nn.Module):
    """Features of the rows of a level, by `finer_row_features`."""

    exact_grids: ClassVar = {"level": BIASES}

    def __init__(self, latent_channels: int, in_width: int, width: int, num_anchors: int) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(2 * num_anchors, width))
        self.decoded = ExactPointwise(2 * latent_channels, width)
        self.carried = ExactPointwise(in_width, width)
        self.depthwise = ExactDepthwise(width)
        self.up = ExactPointwise(width, 4 * width)


class RowContext(nn.Module):
    """Features of the rows of every level of a pyramid; at the coarsest `first_row_features`.

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
