"""SSIMULACRA2 through the ssimulacra2 package (a port of libjxl's tool to NumPy).

Source: J. Sneyers, SSIMULACRA 2, cloudinary/ssimulacra2.
"""

from __future__ import annotations

import io
import math

from PIL import Image

from imgcodec.eval.metrics.base import MetricOptions, RgbArray

MIN_SIDE_PX = 8


class Ssimulacra2:
    """SSIMULACRA2 score: 100 for equal pictures, 70 high, 50 medium, 30 low quality."""

    columns = ("ssimulacra2",)

    def __init__(self, options: MetricOptions) -> None:
        del options  # runs in NumPy
        from ssimulacra2 import compute_ssimulacra2

        self._score = compute_ssimulacra2

    def prepare(self, reference: RgbArray) -> bytes:
        """Return the original as an image file, which is what the package reads."""
        return _as_file(reference)

    def measure(self, prepared: bytes, image: RgbArray) -> dict[str, float]:
        """Return `ssimulacra2`, NaN where a side is shorter than 8 pixels."""
        if min(image.shape[:2]) < MIN_SIDE_PX:
            return {"ssimulacra2": math.nan}
        return {
            "ssimulacra2": float(self._score(io.BytesIO(prepared), io.BytesIO(_as_file(image))))
        }

    def describe(self) -> str:
        """Return the package."""
        return "SSIMULACRA2, ssimulacra2 package"


def _as_file(rgb: RgbArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PPM")
    return buffer.getvalue()
