"""Wasserstein distortion as a loss: textures may differ as long as they look the same.

Sources: Qiu et al., Wasserstein distortion, arXiv 2310.03629; as the loss of a codec, Balle et al.,
arXiv 2412.00505.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.training.perceptual import RANDOM_SHIFT_PX, DeepLoss
from imgcodec.codec.training.squeezenet import read_backbone, squeeze_trunk

WINDOWS = (16, 8, 4, 2)
"""Of 32 px in the first four feature maps of SqueezeNet."""
SQUEEZE_DEVIATIONS = (0.53, 2.4, 10.0, 20.0)
"""Of their channels in photographs, the square root of the mean variance."""
DEVIATION_FLOOR = 1e-4


class WassersteinLoss(DeepLoss):
    """Wasserstein distortion: what differs in local means and deviations of features.

    In windows about as large as what the eye takes for texture a picture may have other leaves
    than the original, as long as they are as many and as sharp. Features are measured by the
    deviations of their layer.

    Args:
        backbone: as `SqueezeTrunk`.
        windows: sides in feature positions, one for each of the first feature maps.
        random_shift_px: see `DeepLoss`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        windows: Sequence[int] = WINDOWS,
        random_shift_px: int = RANDOM_SHIFT_PX,
    ) -> None:
        super().__init__(backbone, random_shift_px)
        self.windows = tuple(windows)

    def distance(self, index: int, reference: Tensor, other: Tensor) -> Tensor:
        """Return (B,) means over windows and channels of a layer."""
        side = self.windows[index]
        unit = 1 / SQUEEZE_DEVIATIONS[index]
        with torch.no_grad():
            mean, deviation = _moments(reference * unit, side)
        mean_hat, deviation_hat = _moments(other * unit, side)
        squares = (mean_hat - mean).square() + (deviation_hat - deviation).square()
        return squares.mean(dim=(1, 2, 3))

    def _features(self, x: Tensor) -> Sequence[Tensor]:
        return self.backbone(x * self.gain + self.offset, len(self.windows))


def _moments(features: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return means and deviations in windows that overlap by half, (B, C, h, w) each."""
    stride = max(1, side // 2)
    mean = F.avg_pool2d(features, side, stride)
    variance = F.avg_pool2d(features.square(), side, stride) - mean.square()
    return mean, (variance.clamp_min(0) + DEVIATION_FLOOR).sqrt()


def load_texture(folders: Sequence[Path]) -> nn.Module:
    """Return Wasserstein distortion on SqueezeNet as a loss, ``loss(x, x_hat) -> (B,)``.

    Raises:
        FileNotFoundError: the backbone is in none of the folders.
    """
    trunk = squeeze_trunk(read_backbone(folders))
    return WassersteinLoss(trunk).to(memory_format=torch.channels_last)
