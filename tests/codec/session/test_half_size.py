"""Lowest qualities: coded at half the size, and everything else is as with other files."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

import imgcodec
import imgcodec.pillow
from imgcodec.codec.picture.exact import ExactBlocks, encode_exact
from imgcodec.codec.session.halving import MARGIN_PX, enlarge, halve
from imgcodec.codec.session.targets import psnr_db
from imgcodec.codec.stream.container import Header, read_header, read_stream, write_stream
from imgcodec.codec.stream.tiles import Tile
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import smooth_pictures
from tests.codec.test_spec import enlarged

HEIGHT, WIDTH = 301, 233
QUALITY = 4
HALVED = ["beta", "hier"]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return smooth_pictures(1, side=320)[0][:HEIGHT, :WIDTH]


@pytest.fixture(scope="module")
def data(picture) -> bytes:
    return imgcodec.encode(picture, quality=QUALITY)


def _header(height: int, width: int, tile_px: int = 256) -> Header:
    return Header(b"\0\0\0\0", height, width, 30, False, False, tile_px, 1, reduction=2)


def _pixels(data: bytes, **options) -> np.ndarray:
    return np.asarray(imgcodec.decode(data, **options)).astype(int)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (61, 38)], ids=str)
def test_pictures_are_enlarged_as_the_specification_says(size):
    header = _header(*size)
    height, width = header.coded_size
    small = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    windows = iter([(Tile(0, 0, height, width), small)])
    ((_, found),) = enlarge(windows, Tile(0, 0, height, width), Tile(0, 0, *size), header)
    assert np.abs(found - enlarged(small)[: size[0], : size[1]]).max() <= 1


def test_windows_join_without_a_seam():
    header, small = _header(600, 530), smooth_pictures(1, side=300)[0][:, :265]
    whole = np.asarray(Image.fromarray(small).resize((530, 600), Image.Resampling.LANCZOS))
    shown = Tile(3, 11, 590, 510)
    coded = shown.reduced(2, MARGIN_PX, header.coded_size)
    parts = enlarge(iter([(coded, coded.cut(small))]), coded, shown, header)
    windows = list(parts)
    assert len(windows) == 6
    assert all(np.array_equal(window.cut(whole), pixels) for window, pixels in windows)


def test_halving_keeps_what_is_smooth():
    assert halve(np.full((5, 4, 3), 77, np.uint8)).tolist() == np.full((3, 2, 3), 77).tolist()
    picture = smooth_pictures(1)[0]
    small = Image.fromarray(halve(picture))
    back = np.asarray(small.resize((128, 128), Image.Resampling.LANCZOS))
    assert psnr_db(picture, back) > 35


@pytest.mark.parametrize("family", HALVED)
def test_sizes_rise_through_the_change(family):
    picture = smooth_pictures(3, side=320)[2]
    picture = picture + np.random.default_rng(1).integers(0, 24, picture.shape, np.uint8)
    files = [imgcodec.encode(picture, model=family, quality=quality) for quality in range(1, 8)]
    assert [read_header(data).reduction for data in files] == [2] * 5 + [1] * 2
    sizes = list(map(len, files))
    assert sizes == sorted(set(sizes))
    header = read_header(files[1])
    model = load_model(find_model(family)).model
    assert header.quality == model.half_size_qualities[1]
    assert (header.height, header.width) == (320, 320)


@pytest.mark.parametrize("family", ["vq", "cv"])
def test_below_one_stage_there_are_more_stages_of_a_quarter(family):
    picture = np.random.default_rng(2).integers(0, 256, (320, 320, 3), np.uint8)
    model = load_model(find_model(family)).model
    ladder = model.quality_ladder
    assert ladder[: model.num_stages - 1] == tuple(range(1, model.num_stages))
    files = [imgcodec.encode(picture, model=family, quality=quality) for quality in ladder]
    headers = [read_header(data) for data in files]
    assert [header.reduction for header in headers] == [2, 2, 2, 1, 1, 1, 1]
    assert [len(model.passes(header.quality)) for header in headers] == [2, 3, 4, 1, 2, 3, 4]
    sizes = list(map(len, files))
    assert sizes == sorted(sizes)


def test_digits_do_without():
    data = imgcodec.encode(smooth_pictures(1)[0][:, :, 0], model="convvae", quality=1)
    assert read_header(data).reduction == 1


def test_the_picture_is_shown_at_its_size(picture, data):
    assert read_header(data).reduction == 2
    assert psnr_db(picture, _pixels(data).astype(np.uint8)) > 26
    tiny = imgcodec.encode(picture[:1, :1], quality=1)
    assert imgcodec.decode(tiny).size == (1, 1)


@pytest.mark.parametrize("crop", [(0, 0, WIDTH, HEIGHT), (101, 33, 57, 201), (232, 300, 1, 1)])
def test_a_crop_has_the_pixels_of_the_whole(data, crop):
    x, y, width, height = crop
    part = _pixels(data, crop=crop)
    assert np.abs(part - _pixels(data)[y : y + height, x : x + width]).max() <= 1


@pytest.mark.parametrize("scale", [2, 4, 8, 16, 32, 64])
def test_scales_are_about_the_average(data, scale):
    small = imgcodec.decode(data, scale=scale)
    average = imgcodec.decode(data).reduce(scale)
    assert small.size == average.size
    assert psnr_db(np.asarray(average), np.asarray(small)) > 28
    part = imgcodec.decode(data, scale=scale, crop=(64, 128, 101, 99))
    expected = imgcodec.decode(data, crop=(64, 128, 101, 99)).reduce(scale)
    assert psnr_db(np.asarray(expected), np.asarray(part)) > 24


@pytest.mark.parametrize("model", HALVED)
def test_tiles_beginnings_and_previews(model):
    picture = smooth_pictures(1, side=560)[0][:521, :]
    data = imgcodec.encode(picture, quality=QUALITY, model=model, tile_px=256)
    assert read_header(data).num_tiles == 4
    assert psnr_db(picture, _pixels(data).astype(np.uint8)) > 26
    half = imgcodec.decode(data[: len(data) // 2], allow_truncated=True)
    assert half.size == (560, 521)
    steps = list(imgcodec.preview(data))
    assert all(step.image.size == (560, 521) for step in steps)
    assert np.array_equal(np.asarray(steps[-1].image), np.asarray(imgcodec.decode(data)))


def test_alpha_and_grey_stay_exact_and_whole(picture):
    alpha = np.arange(HEIGHT * WIDTH, dtype=np.uint32).reshape(HEIGHT, WIDTH).astype(np.uint8)
    image = Image.fromarray(np.dstack([picture, alpha])).convert("LA")
    data = imgcodec.encode(image, quality=QUALITY)
    assert read_header(data).reduction == 2
    back = imgcodec.decode(data)
    assert back.mode == "LA"
    assert np.array_equal(np.asarray(back)[..., 1], alpha)


def test_exact_blocks_are_pasted_over_the_enlarged_picture(picture, data):
    stream = read_stream(data)
    mask = np.zeros((10, 8), np.bool_)
    mask[2:4, 7] = mask[9, 3] = True
    payload = encode_exact(ExactBlocks(mask, picture))
    header = dataclasses.replace(stream.header, has_exact=True)
    patched = write_stream(dataclasses.replace(stream, header=header, exact=payload))
    covered = ExactBlocks(mask, picture).covered
    found, without = _pixels(patched), _pixels(data)
    assert np.array_equal(found[covered], picture[covered])
    assert np.array_equal(found[~covered], without[~covered])
    small = _pixels(patched, scale=8, crop=(0, 64, WIDTH, 64))
    expected = Image.fromarray(picture[64:128, 224:WIDTH]).reduce(8)
    assert np.abs(small[:, 28:] - np.asarray(expected)).max() <= 1
    heatmap = imgcodec.inspect(patched, heatmap=True).heatmap
    assert heatmap.shape == (10, 8)
    assert heatmap[2, 7] > 4 * np.median(heatmap)


def test_pictures_with_exact_blocks_keep_their_size():
    page = np.full((256, 256, 3), 255, np.uint8)
    page[::8, ::3] = 0
    photo = smooth_pictures(1, side=256)[0]
    for quality in (1, 5):
        both = imgcodec.encode(np.concatenate([photo, page]), quality=quality)
        header = read_header(both)
        assert (header.has_exact, header.reduction) == (True, 1)


def test_a_target_finds_half_size(picture):
    limit = len(imgcodec.encode(picture, quality=3))
    found = imgcodec.encode(picture, target_bytes=limit)
    assert read_header(found).reduction == 2
    assert 0.95 * limit < len(found) <= limit


def test_sizes_between_halves_are_filled():
    """They are further apart than stronger rounding reaches."""
    generator = np.random.default_rng(2)
    picture = np.kron(
        generator.integers(0, 256, (64, 64, 3), np.uint8), np.ones((4, 4, 1), np.uint8)
    )
    smaller, larger = (len(imgcodec.encode(picture, quality=quality)) for quality in (2, 3))
    assert larger > 1.3 * smaller
    for limit in (1.1 * smaller, 1.2 * smaller):
        assert 0.95 * limit < len(imgcodec.encode(picture, target_bytes=limit)) <= limit


def test_effort_refines_what_is_coded(picture):
    plain = imgcodec.encode(picture[:160, :160], quality=2)
    refined = imgcodec.encode(picture[:160, :160], quality=2, effort=2)
    assert read_header(refined).reduction == 2
    assert refined != plain


def test_pillow_reads_and_drafts(picture, data):
    image = Image.open(io.BytesIO(data))
    assert image.info["reduction"] == 2
    assert image.size == (WIDTH, HEIGHT)
    image.draft("RGB", (50, 50))
    assert image.size == (-(-WIDTH // 4), -(-HEIGHT // 4))
    assert np.asarray(image).shape[:2] == image.size[::-1]
