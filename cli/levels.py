"""``imgcodec levels``: a model with levels over a data set."""

from __future__ import annotations

from pathlib import Path

import click

from imgcodec.cli.console import Console, console_options, format_table
from imgcodec.cli.errors import Failure
from imgcodec.cli.values import DATASET, MODEL

EXAMPLES = """\b
Examples:
  imgcodec levels --dataset kodak -q 50 --out runs/levels
  imgcodec levels --dataset photos/ --level-bits equal --level-bits preview --json"""


@click.command("levels", epilog=EXAMPLES)
@click.option(
    "--dataset",
    type=DATASET,
    metavar="DATASET",
    default="kodak",
    show_default=True,
    help="Name, folder or pattern.",
)
@click.option(
    "-m",
    "--model",
    type=MODEL,
    metavar="MODEL",
    default="hier",
    show_default=True,
    help="Family, id or weights file.",
)
@click.option("-q", "--quality", type=click.IntRange(1, 100), default=50, show_default=True)
@click.option(
    "--level-bits",
    "allocations",
    multiple=True,
    default=("equal", "auto"),
    show_default=True,
    help="As of `imgcodec encode`; may be repeated.",
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Write levels.csv, levels.md, and levels.png of the first image.",
)
@click.option("--data-root", type=click.Path(file_okay=False), help="[default: $IMGCODEC_DATA]")
@console_options
def command(
    dataset: str,
    model: str,
    quality: int,
    allocations: tuple[str, ...],
    out: str | None,
    data_root: str | None,
    console: Console,
) -> None:
    """Compare allocations of bits to levels, and show what each level adds, over a data set.

    For every image the cost of the file (bits per pixel + lambda * squared error, what training
    minimises), and bytes and PSNR up to the end of each level; prints the means.
    """
    from imgcodec.datasets.images import open_dataset
    from imgcodec.eval.levels import (
        cells,
        levels_figure,
        measure_levels,
        summarise_levels,
        write_levels,
    )

    images = open_dataset(dataset, Path(data_root) if data_root else None)
    rows = list(measure_levels(images, model, quality, allocations, console.note))
    num_bad = len(images.image_names) - len({row.image for row in rows})
    if not rows:
        raise Failure(f"none of {num_bad} images can be read")
    if out is not None:
        first = images.load(images.image_names.index(rows[0].image))
        figure = levels_figure(first, model, quality)
        write_levels(rows, Path(out), f"{model}, quality {quality}, {dataset}", figure)
        console.note(f"written: {out}")
    records = summarise_levels(rows)
    if console.is_json:
        console.record(records)
    else:
        click.echo(format_table(list(records[0]), [cells(record) for record in records]))
    if num_bad:
        raise Failure(f"{num_bad} of {len(images.image_names)} images cannot be read")
