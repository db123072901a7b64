"""``imgcodec export``: a training run to weights that can be shipped."""

from __future__ import annotations

from pathlib import Path

import click

from imgcodec.cli.console import Console, console_options
from imgcodec.cli.files import check_writable


@click.command("export")
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False))
@click.argument("out", metavar="OUT.safetensors", type=click.Path(dir_okay=False))
@click.option(
    "--provenance", required=True, metavar="TEXT", help="What the model was trained on, in words."
)
@click.option(
    "--calibrate",
    "calibration",
    multiple=True,
    metavar="PATH",
    type=click.Path(exists=True),
    help="Pictures or shards to measure the probability tables on (repeatable).",
)
@click.option("--licence", help="Licence of the weights.  [default: MIT]")
@click.option("--name", metavar="ID", help="Model id.  [default: the recipe's]")
@click.option("-f", "--force", is_flag=True, help="Overwrite OUT.")
@console_options
def command(
    checkpoint: str,
    out: str,
    provenance: str,
    calibration: tuple[str, ...],
    licence: str | None,
    name: str | None,
    force: bool,
    console: Console,
) -> None:
    """Export weights: float16, integer tables, hash, recipe, licence, provenance.

    CHECKPOINT is the ema.safetensors of a training run.
    """
    if not out.endswith(".safetensors"):
        raise click.UsageError("OUT must end in .safetensors.")
    target = Path(out)
    check_writable(target, force=force)

    from imgcodec.codec.training.export import LICENCE, export
    from imgcodec.datasets.shards import iter_pictures

    report = export(
        Path(checkpoint),
        target,
        pictures=iter_pictures([Path(path) for path in calibration]) if calibration else (),
        provenance=provenance,
        licence=licence or LICENCE,
        name=name,
    )
    size = target.stat().st_size
    if console.is_json:
        console.record({"checkpoint": checkpoint, "output": out, "bytes": size, **report})
    console.note(f"{checkpoint} -> {out}: {size} bytes")
    for key, value in report.items():
        console.note(f"  {key.replace('_', ' ')}: {value:.0f}")
