"""What picture files say of their samples and Pillow does not tell: depth and code points.

Only headers are read. A file that lies or is damaged here is treated as one that says nothing.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from PIL import Image

_MAX_BOX_BYTES = 1 << 24
_TIFF_BITS_PER_SAMPLE = 258
_BC6_HALF_FLOATS = 6
_SEARCHED_BYTES = 1 << 20
_PNG_METADATA = {b"iTXt", b"zTXt", b"tEXt", b"eXIf", b"iCCP"}


@dataclass(frozen=True)
class Facts:
    """What a file says.

    Attributes:
        bits: per sample.
        cicp: colour primaries and transfer characteristics as in ITU-T H.273, None where the file
            names none.
    """

    bits: int
    cicp: tuple[int, int] | None = None


def probe(image: Image.Image) -> Facts:
    """Return what the file of an image says; call it before the pixels are loaded."""
    bits, cicp = None, None
    file: Any = getattr(image, "fp", None)
    with suppress(OSError, ValueError, struct.error, IndexError, AttributeError):
        start = file.tell()
        try:
            bits, cicp = _READERS.get(str(image.format), _nothing)(file)
        finally:
            file.seek(start)
    if bits is None:
        bits = _bits_by_pillow(image)
    if "bit_depth" in image.info:  # pillow-heif
        bits = int(image.info["bit_depth"])
        nclx = image.info.get("nclx_profile") or {}
        with suppress(KeyError, TypeError):
            cicp = nclx["color_primaries"], nclx["transfer_characteristics"]
    return Facts(bits, cicp)


def raw_arguments(image: Image.Image) -> list[Any]:
    """Return what an image that is not loaded yet tells its decoders."""
    arguments: list[Any] = []
    for tile in getattr(image, "tile", []):
        arguments += tile[3] if isinstance(tile[3], tuple) else (tile[3],)
    return arguments


def png_chunks(file: BinaryIO) -> list[tuple[bytes, int, int]]:
    """Return type, position and length of the payload of each chunk of a PNG file."""
    file.seek(8)
    chunks = []
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        chunks.append((kind, file.tell(), length))
        file.seek(length + 4, 1)
    return chunks


def without_metadata(data: bytes) -> bytes:
    """Return a PNG or AVIF file whose metadata no reader looks at, other data as they are."""
    if data.startswith(b"\x89PNG"):
        from io import BytesIO

        kept = [data[:8]]
        for kind, position, length in png_chunks(BytesIO(data)):
            if kind not in _PNG_METADATA:
                kept.append(data[position - 8 : position + length + 4])
        return b"".join(kept)
    if data[4:8] == b"ftyp":
        bare = bytearray(data)
        for position in _places(data, b"infe"):  # version, flags, id, protection, type
            if data[position + 8 : position + 12] == b"Exif":
                bare[position + 8 : position + 12] = b"skip"
        return bytes(bare)
    return data


def _nothing(file: BinaryIO) -> tuple[int | None, tuple[int, int] | None]:
    return None, None


def _read_png(file: BinaryIO) -> tuple[int | None, tuple[int, int] | None]:
    """Source: PNG, third edition, sections 11.2.1 (IHDR) and 11.3.2.6 (cICP)."""
    bits, cicp = None, None
    for kind, position, length in png_chunks(file):
        file.seek(position)
        if kind == b"IHDR" and length == 13:
            bits = file.read(9)[8]
        elif kind == b"cICP" and length == 4:
            primaries, transfer = file.read(2)
            cicp = primaries, transfer
        elif kind == b"IDAT":
            break
    return bits, cicp


def _read_avif(file: BinaryIO) -> tuple[int | None, tuple[int, int] | None]:
    """Source: ISO/IEC 14496-12, 12.1.5 (colr), and AV1 in ISOBMFF, 2.3.3 (av1C)."""
    file.seek(0)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"meta":
            meta = file.read(min(length, _MAX_BOX_BYTES))
            break
        if length < 8:
            return None, None
        file.seek(length - 8, 1)
    else:
        return None, None
    bits = None
    for position in _places(meta, b"av1C"):
        flags = meta[position + 2]
        bits = max(bits or 0, (8, 10, 12)[(flags >> 6 & 1) + (flags >> 5 & flags >> 6 & 1)])
    for position in _places(meta, b"colrnclx"):
        primaries, transfer = struct.unpack_from(">HH", meta, position)
        return bits, (primaries, transfer)
    return bits, None


def _read_jpeg2000(file: BinaryIO) -> tuple[int | None, tuple[int, int] | None]:
    """Source: ISO/IEC 15444-1, A.5.1 (SIZ): depth - 1 of each component, bit 7 its sign."""
    file.seek(0)
    data = file.read(_SEARCHED_BYTES)
    for position in _places(data, b"\xff\x4f\xff\x51"):
        (count,) = struct.unpack_from(">H", data, position + 36)
        depths = data[position + 38 : position + 38 + 3 * count : 3]
        return max((depth & 0x7F) + 1 for depth in depths), None
    return None, None


def _read_sgi(file: BinaryIO) -> tuple[int | None, tuple[int, int] | None]:
    file.seek(3)
    return 8 * file.read(1)[0], None


_READERS = {
    "PNG": _read_png,
    "AVIF": _read_avif,
    "JPEG2000": _read_jpeg2000,
    "SGI": _read_sgi,
}


def _places(data: bytes, pattern: bytes) -> list[int]:
    """Return the positions after each occurrence of a pattern."""
    places, start = [], data.find(pattern)
    while start >= 0:
        places.append(start + len(pattern))
        start = data.find(pattern, start + 1)
    return places


def _bits_by_pillow(image: Image.Image) -> int:
    """Return the depth of the samples as far as Pillow's own fields tell."""
    depths = getattr(image, "tag_v2", {}).get(_TIFF_BITS_PER_SAMPLE)
    if depths is not None:
        return max(depths) if isinstance(depths, tuple) else int(depths)
    arguments = raw_arguments(image)
    if image.format == "PPM":
        is_wide = any(isinstance(value, int) and value > 255 for value in arguments)
        return 32 if image.mode == "F" else 16 if is_wide or image.mode == "I" else 8
    if image.format == "DDS" and arguments[:1] == [_BC6_HALF_FLOATS]:
        return 16
    if image.mode in ("I", "F"):
        return 32
    return 16 if image.mode.startswith("I;16") else 8
