"""Grey samples of more than 8 bits, scaled by what the file says of black and white."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcodec.codec.errors import ImageFormatError

_ROWS_AT_ONCE = 256
_MIN_IS_WHITE = 0
_SIGNED, _FLOAT = 2, 3
_PHOTOMETRIC, _SAMPLE_FORMAT, _SMIN, _SMAX = 262, 339, 340, 341
"""Tags of TIFF 6.0, sections 8 and 19."""
_FULL_RANGE_FORMATS = {None, "PNG", "PPM", "JPEG2000", "IM"}
"""Their 16-bit samples go from 0 to 65535 as Pillow gives them."""


def is_wide(image: Image.Image) -> bool:
    """Return whether Pillow keeps the samples in more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def reduce_wide(image: Image.Image, bits: int) -> NDArray[np.uint8]:
    """Return the samples of a loaded image of mode I, I;16 or F as uint8 (H, W), rounded.

    Black and white are those of the file: 0 and 2**bits - 1 of unsigned samples, the least and the
    greatest of signed ones, 0 and 1 of floats (or what SMinSampleValue and SMaxSampleValue say);
    TIFF files may reverse them (photometric interpretation 0). Images that come from no file
    follow Pillow: 0 to 65535 for integers, 0 to 255 for floats.

    Raises:
        ImageFormatError: The file does not say what is white, samples are beyond it or not finite,
            or all would come out as one shade.
    """
    black, white = _range(image, bits)
    samples = np.asarray(image)
    if bits == 32 and max(black, white) == 2**32 - 1:
        samples = samples.view(np.uint32)  # Pillow has no such mode
    lowest, highest = samples.min(), samples.max()
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise ImageFormatError("some samples are not numbers")
    if image.format is None and image.mode == "F" and 0 < highest <= 1:
        raise ImageFormatError("floats from 0 to 1: in Pillow 255 is white, multiply them first")
    factor = 255 / (white - black)
    ends = np.rint((np.array([lowest, highest], np.float64) - black) * factor)
    if ends.min() < 0 or ends.max() > 255:
        raise ImageFormatError(
            f"the samples go from {lowest:g} to {highest:g}, "
            f"but black is {black:g} and white {white:g}: scale them first"
        )
    if bits > 16 and ends[0] == ends[1] and lowest != highest:
        raise ImageFormatError(
            f"the samples from {lowest:g} to {highest:g} of {bits} bits are one shade of 8 bits: "
            "scale them first"
        )
    reduced = np.empty(samples.shape, np.uint8)
    for top in range(0, len(samples), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        reduced[rows] = np.rint((samples[rows].astype(np.float64) - black) * factor)
    return reduced


def has_signed_bytes(image: Image.Image) -> bool:
    """Return whether 8-bit samples of a TIFF file go from -128 to 127, which Pillow overlooks."""
    return image.mode == "L" and _tag(image, _SAMPLE_FORMAT) == _SIGNED


def _range(image: Image.Image, bits: int) -> tuple[float, float]:
    """Return the sample values of black and white."""
    if image.format == "TIFF":
        kind = _tag(image, _SAMPLE_FORMAT)
        if kind == _FLOAT or image.mode == "F":
            black, white = _tag(image, _SMIN, 0.0), _tag(image, _SMAX, 1.0)
            if not (np.isfinite([black, white]).all() and black != white):
                black, white = 0.0, 1.0
        elif kind == _SIGNED:
            black, white = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
        else:
            black, white = 0.0, 2.0**bits - 1
        is_reversed = _tag(image, _PHOTOMETRIC) == _MIN_IS_WHITE
        return (white, black) if is_reversed else (black, white)
    if image.mode == "F" and image.format == "PPM":  # PFM
        return 0.0, 1.0
    if image.mode == "F" and image.format is None:
        return 0.0, 255.0
    is_known = image.format in _FULL_RANGE_FORMATS and image.mode != "F"
    if not is_known or (image.format == "IM" and image.mode == "I"):
        raise ImageFormatError(
            f"{image.format} files of {bits}-bit samples do not say which value is white: "
            "convert the picture to 8 bits a sample first"
        )
    return 0.0, 65535.0


def _tag(image: Image.Image, tag: int, default: float = -1) -> float:
    value = getattr(image, "tag_v2", {}).get(tag, default)
    return float(value[0] if isinstance(value, tuple) else value)
