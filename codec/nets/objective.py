"""What a decoded picture is worth: the weighed errors that a model was trained for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from imgcodec.codec.nets.similarity import MS_SSIM_MIN_SIDE, ms_ssim, ssimulacra2_sum

LAMBDA_REFERENCE = 0.013
SSIMULACRA2_POWER, MS_SSIM_POWER = 0.75, 0.95
"""Of lambda: so each term keeps its share of the loss from the lowest rate to the highest."""


@dataclass(frozen=True)
class Objective:
    """Weights of squared error, of SSIMULACRA2 and of MS-SSIM, as in a recipe's loss.

    Attributes:
        mse: factor of lambda * 255^2 * MSE.
        ssimulacra2: bits per pixel for a sum of errors of 1 (`ssimulacra2_sum`) at lambda 0.013.
        ms_ssim: bits per pixel for 1 - MS-SSIM at lambda 0.013.
    """

    mse: float = 1.0
    ssimulacra2: float = 0.0
    ms_ssim: float = 0.0

    @property
    def is_squared_error(self) -> bool:
        """Whether the error of each pixel stands for itself."""
        return not (self.ssimulacra2 or self.ms_ssim)

    def bits_per_pixel(self, x: Tensor, x_hat: Tensor, lmbda: float) -> Tensor:
        """Return what the errors of pictures are worth, (B,).

        Args:
            x, x_hat: (B, 3, H, W) in [0, 1]; of sides up to 160 px MS-SSIM is left out.
            lmbda: of the rate.
        """
        relative = lmbda / LAMBDA_REFERENCE
        worth = self.mse * lmbda * 255.0**2 * (x_hat - x).square().mean(dim=(1, 2, 3))
        if self.ssimulacra2:
            weight = self.ssimulacra2 * relative**SSIMULACRA2_POWER
            worth = worth + weight * ssimulacra2_sum(x, x_hat)
        if self.ms_ssim and min(x.shape[2:]) > MS_SSIM_MIN_SIDE:
            weight = self.ms_ssim * relative**MS_SSIM_POWER
            worth = worth + weight * (1 - ms_ssim(x, x_hat.clamp(0, 1)))
        return worth
