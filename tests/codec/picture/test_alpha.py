"""The alpha plane: lossless, and safe against other people's PNG files."""

import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.picture.alpha import decode_alpha, encode_alpha
from tests.codec.pictures import SIZES, encoded, noise, png
from tests.memory import allocating_less_than


@pytest.mark.parametrize("size", SIZES)
def test_alpha_round_trips(size):
    for alpha in (noise(*size, 1), np.full(size, 255, np.uint8), np.zeros(size, np.uint8)):
        data = encode_alpha(alpha)
        decoded = decode_alpha(data, *size)
        assert decoded.dtype == np.uint8
        np.testing.assert_array_equal(decoded, alpha)
    assert len(data) == 1  # constant


ALPHA = noise(12, 10, 1)


def alpha_pngs():
    gray, other = Image.fromarray(ALPHA), Image.fromarray(noise(12, 10))
    yield encoded(other, "PNG")
    yield encoded(gray.convert("1"), "PNG")
    yield encoded(gray.transpose(Image.Transpose.ROTATE_90), "PNG")
    yield encoded(gray, "GIF")
    yield encode_alpha(ALPHA) + b"\0"
    yield b""
    yield b"ab"
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b" * 1000, zip=True)
    yield encoded(gray, "PNG", pnginfo=text)
    ihdr = (10).to_bytes(4, "big") + (12).to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    yield png([(b"IHDR", ihdr), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")])
    yield png([(b"IHDR", ihdr), (b"IDAT", b"junk"), (b"IEND", b"")])
    yield png([(b"IHDR", ihdr), (b"IEND", b"")])


@pytest.mark.parametrize("data", list(alpha_pngs()))
def test_other_alpha_payloads_are_corrupt(data):
    with pytest.raises(CorruptStreamError):
        decode_alpha(data, 12, 10)


def test_truncated_alpha_is_corrupt():
    data = encode_alpha(ALPHA)
    for end in [0, *range(2, len(data))]:
        with pytest.raises(CorruptStreamError):
            decode_alpha(data[:end], 12, 10)


def test_damaged_alpha_decodes_to_the_size_or_raises_corrupt():
    rng = np.random.default_rng(0)
    data = encode_alpha(ALPHA)
    for _ in range(2000):
        damaged = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(data))] = rng.integers(256)
        try:
            alpha = decode_alpha(bytes(damaged), 12, 10)
        except CorruptStreamError:
            continue
        assert alpha.shape == (12, 10)


def test_alpha_of_another_size_is_refused_before_it_is_decoded():
    size = (1 << 20).to_bytes(4, "big")
    ihdr = size + size + bytes([8, 0, 0, 0, 0])
    bomb = png([(b"IHDR", ihdr), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b"")])
    with (
        allocating_less_than(100_000),
        pytest.raises(CorruptStreamError, match="not an 8-bit grey PNG"),
    ):
        decode_alpha(bomb, 12, 10)
