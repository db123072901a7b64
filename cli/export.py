"""``imgcodec export``: from averaged training weights to the file that the codec loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from imgcodec.cli.console import Console, console_options
from imgcodec.cli.files import check_writable


@click.command("export")
@click.argument("ema", metavar="EMA.safetensors", type=click.Path(exists=True, dir_okay=False))
@click.argument("out", metavar="OUT.safetensors", type=click.Path(dir_okay=False))
@click.option(
    "--calibrate",
    "calibrate_data",
    multiple=True,
    metavar="PATH",
    type=click.Path(exists=True),
    help="Pictures or shards, taken in turn: measure the probability tables and calibrate the "
    "quality on them (repeatable).",
)
@click.option(
    "--max-pictures", type=int, default=400, show_default=True, help="Pictures to measure at most."
)
@click.option("--provenance", required=True, help="What the model was trained on.")
@click.option("--licence", default="MIT", show_default=True, help="Licence of the weights.")
@click.option("--id", "model_id", help="Model id, such as beta-base-2.  [default: the recipe's]")
@click.option(
    "--decoder-of",
    metavar="MODEL.safetensors",
    type=click.Path(exists=True, dir_okay=False),
    help="Write a further decoder of this model: OUT must be named MODEL.<decoder>.safetensors.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite OUT.")
@console_options
def command(
    ema: str,
    out: str,
    calibrate_data: tuple[str, ...],
    max_pictures: int,
    provenance: str,
    licence: str,
    model_id: str | None,
    decoder_of: str | None,
    force: bool,
    console: Console,
) -> None:
    """Export a training run's ema.safetensors: float16, exact integers, tables, hash."""
    if not out.endswith(".safetensors"):
        raise click.UsageError("OUT must end in .safetensors.")
    check_writable(Path(out), force=force)
    if decoder_of is not None:
        decoder = _export_decoder(Path(ema), Path(out), Path(decoder_of), provenance, licence)
        _write_graphs(console, Path(decoder_of), decoder)
        console.note(f"decoder: {out}")
        return

    from itertools import islice

    from imgcodec.codec.training.export import export
    from imgcodec.datasets.shards import iter_pictures

    paths = [Path(path) for path in calibrate_data]
    report = export(
        Path(ema),
        Path(out),
        pictures=islice(_in_turn([iter_pictures([path]) for path in paths]), max_pictures)
        if paths
        else (),
        provenance=provenance,
        licence=licence,
        name=model_id,
    )
    _write_graphs(console, Path(out))
    if console.is_json:
        console.record({"weights": out, **report})
    for name, value in report.items():
        console.note(f"{name}: {value:.0f}")
    console.note(f"weights: {out}")


def _in_turn(iterables: list[Iterable[Any]]) -> Iterator[Any]:
    """Yield one element of each iterable after the other, as long as they last."""
    sources = [iter(iterable) for iterable in iterables]
    while sources:
        for source in list(sources):
            try:
                yield next(source)
            except StopIteration:
                sources.remove(source)


def _export_decoder(ema: Path, out: Path, model: Path, provenance: str, licence: str) -> str:
    """Write a further decoder and return its name."""
    name = out.name.removeprefix(f"{model.stem}.").removesuffix(".safetensors")
    if out.name != f"{model.stem}.{name}.safetensors" or not name.isidentifier():
        raise click.UsageError(f"OUT must be named {model.stem}.<decoder>.safetensors.")

    from imgcodec.codec.training.export import export_decoder

    export_decoder(ema, out, model, provenance=provenance, licence=licence)
    return name


def _write_graphs(console: Console, model: Path, decoder: str | None = None) -> None:
    """Write the graphs of weights, with which they run without torch."""
    from importlib.util import find_spec

    from imgcodec.codec.training.graphs import write_graphs
    from imgcodec.codec.weights.installed import FIDELITY

    if find_spec("onnx"):
        console.note(f"graphs: {write_graphs(model, decoder or FIDELITY)}")
    else:
        console.note("no graphs, so that these weights need torch: onnx is not installed")
