"""Pictures out: images to files, with their metadata.

A file holds the picture as it is, or as well as its format can, or it is not written: formats are
listed here with what they hold, and the tests walk all that Pillow writes. What a format cannot
hold beside the samples is applied to them: the profile by converting to sRGB, the orientation by
turning.
"""

# Long because every format has its row and its rules here.

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageColor, ImageOps, PngImagePlugin

from imgcodec.codec.errors import ImageFormatError, OptionError, RefusedPictureError
from imgcodec.codec.files import write_atomically
from imgcodec.codec.picture.colour import space_of, to_srgb
from imgcodec.codec.picture.metadata import (
    DESCRIPTIVE_TAGS,
    PNG_XMP_KEY,
    TIFF_XMP_TAG,
    info_of_metadata,
    metadata_of_info,
    parse_exif,
    select_tags,
)
from imgcodec.codec.stream.kinds import METADATA

logger = logging.getLogger(__name__)

_ALL_MODES = ("L", "LA", "RGB", "RGBA")
_OPAQUE_MODES = ("L", "RGB")
_COLOUR_MODES = ("RGB", "RGBA")
_JPEG_OPTIONS = {"quality": 95, "subsampling": 0}
"""Beyond 95 files grow and pictures do not get better (Pillow's documentation)."""
_CODESTREAM_SUFFIXES = {".j2k", ".j2c", ".jpc"}
_MAX_GIF_COLOURS = 256
_MAX_ICO_PX = 256
_ICNS_SIZE = (1024, 1024)


@dataclass(frozen=True)
class _Format:
    """What a format holds.

    Attributes:
        modes: of pictures; others are written as RGB or RGBA.
        metadata: names of those that it has a place for.
        options: of Pillow's writer.
    """

    modes: tuple[str, ...] = _ALL_MODES
    metadata: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)


_EVERY = frozenset(METADATA)
_FORMATS = {
    "AVIF": _Format(metadata=_EVERY, options={"quality": 100, "subsampling": "4:4:4"}),
    "BMP": _Format(_OPAQUE_MODES),
    "CVB": _Format(metadata=_EVERY),
    "DDS": _Format(),
    "DIB": _Format(_OPAQUE_MODES),
    "EPS": _Format(_OPAQUE_MODES),
    "GIF": _Format(_OPAQUE_MODES),
    "ICNS": _Format(),
    "ICO": _Format(),
    "IM": _Format(),
    "JPEG": _Format(_OPAQUE_MODES, _EVERY, _JPEG_OPTIONS),
    "JPEG2000": _Format(),
    "MPO": _Format(_OPAQUE_MODES, _EVERY, _JPEG_OPTIONS),
    "PCX": _Format(_OPAQUE_MODES),
    "PDF": _Format(options=_JPEG_OPTIONS),
    # Half the time of Pillow's level 6, for two percent more bytes.
    "PNG": _Format(metadata=_EVERY, options={"compress_level": 4}),
    "PPM": _Format(_OPAQUE_MODES),
    "QOI": _Format(_COLOUR_MODES),
    "SGI": _Format(("L", "RGB", "RGBA")),
    "TGA": _Format(),
    "TIFF": _Format(metadata=_EVERY),
    "WEBP": _Format(_COLOUR_MODES, _EVERY, {"lossless": True, "exact": True}),
}
"""JPEG, MPO and PDF lose a little (quality 95, colours at full resolution), and so does AVIF
(quality 100); all others hold the samples exactly. The profile and metadata of a `.cvb` file are
read from the image by its plugin."""


def write_image(
    image: Image.Image,
    target: str | os.PathLike | BinaryIO,
    format: str | None = None,
    *,
    background: str | None = None,
) -> None:
    """Write an image with the ICC, EXIF and XMP in its `info`, losslessly where the format can.

    A path is written under a temporary name and renamed, so that it never holds half a file.
    Metadata that cannot be written are left out with a warning. Where the format has no place for
    them, the colours are converted to sRGB by the profile and the picture is turned as its EXIF
    says.

    Args:
        image: The image; modes other than L, LA, RGB and RGBA become RGB or RGBA.
        target: Path or binary file.
        format: Name that Pillow knows, such as "PNG"; by default the path's suffix decides.
        background: Colour in CSS notation to lay the picture on where it is transparent; None
            keeps the transparency.

    Raises:
        ImageFormatError: The format is unknown.
        RefusedPictureError: It cannot hold the image.
        OptionError: There is no such colour.
        OSError: The path cannot be written.
    """
    path = Path(target) if isinstance(target, (str, os.PathLike)) else None
    if format is None:
        if path is None:
            raise ImageFormatError("a format is needed to write an image to an open file")
        format = format_of(path.name)
    data = _encode(image, format.upper(), "" if path is None else path.suffix.lower(), background)
    if path is None:
        target.write(data)  # type: ignore[union-attr]
    else:
        write_atomically(path, data)


def format_of(name: str) -> str:
    """Return Pillow's name for the format that the suffix of a file's name stands for.

    Raises:
        ImageFormatError: There is no such format, or none that holds pictures.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in Image.EXTENSION:
        Image.init()  # takes long: all of Pillow's formats
    format = Image.EXTENSION.get(suffix)
    if format is None or format not in Image.SAVE or format not in _FORMATS:
        raise ImageFormatError(
            f"cannot tell a picture format from {name!r}: use a suffix such as .png"
        )
    return format


def parse_colour(text: str) -> tuple[int, int, int]:
    """Return red, green and blue of a colour in CSS notation, such as "white" or "#ff8000".

    Raises:
        OptionError: There is no such colour, or it is transparent itself.
    """
    try:
        red, green, blue, *alpha = ImageColor.getrgb(text)
    except ValueError:
        alpha = [0]
    if alpha:
        raise OptionError(f"{text!r} is no colour; use one such as white or #ff8000")
    return red, green, blue


def _encode(
    image: Image.Image, format: str, suffix: str, background: str | None
) -> bytes | memoryview:
    if format not in Image.SAVE:
        Image.init()
    if format not in _FORMATS or format not in Image.SAVE:
        raise ImageFormatError(f"pictures are not written as {format}")
    traits = _FORMATS[format]
    metadata = metadata_of_info(image.info)
    if image.mode not in _ALL_MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if background is not None:
        image = _flatten(image, parse_colour(background))
    _check_fits(image, format, traits)
    image, metadata = _keep_meaning(image, metadata, format, traits)
    if image.mode not in traits.modes:
        image = image.convert("RGBA" if "A" in image.mode else "RGB")
    if format == "GIF" and image.mode == "RGB":
        image = _with_palette(image)
    options = {**traits.options, **_format_options(image, format, suffix)}
    buffer = BytesIO()
    # The image goes without `info`: of that some writers take what was not asked for.
    image = image.copy()
    image.info = {}
    if format == "CVB":
        image.info.update(info_of_metadata(metadata))
    try:
        _save(image, buffer, format, {**options, **_metadata_options(metadata, format)})
        return buffer.getbuffer()
    except Exception as error:  # Pillow's writers raise whatever they like
        kept = _writable(metadata, image.mode, format)
        if kept == metadata:
            raise ImageFormatError(
                f"cannot write a {image.mode} image as {format}: {error or type(error).__name__}"
            ) from error
    labels, verb = _told([name for name in metadata if name not in kept])
    logger.warning("%s cannot be written to a %s file and %s left out", labels, format, verb)
    if "icc" in metadata and "icc" not in kept:
        image = _convert_to_srgb(image, metadata["icc"])
    buffer = BytesIO()
    try:
        _save(image, buffer, format, {**options, **_metadata_options(kept, format)})
    except Exception as error:
        raise ImageFormatError(f"cannot write a {image.mode} image as {format}: {error}") from error
    return buffer.getbuffer()


def _save(image: Image.Image, file: BinaryIO, format: str, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image.save(file, format=format, **options)


def _check_fits(image: Image.Image, format: str, traits: _Format) -> None:
    """Refuse what the format would lose or change."""
    if "A" in image.mode and not any("A" in mode for mode in traits.modes):
        raise RefusedPictureError(
            f"{format} has no transparency; write PNG, WebP or TIFF instead, or choose a background"
        )
    if format == "ICO" and max(image.size) > _MAX_ICO_PX:
        raise RefusedPictureError(f"ICO holds pictures of at most {_MAX_ICO_PX} pixels a side")
    if format == "ICNS" and image.size != _ICNS_SIZE:
        raise RefusedPictureError("ICNS holds sets of icons, of which 1024 x 1024 pixels make one")


def _told(names: list[str]) -> tuple[str, str]:
    """Return what messages call some metadata, and the verb."""
    return " and ".join(METADATA[name].label for name in names), "is" if len(names) == 1 else "are"


def _keep_meaning(
    image: Image.Image, metadata: dict[str, bytes], format: str, traits: _Format
) -> tuple[Image.Image, dict[str, bytes]]:
    """Apply the metadata that a format does not hold to the samples, and say so."""
    lost = [name for name in metadata if name not in traits.metadata]
    if lost:
        labels, verb = _told(lost)
        logger.warning("%s %s left out: %s has no place for that", labels, verb, format)
    if "exif" in lost:
        image = _turn(image, metadata["exif"])
    becomes_rgb = image.mode not in traits.modes
    is_misfit = becomes_rgb and space_of(metadata.get("icc", b"")) == "GRAY"
    if "icc" in lost or is_misfit:
        image = _convert_to_srgb(image, metadata["icc"])
        lost.append("icc")
    return image, {name: value for name, value in metadata.items() if name not in lost}


def _turn(image: Image.Image, exif: bytes) -> Image.Image:
    try:
        bare = image.copy()
        bare.info = {}
        bare.info.update(info_of_metadata({"exif": exif}))
        return ImageOps.exif_transpose(bare)
    except Exception:  # Pillow's parsers raise whatever they like on damage
        return image


def _convert_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the image in sRGB, in its own mode."""
    colours = image.convert("L" if image.mode in ("L", "LA") else "RGB")
    converted = to_srgb(colours, profile).convert(colours.mode)
    if "A" in image.mode:
        converted.putalpha(image.getchannel("A"))
    return converted


def _flatten(image: Image.Image, colour: tuple[int, int, int]) -> Image.Image:
    """Return the image on a background, grey where both are."""
    if "A" not in image.mode:
        return image
    canvas = Image.new("RGBA", image.size, (*colour, 255))
    canvas.alpha_composite(image.convert("RGBA"))
    is_gray = image.mode == "LA" and len(set(colour)) == 1
    return canvas.convert("RGB").getchannel(0) if is_gray else canvas.convert("RGB")


def _with_palette(image: Image.Image) -> Image.Image:
    """Return an RGB image with a palette of exactly its colours."""
    wide = np.asarray(image).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    colours, indexes = np.unique(wide, return_inverse=True)
    if len(colours) > _MAX_GIF_COLOURS:
        raise RefusedPictureError(
            f"GIF holds {_MAX_GIF_COLOURS} colours, the picture has {len(colours)}; "
            "write PNG or WebP instead"
        )
    paletted = Image.fromarray(indexes.reshape(wide.shape).astype(np.uint8))
    palette = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    paletted.putpalette(palette.astype(np.uint8).tobytes())
    return paletted


def _format_options(image: Image.Image, format: str, suffix: str) -> dict[str, Any]:
    if format == "ICO":
        return {"sizes": [image.size]}
    if format == "GIF":
        return {"optimize": False}  # which makes a palette of grey
    if format == "JPEG2000" and suffix in _CODESTREAM_SUFFIXES:
        return {"no_jp2": True}
    return {}


def _metadata_options(metadata: dict[str, bytes], format: str) -> dict[str, Any]:
    """Return what Pillow's writer wants to be given of the metadata."""
    if format == "CVB":
        return {}
    options: dict[str, Any] = dict(info_of_metadata(metadata))
    xmp = metadata.get("xmp")
    if format == "PNG" and xmp:
        del options["xmp"]
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt(PNG_XMP_KEY, _text_of_xmp(xmp))
    elif format == "TIFF":
        tags = Image.Exif()
        if "exif" in metadata:
            # The others describe the layout of the file that they come from.
            tags = select_tags(parse_exif(metadata["exif"]), DESCRIPTIVE_TAGS)
        if xmp:
            tags[TIFF_XMP_TAG] = xmp
        for name in set(options) - {"icc_profile"}:
            del options[name]
        if len(tags):
            options["exif"] = parse_exif(tags.tobytes())  # directories as the writer wants them
    return options


def _text_of_xmp(xmp: bytes) -> str:
    """Return XMP as text.

    Raises:
        ValueError: It is none in UTF-8, UTF-16 or UTF-32.
    """
    if xmp.startswith((b"\xff\xfe", b"\xfe\xff")):
        return xmp.decode("utf-16")
    return xmp.decode()


def _writable(metadata: dict[str, bytes], mode: str, format: str) -> dict[str, bytes]:
    """Return those metadata that a format takes, each tried with a small picture."""
    kept = {}
    for name, value in metadata.items():
        try:
            options = _metadata_options({name: value}, format)
            _save(Image.new(mode, (16, 16)), BytesIO(), format, options)
        except Exception:  # Pillow's writers raise whatever they like
            continue
        kept[name] = value
    return kept
