"""MSE and PSNR over the three channels of 8-bit sRGB."""

from __future__ import annotations

import math

import numpy as np

from imgcodec.eval.metrics.base import MetricOptions, RgbArray

PEAK = 255.0


def mse(reference: RgbArray, image: RgbArray) -> float:
    """Return the mean squared error in units of 8-bit levels squared, over pixels and channels."""
    if reference.shape != image.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {image.shape}")
    # int32 holds every squared difference; the sum is exact in int64.
    difference = reference.astype(np.int32) - image.astype(np.int32)
    return float(np.sum(difference * difference, dtype=np.int64)) / difference.size


def psnr_of_mse(mean_squared_error: float) -> float:
    """Return PSNR in dB, infinite for 0."""
    if mean_squared_error == 0.0:
        return math.inf
    return 10.0 * math.log10(PEAK * PEAK / mean_squared_error)


class Psnr:
    """RGB PSNR in dB and the MSE behind it."""

    columns = ("psnr", "mse")

    def __init__(self, options: MetricOptions) -> None:
        del options  # needs neither device nor weights

    def prepare(self, reference: RgbArray) -> RgbArray:
        """Return the original itself."""
        return reference

    def measure(self, prepared: RgbArray, image: RgbArray) -> dict[str, float]:
        """Return `psnr` in dB and `mse` in 8-bit levels squared."""
        error = mse(prepared, image)
        return {"psnr": psnr_of_mse(error), "mse": error}

    def describe(self) -> str:
        """Return the definition."""
        return "PSNR over RGB, 8 bit, peak 255"
