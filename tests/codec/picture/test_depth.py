"""Samples of more than 8 bits: from what the file says is black to what it says is white."""

import struct

import numpy as np
import pytest
from PIL import Image

from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.picture.read import read_picture
from tests.codec.pictures import encoded, wide_png

RAMP = np.arange(256, dtype=np.int64).reshape(16, 16)


def tiff(samples: bytes, bits, size=16, *, photometric=1, sample_format=1, more=()) -> bytes:
    """Return an uncompressed grey TIFF file; `more` are (tag, type, value) of one value."""
    tags = {256: (4, size), 257: (4, size), 258: (3, bits), 259: (3, 1), 262: (3, photometric)}
    tags |= {273: (4, 8), 277: (3, 1), 278: (4, size), 279: (4, len(samples))}
    tags |= {339: (3, sample_format), **{tag: (kind, value) for tag, kind, value in more}}
    directory = struct.pack("<H", len(tags))
    for tag, (kind, value) in sorted(tags.items()):
        packed = struct.pack("<f" if kind == 11 else "<I", value)
        directory += struct.pack("<HHI", tag, kind, 1) + packed
    return b"II*\0" + struct.pack("<I", 8 + len(samples)) + samples + directory + bytes(4)


def packed12(values) -> bytes:
    a, b = values.ravel()[::2], values.ravel()[1::2]
    return np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], -1).astype(np.uint8).tobytes()


FILES = {
    "12 bits": tiff(packed12((RAMP * 4095 + 127) // 255), 12),
    "16 bits, white is 0": tiff((65535 - RAMP * 257).astype("<u2").tobytes(), 16, photometric=0),
    "signed bytes": tiff((RAMP - 128).astype(np.int8).tobytes(), 8, sample_format=2),
    "signed 16 bits": tiff((RAMP * 257 - 32768).astype("<i2").tobytes(), 16, sample_format=2),
    "signed 32 bits": tiff(
        (RAMP * 0x01010101 - 2**31).astype("<i4").tobytes(), 32, sample_format=2
    ),
    "unsigned 32 bits": tiff((RAMP * 0x01010101).astype("<u4").tobytes(), 32),
    "floats": tiff((RAMP / 255).astype("<f4").tobytes(), 32, sample_format=3),
    "floats, white is 0": tiff(
        (1 - RAMP / 255).astype("<f4").tobytes(), 32, photometric=0, sample_format=3
    ),
    "floats with a range": tiff(
        RAMP.astype("<f4").tobytes(), 32, sample_format=3, more=[(340, 11, 0), (341, 11, 255)]
    ),
    "PFM": b"Pf\n16 16\n-1.0\n" + (RAMP[::-1] / 255).astype("<f4").tobytes(),
    "PGM of 10 bits": b"P5 16 16 1023 " + ((RAMP * 1023 + 127) // 255).astype(">u2").tobytes(),
}


@pytest.mark.parametrize("name", FILES)
def test_a_ramp_comes_back_as_a_ramp(name):
    picture = read_picture(FILES[name])
    assert picture.is_gray
    np.testing.assert_array_equal(picture.pixels[..., 1], RAMP)


def test_sixteen_bit_jpeg2000_keeps_its_range():
    image = Image.fromarray((RAMP * 257).astype(np.uint16))
    np.testing.assert_array_equal(read_picture(encoded(image, "JPEG2000")).pixels[..., 0], RAMP)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (tiff((RAMP * 3.0).astype("<f4").tobytes(), 32, sample_format=3), "from 0 to 765"),
        (tiff(np.full((16, 16), np.nan, "<f4").tobytes(), 32, sample_format=3), "not numbers"),
        (tiff(RAMP.astype("<u4").tobytes(), 32), "one shade"),
        (encoded(Image.fromarray(RAMP.astype(np.float32)), "SPIDER"), "do not say which value"),
        (Image.fromarray((RAMP * 1000).astype(np.int32)), "white 65535"),
        (Image.fromarray((RAMP / 255).astype(np.float32)), "255 is white"),
    ],
    ids=["floats", "nan", "labels", "spider", "I", "F"],
)
def test_what_says_no_white_or_goes_beyond_it_is_refused(data, text):
    with pytest.raises(ImageFormatError, match=text) as caught:
        read_picture(data)
    assert "\n" not in str(caught.value)


def test_floats_of_pillow_go_to_255():
    picture = read_picture(Image.fromarray(RAMP.astype(np.float32)))
    np.testing.assert_array_equal(picture.pixels[..., 2], RAMP)


def sgi16() -> bytes:
    head = struct.pack(">HBBHHHH", 474, 0, 2, 3, 16, 16, 3).ljust(512, b"\0")
    return head + np.repeat((RAMP * 257)[None], 3, 0).astype(">u2").tobytes()


def deep_avif(primaries=1, transfer=13) -> bytes:
    """Return an AVIF file of 10 bits with these code points."""
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = np.full((16, 16, 3), 500, np.uint16)
    options = {"primaries": primaries, "transfer": transfer}
    return imagecodecs.avif_encode(pixels, level=90, bitspersample=10, **options)


def test_deep_files_of_every_format_are_noticed(caplog):
    imagecodecs = pytest.importorskip("imagecodecs")
    jp2 = imagecodecs.jpeg2k_encode(np.full((16, 16, 3), 5000, np.uint16))
    for data, bits in ((jp2, 16), (sgi16(), 16), (deep_avif(), 10)):
        caplog.clear()
        with pytest.raises(ImageFormatError, match=f"{bits} bits a sample"):
            read_picture(data, strict=True)
        read_picture(data)
        assert caplog.messages == [f"{bits} bits a sample are reduced to 8"]


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_named_and_refused_when_strict(transfer, name, caplog):
    samples = np.full((2, 2, 3), 40_000)
    png = wide_png(samples, [(b"cICP", bytes([9, transfer, 0, 1]))])
    for data in (png, deep_avif(9, transfer)):
        caplog.clear()
        with pytest.raises(ImageFormatError, match=f"HDR.*{name}"):
            read_picture(data, strict=True)
        read_picture(data)
        assert f"the picture is HDR ({name}): " in caplog.text


@pytest.mark.parametrize("near", [1, 256])
def test_a_colour_key_of_sixteen_bits_is_compared_before_they_are_reduced(near):
    samples = np.full((1, 3, 3), 1000)
    samples[0, 1] += near
    samples[0, 2, 2] -= 1
    key = b"tRNS", struct.pack(">3H", 1000, 1000, 1000)
    picture = read_picture(wide_png(samples, [key]))
    assert picture.alpha.tolist() == [[0, 255, 255]]
    assert picture.pixels[0, 0].tolist() == [3, 3, 3]
    picture = read_picture(wide_png(samples[..., :1], [(b"tRNS", struct.pack(">H", 1000))]))
    assert picture.alpha.tolist() == [[0, 255, 0]]


def test_set_bits_of_psd_are_black():
    is_black = RAMP % 3 == 0
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, 16, 16, 1, 0) + bytes(12)
    picture = read_picture(head + b"\0\0" + np.packbits(is_black, axis=1).tobytes())
    assert picture.is_gray
    np.testing.assert_array_equal(picture.pixels[..., 0], np.where(is_black, 0, 255))
