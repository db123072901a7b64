"""Pictures: whatever Pillow reads, to 8-bit RGB with alpha and metadata, and back."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

from imgcodec.codec.container import MAX_PIXELS
from imgcodec.codec.errors import ImageFormatError

PictureSource = str | os.PathLike | Image.Image | NDArray | bytes | BinaryIO

logger = logging.getLogger(__name__)

_pillow_lock = threading.Lock()
_EXIF_PREFIX = b"Exif\0\0"
_GRAY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
_ONE_PICTURE_FORMATS = {"MPO", "PSD"}
"""Formats whose further frames are previews, gain maps or layers of the picture itself."""
_TIFF_BITS_PER_SAMPLE = 258
_TIFF_EXIF_TAGS = {270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432, 34665, 34853}
"""Tags of a TIFF file that describe the picture rather than the layout of the file."""
_EXIF_DIRECTORIES = {34665, 34853}
_RGB_MODES = {"RGB", "RGBA", "RGBX", "RGBa"}
_LIMIT_MESSAGE = "the picture has more than {} pixels; raise the limit if it can be trusted"
_PNG_XMP_KEY = "XML:com.adobe.xmp"


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


def read_picture(
    source: PictureSource,
    *,
    frame: int | None = None,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Picture:
    """Read a picture as it is shown, in 8 bits a sample.

    Grey modes stay grey. Palettes, CMYK, YCbCr, HSV and Lab become RGB, which is logged (CMYK goes
    through the embedded profile where there is one). More than 8 bits a sample are reduced to 8
    with a warning.

    Args:
        source: Path, Pillow image, uint8 array HxWx3, HxWx4 or HxW, encoded bytes or binary file.
        frame: Which frame of a file with several, from 0. None refuses such files; of a Pillow
            image it takes the current frame.
        strict: Refuse pictures that would lose bits, instead of the warning.
        max_pixels: Refuse larger pictures before they are decoded.

    Raises:
        ImageFormatError: The source is not a readable picture, or is refused as said above.
        OSError: The path cannot be opened.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        return _from_pil(source, frame, strict, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(BytesIO(source), frame, strict, max_pixels)
    if isinstance(source, (str, os.PathLike)):
        with Path(source).open("rb") as file:
            return _from_file(file, frame, strict, max_pixels)
    if hasattr(source, "read"):
        return _from_file(BytesIO(source.read()), frame, strict, max_pixels)
    raise ImageFormatError(f"cannot read a picture from {type(source).__name__}")


def to_pil(picture: Picture) -> Image.Image:
    """Return the picture as L, LA, RGB or RGBA with its metadata in `info`."""
    pixels = picture.pixels
    if picture.is_gray:
        pixels = ((pixels.sum(axis=2, dtype=np.uint16) + 1) // 3).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(picture.alpha)))
    image.info.update(info_of_metadata(picture.metadata))
    return image


def mode_of(is_gray: bool, has_alpha: bool) -> str:
    """Return Pillow's name for how `to_pil` shows a picture."""
    return ("L" if is_gray else "RGB") + ("A" if has_alpha else "")


def info_of_metadata(metadata: dict[str, bytes]) -> dict[str, bytes]:
    """Return metadata as Pillow keeps them in `info`: icc_profile, exif (with prefix), xmp."""
    names = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}
    prefixes = {"exif": _EXIF_PREFIX}
    return {names[name]: prefixes.get(name, b"") + value for name, value in metadata.items()}


@contextmanager
def _format_errors() -> Iterator[None]:
    try:
        yield
    except ImageFormatError:
        raise
    except UnidentifiedImageError as error:
        raise ImageFormatError("not a picture in a format that Pillow reads") from error
    except Exception as error:  # Pillow's readers raise whatever they like on damaged files
        raise ImageFormatError(f"cannot read the picture: {error}") from error


@contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Put our limit in the place of Pillow's, which some readers heed before they allocate."""
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ImageFormatError(_LIMIT_MESSAGE.format(max_pixels)) from error
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageFormatError(_LIMIT_MESSAGE.format(max_pixels))


@_format_errors()
def _from_file(file: BinaryIO, frame: int | None, strict: bool, max_pixels: int) -> Picture:
    with _pillow_limit(max_pixels), Image.open(file) as image:
        num_frames = getattr(image, "n_frames", 1)
        if frame is None and num_frames > 1:
            if image.format not in _ONE_PICTURE_FORMATS:
                raise ImageFormatError(
                    f"the file has {num_frames} frames, and a .cvb file holds one: choose it by "
                    f"its number, frame 0 to {num_frames - 1}"
                )
            logger.info("the first of %d pictures in the file is taken", num_frames)
        return _from_pil(image, frame, strict, max_pixels)


def _from_array(array: NDArray, max_pixels: int) -> Picture:
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not is_picture or array.size == 0:
        raise ImageFormatError(
            f"an array must be uint8 HxWx3, HxWx4 or HxW, got {array.dtype} {array.shape}"
        )
    _check_size(array.shape[1], array.shape[0], max_pixels)
    if array.ndim == 2:
        return Picture(np.repeat(array[..., None], 3, axis=2), is_gray=True)
    alpha = array[..., 3].copy() if array.shape[2] == 4 else None
    return Picture(array[..., :3].copy(), alpha)


@_format_errors()
def _from_pil(image: Image.Image, frame: int | None, strict: bool, max_pixels: int) -> Picture:
    if frame is not None:
        _seek(image, frame)
    if 0 in image.size:
        raise ImageFormatError("the picture is empty")
    _check_size(*image.size, max_pixels)
    raw_modes = _raw_modes(image)
    bits = _bits_per_sample(image, raw_modes)
    if bits > 8:
        if strict:
            raise ImageFormatError(f"the picture has {bits} bits a sample, a .cvb file has 8")
        logger.warning("%d bits a sample are reduced to 8", bits)
    image.load()
    metadata = _read_metadata(image)
    has_alpha = image.has_transparency_data
    is_gray = image.mode in _GRAY_MODES or "LA;16B" in raw_modes
    if is_gray and not has_alpha:
        gray = _gray_pixels(image)
        return Picture(np.repeat(gray[..., None], 3, axis=2), is_gray=True, metadata=metadata)
    if not is_gray and image.mode not in _RGB_MODES:
        name = "palette" if image.mode in ("P", "PA") else image.mode
        logger.info("%s colours are converted to RGB", name)
    if image.mode in ("CMYK", "LAB"):
        # The profile describes colours that are gone after the conversion.
        image = _convert_to_srgb(image, metadata.pop("icc", None))
    if not has_alpha:
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        return Picture(np.array(rgb), metadata=metadata)
    rgba = np.array(_with_alpha(image))
    return Picture(rgba[..., :3].copy(), rgba[..., 3].copy(), is_gray, metadata)


def _seek(image: Image.Image, frame: int) -> None:
    num_frames = getattr(image, "n_frames", 1)
    if not 0 <= frame < num_frames:
        raise ImageFormatError(f"there is no frame {frame}: the file has {num_frames}, from 0")
    image.seek(frame)


def _raw_modes(image: Image.Image) -> set[Any]:
    """Return what an image that is not loaded yet says of the samples in its file."""
    arguments = [tile[3] for tile in getattr(image, "tile", [])]
    return {value for entry in arguments for value in _as_tuple(entry)}


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _bits_per_sample(image: Image.Image, raw_modes: set[Any]) -> int:
    """Return the depth of the samples in the file, where Pillow would silently keep 8 bits too."""
    tags = getattr(image, "tag_v2", {})
    if _TIFF_BITS_PER_SAMPLE in tags:
        return max(_as_tuple(tags[_TIFF_BITS_PER_SAMPLE]))
    if image.mode in ("I", "F"):
        return 16 if image.format in ("PNG", "PPM") else 32
    is_wide_png = any(str(name).endswith((";16B", ";16N")) for name in raw_modes)
    is_wide_ppm = image.format == "PPM" and any(
        isinstance(value, int) and value > 255 for value in raw_modes
    )
    return 16 if image.mode.startswith("I;16") or is_wide_png or is_wide_ppm else 8


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
    if image.format == "TIFF":
        exif = _tiff_exif(image)
    elif "Raw profile type exif" in info:  # how ImageMagick wrote it before PNG had a chunk for it
        exif = image.getexif()
    if isinstance(exif, Image.Exif):
        exif = exif.tobytes()
    xmp = info.get("xmp") or info.get(_PNG_XMP_KEY) or b""
    found = {
        "icc": info.get("icc_profile") or b"",
        "exif": exif.removeprefix(_EXIF_PREFIX),
        "xmp": xmp.encode() if isinstance(xmp, str) else xmp,
    }
    return {name: bytes(value) for name, value in found.items() if value}


def _tiff_exif(image: Image.Image) -> Image.Exif | bytes:
    """Return the tags that are not about the file itself; Pillow has applied the orientation."""
    tags = image.getexif()
    exif = Image.Exif()
    for tag in _TIFF_EXIF_TAGS & set(tags):
        exif[tag] = tags.get_ifd(tag) if tag in _EXIF_DIRECTORIES else tags[tag]
    return exif if len(exif) else b""
