"""Non-linear transforms between pictures, latents and hyper latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.nets.blocks import Block, Down, LevelAffine, Up, pointwise

NOISE_PERIOD = 64
"""Positions of 8 px."""


class Analysis(nn.Module):
    """Non-linear part of the analysis transform."""

    def __init__(
        self,
        channels: tuple[int, int],
        blocks: tuple[int, int],
        latent_channels: int,
        num_anchors: int,
    ) -> None:
        super().__init__()
        wide, deep = channels
        self.first = pointwise(3 * 64, wide)
        self.affine = LevelAffine(wide, num_anchors)
        self.blocks8 = nn.Sequential(*(Block(wide) for _ in range(blocks[0])))
        self.down = Down(wide, deep)
        self.blocks16 = nn.Sequential(*(Block(deep) for _ in range(blocks[1])))
        self.out = pointwise(deep, latent_channels, zero=True)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, M, H/16, W/16)."""
        return self.out(self.features(x, weights))

    def features(self, x: Tensor, weights: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, C2, H/16, W/16), from which the latents are read."""
        x = self.affine(self.first(F.pixel_unshuffle(x, 8)), weights)
        return self.blocks16(self.down(self.blocks8(x)))


class Grain(nn.Module):
    """Noise with a strength that features choose: what a decoder makes textures of.

    The noise is a pattern that is stored with the weights and repeats every `NOISE_PERIOD`
    positions, so that a file always gives the same picture.
    """

    def __init__(self, channels: int, noise_channels: int) -> None:
        super().__init__()
        pattern = torch.randn(1, noise_channels, NOISE_PERIOD, NOISE_PERIOD).half().float()
        self.register_buffer("pattern", pattern)
        self.mix = pointwise(noise_channels, channels)
        self.strength = pointwise(channels, channels, zero=True)

    def forward(self, x: Tensor, place: Tensor) -> Tensor:
        """Map features (B, C, h, w), whose first rows and columns are (B, 2), to features."""
        rows, columns = (
            (torch.arange(count, device=x.device) + place[:, axis : axis + 1].long()) % NOISE_PERIOD
            for axis, count in enumerate(x.shape[2:])
        )
        noise = self.pattern[0][:, rows[:, :, None], columns[:, None]].transpose(0, 1)
        return x + self.strength(x) * self.mix(noise)


def random_places(synthesis: Synthesis, count: int) -> Tensor | None:
    """Return places (count, 2) for the noise of training, None for a synthesis without noise."""
    if not hasattr(synthesis, "grain"):
        return None
    return torch.randint(NOISE_PERIOD, (count, 2), device=synthesis.grain.pattern.device)


class Synthesis(nn.Module):
    """Non-linear part of the synthesis transform."""

    def __init__(
        self,
        channels: tuple[int, int],
        blocks: tuple[int, int],
        latent_channels: int,
        num_anchors: int,
        noise_channels: int = 0,
    ) -> None:
        super().__init__()
        wide, deep = channels
        self.first = pointwise(latent_channels, deep)
        self.affine = LevelAffine(deep, num_anchors)
        self.blocks16 = nn.Sequential(*(Block(deep) for _ in range(blocks[1])))
        self.up = Up(deep, wide)
        if noise_channels:
            self.grain = Grain(wide, noise_channels)
        self.blocks8 = nn.Sequential(*(Block(wide) for _ in range(blocks[0])))
        self.out = pointwise(wide, 3 * 64, zero=True)

    def forward(
        self,
        y_hat: Tensor,
        weights: Tensor,
        context: Tensor | None = None,
        place: Tensor | None = None,
    ) -> Tensor:
        """Map normalised latents to pictures.

        Args:
            y_hat: (B, M, h, w).
            weights: (B, A) of the rate anchors.
            context: (B, C2, h, w), or None.
            place: (B, 2), row and column in the whole picture of the first latents; for `Grain`.

        Returns:
            (B, 3, 16 h, 16 w).
        """
        x = self.affine(self.first(y_hat), weights)
        if context is not None:
            x = x + context
        x = self.up(self.blocks16(x))
        if place is not None:
            x = self.grain(x, 2 * place)
        return F.pixel_shuffle(self.out(self.blocks8(x)), 8)


class HyperAnalysis(nn.Module):
    """From y at 1/16 to z at 1/64."""

    def __init__(self, latent_channels: int, width: int, hyper_channels: int) -> None:
        super().__init__()
        self.first = pointwise(latent_channels, width)
        self.block = Block(width)
        self.down1 = Down(width, width)
        self.down2 = Down(width, width)
        self.out = pointwise(width, hyper_channels)

    def forward(self, y: Tensor) -> Tensor:
        """Map normalised (B, M, h, w) to (B, Nz, h/4, w/4)."""
        x = self.down1(self.block(F.leaky_relu(self.first(y), 0.1)))
        return self.out(F.leaky_relu(self.down2(F.leaky_relu(x, 0.1)), 0.1))


class HyperSynthesis(nn.Module):
    """From z_hat at 1/64 to the features of the mean networks at 1/16."""

    def __init__(self, hyper_channels: int, width: int, context_width: int) -> None:
        super().__init__()
        self.first = pointwise(hyper_channels, width)
        self.block = Block(width)
        self.up1 = Up(width, width)
        self.up2 = Up(width, context_width)

    def forward(self, z_hat: Tensor) -> Tensor:
        """Map (B, Nz, h/4, w/4) to (B, C, h, w)."""
        x = self.up1(self.block(F.leaky_relu(self.first(z_hat), 0.1)))
        return self.up2(F.leaky_relu(x, 0.1))
