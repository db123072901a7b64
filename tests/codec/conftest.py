"""Small real models for the tests of the codec."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import pytest
import torch

from imgcodec.codec.families.registry import FAMILIES
from imgcodec.codec.models.registry import build_model
from imgcodec.codec.training import calibration
from imgcodec.codec.training.bank import CropBank
from imgcodec.codec.training.checkpoint import save_ema
from imgcodec.codec.training.export import export
from imgcodec.codec.training.recipe import Recipe, recipe_from_dict
from imgcodec.codec.weights.installed import find_model, list_models
from imgcodec.codec.weights.store import LoadedModel, load_model
from tests.conftest import SHARED_FOLDER

EMA = "ema.safetensors"
_TRANSFORMS = {
    "encoder_channels": [16, 16],
    "encoder_blocks": [1, 1],
    "decoder_channels": [16, 16],
    "decoder_blocks": [1, 1],
}
_CODES = {
    **_TRANSFORMS,
    "latent_channels": 12,
    "stages": 3,
    "prior_width": 12,
    "context_mean": True,
    "short_nodes": True,
}
TINY_SIZES = {
    "beta": {
        **_TRANSFORMS,
        "latent_channels": 24,
        "hyper_channels": 8,
        "hyper_width": 16,
        "context_width": 16,
        "exact_width": 16,
        "learned_width": True,
        "lead_channels": 4,
    },
    "hier": {
        **_TRANSFORMS,
        "latent_channels": [8, 12, 24],
        "side_channels": 4,
        "coarse_width": 16,
        "context_widths": [16, 16, 16],
        "exact_widths": [8, 16, 16],
        "context_windows": [0, 8],
        "context_blocks": 2,
        "learned_width": True,
    },
    "vq": {**_CODES, "num_bits": 6, "error_bits": 40.0},
    "cv": {**_CODES, "pose_bits": 4, "level_bits": 2, "error_bits": 40.0},
    "convvae": {"latent_channels": 8, "channels": 8},
}
"""Sizes of models that train and code in a moment; one entry for each family."""
LEVELLED = [name for name, family in FAMILIES.items() if family.model.allocation_size]
"""Families whose files consist of levels."""


def tiny_recipe_of(family: str) -> Recipe:
    """Return the recipe of a small model of a family."""
    content = {
        "family": family,
        "name": f"{family}-tiny-1",
        "model": TINY_SIZES[family],
        "train": {"steps": 4, "batch_size": 2, "crop_px": 64, "warmup_steps": 2},
    }
    return recipe_from_dict(content, "tiny")


def make_tiny_weights(family: str, folder: Path) -> Path:
    """Put a small model into a folder whose networks all have an effect on the integers.

    Beside it is ema.safetensors, from which it was exported.
    """
    made = _tiny_weights(family)
    target = folder / f"{tiny_recipe_of(family).name}.safetensors"
    shutil.copyfile(made / EMA, folder / EMA)
    shutil.copyfile(made / target.name, target)
    return target


def _tiny_weights(family: str) -> Path:
    """Return a folder with averaged and exported weights, made once a run: that takes seconds."""
    shared = Path(os.environ[SHARED_FOLDER])
    folder = shared / family
    with (shared / f"{family}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        if not folder.exists():
            with TemporaryDirectory(dir=shared) as temporary:
                _make_tiny_weights(family, Path(temporary))
                shutil.copytree(temporary, folder)
    return folder


def _make_tiny_weights(family: str, folder: Path) -> None:
    torch.manual_seed(5)
    recipe = tiny_recipe_of(family)
    pictures = smooth_pictures(6)
    model = build_model(family, recipe.model)
    bank = CropBank(pictures, 64, torch.device("cpu"))
    count = min(2000, 6_000_000 // (3 * model.stride_px**2))
    model.init_from_patches(bank.patches(count, model.stride_px, random.Random(1)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("out.weight", "nodes", "mean.weight")):
                parameter.normal_(0, 0.02)
    save_ema(folder / EMA, recipe, model, step=0, earlier=[])
    target = folder / f"{recipe.name}.safetensors"
    with mock.patch.object(calibration, "MEASURED", (1, 36, 63, 81, 100)):
        export(folder / EMA, target, pictures=pictures[::2], provenance="synthetic waves")


def smooth_pictures(count: int, side: int = 128) -> list[np.ndarray]:
    """Return uint8 pictures (side, side, 3) of random waves and edges."""
    return [picture.copy() for picture in _smooth_pictures(count, side)]


@cache
def _smooth_pictures(count: int, side: int) -> list[np.ndarray]:
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


@pytest.fixture(scope="session", params=list(FAMILIES))
def family_weights(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Exported weights of a small model, of each family in turn."""
    return make_tiny_weights(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session", params=[info.id for info in list_models()])
def installed(request: pytest.FixtureRequest) -> LoadedModel:
    """Each model of the package in turn."""
    return load_model(find_model(request.param))


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """The recipe of a small beta model."""
    return tiny_recipe_of("beta")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported weights of a small beta model."""
    return make_tiny_weights("beta", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny(tiny_weights: Path) -> LoadedModel:
    """The small model, loaded."""
    return load_model(find_model(tiny_weights))


@pytest.fixture(scope="session")
def shipped() -> LoadedModel:
    """The default model of the package."""
    return load_model(find_model("beta"))
