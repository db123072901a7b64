"""Drawing from tables and moving through latents."""

from __future__ import annotations

import numpy as np
import pytest

from imgcodec.codec.errors import CodecError
from imgcodec.codec.stream.tables import TOTAL, Tables
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from imgcodec.eval.looks.sampling import (
    attribute_vector,
    blend,
    draw_picture,
    draw_symbols,
    latents_of,
    picture_of,
    training_size,
)
from tests.codec.conftest import make_tiny_weights, smooth_pictures


@pytest.fixture(scope="module")
def loaded(family_weights):
    return load_model(find_model(family_weights))


@pytest.fixture(scope="module")
def convvae(tmp_path_factory):
    return load_model(find_model(make_tiny_weights("convvae", tmp_path_factory.mktemp("vae"))))


def _tables():
    # Row 0: -1 and the escape do not occur. Row 1: all of -1, 0, 1 do.
    first = [1, TOTAL * 3 // 4 - 2, TOTAL // 4, 1]
    second = [TOTAL // 2, TOTAL // 8, TOTAL // 4, TOTAL // 8]
    return Tables(np.array([first, second]), np.array([1, 1]))


@pytest.mark.parametrize(
    ("uniform", "shares"),
    [(False, ([0.75, 0.25], [4 / 7, 1 / 7, 2 / 7])), (True, ([1 / 2] * 2, [1 / 3] * 3))],
)
def test_symbols_have_the_shares_of_their_row(uniform, shares):
    indexes = np.repeat([[0], [1]], 20000, axis=1)
    q = draw_symbols(_tables(), indexes, np.random.default_rng(0), uniform=uniform)
    assert (q.dtype, q.shape) == (np.int32, indexes.shape)
    for row, values, expected in zip(q, ([0, 1], [-1, 0, 1]), shares, strict=True):
        found = [float(np.mean(row == value)) for value in values]
        assert sum(found) == 1.0
        assert found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("uniform", [False, True])
def test_every_family_draws_pictures_of_any_size(loaded, uniform):
    drawn = [
        draw_picture(loaded, (40, 71), 60, np.random.default_rng(seed), uniform=uniform)
        for seed in (0, 0, 1)
    ]
    assert drawn[0].shape == (40, 71, 3)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.any(drawn[0] != drawn[2])


def test_picture_of_latents_is_what_a_file_decodes_to(loaded):
    import imgcodec

    pixels = smooth_pictures(1)[0][:50, :67]
    path = loaded.info.path
    decoded = imgcodec.decode(imgcodec.encode(pixels, model=path, quality=80), model=path)
    shown = picture_of(loaded, latents_of(loaded, pixels, 80), 80, (50, 67))
    np.testing.assert_array_equal(shown, np.asarray(decoded))


def test_blend_ends_at_its_ends():
    a, b = np.random.default_rng(0).normal(size=(2, 1, 30, 2, 3))
    for spherical in (False, True):
        assert np.allclose(blend(a, b, 0.0, spherical=spherical), a)
        assert np.allclose(blend(a, b, 1.0, spherical=spherical), b, atol=1e-6)
    assert np.allclose(blend(a, b, 0.25), 0.75 * a + 0.25 * b)


def test_great_circle_keeps_the_length():
    a, b = np.array([3.0, 0.0]), np.array([0.0, 3.0])
    middle = blend(a, b, 0.5, spherical=True)
    assert np.allclose(middle, np.array([3.0, 3.0]) / 2**0.5)
    assert np.allclose(blend(a, 2 * a, 0.5, spherical=True), 1.5 * a)  # no angle between them
    assert np.allclose(blend(a, -a, 0.5, spherical=True), 0 * a)


def test_attribute_is_the_difference_of_means(convvae):
    pictures = smooth_pictures(4, side=32)
    means = [latents_of(convvae, picture, 60) for picture in pictures]
    found = attribute_vector(convvae, pictures, [True, False, True, False], 60)
    expected = (means[0] + means[2] - means[1] - means[3]) / 2
    assert np.allclose(found, expected, atol=1e-6)


def test_attribute_needs_both_kinds_and_one_size(convvae):
    pictures = smooth_pictures(2, side=32)
    with pytest.raises(CodecError, match="without it"):
        attribute_vector(convvae, pictures, [True, True], 60)
    with pytest.raises(CodecError, match="one size"):
        attribute_vector(convvae, [pictures[0], smooth_pictures(1)[0]], [True, False], 60)


def test_training_size_is_the_crop_of_the_recipe(convvae):
    assert training_size(convvae) == (64, 64)
