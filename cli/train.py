"""``imgcodec train``: train a model from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from imgcodec.cli.console import Console, console_options

if TYPE_CHECKING:
    from torch import nn


@click.command("train")
@click.argument("config")
@click.argument("more_data", metavar="[PATH]...", nargs=-1, type=click.Path(exists=True))
@click.option(
    "--data",
    required=True,
    multiple=True,
    metavar="PATH...",
    type=click.Path(exists=True),
    help="Folders of pictures or tar shards; several may follow, as a shell's * gives them.",
)
@click.option(
    "--out",
    metavar="RUNDIR",
    type=click.Path(file_okay=False),
    help="Folder for checkpoints, logs and grids.  [default: runs/CONFIG]",
)
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint in RUNDIR.")
@click.option(
    "--init",
    metavar="WEIGHTS",
    type=click.Path(exists=True, dir_okay=False),
    help="Start from the weights of a checkpoint or a shipped model.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a value of the recipe, such as train.lr=1e-3.",
)
@click.option(
    "--weights-dir",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="Backbone of LPIPS, for recipes that use it.  [default: weights/ of $IMGCODEC_DATA]",
)
@console_options
def command(
    config: str,
    more_data: tuple[str, ...],
    data: tuple[str, ...],
    out: str | None,
    resume: bool,
    init: str | None,
    settings: tuple[str, ...],
    weights_dir: str | None,
    console: Console,
) -> None:
    """Train a model from a recipe.

    CONFIG is a YAML file or the name of one in the package (beta). The same command runs on a
    CPU or a GPU; on several GPUs: torchrun --nproc_per_node=4 -m imgcodec train ...
    """
    if resume and init is not None:
        raise click.UsageError("--resume and --init exclude each other.")
    recipe_path = _find_config(config)
    out_dir = Path(out) if out is not None else Path("runs") / recipe_path.stem

    from imgcodec.codec.training.loop import train
    from imgcodec.codec.training.recipe import load_recipe
    from imgcodec.datasets.shards import iter_kinds

    recipe = load_recipe(recipe_path, list(settings))
    network = recipe.loss.lpips_network if recipe.loss.lpips else None
    texture = None
    if recipe.loss.texture:
        from imgcodec.codec.training.texture import load_texture

        texture = load_texture(_weights_folders(weights_dir))
    weights = train(
        recipe,
        iter_kinds([Path(path) for path in (*data, *more_data)]),
        out_dir,
        resume=resume,
        init=None if init is None else Path(init),
        perceptual=None if network is None else _load_perceptual(network, weights_dir),
        texture=texture,
        report=console.note,
    )
    if console.is_json:
        console.record({"recipe": str(recipe_path), "weights": str(weights)})
    console.note(f"weights: {weights}")


def _load_perceptual(network: str, weights_dir: str | None) -> nn.Module:
    """Return LPIPS as a loss: SqueezeNet needs torch alone, other backbones the eval extra."""
    import torch

    if network == "squeeze":
        from imgcodec.codec.training.perceptual import load_perceptual

        return load_perceptual(network, _weights_folders(weights_dir), torch.device("cpu"))

    from imgcodec.datasets.manifest import data_root
    from imgcodec.eval.metrics.base import MetricOptions
    from imgcodec.eval.metrics.lpips_metric import differentiable_lpips

    folder = Path(weights_dir) if weights_dir else None
    return differentiable_lpips(network, MetricOptions(weights_dir=folder, data_root=data_root()))


def _weights_folders(weights_dir: str | None) -> list[Path]:
    """Return where backbones of losses are looked for."""
    from imgcodec.datasets.manifest import data_root

    folders = [Path(weights_dir)] if weights_dir else []
    return [*folders, data_root() / "weights"]


def _find_config(config: str) -> Path:
    """Return the recipe file: a path first, else a name in the package."""
    if Path(config).is_file():
        return Path(config)

    import imgcodec.configs

    folder = Path(imgcodec.configs.__path__[0])
    path = folder / f"{config.removesuffix('.yaml')}.yaml"
    if Path(config).name == config and path.is_file():
        return path
    known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
    raise click.UsageError(f"no recipe {config!r}: name a file, or one of {known}.")
