"""Tiles leave no seam and bound the memory."""

from __future__ import annotations

import numpy as np
import pytest

import imgcodec
from imgcodec.codec.session.tiling import analyse_tile, synthesise
from imgcodec.codec.stream.tiles import Tile, tile_grid
from tests.codec.conftest import smooth_pictures
from tests.memory import peak_mib

WHOLE = Tile(0, 0, 570, 640)

MEMORY_SCRIPT = """
import numpy as np
import imgcodec
rows, columns = np.mgrid[0:4000, 0:6000].astype(np.float32)
pixels = np.stack([rows / 16, columns / 24, 128 + 90 * np.sin(rows / 40)], -1).astype(np.uint8)
del rows, columns
back = imgcodec.decode(imgcodec.encode(pixels, quality=30))
assert back.size == (6000, 4000)
error = np.abs(np.asarray(back)[::7, ::7].astype(int) - pixels[::7, ::7]).mean()
assert error < 4, error
"""


def test_grid_covers_the_padded_picture_once():
    tiles = tile_grid(1000, 530, 256, 16)
    covered = np.zeros((1008, 544), int)
    for tile in tiles:
        covered[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
    assert (covered == 1).all()


def test_analysis_of_tiles_equals_analysis_of_the_whole(shipped):
    picture = smooth_pictures(1, side=560)[0][:, :430]
    whole = analyse_tile(shipped.model, picture, Tile(0, 0, 560, 432), 60)
    for tile in tile_grid(560, 430, 256, 16):
        part = analyse_tile(shipped.model, picture, tile, 60)
        top, left = tile.top // 16, tile.left // 16
        same = whole[:, :, top : top + part.shape[2], left : left + part.shape[3]]
        np.testing.assert_allclose(part, same, atol=1e-3)


def test_synthesis_of_tiles_equals_synthesis_of_the_whole(shipped):
    generator = np.random.default_rng(0)
    y_hat = generator.normal(0, 0.3, (1, shipped.model.latent_channels, 36, 40)).astype(np.float32)
    (_, whole), *rest = list(synthesise(shipped.model, y_hat, 60, WHOLE, 570, 640, 1024))
    assert not rest
    for tile, part in synthesise(shipped.model, y_hat, 60, WHOLE, 570, 640, 256):
        rows, columns = part.shape[:2]
        same = whole[tile.top : tile.top + rows, tile.left : tile.left + columns]
        assert np.abs(part.astype(int) - same).max() <= 1


@pytest.mark.parametrize(("tune", "excess"), [("psnr", 1.05), ("eye", 1.08)])
def test_tiled_files_cost_and_look_the_same(tune, excess):
    """Squared errors near borders; weights that were not trained for them alone may have more."""
    picture = smooth_pictures(4, side=400)[3]
    noise = np.random.default_rng(0).normal(0, 12, picture.shape)
    picture = (picture + noise).clip(0, 255).astype(np.uint8)
    errors, sizes = {}, {}
    for tile_px in (256, 1024):
        data = imgcodec.encode(picture, tune=tune, quality=60, tile_px=tile_px)
        errors[tile_px] = np.asarray(imgcodec.decode(data)).astype(float) - picture
        sizes[tile_px] = len(data)
    tiled, whole = errors[256], errors[1024]
    # No seam: errors, and their steps across the borders of tiles, are those without tiles.
    for axis in (0, 1):
        near = np.take(tiled, range(252, 260), axis)
        near_whole = np.take(whole, range(252, 260), axis)
        assert np.square(near).mean() < excess * np.square(near_whole).mean()
        step = np.abs(np.take(tiled, 256, axis) - np.take(tiled, 255, axis))
        step_whole = np.abs(np.take(whole, 256, axis) - np.take(whole, 255, axis))
        assert step.mean() < excess * step_whole.mean()
    assert np.square(tiled).mean() < 1.01 * np.square(whole).mean()
    assert sizes[256] < 1.1 * sizes[1024]  # four streams instead of one


@pytest.mark.parametrize("scale", [1, 8])
def test_progress_of_tiles_rises_to_one(scale):
    picture = np.tile(smooth_pictures(1, side=200)[0], (3, 2, 1))[:520, :400]
    for tile_px, is_told in ((256, True), (1024, False)):
        sent, shown = [], []
        data = imgcodec.encode(picture, quality=30, tile_px=tile_px, progress=sent.append)
        imgcodec.decode(data, scale=scale, progress=shown.append)
        assert sent == sorted(sent)
        assert sent[-1] == 1.0
        assert len(sent) == (6 if is_told else 1)
        assert shown == sorted(shown)
        assert shown[-1:] == ([1.0] if is_told else [])


@pytest.mark.slow
def test_24_megapixels_stay_below_2_gib():
    assert peak_mib(MEMORY_SCRIPT) < 2 * 1024
