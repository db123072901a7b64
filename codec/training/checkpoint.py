"""Files of a training run: resumable checkpoints and averaged weights."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from imgcodec.codec.errors import CodecError, OptionError, UnknownModelError
from imgcodec.codec.models.base import TorchModel
from imgcodec.codec.models.stored import integers_to_float
from imgcodec.codec.training.adversarial import Adversary
from imgcodec.codec.training.recipe import Recipe
from imgcodec.codec.weights.installed import model_of_decoder


def save_checkpoint(
    path: Path,
    recipe: Recipe,
    model: nn.Module,
    ema: nn.Module,
    optimisers: list[torch.optim.Optimizer],
    adversary: Adversary | None,
    state: Any,
    rng: random.Random,
) -> None:
    """Write everything that a resumed run needs, atomically."""
    version, internal, gauss = rng.getstate()
    content = {
        "recipe": recipe.to_dict(),
        "model": model.state_dict(),
        "ema": ema.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "adversary": None if adversary is None else adversary.state_dict(),
        "state": dataclasses.asdict(state),
        "python_rng": [version, list(internal), gauss],
        "torch_rng": torch.get_rng_state(),
    }
    temporary = path.with_suffix(".tmp")
    torch.save(content, temporary)
    temporary.replace(path)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    ema: nn.Module,
    optimisers: list[torch.optim.Optimizer],
    adversary: Adversary | None,
    state: Any,
    rng: random.Random,
) -> None:
    """Restore a run in place.

    Raises:
        CodecError: the file is no checkpoint.
        FileNotFoundError: there is no checkpoint.
    """
    if not path.exists():
        raise FileNotFoundError(f"nothing to resume: {path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever it likes on files that are no checkpoints
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CodecError(f"cannot resume from {path}: {reason}") from error
    model.load_state_dict(content["model"])
    ema.load_state_dict(content["ema"])
    for optimiser, values in zip(optimisers, content["optimisers"], strict=True):
        optimiser.load_state_dict(values)
    if adversary is not None and content["adversary"] is not None:
        adversary.load_state_dict(content["adversary"])
    for name, value in content["state"].items():
        setattr(state, name, value)
    version, internal, gauss = content["python_rng"]
    rng.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(content["torch_rng"])


def save_ema(
    path: Path, recipe: Recipe, ema: nn.Module, step: int, earlier: list[dict[str, Any]]
) -> None:
    """Write the averaged weights, as they are, with their recipe and the runs that made them.

    Args:
        path: target.
        recipe: of this run.
        ema: averaged model.
        step: number of steps of this run.
        earlier: runs before it, as `runs_of_weights` gives them.
    """
    tensors = {name: t.contiguous() for name, t in ema.state_dict().items()}
    own = {
        "recipe": recipe.name,
        "steps": step,
        "batch_size": recipe.train.batch_size,
        "crop_px": recipe.train.crop_px,
    }
    metadata = {
        "recipe": json.dumps(recipe.to_dict()),
        "step": str(step),
        "runs": json.dumps([*earlier, own]),
    }
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata)
    temporary.replace(path)


def load_initial_weights(model: TorchModel, path: Path) -> None:
    """Copy the weights of a safetensors file (averaged or shipped) into `model`.

    Raises:
        OptionError: tensors are missing or have other shapes than `model.upgrade` can give them.
    """
    own = model.state_dict()
    available = model.upgrade(read_weights(path), _recipe_of_weights(path)["model"])
    missing = sorted(set(own) - set(available))
    if missing:
        raise OptionError(f"{path} lacks {len(missing)} tensors, first {missing[0]}")
    for name, tensor in own.items():
        value = available[name]
        if value.shape != tensor.shape:
            raise OptionError(f"{path}: {name} is {tuple(value.shape)}, not {tensor.shape}")
        tensor.copy_(value)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file (averaged or shipped) as float32.

    Of a further decoder: the tensors of its model, beside it, with that decoder.
    """
    with open_weights(path, "pt") as file:
        is_decoder = "decoder" in (file.metadata() or {})
        tensors = {name: integers_to_float(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    return read_weights(model_of_decoder(path)) | tensors if is_decoder else tensors


def family_of_weights(path: Path) -> str:
    """Return the family of a safetensors file (averaged or shipped)."""
    return str(_recipe_of_weights(path)["family"])


def metadata_of_weights(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file (averaged or shipped).

    Raises:
        UnknownModelError: it is none, or of no training run.
    """
    with open_weights(path, "pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
    if "recipe" not in metadata:
        raise UnknownModelError(f"{path}: no weights of a training run (no recipe in the metadata)")
    return metadata


@contextmanager
def open_weights(path: Path, framework: str) -> Iterator[Any]:
    """Open a safetensors file.

    Raises:
        UnknownModelError: it is none.
    """
    try:
        with safe_open(path, framework) as file:
            yield file
    except SafetensorError as error:
        raise UnknownModelError(f"cannot read weights {path}: {error}") from error


def runs_of_weights(path: Path) -> list[dict[str, Any]]:
    """Return the training runs behind a safetensors file (averaged or shipped), oldest first.

    Of files from before runs were recorded: what is known of them, in one entry.
    """
    metadata = metadata_of_weights(path)
    if "runs" in metadata:
        runs: list[dict[str, Any]] = json.loads(metadata["runs"])
        return runs
    known = {name: metadata[name] for name in ("id", "provenance") if name in metadata}
    recipe = json.loads(metadata["recipe"])
    return [known | {"recipe": recipe["name"], "steps": int(metadata.get("step", 0))}]


def _recipe_of_weights(path: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads(metadata_of_weights(path)["recipe"])
    return recipe
