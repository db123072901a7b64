"""Linear maps from latents to small pictures.

Latents are nearly linear in the picture: one 1x1 map from those at a position to the few pixels
that its square has in a small picture comes close to the average of the decoded ones, without the
synthesis. The maps are fitted where weights are exported (`training.thumbnails`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.numeric.arrays import pixel_shuffle

STRIDE = 16
"""Side in pixels of the square of a position."""
SCALES = (2, 4, 8, 16)
"""Reductions for which there are maps."""


@dataclass(frozen=True)
class Thumbnail:
    """A map from latents to a picture that is `STRIDE` / n times smaller.

    Attributes:
        weight: float32 (3 n^2, C, 1, 1).
        bias: float32 (3 n^2,).
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    @property
    def channels(self) -> int:
        """C, the number of latents that it looks at, from the first on."""
        return self.weight.shape[1]

    def __call__(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map latents (1, C, h, w) to a picture (1, 3, n h, n w), not clamped."""
        side = int((len(self.bias) // 3) ** 0.5)
        _, channels, height, width = latents.shape
        x = self.weight[:, :, 0, 0] @ latents.reshape(channels, -1) + self.bias[:, None]
        return pixel_shuffle(x.reshape(1, -1, height, width), side)
