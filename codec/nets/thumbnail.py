"""Linear maps from latents to small pictures.

Latents are nearly linear in the picture: one 1x1 map from those at a position to the few pixels
that its square has in a small picture comes close to the average of the decoded ones, without the
synthesis. The maps are fitted where weights are exported (`training.thumbnails`).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

STRIDE = 16
"""Side in pixels of the square of a position."""
SCALES = (2, 4, 8, 16)
"""Reductions for which there are maps."""


@dataclass(frozen=True)
class Thumbnail:
    """A map from latents to a picture that is `STRIDE` / n times smaller.

    Attributes:
        weight: (3 n^2, C, 1, 1).
        bias: (3 n^2,).
    """

    weight: Tensor
    bias: Tensor

    @property
    def channels(self) -> int:
        """C, the number of latents that it looks at, from the first on."""
        return self.weight.shape[1]

    def __call__(self, latents: Tensor) -> Tensor:
        """Map latents (B, C, h, w) to a picture (B, 3, n h, n w), not clamped."""
        side = int((len(self.bias) // 3) ** 0.5)
        return F.pixel_shuffle(F.conv2d(latents, self.weight, self.bias), side)
