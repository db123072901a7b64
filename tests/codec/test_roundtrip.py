"""The matrix of what people encode: modes x sizes x metadata, through files and back."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

import imgcodec
from tests.codec.pictures import encoded, noise, png

SIZES = [(1, 1), (7, 33), (64, 48)]  # (height, width)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
EXIF = Image.Exif()
EXIF[0x0112] = 8  # orientation
EXIF[0x010F] = "maker"
METADATA = {
    "none": {},
    "icc": {"icc_profile": ICC},
    "exif": {"exif": EXIF.tobytes()},
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
    "RGB16": ("PNG", "RGB"),
    "RGBA16": ("PNG", "RGBA"),
}


def make_file(mode, size, metadata):
    """Return a file in the mode, and its alpha plane or None."""
    format, back = MODES[mode]
    rgba = Image.fromarray(noise(*size, 4))
    alpha = np.asarray(rgba)[..., 3] if back.endswith("A") else None
    options = dict(metadata)
    if mode in HAND_MADE:
        return make_wide_png(np.asarray(rgba)[..., : len(mode) - 2]), alpha
    if mode == "I;16":
        image = Image.fromarray(noise(*size, 1).astype(np.uint16) * 257)
    elif mode == "P+transparency":
        image = Image.fromarray(noise(*size, 1) % 4, "P")
        image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
        options["transparency"] = bytes([0, 90, 255, 17])
        alpha = np.array([0, 90, 255, 17], np.uint8)[np.asarray(image)]
    else:
        image = rgba.convert("RGB").convert(mode) if alpha is None else rgba.convert(mode)
    if format == "WEBP":
        options |= {"lossless": True, "exact": True}
    if format == "PNG" and "xmp" in options:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode())
    return encoded(image, format, **options), alpha


def make_wide_png(pixels):
    """Return a 16-bit PNG file of 8-bit samples; without metadata."""
    height, width, channels = pixels.shape
    raw = b"".join(b"\0" + row.tobytes() for row in (pixels.astype(np.uint16) * 257).astype(">u2"))
    sides = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    ihdr = sides + bytes([16, {3: 2, 4: 6}[channels], 0, 0, 0])
    return png([(b"IHDR", ihdr), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")])


HAND_MADE = ("RGB16", "RGBA16")  # without metadata
CASES = [
    (mode, kind) for mode in MODES for kind in METADATA if kind == "none" or mode not in HAND_MADE
]


@pytest.mark.parametrize(("mode", "kind"), CASES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pictures_come_back_as_they_are(tiny_weights, mode, size, kind):
    data, alpha = make_file(mode, size, METADATA[kind])
    back = imgcodec.decode(imgcodec.encode(data, model=tiny_weights), model=tiny_weights)
    assert (back.mode, back.size) == (MODES[mode][1], size[::-1])
    if alpha is not None:
        np.testing.assert_array_equal(np.asarray(back)[..., -1], alpha)
    # The profile of CMYK describes colours that are gone: they went through it to RGB.
    expects_icc = "icc" in kind and mode != "CMYK"
    assert back.info.get("icc_profile") == (ICC if expects_icc else None)
    assert back.getexif().get(0x0112) == (8 if "exif" in kind else None)
    assert back.getexif().get(0x010F) == ("maker" if "exif" in kind else None)
    assert back.info.get("xmp") == (XMP if "xmp" in kind else None)
