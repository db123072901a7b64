"""Float networks between the levels of a latent pyramid, each level half as fine as the next."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.nets.attention import WindowAttention
from imgcodec.codec.nets.blocks import Block, Down, LevelAffine, Up, pointwise

HEAD_CHANNELS = 32


class CoarserLatents(nn.Module):
    """Non-linear part of the analysis of a level, from the features of the next finer one.

    Args:
        in_channels: of the finer features.
        width: of the features of this level.
        latent_channels: M.
        side_channels: the last of M, which start at random and not at zero: they have no linear
            part, and may carry whatever helps to predict the finer level.
    """

    def __init__(
        self, in_channels: int, width: int, latent_channels: int, side_channels: int
    ) -> None:
        super().__init__()
        self.down = Down(in_channels, width)
        self.mix = pointwise(width, width)
        self.out = pointwise(width, latent_channels, zero=True)
        if side_channels:
            nn.init.normal_(self.out.weight[-side_channels:], std=width**-0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, in, 2h, 2w) to features (B, width, h, w) and latents (B, M, h, w)."""
        x = F.leaky_relu(self.down(x), 0.1)
        return x, self.out(F.leaky_relu(self.mix(x), 0.1))


class FinerFeatures(nn.Module):
    """From a level and the features it was decoded with to the features of the next finer one."""

    def __init__(
        self, latent_channels: int, in_width: int, width: int, window: int, num_anchors: int
    ) -> None:
        super().__init__()
        self.decoded = pointwise(latent_channels, width)
        self.carried = pointwise(in_width, width)
        self.affine = LevelAffine(width, num_anchors)
        self.block = Block(width)
        self.attention = WindowAttention(width, window, max(1, width // HEAD_CHANNELS))
        self.up = Up(width, width)

    def forward(self, decoded: Tensor, features: Tensor, weights: Tensor) -> Tensor:
        """Map normalised (B, M, h, w) and (B, in, h, w) to (B, width, 2h, 2w)."""
        x = self.affine(self.decoded(decoded) + self.carried(features), weights)
        x = self.attention(self.block(F.leaky_relu(x, 0.1)))
        return self.up(F.leaky_relu(x, 0.1))


class CoarseFeatures(nn.Module):
    """What the synthesis sees of all levels but the finest; pointwise, so that it needs no halo."""

    def __init__(self, latent_channels: tuple[int, ...], width: int, out_channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(pointwise(channels, width) for channels in latent_channels)
        self.ups = nn.ModuleList(Up(width, width) for _ in latent_channels)
        self.out = pointwise(width, out_channels, zero=True)

    def forward(self, decoded: list[Tensor]) -> Tensor:
        """Map normalised levels, coarsest first, to (B, out, h, w), twice as fine as the last."""
        x = torch.zeros((), device=decoded[0].device)
        for latents, level, up in zip(decoded, self.levels, self.ups, strict=True):
            x = F.leaky_relu(up(F.leaky_relu(level(latents) + x, 0.1)), 0.1)
        return self.out(x)
