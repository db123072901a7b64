"""White of deep JPEG 2000 files, which Pillow turns into black.

Pillow rounds samples of several channels and more than 8 bits to 8 and keeps the low byte of the
result, so that what rounds up to 256 becomes 0 (Jpeg2KDecode.c, j2ku_shift). A second reading of
the same file with a changed header, in which samples lie between a quarter and three quarters of
the range, tells such whites from blacks.
"""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from PIL import Image

from imgcodec.codec.errors import ImageFormatError

SIZ_AFTER_SOC = b"\xff\x4f\xff\x51"
_SIZ, _COD, _COC, _QCD, _QCC, _SOT = 0xFF51, 0xFF52, 0xFF53, 0xFF5C, 0xFF5D, 0xFF90
_SYCC = b"colr\x01\0\0\0\0\0\x12"
_MIDDLE = 128


def restore_white(image: Image.Image, data: bytes) -> Image.Image:
    """Return a loaded image of a file of more than 8 bits whose whites are white.

    Args:
        image: LA, RGB or RGBA.
        data: the file.

    Raises:
        ImageFormatError: There are zeros, and whether they are black cannot be found out.
    """
    samples = np.array(image)
    if samples.min() > 0:
        return image
    try:
        with Image.open(BytesIO(_squeezed(data))) as squeezed:
            is_white = (samples == 0) & (np.asarray(squeezed) >= _MIDDLE)
    except Exception as error:
        raise ImageFormatError(
            "black and white of JPEG 2000 files such as this one come out alike: "
            "convert the picture to 8 bits a sample first"
        ) from error
    samples[is_white] = 255
    restored = Image.fromarray(samples)
    restored.info, restored.format = image.info, image.format
    return restored


def _squeezed(data: bytes) -> bytes:
    """Return a file with half the contrast around the middle of the range.

    Where the transform is reversible, samples are declared one bit deeper; else the steps of the
    quantisation are halved, and with them a guard bit is taken, so that codewords are read as
    before. Source: ISO/IEC 15444-1, A.5.1, A.6.1, A.6.4, E.1.

    Raises:
        ValueError: The file has what cannot be changed so.
    """
    changed = bytearray(data)
    position = data.index(SIZ_AFTER_SOC) + 2
    if _SYCC in data[:position]:
        raise ValueError("Pillow converts the colours after it has lost their white")
    segments: dict[int, list[tuple[int, int]]] = {}
    while (marker := struct.unpack_from(">H", data, position)[0]) != _SOT:
        (length,) = struct.unpack_from(">H", data, position + 2)
        segments.setdefault(marker, []).append((position + 4, position + 2 + length))
        position += 2 + length
    if _COC in segments:
        raise ValueError("channels are coded in different ways")
    is_reversible = data[segments[_COD][0][0] + 9] == 1
    if is_reversible:
        ((start, end),) = segments[_SIZ]
        for place in range(start + 36, end, 3):
            changed[place] += 1
        return bytes(changed)
    tables = segments[_QCD] + [(start + 1, end) for start, end in segments.get(_QCC, [])]
    for start, end in tables:
        changed[start] -= 1 << 5  # a guard bit; without one this is below 0
        for place in range(start + 1, end, 2):
            changed[place] += 1 << 3  # the exponent, in the upper 5 of 16 bits
    return bytes(changed)
