"""Recipes: strict, with messages that help."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imgcodec.codec.models.registry import build_model
from imgcodec.codec.strict import RecipeError
from imgcodec.codec.training.optim import rate_factor
from imgcodec.codec.training.recipe import TrainRecipe, load_recipe

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_recipes_build_their_models(path):
    recipe = load_recipe(path)
    model = build_model(recipe.family, recipe.model)
    assert sum(p.numel() for p in model.parameters()) > 1e5


def test_overrides_replace_values():
    recipe = load_recipe(CONFIGS[0], ["train.lr=5e-1", "train.steps=7", "model.num_passes=2"])
    assert (recipe.train.lr, recipe.train.steps, recipe.model["num_passes"]) == (0.5, 7, 2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.learning_rat=1", "unknown key 'learning_rat'"),
        ("train.warmup_step=1", "did you mean 'warmup_steps'"),
        ("train.steps=many", "expected int"),
        ("train.lr=fast", "expected float"),
        ("train.compile=3", "expected bool"),
        ("train.precision=half", "precision is auto, bfloat16, float32"),
        ("trian.steps=1", "did you mean 'train'"),
        ("steps=1", "section.key=value"),
    ],
)
def test_wrong_settings_are_named(override, message):
    with pytest.raises(RecipeError, match=message.replace(".", r"\.")):
        load_recipe(CONFIGS[0], [override])


def test_wrong_model_sizes_are_named():
    with pytest.raises(RecipeError, match="did you mean 'num_passes'"):
        build_model("beta", {"num_pases": 2})


def test_the_rate_rises_stays_and_falls():
    recipe = TrainRecipe(warmup_steps=200, decay_share=0.5, lr_end=0.02)
    assert rate_factor(9, 0.001, recipe) == pytest.approx(10 / 200)
    assert rate_factor(9, 0.05, recipe) == pytest.approx(0.5), "180 steps in all: a tenth of them"
    assert rate_factor(500, 0.3, recipe) == 1.0
    assert rate_factor(500, 0.75, recipe) == pytest.approx(0.51)
    assert rate_factor(500, 1.0, recipe) == pytest.approx(0.02)
    assert rate_factor(500, 1.0, replace(recipe, decay_share=0.0)) == 1.0
