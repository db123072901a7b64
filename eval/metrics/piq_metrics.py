"""HaarPSI and VIF through the package piq.

Sources: Reisenhofer et al., A Haar wavelet-based perceptual similarity index for image quality
assessment, arXiv 1607.06140; Sheikh and Bovik, Image information and visual quality, IEEE
Transactions on Image Processing 15 (2006), in the variant of the pixel domain that its authors
released (VIFp).
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

from imgcodec.eval._torchvision import import_torchvision
from imgcodec.eval.metrics.base import MetricOptions, RgbArray
from imgcodec.eval.metrics.tensors import to_tensor

# The wavelets of the coarsest scale, and the windows of VIF's four scales, must fit.
MIN_HAARPSI_PX = 16
MIN_VIF_PX = 41


def _package() -> ModuleType:
    import_torchvision()  # which piq imports
    import piq

    module: ModuleType = piq
    return module


class HaarPsi:
    """HaarPSI over luma and chroma (YIQ): 1 for equal pictures, 0 at worst."""

    columns = ("haarpsi",)

    def __init__(self, options: MetricOptions) -> None:
        self._package = _package()
        self._device = options.device

    def prepare(self, reference: RgbArray) -> Any:
        """Return the original as a float tensor (1, 3, H, W) in 0..255."""
        return to_tensor(reference, self._device)

    def measure(self, prepared: Any, image: RgbArray) -> dict[str, float]:
        """Return `haarpsi`, NaN where a side is shorter than 16 pixels."""
        if min(image.shape[:2]) < MIN_HAARPSI_PX:
            return {"haarpsi": math.nan}
        value = self._package.haarpsi(to_tensor(image, self._device), prepared, data_range=255.0)
        return {"haarpsi": min(float(value), 1.0)}  # float32 lifts equal pictures above it

    def describe(self) -> str:
        """Return package and version."""
        return f"HaarPSI, piq {self._package.__version__}, colour, subsampled by 2"


class Vif:
    """VIF of luma in the pixel domain: 1 for equal pictures, 0 at worst.

    More contrast than the original has gives more than 1.
    """

    columns = ("vif",)

    def __init__(self, options: MetricOptions) -> None:
        self._package = _package()
        self._device = options.device

    def prepare(self, reference: RgbArray) -> Any:
        """Return the original as a float tensor (1, 3, H, W) in 0..255."""
        return to_tensor(reference, self._device)

    def measure(self, prepared: Any, image: RgbArray) -> dict[str, float]:
        """Return `vif`, NaN where a side is shorter than 41 pixels."""
        if min(image.shape[:2]) < MIN_VIF_PX:
            return {"vif": math.nan}
        value = self._package.vif_p(to_tensor(image, self._device), prepared, data_range=255.0)
        return {"vif": float(value)}

    def describe(self) -> str:
        """Return package and version."""
        return f"VIF in the pixel domain, piq {self._package.__version__}, luma"
