"""Pictures to files, with their metadata."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin

from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.files import write_atomically

_NO_ALPHA_FORMATS = {"JPEG", "MPO", "PPM"}
_PNG_XMP_KEY = "XML:com.adobe.xmp"


def write_image(
    image: Image.Image, target: str | os.PathLike | BinaryIO, format: str | None = None
) -> None:
    """Write an image with the ICC, EXIF and XMP in its `info`, losslessly where the format can.

    A path is written under a temporary name and renamed, so that it never holds half a file.

    Args:
        image: The image.
        target: Path or binary file.
        format: Name that Pillow knows, such as "PNG"; by default the path's suffix decides.

    Raises:
        ImageFormatError: The format is unknown or cannot hold the image.
        OSError: The path cannot be written.
    """
    path = Path(target) if isinstance(target, (str, os.PathLike)) else None
    if format is None:
        if path is None:
            raise ImageFormatError("a format is needed to write an image to an open file")
        format = format_of(path.name)
    format = format.upper()
    if format in _NO_ALPHA_FORMATS and image.mode in ("LA", "RGBA"):
        raise ImageFormatError(f"{format} has no transparency; write PNG, WebP or TIFF instead")
    buffer = BytesIO()
    try:
        image.save(buffer, format=format, **_save_options(image, format))
    except Exception as error:  # Pillow's writers raise whatever they like
        raise ImageFormatError(f"cannot write a {image.mode} image as {format}: {error}") from error
    if path is None:
        target.write(buffer.getbuffer())  # type: ignore[union-attr]
    else:
        write_atomically(path, buffer.getbuffer())


def format_of(name: str) -> str:
    """Return Pillow's name for the format that the suffix of a file's name stands for.

    Raises:
        ImageFormatError: Pillow writes no such files.
    """
    Image.init()
    format = Image.EXTENSION.get(Path(name).suffix.lower())
    if format is None or format not in Image.SAVE:
        raise ImageFormatError(f"cannot tell an image format from the name {name!r}")
    return format


def _save_options(image: Image.Image, format: str) -> dict[str, Any]:
    options: dict[str, Any] = {"icc_profile": image.info.get("icc_profile")}
    if image.info.get("exif"):
        options["exif"] = image.info["exif"]
    xmp = image.info.get("xmp")
    if format == "PNG" and xmp:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt(_PNG_XMP_KEY, xmp.decode("utf-8", "replace"))
    elif format == "TIFF" and xmp:
        options["tiffinfo"] = {700: xmp}
    elif xmp:
        options["xmp"] = xmp
    if format == "WEBP":
        options.update(lossless=True, exact=True)
    elif format == "JPEG":
        options.update(quality=95, subsampling=0)
    return options
