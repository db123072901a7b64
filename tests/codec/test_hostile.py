"""Hostile files: an error of the codec or a picture, in bounded time and memory."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest

import imgcodec
from imgcodec.codec.stream.container import Header, Stream, read_stream, write_stream
from imgcodec.codec.stream.varints import write_varint
from tests.codec.conftest import smooth_pictures
from tests.memory import allocating_less_than

EXPECTED = (
    imgcodec.CorruptStreamError,
    imgcodec.UnknownModelError,
    imgcodec.UnsupportedVersionError,
)


@pytest.fixture(scope="module")
def valid(family_weights) -> bytes:
    return imgcodec.encode(smooth_pictures(1)[0][:40, :48], model=family_weights, quality=70)


@pytest.fixture(scope="module")
def decoded(valid, family_weights) -> np.ndarray:
    return np.asarray(imgcodec.decode(valid, model=family_weights))


def test_every_truncation_is_reported(valid, family_weights):
    for length in range(len(valid)):
        with pytest.raises(EXPECTED):
            imgcodec.decode(valid[:length], model=family_weights)


@pytest.mark.parametrize("num_mutations", [pytest.param(5000, marks=pytest.mark.slow), 1500])
def test_random_flips_and_splices_are_reported(valid, decoded, family_weights, num_mutations):
    rng = random.Random(11)
    for _ in range(num_mutations):
        data = bytearray(valid)
        for _ in range(rng.choice((1, 1, 2, 5))):
            position = rng.randrange(len(data))
            kind = rng.randrange(4)
            if kind == 0:
                data[position] ^= 1 << rng.randrange(8)
            elif kind == 1:
                data[position : position + rng.randrange(8)] = rng.randbytes(rng.randrange(8))
            elif kind == 2:
                start = rng.randrange(len(data))
                data[position:position] = data[start : start + rng.randrange(20)]
            else:
                del data[position : position + rng.randrange(1, 10)]
            if not data:
                data = bytearray(1)
        try:
            back = imgcodec.decode(bytes(data), model=family_weights)
        except EXPECTED:
            continue
        assert bytes(data) == valid
        np.testing.assert_array_equal(np.asarray(back), decoded)


@pytest.mark.parametrize("num_payloads", [pytest.param(300, marks=pytest.mark.slow), 30])
def test_payloads_with_repaired_checksums_end_in_an_error_or_a_picture(
    valid, family_weights, num_payloads
):
    rng = random.Random(12)
    stream = read_stream(valid)
    pictures = 0
    for _ in range(num_payloads):
        segments = [[bytearray(tile) for tile in segment] for segment in stream.segments]
        payload = rng.choice([tile for segment in segments for tile in segment if tile])
        for _ in range(rng.randrange(1, 4)):
            payload[rng.randrange(len(payload))] = rng.randrange(256)
        segments = [[bytes(tile) for tile in segment] for segment in segments]
        data = write_stream(Stream(stream.header, segments))
        try:
            assert imgcodec.decode(data, model=family_weights).size == (48, 40)
            pictures += 1
        except EXPECTED:
            pass
    assert pictures > 0  # the checksums were right: some payloads do decode


def test_absurd_sizes_are_refused_before_anything_is_allocated(valid, family_weights):
    header = read_stream(valid).header
    payload = read_stream(valid).segments[0][0]
    huge = Header(**{**header.__dict__, "height": 2**22, "width": 2**22, "tile_px": 4096})
    with allocating_less_than(1 << 20), pytest.raises(imgcodec.CorruptStreamError):
        imgcodec.decode(_forge(huge, payload), model=family_weights)
    with pytest.raises(imgcodec.CorruptStreamError, match="max_pixels"):
        imgcodec.decode(valid, model=family_weights, max_pixels=1000)


def _forge(header: Header, payload: bytes) -> bytes:
    """Return a file whose header promises more tiles than follow, with right checksums."""
    small = Header(**{**header.__dict__, "height": 16, "width": 16, "num_segments": 1})
    template = write_stream(Stream(small, [[payload]]))
    one_tile = Header(**{**header.__dict__, "height": 256, "width": 256, "tile_px": 256})
    assert one_tile.num_tiles == 1
    from imgcodec.codec.stream import container

    head = container._write_header(header)
    chunk = b"D" + write_varint(len(payload)) + payload
    assert template.startswith(b"CVB")
    crc = zlib.crc32(chunk, zlib.crc32(head[:-4]))
    return head + chunk + crc.to_bytes(4, "big")


def test_noise_is_no_stream():
    rng = random.Random(13)
    for _ in range(500):
        with pytest.raises(EXPECTED):
            imgcodec.decode(rng.randbytes(rng.randrange(200)))
