"""TIFF files whose samples Pillow alone reads wrong, or not at all."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.picture.read import read_picture
from tests.codec.pictures import noise

RAW, DEFLATE = 1, 8
TOGETHER, SEPARATE = 1, 2
WHITE_IS_0, GRAY, RGB, PALETTE, CMYK, LAB = 0, 1, 2, 3, 5, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3


def tiff(samples, photometric, *, order="<", planes=TOGETHER, compression=RAW, more=()):
    """Return a TIFF file.

    Args:
        samples: (H, W, channels) of the type of the file.
        photometric: tag 262.
        order: "<" or ">".
        planes: tag 284.
        compression: tag 259.
        more: (tag, 16-bit values) each.
    """
    height, width, channels = samples.shape
    stored = samples.astype(samples.dtype.newbyteorder(order))
    separate = [stored[..., channel] for channel in range(channels)]
    strips = [strip.tobytes() for strip in (separate if planes == SEPARATE else [stored])]
    if compression == DEFLATE:
        strips = [zlib.compress(strip) for strip in strips]
    kind = {"u": UNSIGNED, "i": SIGNED, "f": FLOAT}[samples.dtype.kind]
    out = b"\0" * 8
    offsets = []
    for strip in strips:
        offsets.append(len(out))
        out += strip + bytes(len(strip) % 2)
    tags = {256: [width], 257: [height], 258: [8 * samples.itemsize] * channels, 262: [photometric]}
    tags |= {259: [compression], 273: offsets, 277: [channels], 278: [height], 284: [planes]}
    tags |= {279: [len(strip) for strip in strips], 339: [kind] * channels, **dict(more)}
    directory = struct.pack(f"{order}H", len(tags))
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}H", *values)
        if len(packed) > 4:
            out, packed = out + packed, struct.pack(f"{order}I", len(out))
        directory += struct.pack(f"{order}HHI", tag, 3, len(values)) + packed.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, len(out))
    return head + out[8:] + directory + bytes(4)


SHADES = noise(12, 10, 1)[..., None]
COLOURS = noise(12, 10)
AS_STORED = {
    "16 bits": SHADES * np.uint16(257),
    "signed 16 bits": (SHADES.astype(np.int32) * 257 - 32768).astype(np.int16),
    "32 bits": SHADES * np.uint32(0x01010101),
    "signed 32 bits": (SHADES.astype(np.int64) * 0x01010101 - 2**31).astype(np.int32),
    "floats": (SHADES / 255).astype(np.float32),
    "floats of 64 bits": SHADES / 255,
}


@pytest.mark.parametrize("white_is_0", [False, True], ids=["", "white-is-0"])
@pytest.mark.parametrize("planes", [TOGETHER, SEPARATE])
@pytest.mark.parametrize("compression", [RAW, DEFLATE])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("samples", [*AS_STORED.values()], ids=[*AS_STORED])
def test_grey_samples_of_every_kind(samples, order, compression, planes, white_is_0):
    if white_is_0:
        samples = 1 - samples if samples.dtype.kind == "f" else ~samples
    options = {"order": order, "compression": compression, "planes": planes}
    picture = read_picture(tiff(samples, WHITE_IS_0 if white_is_0 else GRAY, **options))
    assert picture.is_gray
    np.testing.assert_array_equal(picture.pixels, SHADES.repeat(3, 2))


@pytest.mark.parametrize("planes", [TOGETHER, SEPARATE])
@pytest.mark.parametrize("compression", [RAW, DEFLATE])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("extra", [None, 0, 2], ids=["rgb", "rgbx", "rgba"])
def test_sixteen_bits_of_channels_together_and_separate(order, compression, planes, extra):
    samples = noise(12, 10, 3 if extra is None else 4) * np.uint16(257)
    options = {"order": order, "compression": compression, "planes": planes}
    more = () if extra is None else [(338, [extra])]
    picture = read_picture(tiff(samples, RGB, more=more, **options))
    np.testing.assert_array_equal(picture.pixels, samples[..., :3] >> 8)
    if extra == 2:
        np.testing.assert_array_equal(picture.alpha, samples[..., 3] >> 8)
    else:
        assert picture.alpha is None


def test_images_that_are_loaded_already_stay_as_they_are():
    with Image.open(io.BytesIO(tiff(COLOURS, RGB, planes=SEPARATE))) as image:
        image.load()
        np.testing.assert_array_equal(read_picture(image).pixels, COLOURS)


@pytest.mark.parametrize("compression", [RAW, DEFLATE])
@pytest.mark.parametrize("order", "<>")
def test_separate_cmyk_is_read_or_refused(order, compression):
    samples = noise(12, 10, 4)
    samples[..., 3] = 0
    options = {"order": order, "compression": compression, "planes": SEPARATE}
    picture = read_picture(tiff(samples, CMYK, **options))
    np.testing.assert_array_equal(picture.pixels, 255 - samples[..., :3])
    wide = tiff(samples * np.uint16(257), CMYK, **options)
    if compression == DEFLATE:
        np.testing.assert_array_equal(read_picture(wide).pixels, 255 - samples[..., :3])
    else:
        with pytest.raises(ImageFormatError, match="CMYK from TIFF files with separate channels"):
            read_picture(wide)


@pytest.mark.parametrize("compression", [RAW, DEFLATE])
def test_other_separate_channels_are_refused(compression):
    for samples, photometric, more in (
        (noise(12, 10), LAB, ()),
        (noise(12, 10, 4)[..., :2], GRAY, [(338, [2])]),
    ):
        data = tiff(samples, photometric, compression=compression, planes=SEPARATE, more=more)
        with pytest.raises(ImageFormatError, match="separate channels"):
            read_picture(data)


@pytest.mark.parametrize("factor", [1, 257])
def test_palettes_of_bytes_are_what_was_meant(factor):
    colours = noise(3, 256, 1)
    entries = [int(value) * factor for value in colours.ravel()]
    picture = read_picture(tiff(SHADES, PALETTE, more=[(320, entries)]))
    np.testing.assert_array_equal(picture.pixels, colours.T[SHADES[..., 0]])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (tiff(COLOURS.astype(np.float32), RGB), "TIFF of 32 bits a sample, floating-point RGB"),
        (
            tiff(SHADES.astype(np.float16), GRAY, order=">"),
            "big-endian TIFF of 16 bits",
        ),
        (
            tiff(SHADES.astype(np.int8), 0),
            "signed grey from white to black",
        ),
        (tiff(COLOURS, 77), "photometric interpretation 77"),
        (tiff(COLOURS, RGB)[:40], "damaged TIFF"),
    ],
    ids=["floats", "deep floats", "white is 0", "unknown", "cut"],
)
def test_files_that_pillow_does_not_read_are_refused_with_what_they_are(data, text):
    with pytest.raises(ImageFormatError, match=f"does not read such files: .*{text}") as caught:
        read_picture(data)
    assert "\n" not in str(caught.value)


def test_pillow_is_left_as_it_was():
    before = dict(TiffImagePlugin.OPEN_INFO)
    read_picture(tiff(SHADES / 255, GRAY))
    assert before == TiffImagePlugin.OPEN_INFO
