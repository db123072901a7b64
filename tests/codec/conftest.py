"""Small real models for the tests of the codec."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from imgcodec.codec.models.weights import LoadedModel, find_model, load_model
from imgcodec.codec.nets.klt import klt_of_patches
from imgcodec.codec.training.bank import CropBank
from imgcodec.codec.training.checkpoint import save_ema
from imgcodec.codec.training.export import export
from imgcodec.codec.training.recipe import Recipe, recipe_from_dict

TINY = {
    "family": "beta",
    "name": "beta-tiny-1",
    "model": {
        "latent_channels": 24,
        "hyper_channels": 8,
        "encoder_channels": [16, 16],
        "encoder_blocks": [1, 1],
        "decoder_channels": [16, 16],
        "decoder_blocks": [1, 1],
        "hyper_width": 16,
        "context_width": 16,
        "exact_width": 16,
    },
    "train": {"steps": 4, "batch_size": 2, "crop_px": 64, "warmup_steps": 2},
}


def smooth_pictures(count: int, side: int = 128) -> list[np.ndarray]:
    """Return uint8 pictures (side, side, 3) of random waves and edges."""
    generator = np.random.default_rng(3)
    rows, columns = np.mgrid[0:side, 0:side] / side
    pictures = []
    for _ in range(count):
        picture = np.full((side, side, 3), 128.0)
        for _ in range(6):
            frequency, phase = generator.uniform(1, 12, 2), generator.uniform(0, 6)
            wave = np.sin(rows * frequency[0] + columns * frequency[1] + phase)
            picture += wave[..., None] * generator.normal(0, 20, 3)
        edge = generator.uniform(0.2, 0.8)
        picture[columns > edge] += generator.normal(0, 30, 3)
        pictures.append(picture.clip(0, 255).astype(np.uint8))
    return pictures


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """The recipe of a model that trains in seconds."""
    return recipe_from_dict(TINY, "tiny")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: Recipe) -> Path:
    """Exported weights of a small model whose networks all have an effect on the integers."""
    from imgcodec.codec.models.registry import build_model

    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("tiny")
    pictures = smooth_pictures(6)
    model = build_model(tiny_recipe.family, tiny_recipe.model)
    bank = CropBank(pictures, 64, torch.device("cpu"))
    patches = bank.patches(2000, 16, random.Random(1))
    model.init_from_klt(*klt_of_patches(patches, model.latent_channels))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("out.weight"):
                parameter.normal_(0, 0.02)
    save_ema(folder / "ema.safetensors", tiny_recipe, model, step=0)
    target = folder / "beta-tiny-1.safetensors"
    export(folder / "ema.safetensors", target, pictures=pictures, provenance="synthetic waves")
    return target


@pytest.fixture(scope="session")
def tiny(tiny_weights: Path) -> LoadedModel:
    """The small model, loaded."""
    return load_model(find_model(tiny_weights))


@pytest.fixture(scope="session")
def shipped() -> LoadedModel:
    """The default model of the package."""
    return load_model(find_model("beta"))
