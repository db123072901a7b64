"""What reading reduces with a warning, refuses, or asks about: depth, colours, frames, size."""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.picture.read import read_picture
from tests.codec.pictures import encoded, noise, png, wide_png, wide_tiff
from tests.memory import allocating_less_than


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bit_png_of_every_kind_is_reduced_with_a_warning(channels, caplog):
    samples = np.random.default_rng(1).integers(0, 65536, (3, 4, channels))
    data = wide_png(samples)
    picture = read_picture(data)
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("WARNING", "16 bits a sample are reduced to 8")
    ]
    assert picture.is_gray == (channels < 3)
    has_alpha = channels in (2, 4)
    assert (picture.alpha is not None) == has_alpha
    colours = samples[..., : channels - has_alpha] / 257
    assert np.abs(picture.pixels - colours).max() < 1.01
    if has_alpha:
        assert np.abs(picture.alpha - samples[..., -1] / 257).max() < 1.01
    with pytest.raises(ImageFormatError, match="16 bits a sample"):
        read_picture(data, strict=True)


WIDE = np.random.default_rng(2).integers(0, 65536, (5, 6, 3))


@pytest.mark.parametrize(
    ("data", "bits"),
    [
        (b"P6 6 5 65535 " + WIDE.astype(">u2").tobytes(), 16),
        (b"P5 6 5 4095 " + (WIDE[..., 0] >> 4).astype(">u2").tobytes(), 16),
        (wide_tiff(WIDE), 16),
        (encoded(Image.fromarray(WIDE[..., 0].astype("<u2")), "TIFF"), 16),
        (encoded(Image.fromarray((WIDE[..., 0] / 65535).astype(np.float32)), "TIFF"), 32),
    ],
    ids=["ppm", "pgm", "tiff-rgb", "tiff-grey", "tiff-float"],
)
def test_wide_samples_of_other_formats_warn_too(data, bits, caplog):
    with pytest.raises(ImageFormatError, match=f"{bits} bits a sample"):
        read_picture(data, strict=True)
    picture = read_picture(data)
    assert caplog.messages == [f"{bits} bits a sample are reduced to 8"]
    assert np.abs(picture.pixels[..., 0] - WIDE[..., 0] / 257).max() < 1.01


def test_eight_bit_pictures_are_read_silently_and_pass_strict(caplog):
    caplog.set_level(logging.INFO)
    for mode in ("1", "L", "LA", "RGB", "RGBA"):
        for format in ("PNG", "TIFF", "WEBP"):
            read_picture(encoded(Image.new(mode, (4, 4)), format), strict=True)
    read_picture(encoded(Image.new("RGB", (4, 4)), "JPEG"), strict=True)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("mode", "name"), [("P", "palette"), ("CMYK", "CMYK"), ("YCbCr", "YCbCr"), ("HSV", "HSV")]
)
def test_converted_colours_are_logged(mode, name, caplog):
    caplog.set_level(logging.INFO)
    read_picture(Image.new("RGB", (4, 4)).convert(mode))
    assert [(r.levelname, r.message) for r in caplog.records] == [
        ("INFO", f"{name} colours are converted to RGB")
    ]


@pytest.mark.parametrize("format", ["GIF", "PNG", "TIFF", "WEBP"])
def test_files_of_several_frames_are_refused_unless_one_is_chosen(format):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    with pytest.raises(ImageFormatError, match=r"3 frames.*frame 0 to 2"):
        read_picture(data)
    for number, colour in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        assert read_picture(data, frame=number).pixels[2, 3].tolist() == list(colour)
    for number in (-1, 3):
        with pytest.raises(ImageFormatError, match="no frame"):
            read_picture(data, frame=number)
    with Image.open(io.BytesIO(data)) as image:
        image.seek(1)
        assert read_picture(image).pixels[0, 0].tolist() == [0, 255, 0]  # the current one


def test_further_pictures_of_a_camera_file_do_not_stand_in_the_way(caplog):
    caplog.set_level(logging.INFO)
    photo, depth = Image.new("RGB", (16, 8), (250, 250, 250)), Image.new("RGB", (8, 8))
    data = encoded(photo, "MPO", save_all=True, append_images=[depth])
    picture = read_picture(data)
    assert picture.pixels.shape == (8, 16, 3)
    assert caplog.messages == ["the first of 2 pictures in the file is taken"]
    assert read_picture(data, frame=1).pixels.max() < 9


def test_a_single_frame_is_frame_0():
    data = encoded(Image.new("RGB", (3, 2)), "PNG")
    assert read_picture(data, frame=0).pixels.shape == (2, 3, 3)
    with pytest.raises(ImageFormatError, match="no frame 1"):
        read_picture(data, frame=1)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "JPEG"])
def test_pictures_above_the_limit_are_refused_before_they_are_decoded(format):
    data = encoded(Image.new("L", (300, 200)), format)
    assert read_picture(data, max_pixels=60_000).pixels.shape == (200, 300, 3)
    before = Image.MAX_IMAGE_PIXELS
    for limit in (59_999, 10):
        with pytest.raises(ImageFormatError, match=f"more than {limit} pixels"):
            read_picture(data, max_pixels=limit)
    assert before == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageFormatError, match="more than 10 pixels"):
        read_picture(Image.new("L", (300, 200)), max_pixels=10)
    with pytest.raises(ImageFormatError, match="more than 10 pixels"):
        read_picture(noise(200, 300), max_pixels=10)


def test_our_limit_stands_in_for_that_of_pillow(monkeypatch, recwarn):
    data = encoded(Image.new("L", (300, 200)), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_picture(data).pixels.shape == (200, 300, 3)
    assert len(recwarn) == 0


def test_a_png_bomb_is_refused_without_allocating():
    size = (1 << 15).to_bytes(4, "big")
    ihdr = size + size + bytes([8, 2, 0, 0, 0])
    bomb = png([(b"IHDR", ihdr), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b"")])
    with (
        allocating_less_than(1_000_000),
        pytest.raises(ImageFormatError, match="more than 268435456 pixels"),
    ):
        read_picture(bomb)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_grey_colour_key_of_few_bits_is_transparent(bits):
    shades = np.arange(2**bits, dtype=np.uint8)
    packed = np.packbits((shades[:, None] >> np.arange(bits - 1, -1, -1)) & 1).tobytes()
    ihdr = struct.pack(">IIBBBBB", len(shades), 1, bits, 0, 0, 0, 0)
    pixels = (b"IDAT", zlib.compress(b"\0" + packed))
    key = (b"tRNS", struct.pack(">H", 1))
    picture = read_picture(png([(b"IHDR", ihdr), key, pixels, (b"IEND", b"")]))
    assert picture.pixels[0, :, 0].tolist() == (shades * (255 // (2**bits - 1))).tolist()
    assert picture.alpha[0].tolist() == np.where(shades == 1, 0, 255).tolist()
