"""Non-linear transforms between pictures, latents and hyper latents."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.nets.blocks import Block, Down, LevelAffine, Up, pointwise


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


class Synthesis(nn.Module):
    """Non-linear part of the synthesis transform."""

    def __init__(
        self,
        channels: tuple[int, int],
        blocks: tuple[int, int],
        latent_channels: int,
        num_anchors: int,
    ) -> None:
        super().__init__()
        wide, deep = channels
        self.first = pointwise(latent_channels, deep)
        self.affine = LevelAffine(deep, num_anchors)
        self.blocks16 = nn.Sequential(*(Block(deep) for _ in range(blocks[1])))
        self.up = Up(deep, wide)
        self.blocks8 = nn.Sequential(*(Block(wide) for _ in range(blocks[0])))
        self.out = pointwise(wide, 3 * 64, zero=True)

    def forward(self, y_hat: Tensor, weights: Tensor, context: Tensor | None = None) -> Tensor:
        """Map normalised (B, M, h, w), and context (B, C2, h, w), to (B, 3, 16 h, 16 w)."""
        x = self.affine(self.first(y_hat), weights)
        if context is not None:
            x = x + context
        x = self.blocks8(self.up(self.blocks16(x)))
        return F.pixel_shuffle(self.out(x), 8)


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
