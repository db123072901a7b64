"""The matrix of what people encode: modes x sizes x metadata, through files and back."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

import imgcodec
from tests.codec.conftest import smooth_pictures
from tests.codec.pictures import encoded, noise, wide_png, wide_tiff

SIZES = [(1, 1), (7, 33), (64, 48), (3, 300), (290, 5), (270, 260)]
"""(height, width): one pixel, odd, even, wide, tall, and more than a tile of 256 both ways."""
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
EXIF = Image.Exif()
EXIF[0x0112] = 8  # orientation
EXIF[0x010F] = "maker"
METADATA = {
    "none": {},
    "icc": {"icc_profile": ICC},
    "exif": {"exif": EXIF.tobytes()},
    "xmp": {"xmp": XMP},
    "icc+exif+xmp": {"icc_profile": ICC, "exif": EXIF.tobytes(), "xmp": XMP},
}
# Mode of the source: file format that holds it with all metadata, mode that comes back.
MODES = {
    "RGB": ("WEBP", "RGB"),
    "RGBA": ("WEBP", "RGBA"),
    "L": ("PNG", "L"),
    "LA": ("PNG", "LA"),
    "P": ("PNG", "RGB"),
    "P+transparency": ("PNG", "RGBA"),
    "1": ("PNG", "L"),
    "CMYK": ("JPEG", "RGB"),
    "YCbCr": ("JPEG", "RGB"),
    "I;16": ("PNG", "L"),
    "I;16 TIFF": ("TIFF", "L"),
    "RGB16": ("PNG", "RGB"),
    "RGBA16": ("PNG", "RGBA"),
    "LA16": ("PNG", "LA"),
    "RGB16 TIFF": ("TIFF", "RGB"),
}


def kinds_of(mode):
    """Return the metadata to try in the files of a mode.

    TIFF has no EXIF block: `test_image.py` tells what becomes of its tags. The hand-made one has no
    metadata at all.
    """
    if mode == "RGB16 TIFF":
        return ["none"]
    return [kind for kind in METADATA if MODES[mode][0] != "TIFF" or "exif" not in kind]


def make_file(mode, size, metadata):
    """Return a file in the mode, the alpha that it should give or None, and its mean colour."""
    format, back = MODES[mode]
    alpha = noise(*size, 1) if back.endswith("A") else None
    image = Image.fromarray(smooth_pictures(1, side=300)[0][: size[0], : size[1]])
    if back.startswith("L"):
        image = image.convert("L")
    colour = np.asarray(image.convert("RGB")).mean(axis=(0, 1))
    options = dict(metadata)
    if mode == "P+transparency":
        image, alphas = image.quantize(64), noise(1, 64, 1).ravel()
        alpha, options["transparency"] = alphas[np.asarray(image)], alphas.tobytes()
    elif mode.startswith("I;16"):
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    elif mode == "RGB16 TIFF":
        return wide_tiff(np.asarray(image).astype(int) * 257), alpha, colour
    elif "16" in mode:
        samples = np.dstack([image] if alpha is None else [image, alpha]).astype(int)
        return wide_png(samples * 257, png_chunks(metadata)), alpha, colour
    elif alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    else:
        image = image.quantize(64) if mode == "P" else image.convert(mode)
    if format == "WEBP":
        options |= {"lossless": True, "exact": True}
    elif format == "PNG" and "xmp" in options:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
    elif format == "TIFF" and "xmp" in options:
        options["tiffinfo"] = {700: options.pop("xmp")}
    return encoded(image, format, **options), alpha, colour


def png_chunks(metadata):
    """Yield the chunks that hold metadata in a PNG file."""
    if "icc_profile" in metadata:
        yield b"iCCP", b"profile\0\0" + zlib.compress(metadata["icc_profile"])
    if "exif" in metadata:
        yield b"eXIf", metadata["exif"].removeprefix(b"Exif\0\0")
    if "xmp" in metadata:
        yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata["xmp"]


def combinations():
    """Yield all sizes, modes and kinds of metadata.

    Every size with every mode, and every mode with every kind, are there without the slow ones.
    """
    for size in SIZES:
        for mode in MODES:
            for kind in kinds_of(mode):
                is_slow = size != SIZES[1] and kind != kinds_of(mode)[-1]
                marks = [pytest.mark.slow] if is_slow else []
                yield pytest.param(size, mode, kind, marks=marks, id=f"{size}-{mode}-{kind}")


@pytest.mark.parametrize(("size", "mode", "kind"), list(combinations()))
def test_pictures_come_back_as_they_are(tiny_weights, mode, size, kind):
    data, alpha, colour = make_file(mode, size, METADATA[kind])
    # To price the blocks of four tiles takes seconds, and `session/test_exact.py` is about that.
    exact = "none" if size == SIZES[-1] else "auto"
    stream = imgcodec.encode(data, model=tiny_weights, quality=100, tile_px=256, exact=exact)
    back = imgcodec.decode(stream, model=tiny_weights)
    assert (back.mode, back.size) == (MODES[mode][1], size[::-1])
    if alpha is not None:
        np.testing.assert_array_equal(np.asarray(back)[..., -1], alpha)
    if size != (1, 1):  # one pixel may be off by more
        shown = np.asarray(back.convert("RGBA").convert("RGB")).mean(axis=(0, 1))
        assert np.abs(shown - colour).max() < 3
    # The profile of CMYK describes colours that are gone: they went through it to RGB.
    expects_icc = "icc" in kind and mode != "CMYK"
    assert back.info.get("icc_profile") == (ICC if expects_icc else None)
    assert back.getexif().get(0x0112) == (8 if "exif" in kind else None)
    assert back.getexif().get(0x010F) == ("maker" if "exif" in kind else None)
    assert back.info.get("xmp") == (XMP if "xmp" in kind else None)
