"""SSIM and MS-SSIM of RGB through pytorch-msssim.

Source: Wang et al., Multi-scale structural similarity for image quality assessment (2003).
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from imgcodec.eval.metrics.base import MetricOptions, RgbArray
from imgcodec.eval.metrics.tensors import to_tensor

# pytorch-msssim needs more than (window - 1) * 2**4 = 160 px for its five scales.
MIN_MS_SSIM_PX = 161
MIN_SSIM_PX = 11


def _package() -> ModuleType:
    import pytorch_msssim

    module: ModuleType = pytorch_msssim
    return module


class Ssim:
    """SSIM: 11-tap Gaussian window, sigma 1.5, valid area, mean over the RGB channels."""

    columns = ("ssim",)

    def __init__(self, options: MetricOptions) -> None:
        self._package = _package()
        self._device = options.device

    def prepare(self, reference: RgbArray) -> Any:
        """Return the original as a float tensor (1, 3, H, W) in 0..255."""
        return to_tensor(reference, self._device)

    def measure(self, prepared: Any, image: RgbArray) -> dict[str, float]:
        """Return `ssim`, NaN where a side is shorter than the window."""
        if min(image.shape[:2]) < MIN_SSIM_PX:
            return {"ssim": math.nan}
        value = self._package.ssim(prepared, to_tensor(image, self._device), data_range=255.0)
        return {"ssim": float(value)}

    def describe(self) -> str:
        """Return package and variant."""
        return "SSIM, pytorch-msssim, RGB, window 11"


class MsSsim:
    """MS-SSIM with five scales and the published weights, mean over the RGB channels."""

    columns = ("ms_ssim",)

    def __init__(self, options: MetricOptions) -> None:
        self._package = _package()
        self._device = options.device

    def prepare(self, reference: RgbArray) -> Any:
        """Return the original as a float tensor (1, 3, H, W) in 0..255."""
        return to_tensor(reference, self._device)

    def measure(self, prepared: Any, image: RgbArray) -> dict[str, float]:
        """Return `ms_ssim`, NaN where a side is shorter than 161 pixels."""
        if min(image.shape[:2]) < MIN_MS_SSIM_PX:
            return {"ms_ssim": math.nan}
        value = self._package.ms_ssim(prepared, to_tensor(image, self._device), data_range=255.0)
        return {"ms_ssim": float(value)}

    def describe(self) -> str:
        """Return package and variant."""
        return "MS-SSIM, pytorch-msssim, RGB, five scales"
