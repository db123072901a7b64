"""The alpha plane of a picture: lossless bytes and back."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from imgcodec.codec.errors import CorruptStreamError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode_alpha(alpha: NDArray[np.uint8]) -> bytes:
    """Encode an alpha plane losslessly: one byte where it is constant, else a grey PNG.

    Args:
        alpha: uint8 (H, W), not empty.
    """
    first = alpha.flat[0]
    if np.all(alpha == first):
        return bytes([first])
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(alpha)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def decode_alpha(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Decode `encode_alpha` output to uint8 (height, width).

    Raises:
        CorruptStreamError: The data are damaged or of another size (checked before decoding).
    """
    if len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    _check_alpha_png(data, height, width)
    try:
        with PngImagePlugin.PngImageFile(BytesIO(data)) as image:
            return np.array(image)
    except Exception as error:  # zlib, struct, OSError, SyntaxError, ...: all mean damage
        raise CorruptStreamError(f"the alpha plane is damaged: {error}") from error


def _check_alpha_png(data: bytes, height: int, width: int) -> None:
    """Accept only 8-bit grey PNGs of this size with nothing but IHDR, IDAT and IEND chunks."""
    expected = struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 0, 0, 0, 0)
    start = len(_PNG_SIGNATURE)
    if data[:start] != _PNG_SIGNATURE or data[start : start + len(expected)] != expected:
        raise CorruptStreamError(f"the alpha plane is not an 8-bit grey PNG of {height} x {width}")
    position, kind = start + len(expected) + 4, b"IHDR"
    while kind != b"IEND":
        head = data[position : position + 8]
        kind = head[4:]
        if kind not in (b"IDAT", b"IEND"):
            raise CorruptStreamError("the alpha plane holds an unexpected PNG chunk")
        position += 12 + int.from_bytes(head[:4], "big")
    if position != len(data):
        raise CorruptStreamError("the alpha plane has the wrong length")
