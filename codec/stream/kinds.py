"""Kinds of metadata: the one table of what they are called, here and elsewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetadataKind:
    """How a kind of metadata is named.

    Attributes:
        letter: type of its chunk in a `.cvb` file.
        label: in messages.
        pillow_key: in the `info` of a Pillow image.
        raw_profiles: names that ImageMagick gave it in PNG text chunks, before there were better.
    """

    letter: bytes
    label: str
    pillow_key: str
    raw_profiles: tuple[str, ...]


METADATA = {
    "icc": MetadataKind(b"i", "ICC profile", "icc_profile", ("icc", "icm")),
    "exif": MetadataKind(b"e", "EXIF", "exif", ("exif", "APP1")),
    "xmp": MetadataKind(b"x", "XMP", "xmp", ("xmp", "APP1")),
}
