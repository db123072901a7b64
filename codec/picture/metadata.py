"""ICC profile, EXIF and XMP: how Pillow keeps them, and what of them can be read or written.

Metadata never cost the picture: what cannot be read or written is left out with a warning, and of
EXIF only the tags that are at fault.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from PIL import ExifTags, Image

from imgcodec.codec.stream.kinds import METADATA

logger = logging.getLogger(__name__)

EXIF_PREFIX = b"Exif\0\0"
PNG_XMP_KEY = "XML:com.adobe.xmp"
TIFF_XMP_TAG = 700
ORIENTATION = int(ExifTags.Base.Orientation)
DESCRIPTIVE_TAGS = frozenset(
    {269, 270, 271, 272, ORIENTATION, 282, 283, 285, 296, 305, 306, 315, 316, 18246, 18249, 33432}
    | {34665, 34853, 36867, 36868, 40091, 40092, 40093, 40094, 40095, 42016}
)
"""EXIF tags of the main directory that describe the picture: title, camera, orientation,
resolution, software, date, artist, rating, copyright, EXIF and GPS directories, and the XP fields.
All others say how a TIFF file is laid out, or are private (TIFF 6.0; Exif 3.0, section 4.6.5)."""

_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_RAW_PROFILE = "Raw profile type "


def info_of_metadata(metadata: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return metadata as Pillow keeps them in `info`: icc_profile, exif (with prefix), xmp."""
    prefixes = {"exif": EXIF_PREFIX}
    return {
        METADATA[name].pillow_key: prefixes.get(name, b"") + value
        for name, value in metadata.items()
    }


def metadata_of_info(info: Mapping[Any, Any]) -> dict[str, bytes]:
    """Return what `info_of_metadata` returned the info of; values of odd types are left out."""
    found = {
        name: _try_to_read(name, partial(info.get, kind.pillow_key))
        for name, kind in METADATA.items()
    }
    return {name: value for name, value in found.items() if value}


def read_metadata(image: Image.Image) -> dict[str, bytes]:
    """Return the metadata of an image that is loaded; warn about what cannot be read.

    Returns:
        Of "icc", "exif" (TIFF block without prefix) and "xmp" those that there are. Of a TIFF file
        the tags that are not about the file itself, without the orientation: Pillow applies it.
    """
    found = {name: _try_to_read(name, partial(_find, image, name)) for name in METADATA}
    return {name: value for name, value in found.items() if value}


def repair_info(info: dict[Any, Any]) -> None:
    """Give XMP the type that Pillow's own `load` expects of it, or take it out of `info`."""
    if not isinstance(info.get("xmp", b""), bytes):
        info["xmp"] = _try_to_read("xmp", partial(info.get, "xmp"))


def parse_exif(block: bytes) -> Image.Exif:
    """Return the tags of an EXIF block, with or without its prefix.

    Raises:
        Exception: The block is damaged; Pillow raises several types.
    """
    exif = Image.Exif()
    exif.load(EXIF_PREFIX + block.removeprefix(EXIF_PREFIX))
    return exif


def select_tags(exif: Image.Exif, tags: Iterable[int]) -> Image.Exif:
    """Return those tags of an EXIF block that can be written; warn about the others."""
    chosen = Image.Exif()
    lost: list[int] = []
    for tag in sorted(set(tags) & set(exif)):
        try:
            value = _directory(exif, tag, lost) if tag in _DIRECTORIES else exif[tag]
            if not _can_write(tag, value):
                raise ValueError
        except Exception:  # Pillow's parsers raise whatever they like on damage
            lost.append(tag)
        else:
            chosen[tag] = value
    if lost:
        names = ", ".join(str(ExifTags.TAGS.get(tag, tag)) for tag in lost)
        logger.warning("EXIF that cannot be written is left out: %s", names)
    return chosen


_DIRECTORIES = {int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)}


def _directory(exif: Image.Exif, tag: int, lost: list[int]) -> dict[int, Any]:
    entries = {}
    for key, value in exif.get_ifd(tag).items():
        if key == ExifTags.IFD.Interop and not isinstance(value, dict):
            value = exif.get_ifd(key)
        if _can_write(tag, {key: value}):
            entries[key] = value
        else:
            lost.append(key)
    return entries


def _can_write(tag: int, value: Any) -> bool:
    """Return whether Pillow writes a tag such that it can be read again."""
    try:
        exif = Image.Exif()
        exif[tag] = value
        again = parse_exif(exif.tobytes())
        if tag in _DIRECTORIES:
            return set(again.get_ifd(tag)) == set(value)
        return tag in again and again[tag] is not None
    except Exception:  # Pillow's writers raise whatever they like on odd types
        return False


def _try_to_read(name: str, find: Callable[[], Any]) -> bytes:
    try:
        value = _as_bytes(find())
    except Exception as error:  # Pillow's parsers raise whatever they like on damage
        reason = str(error) or type(error).__name__
        logger.warning("%s cannot be read and is left out: %s", METADATA[name].label, reason)
        return b""
    return value.removeprefix(EXIF_PREFIX) if name == "exif" else value


def _find(image: Image.Image, name: str) -> Any:
    """Return a kind of metadata of a loaded image as Pillow gives it, or None."""
    if name == "exif" and image.format == "TIFF":
        chosen = select_tags(image.getexif(), DESCRIPTIVE_TAGS - {ORIENTATION})
        return chosen if len(chosen) else None
    value = image.info.get(METADATA[name].pillow_key)
    if not value and name == "xmp":
        value = image.info.get(PNG_XMP_KEY)
    return value or _find_raw_profile(image.info, name)


def _find_raw_profile(info: Mapping[Any, Any], name: str) -> bytes | None:
    """Return metadata that ImageMagick wrote as hexadecimal text into a PNG file."""
    for kind in METADATA[name].raw_profiles:
        text = info.get(_RAW_PROFILE + kind)
        if not isinstance(text, str):
            continue
        _, length, digits = text.strip().split("\n", 2)
        data = bytes.fromhex(digits)
        if len(data) != int(length):
            raise ValueError(f"the raw profile has {len(data)} bytes, not {int(length)}")
        if kind != "APP1":
            return data
        if name == "exif" and data.startswith(EXIF_PREFIX):
            return data
        if name == "xmp" and data.startswith(_XMP_PREFIX):
            return data.removeprefix(_XMP_PREFIX)
    return None


def _as_bytes(value: Any) -> bytes:
    """Return metadata as bytes, whatever type a plugin gave them."""
    if value is None:
        return b""
    if isinstance(value, Image.Exif):
        return value.tobytes()
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], bytes | str):
        return _as_bytes(value[0])
    if isinstance(value, tuple | list | bytes | bytearray | memoryview):
        return bytes(value)
    raise TypeError(f"{type(value).__name__} instead of bytes")
