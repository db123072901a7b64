"""Exact blocks: samples come back as they were, whatever reads the file; photographs have none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

import imgcodec
from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.picture import exact
from imgcodec.codec.picture.exact import ExactBlocks, decode_exact, encode_exact
from imgcodec.codec.session.allocation import rate_weight
from imgcodec.codec.session.exact_choice import ExactChooser
from imgcodec.codec.session.measure import measure_tile
from imgcodec.codec.session.painting import paint_over
from imgcodec.codec.stream.container import chunk_sizes, read_header, read_stream, write_stream
from imgcodec.codec.stream.tiles import Tile
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import smooth_pictures


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _page(height: int, width: int) -> np.ndarray:
    """Return black text on white."""
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    for top in range(0, height, 14):
        pen.text((2, top), "exact blocks of text, line by line " * 4, "black")
    return np.array(image)


@pytest.fixture(scope="module")
def mixed() -> np.ndarray:
    """A photograph to the left, a page of text to the right; sides are no multiples of 32."""
    return np.concatenate([smooth_pictures(1, 200)[0][:, :150], _page(200, 180)], axis=1)


@pytest.fixture(scope="module")
def lossless(mixed, tiny) -> bytes:
    """The same without loss."""
    return imgcodec.encode(mixed, model=tiny.info.path, exact="all")


@given(st.integers(1, 100), st.integers(1, 100), st.data())
@settings(max_examples=40, deadline=None)
def test_blocks_come_back(height, width, data):
    grid = exact.block_grid(height, width)
    flags = data.draw(
        st.lists(st.booleans(), min_size=grid[0] * grid[1], max_size=grid[0] * grid[1])
    )
    mask = np.array(flags).reshape(grid)
    mask[0, 0] |= not mask.any()
    pixels = _noise(height, width)
    back = decode_exact(encode_exact(ExactBlocks(mask, pixels)), height, width)
    np.testing.assert_array_equal(back.mask, mask)
    canvas = np.zeros_like(pixels)
    back.paste(canvas, 0, 0)
    covered = np.kron(mask, np.ones((32, 32), bool))[:height, :width]
    np.testing.assert_array_equal(canvas, np.where(covered[..., None], pixels, 0))
    assert back.share == pytest.approx(covered.mean())


def test_large_pictures_are_cut(monkeypatch):
    monkeypatch.setattr(exact, "WEBP_SIDE_PX", 50)
    pixels = _noise(120, 70)
    data = encode_exact(ExactBlocks(np.ones((4, 3), bool), pixels))
    assert data.count(b"WEBPVP8L") == 6
    np.testing.assert_array_equal(decode_exact(data, 120, 70).pixels, pixels)


def test_damaged_blocks_are_corrupt_streams():
    mask = np.array([[True, False, True]])
    data = encode_exact(ExactBlocks(mask, _noise(20, 90)))
    generator = np.random.default_rng(1)
    for _ in range(300):
        hurt = bytearray(data)
        for position in generator.integers(0, len(data), 3):
            hurt[position] ^= 1 << generator.integers(0, 8)
        try:
            decode_exact(bytes(hurt), 20, 90)
        except CorruptStreamError:
            continue
    for end in range(len(data)):
        with pytest.raises(CorruptStreamError):
            decode_exact(data[:end], 20, 90)
    for other in (data + b"\0", data.replace(b"VP8L", b"VP8 ")):
        with pytest.raises(CorruptStreamError):
            decode_exact(other, 20, 90)
    for size in ((20, 91), (21, 90), (20, 130)):
        with pytest.raises(CorruptStreamError):
            decode_exact(data, *size)


def test_a_picture_larger_than_stated_is_refused_before_it_is_decoded():
    data = encode_exact(ExactBlocks(np.ones((1, 1), bool), _noise(20, 20)))
    start = data.index(b"VP8L") + 9
    hurt = data[:start] + (16383 | 16383 << 14).to_bytes(4, "little") + data[start + 4 :]
    with pytest.raises(CorruptStreamError, match="no lossless WebP picture of"):
        decode_exact(hurt, 20, 20)


def test_painting_leaves_the_rest_alone_and_is_smooth():
    pixels = np.full((128, 160, 3), 90, np.uint8)
    pixels[32:64, 64:128] = _noise(32, 64)
    mask = np.zeros((4, 5), bool)
    mask[1, 2:4] = True
    assert (paint_over(pixels, mask) == 90).all()
    pixels[96:] = 200
    np.testing.assert_array_equal(paint_over(pixels, mask)[96:], 200)


def test_text_is_exact_and_photographs_are_not(mixed, family_weights):
    loaded = load_model(find_model(family_weights))
    if not loaded.model.can_price_errors:
        assert ExactChooser(mixed, "auto").choose(loaded, 90, 1024) is None
        return
    mask, _ = ExactChooser(mixed, "auto").choose(loaded, 90, 1024)
    assert mask[:, 5:].mean() > 0.9
    assert not mask[:, :3].any()
    assert ExactChooser(mixed[:, :150], "auto").choose(loaded, 90, 1024) is None
    assert ExactChooser(mixed, "none").choose(loaded, 90, 1024) is None


def test_prices_are_those_of_the_file(tiny, mixed):
    """Bits of all blocks add up to the file; errors to those of the decoded picture."""
    height, width = 192, 320
    pixels = mixed[:height, :width]
    whole = measure_tile(tiny, pixels, Tile(0, 0, height, width), 50)
    assert whole.shape == (6, 10)
    data = imgcodec.encode(pixels, model=tiny.info.path, quality=50, exact="none")
    decoded = np.asarray(imgcodec.decode(data, model=tiny.info.path)).astype(float)
    model = tiny.model
    lmbda = rate_weight(model, 50)
    bits = 8 * sum(len(part) for segment in read_stream(data).segments for part in segment)
    errors = lmbda * ((decoded - pixels) ** 2).mean(axis=2).sum()
    assert whole.sum() == pytest.approx(bits + errors, rel=0.01)


def test_every_reader_honours_them(mixed, family_weights):
    data = imgcodec.encode(mixed, model=family_weights, quality=90, exact="all")
    header = read_header(data)
    assert header.has_exact
    options = {"model": family_weights}
    np.testing.assert_array_equal(np.asarray(imgcodec.decode(data, **options)), mixed)
    part = imgcodec.decode(data, crop=(40, 50, 200, 99), **options)
    np.testing.assert_array_equal(np.asarray(part), mixed[50:149, 40:240])
    small = imgcodec.decode(data, scale=2, **options)
    np.testing.assert_array_equal(np.asarray(small), np.asarray(Image.fromarray(mixed).reduce(2)))
    found = imgcodec.inspect(data, verify=True, heatmap=True, **options)
    assert found.exact_share == 1.0
    assert found.heatmap.shape == (
        -(-header.height // found.heatmap_cell_px),
        -(-header.width // found.heatmap_cell_px),
    )
    assert sum(chunk.bytes for chunk in found.chunks) == len(data)
    *_, last = imgcodec.preview(data, **options)
    np.testing.assert_array_equal(np.asarray(last.image), mixed)


def test_a_file_of_both_is_exact_where_it_says(mixed, tiny):
    weights = tiny.info.path
    data = imgcodec.encode(mixed, model=weights, quality=90)
    stream = read_stream(data)
    blocks = decode_exact(stream.exact, *mixed.shape[:2])
    assert 0 < blocks.share < 1
    back = np.asarray(imgcodec.decode(data, model=weights))
    np.testing.assert_array_equal(back[blocks.covered], mixed[blocks.covered])
    part = imgcodec.decode(data, model=weights, crop=(151, 33, 150, 60))
    np.testing.assert_array_equal(np.asarray(part), back[33:93, 151:301])
    ends = np.cumsum([size for _, size in chunk_sizes(stream)])
    cut = data[: ends[1] + (len(data) - ends[1]) // 2]
    preview = np.asarray(imgcodec.decode(cut, model=weights, allow_truncated=True))
    np.testing.assert_array_equal(preview[blocks.covered], mixed[blocks.covered])
    with pytest.raises(CorruptStreamError):
        imgcodec.decode(data[: ends[1] - 1], model=weights, allow_truncated=True)


def test_lossless_keeps_grey_alpha_and_metadata(tiny):
    pixels = _page(60, 50)[..., :1].repeat(3, axis=2)
    gray = Image.fromarray(pixels).convert("L")
    gray.putalpha(Image.fromarray(_noise(60, 50)[..., 0]))
    data = imgcodec.encode(gray, model=tiny.info.path, exact="all")
    back = imgcodec.decode(data, model=tiny.info.path)
    assert back.mode == "LA"
    assert back.tobytes() == gray.tobytes()


def test_lossless_files_need_no_model(lossless, mixed):
    np.testing.assert_array_equal(np.asarray(imgcodec.decode(lossless)), mixed)


def test_lossless_graphics_bound_the_size(tiny):
    page = _page(160, 200)
    bound = len(imgcodec.encode(page, model=tiny.info.path, exact="all"))
    for quality in (10, 60, 100):
        assert len(imgcodec.encode(page, model=tiny.info.path, quality=quality)) <= bound


def test_streams_beside_an_exact_picture_are_refused(lossless):
    stream = read_stream(lossless)
    forged = write_stream(dataclasses.replace(stream, segments=[[b"\x01"]]))
    with pytest.raises(CorruptStreamError, match="everything is exact"):
        imgcodec.decode(forged)


def test_unknown_choices_are_refused(tiny, mixed):
    with pytest.raises(ValueError, match="exact must be one of auto, none, all"):
        imgcodec.encode(mixed, model=tiny.info.path, exact="some")
