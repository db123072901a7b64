"""``imgcodec preview``: the picture that the beginning of a .cvb file shows, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgcodec.cli.console import Console, console_options, format_table, threads_option
from imgcodec.cli.errors import EXIT_USAGE, Failure
from imgcodec.cli.files import (
    DASH,
    INPUT,
    check_writable,
    model_option,
    picture_format,
    read_source,
)
from imgcodec.cli.values import DECODER

if TYPE_CHECKING:
    from imgcodec.codec.previews import Preview

EXAMPLES = """\b
Examples:
  imgcodec preview photo.cvb                       photo.level1.png, ... beside it
  imgcodec preview photo.cvb --reference photo.png -o steps
  imgcodec preview photo.cvb --sheet steps.png"""


@click.command("preview", epilog=EXAMPLES)
@click.argument("source", metavar="IN", type=INPUT)
@click.option(
    "-o",
    "--out",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Where the pictures go.  [default: beside IN; nowhere with --sheet]",
)
@click.option(
    "--sheet",
    metavar="PICTURE",
    type=click.Path(dir_okay=False),
    help="Write all steps as one picture with captions.",
)
@click.option(
    "--reference",
    metavar="PICTURE",
    type=click.Path(dir_okay=False, exists=True),
    help="The original: adds the PSNR of each step, and to the sheet the picture.",
)
@click.option("--decoder", type=DECODER, metavar="NAME", default="fidelity", show_default=True)
@model_option
@click.option("-f", "--force", is_flag=True, help="Overwrite outputs.")
@threads_option
@console_options
def command(
    source: str,
    folder: str | None,
    sheet: str | None,
    reference: str | None,
    decoder: str,
    model: str | None,
    force: bool,
    console: Console,
) -> None:
    """Show what a .cvb file looks like after each level, or after each pass where it has one level.

    Prints the bytes of the file up to each step (for passes their ideal code length) and writes a
    PNG file for each: the name of IN with the name of the step.
    """
    if source == DASH and folder is None and sheet is None:
        raise click.UsageError("stdin has no folder: say -o DIR or --sheet PNG.")
    if sheet is not None:
        check_writable(Path(sheet), force=force)
        sheet_format = picture_format(sheet)

    from imgcodec.codec.picture.read import read_picture
    from imgcodec.codec.picture.write import write_image
    from imgcodec.codec.previews import preview
    from imgcodec.eval.steps import steps_sheet

    original = None if reference is None else read_picture(reference).pixels
    steps = list(preview(read_source(source), model=model, decoder=decoder))
    records = [_record(step, original) for step in steps]
    if folder is not None or sheet is None:
        base = Path("stdin" if source == DASH else source)
        home = base.parent if folder is None else Path(folder)
        paths = [home / f"{base.stem}.{step.name}.png" for step in steps]
        home.mkdir(parents=True, exist_ok=True)
        for path in paths:
            check_writable(path, force=force)
        for path, step, record in zip(paths, steps, records, strict=True):
            write_image(step.image, path)
            record["output"] = str(path)
    if sheet is not None:
        write_image(steps_sheet(steps, original), Path(sheet), sheet_format)
        console.note(f"sheet: {sheet}")
    if console.is_json:
        console.record(records)
    else:
        click.echo(_as_text(records))


def _record(step: Preview, original: Any) -> dict[str, Any]:
    import numpy as np

    from imgcodec.codec.session.targets import psnr_db

    image = step.image
    record = {
        "step": step.name,
        "bytes": step.num_bytes,
        "bpp": step.bpp,
    }
    if original is not None:
        pixels = np.asarray(image.convert("RGB"))
        if pixels.shape != original.shape:
            raise Failure(
                f"the reference has {original.shape[1]}x{original.shape[0]} pixels, "
                f"the file {image.width}x{image.height}",
                EXIT_USAGE,
            )
        record["psnr"] = psnr_db(original, pixels)
    return record


def _as_text(records: list[dict[str, Any]]) -> str:
    columns = [name for name in ("psnr", "output") if name in records[0]]
    rows = [
        (
            record["step"],
            str(record["bytes"]),
            f"{record['bpp']:.4f}",
            *(f"{record[c]:.2f}" if c == "psnr" else record[c] for c in columns),
        )
        for record in records
    ]
    return format_table(("step", "bytes so far", "bpp", *columns), rows)
