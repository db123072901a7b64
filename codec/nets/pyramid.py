"""Float networks between the levels of a latent pyramid, each level half as fine as the next."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.nets.attention import WindowAttention
from imgcodec.codec.nets.blocks import Block, Down, LevelAffine, Up, pointwise
from imgcodec.codec.nets.klt import klt_of_patches

HEAD_CHANNELS = 32


class KltStep(nn.Module):
    """Linear step between two levels: the KLT of 2x2 neighbours of the finer one, and back."""

    def __init__(self, fine_channels: int, coarse_channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(4 * fine_channels, coarse_channels, 1)
        self.expand = nn.Conv2d(coarse_channels, 4 * fine_channels, 1)

    def down(self, fine: Tensor) -> Tensor:
        """Map (B, M_fine, 2h, 2w) to (B, M_coarse, h, w), in float32."""
        with torch.autocast(fine.device.type, enabled=False):
            return self.reduce(F.pixel_unshuffle(fine, 2))

    def up(self, coarse: Tensor) -> Tensor:
        """Map (B, M_coarse, h, w) to its least squares prediction of the finer level."""
        with torch.autocast(coarse.device.type, enabled=False):
            return F.pixel_shuffle(self.expand(coarse), 2)

    @torch.no_grad()
    def init_from_latents(self, fine: Tensor, num_components: int) -> tuple[Tensor, Tensor]:
        """Set the first components of the coarse level to the KLT of (N, M_fine, 2h, 2w).

        Returns:
            Deviations (num_components,) of the components, and the share (num_components, M_fine)
            of the variance of an error in each that the prediction has in each finer channel.
        """
        cells = F.pixel_unshuffle(fine, 2)
        vectors = cells.permute(0, 2, 3, 1).flatten(0, 2)
        mean, basis, deviations = klt_of_patches(vectors, num_components)
        for parameter in self.parameters():
            parameter.zero_()
        self.reduce.weight[:num_components] = basis[:, :, None, None]
        self.reduce.bias[:num_components] = -basis @ mean
        self.expand.weight[:, :num_components] = basis.T[:, :, None, None]
        self.expand.bias.copy_(mean)
        return deviations, basis.square().reshape(num_components, -1, 4).mean(dim=2)


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
        if window:
            self.attention = WindowAttention(width, window, max(1, width // HEAD_CHANNELS))
        else:
            self.second_block = Block(width)
        self.up = Up(width, width)

    def forward(self, decoded: Tensor, features: Tensor, weights: Tensor) -> Tensor:
        """Map normalised (B, M, h, w) and (B, in, h, w) to (B, width, 2h, 2w)."""
        x = self.affine(self.decoded(decoded) + self.carried(features), weights)
        x = self.block(F.leaky_relu(x, 0.1))
        x = self.attention(x) if hasattr(self, "attention") else self.second_block(x)
        return self.up(F.leaky_relu(x, 0.1))


class MeanContext(nn.Module):
    """Features of the means of every level of a pyramid; at the coarsest, of the rate alone.

    Args:
        latent_channels: M of all levels but the finest.
        widths: C of all levels.
        windows: sides of the attention windows of all levels but the finest; 0 for a second
            block instead.
        num_anchors: A.
    """

    def __init__(
        self,
        latent_channels: tuple[int, ...],
        widths: tuple[int, ...],
        windows: tuple[int, ...],
        num_anchors: int,
    ) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(num_anchors, widths[0]))
        self.stages = nn.ModuleList(
            FinerFeatures(channels, width, finer, window, num_anchors)
            for channels, (width, finer), window in zip(
                latent_channels, pairwise(widths), windows, strict=True
            )
        )

    def start(self, weights: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the features of the coarsest level, (B, C, h, w), from (B, A)."""
        return (weights @ self.level)[:, :, None, None].expand(-1, -1, *size)


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
