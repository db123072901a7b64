"""Crops and reductions: the pixels of the whole picture, from no more tiles than needed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import imgcodec
from imgcodec.codec.session import coding
from imgcodec.codec.session.tiling import region_of
from imgcodec.codec.stream.tiles import Tile
from tests.codec.conftest import smooth_pictures

HEIGHT, WIDTH = 600, 530


@pytest.fixture(scope="module")
def tiled():
    """A file of three by three tiles, and the picture that it decodes to."""
    picture = smooth_pictures(1, side=640)[0][:HEIGHT, :WIDTH]
    data = imgcodec.encode(picture, quality=50, tile_px=256)
    return data, np.asarray(imgcodec.decode(data)).astype(int)


def crops():
    yield 0, 0, WIDTH, HEIGHT
    yield 0, 0, 1, 1
    yield WIDTH - 1, HEIGHT - 1, 1, 1
    yield 250, 249, 13, 14  # over the corner of four tiles
    yield 3, 300, 500, 7
    yield 511, 17, 19, 583


@pytest.mark.parametrize("crop", list(crops()), ids=str)
def test_a_crop_has_the_pixels_of_the_whole(tiled, crop):
    data, whole = tiled
    x, y, width, height = crop
    part = np.asarray(imgcodec.decode(data, crop=crop)).astype(int)
    assert part.shape == (height, width, 3)
    assert np.abs(part - whole[y : y + height, x : x + width]).max() <= 1


@pytest.fixture
def decoded_tiles(monkeypatch):
    """The tiles whose streams were decoded since."""
    tiles, original = [], coding._decoders

    def spy(tables, stream, number):
        tiles.append(divmod(number, -(-stream.header.width // stream.header.tile_px)))
        return original(tables, stream, number)

    monkeypatch.setattr(coding, "_decoders", spy)
    return tiles


def test_only_tiles_within_reach_are_decoded(tiled, decoded_tiles, shipped):
    halo = shipped.model.synthesis_halo_px
    assert halo <= 112
    imgcodec.decode(tiled[0], crop=(256 + 120, 256 + 120, 16, 16))
    assert decoded_tiles == [(1, 1)]
    decoded_tiles.clear()
    imgcodec.decode(tiled[0], crop=(0, 10, 20, 20))
    assert decoded_tiles == [(0, 0)]
    decoded_tiles.clear()
    imgcodec.decode(tiled[0], crop=(250, 120, 12, 16))
    assert decoded_tiles == [(0, 0), (0, 1)]


def test_synthesis_runs_on_the_crop_and_its_halo_only(tiled, shipped, monkeypatch):
    seen = []
    original = type(shipped.model).synthesis

    def spy(self, y_hat, quality, place):
        seen.append((*y_hat.shape[2:], *place))
        return original(self, y_hat, quality, place)

    monkeypatch.setattr(type(shipped.model), "synthesis", spy)
    imgcodec.decode(tiled[0], crop=(200, 200, 32, 48))
    region = region_of(shipped.model, Tile(200, 200, 48, 32), HEIGHT, WIDTH)
    of_region = (region.height, region.width, region.top, region.left)
    assert seen == [tuple(length // 16 for length in of_region)]
    assert region.height <= 48 + 32 + 2 * shipped.model.synthesis_halo_px


@pytest.fixture(scope="module")
def without_maps():
    """The same of weights that have no maps for small pictures (`test_thumbnails.py` has those)."""
    picture = smooth_pictures(1, side=640)[0][:HEIGHT, :WIDTH]
    data = imgcodec.encode(picture, quality=50, tile_px=256, tune="psnr")
    return data, np.asarray(imgcodec.decode(data)).astype(int)


@pytest.mark.parametrize("scale", [2, 8, 32, 256])
def test_a_reduction_averages_squares(without_maps, scale):
    data, whole = without_maps
    expected = np.asarray(Image.fromarray(whole.astype(np.uint8)).reduce(scale)).astype(int)
    reduced = np.asarray(imgcodec.decode(data, scale=scale)).astype(int)
    assert reduced.shape == (-(-HEIGHT // scale), -(-WIDTH // scale), 3)
    assert np.abs(reduced - expected).max() <= 1


def test_a_crop_is_reduced_from_its_own_corner(tiled):
    data, whole = tiled
    part = whole[101 : 101 + 333, 37 : 37 + 402].astype(np.uint8)
    expected = np.asarray(Image.fromarray(part).reduce(8)).astype(int)
    reduced = np.asarray(imgcodec.decode(data, crop=(37, 101, 402, 333), scale=8)).astype(int)
    assert np.abs(reduced - expected).max() <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_grey_and_alpha_follow(tiny_weights, mode):
    rgba = np.dstack([smooth_pictures(1)[0], np.arange(128**2).reshape(128, 128) % 251])
    image = Image.fromarray(rgba.astype(np.uint8)).convert(mode)
    image.info["icc_profile"] = b"a profile"
    data = imgcodec.encode(image, model=tiny_weights)
    part = imgcodec.decode(data, model=tiny_weights, crop=(5, 9, 60, 40))
    assert (part.mode, part.size, part.info["icc_profile"]) == (mode, (60, 40), b"a profile")
    if mode != "L":
        np.testing.assert_array_equal(np.asarray(part)[..., -1], rgba[9:49, 5:65, 3])
    reduced = imgcodec.decode(data, model=tiny_weights, scale=4)
    assert (reduced.mode, reduced.size) == (mode, (32, 32))
    if mode != "L":
        alpha = Image.fromarray(rgba[..., 3].astype(np.uint8))
        np.testing.assert_array_equal(np.asarray(reduced)[..., -1], np.asarray(alpha.reduce(4)))


@pytest.mark.parametrize(
    "crop", [(-1, 0, 5, 5), (0, 0, 0, 5), (0, 0, WIDTH + 1, 5), (0, HEIGHT, 1, 1)]
)
def test_crops_beyond_the_picture_are_value_errors(tiled, crop):
    with pytest.raises(ValueError, match="crop"):
        imgcodec.decode(tiled[0], crop=crop)


@pytest.mark.parametrize("scale", [0, 3, 512, -2, 0.5])
def test_other_scales_are_value_errors(tiled, scale):
    with pytest.raises(ValueError, match="scale"):
        imgcodec.decode(tiled[0], scale=scale)
