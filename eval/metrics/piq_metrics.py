"""HaarPSI and VIF through the package piq.

Sources: Reisenhofer et al., A Haar wavelet-based perceptual similarity index for image quality
assessment, arXiv 1607.06140; Sheikh and Bovik, Image information and visual quality, IEEE
Transactions on Image Processing 15 (2006), in the variant of the pixel domain that its authors
released (VIFp).
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from imgcodec.eval._torchvision import import_torchvision
from imgcodec.eval.metrics.tensors import TensorMetric


def _package() -> ModuleType:
    import_torchvision()  # which piq imports
    import piq

    module: ModuleType = piq
    return module


class HaarPsi(TensorMetric):
    """HaarPSI over luma and chroma (YIQ): 1 for equal pictures, 0 at worst."""

    columns = ("haarpsi",)
    min_side_px = 16  # the wavelets of the coarsest scale
    load = staticmethod(_package)

    def compare(self, reference: Any, image: Any) -> Any:
        """Return HaarPSI; float32 lifts that of equal pictures above 1."""
        return self._package.haarpsi(image, reference, data_range=255.0).clamp(max=1.0)

    def describe(self) -> str:
        """Return package and version."""
        return f"HaarPSI, piq {self._package.__version__}, colour, subsampled by 2"


class Vif(TensorMetric):
    """VIF of luma in the pixel domain: 1 for equal pictures, 0 at worst.

    More contrast than the original has gives more than 1.
    """

    columns = ("vif",)
    min_side_px = 41  # the windows of its four scales
    load = staticmethod(_package)

    def compare(self, reference: Any, image: Any) -> Any:
        """Return VIF."""
        return self._package.vif_p(image, reference, data_range=255.0)

    def describe(self) -> str:
        """Return package and version."""
        return f"VIF in the pixel domain, piq {self._package.__version__}, luma"
