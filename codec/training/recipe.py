"""The training recipe: a strict YAML file turned into one frozen dataclass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.registry import resolve
from imgcodec.codec.strict import RecipeError, build, check_keys
from imgcodec.codec.training.adversarial import AdversarialRecipe
from imgcodec.codec.training.losses import LossRecipe
from imgcodec.codec.training.precision import AUTO, PRECISIONS

DECODER = "decoder"
PARTS = ("all", DECODER)


@dataclass(frozen=True)
class TrainRecipe:
    """How to train; the model's own sizes are a separate mapping of the same YAML file.

    Attributes:
        steps: number of optimiser steps, used when `minutes` is 0.
        minutes: time of the run, all of it; the schedule then follows the clock instead of the
            step count.
        batch_size: crops per step and process.
        crop_px: side of the square crops, a multiple of 64 (of 32 for convvae).
        lr: peak learning rate of Muon and AdamW alike.
        lr_end: final fraction of `lr`.
        decay_share: last part of the training in which the rate falls to its end (cosine).
        warmup_steps: steps of linear warm-up; a tenth of the run where that is less.
        clip_norm: gradient norm limit.
        ema_decay: decay of the averaged weights.
        scale_min: smallest random reduction of a crop (1 = none).
        scale_probability: share of crops that are reduced at random.
        flip_probability: share of crops that are mirrored.
        graphics_share: share of crops that are drawn; see `graphics`.
        only: "all", or "decoder": train the synthesis, freeze everything else.
        seed: seed of every generator.
        precision: of the transforms and of Muon's iterations: bfloat16, float32, or auto, which
            takes bfloat16 on processors that multiply in it, and float32 (TF32) on GPUs.
        compile: torch.compile the model and the losses: minutes at the start, twice the speed
            afterwards (on a GPU only).
        validate_minutes, checkpoint_minutes: intervals; 0 of the first for no validation at all.
        validate_steps: interval in steps, instead of minutes where it is not 0.
    """

    steps: int = 20000
    minutes: float = 0.0
    batch_size: int = 8
    crop_px: int = 192
    lr: float = 1.5e-3
    lr_end: float = 0.02
    decay_share: float = 1.0
    warmup_steps: int = 200
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_decay: float = 0.999
    scale_min: float = 0.5
    scale_probability: float = 0.5
    flip_probability: float = 0.5
    graphics_share: float = 0.0
    only: str = "all"
    seed: int = 1
    precision: str = AUTO
    compile: bool = False
    validate_minutes: float = 10.0
    validate_steps: int = 0
    checkpoint_minutes: float = 3.0

    def __post_init__(self) -> None:
        if self.only not in PARTS:
            raise ValueError(f"only must be one of {', '.join(PARTS)}, not {self.only!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {', '.join(PRECISIONS)}, not {self.precision!r}")
        for name in ("batch_size", "crop_px"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe: family, its sizes and terms, what to minimise, and how to train.

    Without an `adversarial` section there is no discriminator.
    """

    family: str
    name: str
    model: dict[str, Any]
    train: TrainRecipe
    loss: LossRecipe = dataclasses.field(default_factory=LossRecipe)
    terms: dict[str, Any] = dataclasses.field(default_factory=dict)
    adversarial: AdversarialRecipe | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain containers, as stored in checkpoints and weights."""
        return dataclasses.asdict(self)


def load_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a YAML recipe and apply ``section.key=value`` overrides.

    Raises:
        RecipeError: unknown key or bad value; the message names file, key and nearest key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path}: expected a mapping at the top")
    for override in overrides or []:
        key, separator, value = override.partition("=")
        section, dot, name = key.partition(".")
        if not separator or not dot:
            raise RecipeError(f"--set {override}: expected section.key=value")
        try:
            content.setdefault(section, {})[name] = yaml.safe_load(value)
        except (yaml.YAMLError, TypeError) as error:
            raise RecipeError(f"--set {override}: {' '.join(str(error).split())}") from error
    return recipe_from_dict(content, str(path))


def recipe_from_dict(content: dict[str, Any], source: str) -> Recipe:
    """Check plain containers against the dataclasses; `source` names them in messages."""
    known = ["family", "name", "model", "terms", "train", "loss", "adversarial"]
    check_keys(content, known, source)
    if "family" not in content:
        raise RecipeError(f"{source}: key 'family' is missing")
    adversarial = content.get("adversarial")
    family = str(content["family"])
    try:
        sizes, terms = resolve(family, content.get("model") or {}, content.get("terms") or {})
    except OptionError as error:
        raise RecipeError(f"{source}: {error}") from error
    return Recipe(
        family=family,
        name=str(content.get("name", f"{family}-custom")),
        model=sizes,
        terms=terms,
        train=build(TrainRecipe, content.get("train") or {}, f"{source}: train"),
        loss=build(LossRecipe, content.get("loss") or {}, f"{source}: loss"),
        adversarial=None
        if adversarial is None
        else build(AdversarialRecipe, adversarial, f"{source}: adversarial"),
    )
