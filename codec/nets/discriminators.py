"""Discriminators: PatchGAN with spectral norm, on one scale or on three.

    x (B,3,H,W) in [0,1] -> 2x - 1
      -> num_layers x [ conv 4x4 stride 2, leaky ReLU ]      C, 2C, 4C, 8C, 8C, ... channels
      -> conv 3x3, leaky ReLU -> conv 3x3 to one logit       (B,1,H/2^L,W/2^L)

Every logit judges one patch (54 px wide with three layers). At the default width (32 channels,
three layers) a `PatchDiscriminator` has 0.31 M parameters and costs 6.8 kMAC/px, a
`MultiScaleDiscriminator` has 0.94 M and costs 8.9 kMAC/px.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

NUM_SCALES = 3
SLOPE = 0.2
MAX_WIDENING = 8
"""The widest layer has this many times the channels of the first."""


class PatchDiscriminator(nn.Module):
    """Discriminator that gives a logit to every patch of a picture.

    Source: Isola et al., arXiv 1611.07004 (pix2pix, section 3.2.2); spectral norm in place of
    batch norm: Miyato et al., arXiv 1802.05957.

    Args:
        in_channels: channels of the pictures.
        channels: output channels of the first layer.
        num_layers: layers of stride 2; the patches grow with it.

    Raises:
        ValueError: a count is not positive.
    """

    def __init__(self, in_channels: int = 3, channels: int = 32, num_layers: int = 3) -> None:
        super().__init__()
        if min(in_channels, channels, num_layers) < 1:
            raise ValueError("in_channels, channels and num_layers must be at least 1")
        self.min_side_px = 2**num_layers
        widths = [in_channels]
        widths += [channels * min(2**i, MAX_WIDENING) for i in range(num_layers)]
        layers = [_SpectralConv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths)]
        layers.append(_SpectralConv2d(widths[-1], widths[-1], 3, padding=1))
        self.layers = nn.ModuleList(spectral_norm(layer) for layer in layers)
        self.head = spectral_norm(_SpectralConv2d(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return logits and features of pictures.

        Args:
            x: (B, in_channels, H, W) in [0, 1], any size from `min_side_px` up.

        Returns:
            ``[logits]`` with logits (B, 1, H / 2^L, W / 2^L), positive for real, and the
            activations of all L + 1 hidden layers, for feature matching.

        Raises:
            ValueError: a side is shorter than `min_side_px`.
        """
        _check_size(x, self.min_side_px)
        h = 2.0 * x - 1.0
        features = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), SLOPE)
            features.append(h)
        return [self.head(h)], features


class MultiScaleDiscriminator(nn.Module):
    """A `PatchDiscriminator` for each of the scales 1, 1/2 and 1/4: one head per scale.

    The coarse ones see structure, the fine one sees texture. Source: Wang et al., arXiv 1711.11585
    (pix2pixHD, section 3.2).
    """

    def __init__(self, in_channels: int = 3, channels: int = 32, num_layers: int = 3) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            PatchDiscriminator(in_channels, channels, num_layers) for _ in range(NUM_SCALES)
        )
        self.min_side_px = 2 ** (num_layers + NUM_SCALES - 1)

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return one tensor of logits per scale, fine to coarse, and all features.

        Raises:
            ValueError: a side is shorter than `min_side_px`.
        """
        _check_size(x, self.min_side_px)
        logits, features = [], []
        for index, discriminator in enumerate(self.scales):
            if index > 0:
                x = F.avg_pool2d(x, 2)
            scale_logits, scale_features = discriminator(x)
            logits += scale_logits
            features += scale_features
        return logits, features


DISCRIMINATORS = {"patch": PatchDiscriminator, "multiscale": MultiScaleDiscriminator}


def build_discriminator(
    kind: str, in_channels: int = 3, channels: int = 32, num_layers: int = 3
) -> PatchDiscriminator | MultiScaleDiscriminator:
    """Return a new discriminator.

    Args:
        kind: `patch` or `multiscale`.

    Raises:
        ValueError: unknown kind, or a count is not positive.
    """
    if kind not in DISCRIMINATORS:
        raise ValueError(f"unknown discriminator {kind!r}: use {', '.join(DISCRIMINATORS)}")
    return DISCRIMINATORS[kind](in_channels, channels, num_layers)


class _SpectralConv2d(nn.Conv2d):
    """Convolution whose parametrised weight is computed in float32 under autocast too.

    The power iteration of the spectral norm multiplies matrices and vectors, which autocast on a
    GPU would do in bfloat16.
    """

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            weight = self.weight
        return self._conv_forward(x, weight, self.bias)


def _check_size(x: Tensor, min_side_px: int) -> None:
    if min(x.shape[2:]) < min_side_px:
        height, width = x.shape[2:]
        raise ValueError(
            f"a picture of {height}x{width} px vanishes in a discriminator for at least "
            f"{min_side_px} px: lower num_layers"
        )
