"""Pictures in: whatever Pillow reads, to 8-bit RGB with alpha and metadata."""

# Long because every way in which a file can mislead has its place here.

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from imgcodec.codec.errors import ImageFormatError, RefusedPictureError
from imgcodec.codec.picture.base import Picture
from imgcodec.codec.picture.colour import HDR_TRANSFERS, profile_of_file, space_of, to_srgb
from imgcodec.codec.picture.depth import has_signed_bytes, is_wide, reduce_wide
from imgcodec.codec.picture.jpeg2000 import restore_white
from imgcodec.codec.picture.metadata import EXIF_PREFIX, read_metadata, repair_info
from imgcodec.codec.picture.probe import Facts, probe, raw_arguments, without_metadata
from imgcodec.codec.picture.tiff import further_modes, kind_of_tiff, prepare_tiff, widen_palette
from imgcodec.codec.stream.container import MAX_PIXELS

PictureSource = str | os.PathLike | Image.Image | NDArray | bytes | BinaryIO | Picture

logger = logging.getLogger(__name__)

_pillow_lock = threading.Lock()
_GRAY_MODES = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"}
_ONE_PICTURE_FORMATS = {"MPO", "PSD"}
"""Formats whose further frames are previews, gain maps or layers of the picture itself."""
_RGB_MODES = {"RGB", "RGBA", "RGBX", "RGBa"}
_LIMIT_MESSAGE = "the picture has more than {} pixels; raise max_pixels if it can be trusted"
_PNG_TEXT_BYTES = PngImagePlugin.MAX_TEXT_MEMORY
"""XMP of a megabyte and more is not rare; what all texts of a file may take guards us already."""


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
    with a warning, from what the file says is black to what it says is white; HDR pictures (PQ,
    HLG) are read as if they were not, with a warning. Colours that a file describes by code points
    or by gamma and chromaticities get a profile of them. Metadata that cannot be read are left out
    with a warning.

    Args:
        source: Path, Pillow image, uint8 array HxWx3, HxWx4 or HxW, encoded bytes or binary file;
            a picture that was read already is returned as it is.
        frame: Which frame of a file with several, from 0. None refuses such files; of a Pillow
            image it takes the current frame. Frame 0 of a PSD file is the whole picture, the
            layers follow.
        strict: Refuse pictures that would lose bits or are HDR, instead of the warning.
        max_pixels: Refuse larger pictures before they are decoded.

    Raises:
        ImageFormatError: The source is not a readable picture.
        RefusedPictureError: It is refused as said above.
        OSError: The path cannot be opened.
    """
    if isinstance(source, Picture):
        return source
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


@contextmanager
def _format_errors() -> Iterator[None]:
    try:
        yield
    except ImageFormatError:
        raise
    except UnidentifiedImageError as error:
        raise ImageFormatError("not a picture in a format that Pillow reads") from error
    except Exception as error:  # Pillow's readers raise whatever they like on damaged files
        reason = str(error) or type(error).__name__
        raise ImageFormatError(f"cannot read the picture: {reason}") from error


@contextmanager
def _pillow_manners(max_pixels: int) -> Iterator[None]:
    """Put our limits in the place of Pillow's, and its warnings into our log.

    Some readers heed the number of pixels before they allocate.
    """
    with _pillow_lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = max_pixels, _PNG_TEXT_BYTES
        try:
            yield
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise RefusedPictureError(_LIMIT_MESSAGE.format(max_pixels)) from error
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before
            for text in dict.fromkeys(str(warning.message) for warning in caught):
                logger.warning("%s", text)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise RefusedPictureError(_LIMIT_MESSAGE.format(max_pixels))


def _from_file(file: BinaryIO, frame: int | None, strict: bool, max_pixels: int) -> Picture:
    try:
        return _from_open(file, frame, strict, max_pixels)
    except ImageFormatError as error:
        if error.__cause__ is None:  # it is refused, not damaged
            raise
        file.seek(0)
        data = file.read()
        kind = kind_of_tiff(data)
        if kind is not None and isinstance(error.__cause__, UnidentifiedImageError):
            raise ImageFormatError(f"Pillow does not read such files: {kind}") from error.__cause__
        bare = without_metadata(data)
        if bare == data:
            raise
        try:
            picture = _from_open(BytesIO(bare), frame, strict, max_pixels)
        except ImageFormatError:
            raise error from error.__cause__
        logger.warning("damaged metadata are left out (%s)", error.__cause__)
        return picture


@_format_errors()
def _from_open(file: BinaryIO, frame: int | None, strict: bool, max_pixels: int) -> Picture:
    with _pillow_manners(max_pixels), further_modes(), Image.open(file) as image:
        num_frames = _num_frames(image)
        if frame is None and num_frames > 1:
            if image.format not in _ONE_PICTURE_FORMATS:
                raise RefusedPictureError(
                    f"the file has {num_frames} frames, and a .cvb file holds one: choose it by "
                    f"its number, frame 0 to {num_frames - 1} (--frame N)"
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
    facts = probe(image)
    losses = _losses(facts)
    if strict and losses:
        raise RefusedPictureError(losses[0].refusal)
    picture = _picture_of(image, facts)
    for loss in losses:
        logger.warning("%s", loss.warning)
    return picture


def _picture_of(image: Image.Image, facts: Facts) -> Picture:
    """Return what an image shows, in 8 bits a sample."""
    is_wide_gray = "LA;16B" in raw_arguments(image)
    key = _wide_colour_key(image, facts)
    has_wrapped = image.format == "JPEG2000" and facts.bits > 8 and not is_wide(image)
    data = _file_of(image) if has_wrapped else b""
    repair_info(image.info)
    _scale_colour_key(image, facts)
    prepare_tiff(image)
    image.load()
    widen_palette(image)
    if data:
        image = restore_white(image, data)
    is_gray = image.mode in _GRAY_MODES or is_wide_gray
    metadata = read_metadata(image)
    if "icc" not in metadata and (profile := profile_of_file(image, facts, is_gray)):
        metadata["icc"] = profile
    if key is not None:
        return Picture(np.array(image.convert("RGB")), key, metadata=_fitting(metadata, False))
    if is_wide(image):
        gray, alpha = reduce_wide(image, facts.bits), _alpha_of_wide(image)
        return Picture(np.repeat(gray[..., None], 3, axis=2), alpha, True, _fitting(metadata, True))
    if image.format == "PSD" and image.mode == "1":  # whose set bits are black
        image = image.convert("L").point([255 - value for value in range(256)])
    if has_signed_bytes(image):
        image = image.point([value ^ 0x80 for value in range(256)])
    if not is_gray and image.mode not in _RGB_MODES:
        name = "palette" if image.mode in ("P", "PA") else image.mode
        logger.info("%s colours are converted to RGB", name)
    if image.mode == "P" and image.palette is None:  # of an ICNS file
        image = image.convert("RGB")
    has_alpha = image.has_transparency_data
    if image.mode in ("CMYK", "LAB"):
        # The profile describes colours that are gone after the conversion.
        profile = metadata.pop("icc", None)
        image = to_srgb(image, profile if space_of(profile or b"") == image.mode else None)
    metadata = _fitting(metadata, is_gray)
    if not has_alpha:
        return Picture(np.array(image.convert("RGB")), None, is_gray, metadata)
    rgba = np.array((image.convert("LA") if image.mode == "La" else image).convert("RGBA"))
    return Picture(rgba[..., :3].copy(), rgba[..., 3].copy(), is_gray, metadata)


def _file_of(image: Image.Image) -> bytes:
    """Return the bytes that an image is read from, nothing where there are none."""
    file: Any = getattr(image, "fp", None)
    if file is None:
        return b""
    start = file.tell()
    file.seek(0)
    data: bytes = file.read()
    file.seek(start)
    return data


def _num_frames(image: Image.Image) -> int:
    """Return how many pictures a file has; of PSD Pillow counts the layers alone."""
    count: int = getattr(image, "n_frames", 1)
    return count + 1 if image.format == "PSD" else count


def _seek(image: Image.Image, frame: int) -> None:
    num_frames = _num_frames(image)
    if not 0 <= frame < num_frames:
        raise RefusedPictureError(f"there is no frame {frame}: the file has {num_frames}, from 0")
    if image.format != "PSD":
        image.seek(frame)
    elif frame > 0:  # the file opens with the whole picture, which Pillow counts as layer 1
        image.frame = 0  # type: ignore[attr-defined]
        image.seek(frame)
        if not image.mode:
            raise ImageFormatError(f"layer {frame} is not of L, RGB or RGBA")


class _Loss(NamedTuple):
    warning: str
    refusal: str


def _losses(facts: Facts) -> list[_Loss]:
    """Return what 8 bits of a common range cannot hold."""
    found = []
    transfer = HDR_TRANSFERS.get(facts.cicp[1]) if facts.cicp else None
    if transfer is not None:
        warning = f"the picture is HDR ({transfer}): its samples are kept as if it were not"
        found.append(_Loss(warning, f"the picture is HDR ({transfer}), a .cvb file is not"))
    if facts.bits > 8:
        refusal = f"the picture has {facts.bits} bits a sample, a .cvb file has 8"
        found.append(_Loss(f"{facts.bits} bits a sample are reduced to 8", refusal))
    return found


def _wide_colour_key(image: Image.Image, facts: Facts) -> NDArray[np.uint8] | None:
    """Return the alpha that the transparent colour of a 16-bit RGB PNG file makes.

    Pillow keeps the upper byte of each sample. Read as if they were little-endian, the lower ones
    come out, and both together can be compared with the colour.
    """
    key = image.info.get("transparency")
    is_wide_rgb = image.format == "PNG" and image.mode == "RGB" and facts.bits == 16
    if not is_wide_rgb or not isinstance(key, tuple) or not (data := _file_of(image)):
        return None
    with Image.open(BytesIO(data)) as low:
        low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]
        is_key = np.all(np.asarray(low) == np.array(key) % 256, axis=2)
    is_key &= np.all(np.asarray(image) == np.array(key) // 256, axis=2)
    return np.where(is_key, 0, 255).astype(np.uint8)


def _scale_colour_key(image: Image.Image, facts: Facts) -> None:
    """Bring the transparent grey of a PNG file of 2 or 4 bits to the range of its samples."""
    key = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and facts.bits < 8 and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**facts.bits - 1)


def _alpha_of_wide(image: Image.Image) -> NDArray[np.uint8] | None:
    """Return the alpha that a transparent value of grey samples makes, before they are reduced."""
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return None
    return np.where(np.asarray(image) == key, 0, 255).astype(np.uint8)


def _fitting(metadata: dict[str, bytes], is_gray: bool) -> dict[str, bytes]:
    """Return the metadata without a profile of other colours; RGB profiles fit grey ones too."""
    space = space_of(metadata.get("icc", b""))
    if space is None or space == "RGB" or (space == "GRAY" and is_gray):
        return metadata
    kind = "grey" if is_gray else "RGB"
    logger.warning("an ICC profile of %s does not fit %s and is left out", space, kind)
    return {name: value for name, value in metadata.items() if name != "icc"}


def upright(picture: Picture) -> NDArray[np.uint8]:
    """Return the pixels of a picture as viewers show it: turned as its EXIF says, (H, W, 3)."""
    return _turned(picture.pixels, picture.metadata.get("exif", b""))


def without_exif(picture: Picture) -> Picture:
    """Return a picture that looks the same without its EXIF: the pixels are turned instead."""
    exif = picture.metadata.get("exif", b"")
    alpha = None if picture.alpha is None else _turned(picture.alpha, exif)
    metadata = {name: value for name, value in picture.metadata.items() if name != "exif"}
    return Picture(_turned(picture.pixels, exif), alpha, picture.is_gray, metadata)


def _turned(samples: NDArray[np.uint8], exif: bytes) -> NDArray[np.uint8]:
    image = Image.fromarray(samples)
    image.info["exif"] = EXIF_PREFIX + exif
    try:
        return np.array(ImageOps.exif_transpose(image))
    except Exception:  # Pillow's parsers raise whatever they like on damage
        return samples
