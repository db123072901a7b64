"""SSIM and MS-SSIM of RGB through pytorch-msssim.

Source: Wang et al., Multi-scale structural similarity for image quality assessment (2003).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from imgcodec.eval.metrics.tensors import TensorMetric


def _package() -> ModuleType:
    import pytorch_msssim

    module: ModuleType = pytorch_msssim
    return module


class Ssim(TensorMetric):
    """SSIM: 11-tap Gaussian window, sigma 1.5, valid area, mean over the RGB channels."""

    columns = ("ssim",)
    min_side_px = 11
    load = staticmethod(_package)

    def compare(self, reference: Any, image: Any) -> Any:
        """Return SSIM."""
        return self._package.ssim(reference, image, data_range=255.0)

    def describe(self) -> str:
        """Return package and variant."""
        return "SSIM, pytorch-msssim, RGB, window 11"


class MsSsim(TensorMetric):
    """MS-SSIM with five scales and the published weights, mean over the RGB channels."""

    columns = ("ms_ssim",)
    min_side_px = 161  # the package needs more than (window - 1) * 2**4 px
    load = staticmethod(_package)

    def compare(self, reference: Any, image: Any) -> Any:
        """Return MS-SSIM."""
        return self._package.ms_ssim(reference, image, data_range=255.0)

    def describe(self) -> str:
        """Return package and variant."""
        return "MS-SSIM, pytorch-msssim, RGB, five scales"
