"""Further decoders of a model: trained alone, exported beside it, chosen when decoding."""

from __future__ import annotations

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


@pytest.fixture(scope="module", params=["beta", "hier", "vq"])
def run(request, tmp_path_factory):
    """A model and a run that trained its decoder alone, from the shipped weights."""
    folder = tmp_path_factory.mktemp(request.param)
    weights = make_tiny_weights(request.param, folder)
    recipe = tiny_recipe_of(request.param)
    recipe = replace(
        recipe,
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
        if not torch.allclose(tensor, before[name], atol=2e-3)
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
