"""Pictures in and out: what Pillow reads to 8-bit RGB with alpha and metadata, and back."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from imgcodec.codec.errors import CorruptStreamError, ImageFormatError
from imgcodec.codec.files import write_atomically

_EXIF_PREFIX = b"Exif\0\0"
_GRAY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_XMP_KEY = "XML:com.adobe.xmp"
_NO_ALPHA_FORMATS = {"JPEG", "MPO", "PPM"}


@dataclass(frozen=True)
class Picture:
    """A picture as the codec sees it.

    Attributes:
        pixels: uint8 (H, W, 3); grey pictures have three equal channels.
        alpha: uint8 (H, W), straight (not premultiplied), or None.
        is_gray: The picture has one colour channel and is written back as such.
        metadata: "icc" (profile), "exif" (TIFF block without the Exif prefix), "xmp" (packet).
            The EXIF orientation is not applied to the pixels.

    Raises:
        ImageFormatError: Shapes or types do not fit.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    is_gray: bool = False
    metadata: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ImageFormatError(f"pixels must be uint8 (H, W, 3) and not empty, got {shape}")
        if self.alpha is not None and (
            self.alpha.dtype != np.uint8 or self.alpha.shape != shape[:2]
        ):
            raise ImageFormatError(f"alpha must be uint8 {shape[:2]}, got {self.alpha.shape}")


def read_picture(source: str | os.PathLike | Image.Image | NDArray | bytes | BinaryIO) -> Picture:
    """Read a picture.

    Grey modes stay grey; palettes, CMYK, YCbCr, HSV and Lab become RGB (through the embedded
    profile where there is one for CMYK); 16-bit grey is rounded to 8 bits; only the first frame is
    read.

    Args:
        source: Path, Pillow image, uint8 array HxWx3, HxWx4 or HxW, encoded bytes or binary file.

    Raises:
        ImageFormatError: The source is not a readable picture.
        OSError: The path cannot be opened.
    """
    if isinstance(source, Image.Image):
        return _guarded(_from_pil, source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _guarded(_from_file, BytesIO(source))
    if isinstance(source, (str, os.PathLike)):
        with Path(source).open("rb") as file:
            return _guarded(_from_file, file)
    if hasattr(source, "read"):
        return _guarded(_from_file, BytesIO(source.read()))
    raise ImageFormatError(f"cannot read a picture from {type(source).__name__}")


def to_pil(picture: Picture) -> Image.Image:
    """Return the picture as L, LA, RGB or RGBA with metadata in `info` (icc_profile, exif, xmp)."""
    pixels = picture.pixels
    if picture.is_gray:
        pixels = ((pixels.sum(axis=2, dtype=np.uint16) + 1) // 3).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(picture.alpha)))
    metadata = picture.metadata
    if "icc" in metadata:
        image.info["icc_profile"] = metadata["icc"]
    if "exif" in metadata:
        image.info["exif"] = _EXIF_PREFIX + metadata["exif"]
    if "xmp" in metadata:
        image.info["xmp"] = metadata["xmp"]
    return image


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
        Image.init()
        format = Image.EXTENSION.get(path.suffix.lower())
        if format is None or format not in Image.SAVE:
            raise ImageFormatError(f"cannot tell an image format from the name {path.name!r}")
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


def _guarded(read: Any, source: Any) -> Picture:
    try:
        return read(source)
    except ImageFormatError:
        raise
    except Exception as error:  # Pillow's readers raise whatever they like on damaged files
        raise ImageFormatError(f"cannot read the picture: {error}") from error


def _from_file(file: BinaryIO) -> Picture:
    with Image.open(file) as image:
        return _from_pil(image)


def _from_array(array: NDArray) -> Picture:
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not is_picture or array.size == 0:
        raise ImageFormatError(
            f"an array must be uint8 HxWx3, HxWx4 or HxW, got {array.dtype} {array.shape}"
        )
    if array.ndim == 2:
        return Picture(np.repeat(array[..., None], 3, axis=2), is_gray=True)
    alpha = array[..., 3].copy() if array.shape[2] == 4 else None
    return Picture(array[..., :3].copy(), alpha)


def _from_pil(image: Image.Image) -> Picture:
    image.load()
    if 0 in image.size:
        raise ImageFormatError("the picture is empty")
    metadata = _read_metadata(image)
    has_alpha = image.has_transparency_data
    is_gray = image.mode in _GRAY_MODES
    if is_gray and not has_alpha:
        gray = _gray_pixels(image)
        return Picture(np.repeat(gray[..., None], 3, axis=2), is_gray=True, metadata=metadata)
    if image.mode in ("CMYK", "LAB"):
        # The profile describes colours that are gone after the conversion.
        rgb = _convert_to_srgb(image, metadata.pop("icc", None))
        return Picture(np.array(rgb), metadata=metadata)
    if not has_alpha:
        return Picture(np.array(image.convert("RGB")), metadata=metadata)
    rgba = np.array(_with_alpha(image))
    return Picture(rgba[..., :3].copy(), rgba[..., 3].copy(), is_gray, metadata)


def _gray_pixels(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # 16 bits, whatever the container type
        wide = np.clip(np.array(image).astype(np.int64), 0, 0xFFFF)
        return ((wide + 128) // 257).astype(np.uint8)
    return np.array(image.convert("L"))


def _with_alpha(image: Image.Image) -> Image.Image:
    """Return RGBA; grey with a transparent 16-bit value included."""
    key = image.info.get("transparency")
    if image.mode.startswith("I") and isinstance(key, int):
        gray = Image.fromarray(_gray_pixels(image))
        gray.putalpha(Image.fromarray(np.where(np.array(image) == key, 0, 255).astype(np.uint8)))
        return gray.convert("RGBA")
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _convert_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    try:
        if image.mode == "LAB":
            source: Any = ImageCms.createProfile("LAB")
        elif profile:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
        else:
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
        assert converted is not None  # it is only when converting in place
        return converted
    except (ImageCms.PyCMSError, OSError):
        if image.mode == "LAB":
            raise
        return image.convert("RGB")  # the profile is unusable


def _read_metadata(image: Image.Image) -> dict[str, bytes]:
    info = image.info
    exif = info.get("exif") or b""
    if isinstance(exif, Image.Exif):
        exif = exif.tobytes()
    xmp = info.get("xmp") or info.get(_PNG_XMP_KEY) or b""
    found = {
        "icc": info.get("icc_profile") or b"",
        "exif": exif.removeprefix(_EXIF_PREFIX),
        "xmp": xmp.encode() if isinstance(xmp, str) else xmp,
    }
    return {name: bytes(value) for name, value in found.items() if value}


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
