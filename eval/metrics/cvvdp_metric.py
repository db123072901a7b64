"""ColorVideoVDP (CVVDP) through the package cvvdp: how visible the difference is on a display.

Source: Mantiuk et al., ColorVideoVDP: A visual difference predictor for image, video and display
distortions, ACM Transactions on Graphics 43 (2024), arXiv 2401.11485.
"""

from __future__ import annotations

import logging
import math
from importlib import metadata

from imgcodec.eval._torchvision import import_torchvision
from imgcodec.eval.metrics.base import MetricOptions, RgbArray

DISPLAY = "standard_4k"
MIN_SIDE_PX = 8


class Cvvdp:
    """CVVDP in JOD (just objectionable differences): 10 for equal pictures, lower is worse.

    The display is the package's `standard_4k` at its own viewing distance: 30 inches, 3840x2160,
    200 cd/m^2, 250 lux, seen from twice its height (0.75 m, 75 pixels per degree).

    Args:
        options: device.

    Raises:
        ImportError: the package or what it needs is missing.
    """

    columns = ("cvvdp",)

    def __init__(self, options: MetricOptions) -> None:
        import_torchvision()
        # The package calls logging.debug, which would give the root logger a handler of its own
        # and print every message of this project a second time.
        if not logging.getLogger().handlers:
            logging.getLogger().addHandler(logging.NullHandler())
        import pycvvdp
        import torch

        self._model = pycvvdp.cvvdp(
            display_name=DISPLAY, device=torch.device(options.device), quiet=True
        )

    def prepare(self, reference: RgbArray) -> RgbArray:
        """Return the original itself."""
        return reference

    def measure(self, prepared: RgbArray, image: RgbArray) -> dict[str, float]:
        """Return `cvvdp`, NaN where a side is shorter than 8 pixels."""
        import torch

        if min(image.shape[:2]) < MIN_SIDE_PX:
            return {"cvvdp": math.nan}
        with torch.inference_mode():
            score, _ = self._model.predict(image, prepared, dim_order="HWC")
        return {"cvvdp": float(score)}

    def describe(self) -> str:
        """Return package, version and display."""
        return f"CVVDP, cvvdp {metadata.version('cvvdp')}, display {DISPLAY} at 75 px per degree"
