"""Small pictures straight from the latents: close to the average of the decoded ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import imgcodec
from imgcodec.codec.numeric.thumbnail import SCALES, STRIDE
from imgcodec.codec.options import EncodeOptions
from imgcodec.codec.session import coding, decoder
from imgcodec.codec.session.encoder import Encoder
from imgcodec.codec.session.targets import psnr_db
from imgcodec.codec.training.thumbnails import LEADING_SCALE, _solve
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import make_tiny_weights, smooth_pictures
from tests.memory import peak_mib

IMPORTS = """
import numpy, onnxruntime, constriction, safetensors.numpy
import imgcodec
from imgcodec.codec import api
"""

MAPPED = ["beta", "hier", "vq", "cv"]


@pytest.fixture(scope="module", params=MAPPED)
def weights(request, tmp_path_factory):
    return make_tiny_weights(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def no_synthesis(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("the synthesis is not needed")

    monkeypatch.setattr(decoder, "synthesise", refuse)


@pytest.mark.parametrize("scale", SCALES)
def test_a_small_picture_is_about_the_average(weights, scale, request):
    pixels = smooth_pictures(1)[0][:101, :77]
    data = imgcodec.encode(pixels, model=weights, quality=80, exact="none")
    whole = imgcodec.decode(data, model=weights)
    request.getfixturevalue("no_synthesis")
    small = imgcodec.decode(data, model=weights, scale=scale)
    assert small.size == (-(-77 // scale), -(-101 // scale))
    # Where latents lead, the others are missing: of a small model they matter.
    has_few = scale >= LEADING_SCALE and load_model(find_model(weights)).model.leading_channels
    assert psnr_db(np.asarray(whole.reduce(scale)), np.asarray(small)) > (18 if has_few else 24)


def test_maps_are_least_squares():
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(5, 400, generator=generator, dtype=torch.float64)
    weight = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    target = weight @ latents + 0.25
    seen = torch.cat([latents, torch.ones(1, 400, dtype=torch.float64)])
    found = _solve(seen @ seen.T, seen @ target.T)
    np.testing.assert_allclose(found.weight[:, :, 0, 0], weight.numpy(), atol=1e-4)
    np.testing.assert_allclose(found.bias, np.full(12, 0.25), atol=1e-4)
    assert found(latents.float().reshape(1, 5, 20, 20).numpy()).shape == (1, 3, 40, 40)


def test_small_scales_need_the_latents_that_lead_alone(tiny_weights, no_synthesis, monkeypatch):
    names = set()
    original = coding.Read.exchange

    def spy(self, block, indexes, q):
        names.add(block.part)
        return original(self, block, indexes, q)

    monkeypatch.setattr(coding.Read, "exchange", spy)
    data = imgcodec.encode(smooth_pictures(1)[0], model=tiny_weights, quality=50)
    for scale in SCALES:
        names.clear()
        imgcodec.decode(data, model=tiny_weights, scale=scale)
        assert names == ({"z", "lead"} if scale >= LEADING_SCALE else {"z", "lead", "y"})


@pytest.mark.parametrize("crop", [(0, 0, 50, 30), (64, 16, 63, 100), (16, 48, 1, 1)])
def test_of_a_part_it_is_the_part_of_the_small_picture(tiny_weights, no_synthesis, crop):
    pixels = np.tile(smooth_pictures(1)[0], (3, 3, 1))[:300, :290]
    data = imgcodec.encode(pixels, model=tiny_weights, quality=50, tile_px=256)
    x, y, width, height = crop
    whole = np.asarray(imgcodec.decode(data, model=tiny_weights, scale=4))
    part = np.asarray(imgcodec.decode(data, model=tiny_weights, scale=4, crop=crop))
    assert part.shape == (-(-height // 4), -(-width // 4), 3)
    expected = whole[y // 4 :, x // 4 :][: part.shape[0], : part.shape[1]]
    assert np.abs(part.astype(int) - expected).max() <= 1


def test_from_any_corner_and_with_transparency_it_is_the_average(tiny_weights):
    """The synthesis runs: latents do not lie at the squares that are averaged."""
    pixels = smooth_pictures(1)[0]
    data = imgcodec.encode(pixels, model=tiny_weights, quality=50)
    crop = (3, 5, 60, 40)
    part = imgcodec.decode(data, model=tiny_weights, crop=crop)
    small = imgcodec.decode(data, model=tiny_weights, crop=crop, scale=4)
    assert small.tobytes() == part.reduce(4).tobytes()
    rgba = np.dstack([pixels, np.arange(128, dtype=np.uint8).repeat(128).reshape(128, 128)])
    data = imgcodec.encode(rgba, model=tiny_weights, quality=50)
    whole = imgcodec.decode(data, model=tiny_weights)
    small = imgcodec.decode(data, model=tiny_weights, scale=4)
    assert small.tobytes() == whole.reduce(4).tobytes()


def test_exact_blocks_are_exact_at_every_scale(tiny_weights):
    mask = np.zeros((4, 4), np.bool_)
    mask[:2, 1:3] = True
    encoder = Encoder(smooth_pictures(1)[0], EncodeOptions(model=tiny_weights))
    data = encoder.at(60, exact_mask=mask)
    assert imgcodec.inspect(data).exact_share == 0.25
    whole = imgcodec.decode(data, model=tiny_weights)
    for scale in SCALES:
        small = np.asarray(imgcodec.decode(data, model=tiny_weights, scale=scale))
        average = np.asarray(whole.reduce(scale))
        place = (slice(0, 64 // scale), slice(32 // scale, 96 // scale))
        np.testing.assert_array_equal(small[place], average[place])


def test_beginnings_of_files_have_small_pictures(tiny_weights):
    data = imgcodec.encode(smooth_pictures(1)[0], model=tiny_weights, quality=90, exact="none")
    whole = np.asarray(imgcodec.decode(data, model=tiny_weights, scale=8))
    half = imgcodec.decode(
        data[: len(data) * 2 // 3], model=tiny_weights, scale=8, allow_truncated=True
    )
    assert psnr_db(whole, np.asarray(half)) > 20
    assert STRIDE % 8 == 0


@pytest.mark.slow
def test_an_eighth_of_12_megapixels_takes_a_fraction_of_the_memory(tmp_path, monkeypatch):
    """Beyond what imports take; measured 61 and 322 MiB, of which 14 are pages of libraries."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    noise = np.random.default_rng(0).normal(0, 12, (1000, 1000, 3))
    pixels = (smooth_pictures(1, side=1000)[0] + noise).clip(0, 255).astype(np.uint8)
    file = tmp_path / "large.cvb"
    file.write_bytes(imgcodec.encode(np.tile(pixels, (3, 4, 1)), quality=60, exact="none"))
    imports = peak_mib(IMPORTS)
    whole, small = (
        peak_mib(f"{IMPORTS}\nimgcodec.decode({str(file)!r}, scale={scale})") - imports
        for scale in (1, 8)
    )
    assert small < 75
    assert small < whole / 4
