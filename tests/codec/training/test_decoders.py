"""Further decoders of a model: trained alone, exported beside it, chosen when decoding."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import imgcodec
from imgcodec.codec.training import loop
from imgcodec.codec.training.checkpoint import read_weights
from imgcodec.codec.training.export import export_decoder
from imgcodec.codec.training.loop import train
from imgcodec.codec.training.losses import LossRecipe
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import make_tiny_weights, smooth_pictures, tiny_recipe_of


@pytest.fixture(scope="module", params=["beta", "beta with noise", "hier", "hier with noise", "vq"])
def run(request, tmp_path_factory):
    """A model and a run that trained its decoder alone, from its weights."""
    return _trained_decoder(request.param, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module", params=["beta", "hier"])
def noisy(request, tmp_path_factory):
    """A model that has a decoder with noise."""
    folder = tmp_path_factory.mktemp("noisy")
    weights, ema = _trained_decoder(f"{request.param} with noise", folder)
    target = weights.with_name(f"{weights.stem}.natural.safetensors")
    export_decoder(ema, target, weights, provenance="synthetic waves")
    return weights


def _trained_decoder(kind, folder):
    family, _, noise = kind.partition(" with ")
    weights = make_tiny_weights(family, folder)
    recipe = tiny_recipe_of(family)
    recipe = replace(
        recipe,
        model=recipe.model | ({"noise_channels": 4} if noise else {}),
        train=replace(recipe.train, only="decoder", steps=6, lr=1e-2),
        loss=LossRecipe(rate=0.0),
    )
    pictures = [("smooth", picture) for picture in smooth_pictures(6)]
    with mock.patch.object(loop, "HELD_OUT", 2):
        ema = train(recipe, pictures, folder / "run", init=weights, report=lambda _: None)
    return weights, ema


def test_only_the_decoder_is_trained(run):
    weights, ema = run
    model = load_model(find_model(weights)).model
    before, after = read_weights(weights), read_weights(ema)
    changed = {
        name
        for name, tensor in after.items()
        if name not in before or not torch.allclose(tensor, before[name], atol=2e-3)
    }
    assert changed
    assert all(name.startswith(model.decoder_prefixes) for name in changed)


def test_both_decoders_read_the_same_file(run):
    weights, ema = run
    target = weights.with_name(f"{weights.stem}.perceptual.safetensors")
    export_decoder(ema, target, weights, provenance="synthetic waves")
    info = find_model(weights)
    assert info.decoders == ("fidelity", "perceptual")
    assert target.stat().st_size < 0.8 * weights.stat().st_size
    picture = smooth_pictures(1)[0]
    data = imgcodec.encode(picture, model=weights, quality=50)
    plain = np.asarray(imgcodec.decode(data, model=weights))
    other = np.asarray(imgcodec.decode(data, model=weights, decoder="perceptual"))
    assert (plain != other).any()
    np.testing.assert_array_equal(plain, np.asarray(imgcodec.decode(data, model=weights)))
    with pytest.raises(imgcodec.UnknownModelError, match="no decoder 'sharp'; known: fidelity"):
        imgcodec.decode(data, model=weights, decoder="sharp")


def test_training_goes_on_from_a_further_decoder(run):
    weights, ema = run
    target = weights.with_name(f"{weights.stem}.perceptual.safetensors")
    export_decoder(ema, target, weights, provenance="synthetic waves")
    start, trained = read_weights(target), read_weights(ema)
    assert set(trained) <= set(start)
    for name, tensor in trained.items():
        torch.testing.assert_close(start[name], tensor, atol=2e-3, rtol=0)


def test_a_decoder_of_other_weights_is_refused(run, tmp_path):
    weights, ema = run
    target = weights.with_name(f"{weights.stem}.perceptual.safetensors")
    export_decoder(ema, target, weights, provenance="synthetic waves")
    other = make_tiny_weights("cv", tmp_path)
    shutil.copy(target, other.with_name(f"{other.stem}.perceptual.safetensors"))
    with pytest.raises(imgcodec.UnknownModelError, match="belongs to other weights"):
        load_model(find_model(other), "perceptual")


def test_a_run_that_changed_more_than_the_decoder_is_refused(run, tmp_path):
    from safetensors import safe_open

    weights, ema = run
    tensors = load_file(ema)
    tensors["g_a.out.bias"] += 1.0
    with safe_open(ema, "pt") as file:
        save_file(tensors, tmp_path / "ema.safetensors", file.metadata())
    target = tmp_path / f"{weights.stem}.perceptual.safetensors"
    with pytest.raises(ValueError, match=r"g_a\.out\.bias"):
        export_decoder(tmp_path / "ema.safetensors", target, weights, provenance="-")
    assert not target.exists()


def test_a_decoder_with_a_rate_axis_of_its_own_is_refused(noisy, tmp_path):
    from safetensors import safe_open

    name = f"{noisy.stem}.natural.safetensors"
    with safe_open(noisy.with_name(name), "pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    sizes = json.loads(metadata["model"])
    metadata["model"] = json.dumps(sizes | {"lambda_min": 2 * sizes["lambda_min"]})
    save_file(tensors, tmp_path / name, metadata)
    shutil.copy(noisy, tmp_path)
    with pytest.raises(imgcodec.UnknownModelError, match="other sizes"):
        load_model(find_model(tmp_path / noisy.name), "natural")


def test_noise_makes_a_difference_and_is_always_the_same(noisy):
    picture = smooth_pictures(1)[0]
    data = imgcodec.encode(picture, model=noisy, quality=50)
    first, again = (imgcodec.decode(data, model=noisy, decoder="natural") for _ in range(2))
    assert first.tobytes() == again.tobytes()
    loaded = load_model(find_model(noisy), "natural")
    y_hat = np.zeros((1, loaded.model.latent_channels, 2, 2), np.float32)  # at the stride
    here, there = (loaded.model.synthesis(y_hat, 50, place) for place in ((0, 0), (3, 5)))
    assert np.abs(here - there).max() > 1e-4


def test_crops_and_tiles_have_the_noise_of_their_place(noisy):
    picture = np.tile(smooth_pictures(1)[0], (3, 3, 1))
    data = imgcodec.encode(picture, model=noisy, quality=50, tile_px=256)
    whole = np.asarray(imgcodec.decode(data, model=noisy, decoder="natural"))
    crop = (230, 250, 60, 40)
    part = imgcodec.decode(data, model=noisy, decoder="natural", crop=crop)
    expected = whole[250:290, 230:290].astype(int)
    assert np.abs(np.asarray(part) - expected).max() <= 1


def test_graphs_have_the_noise_too(noisy, monkeypatch):
    pytest.importorskip("onnx")
    from imgcodec.codec.training.graphs import write_graphs

    for decoder in find_model(noisy).decoders:
        write_graphs(noisy, decoder)
    data = imgcodec.encode(smooth_pictures(1)[0], model=noisy, quality=50)
    pictures = []
    for backend in ("torch", "onnxruntime"):
        monkeypatch.setenv("IMGCODEC_BACKEND", backend)
        decoded = imgcodec.decode(data, model=noisy, decoder="natural")
        pictures.append(np.asarray(decoded).astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
