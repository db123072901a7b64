"""``imgcodec decode``: .cvb files to pictures."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from typing import Any

import click

from imgcodec.cli.batch import BatchOptions, Work, batch_options, find_items, run_batch
from imgcodec.cli.console import Console, console_options, threads_option
from imgcodec.cli.files import (
    DASH,
    choose_output,
    input_and_output,
    model_option,
    picture_format,
    read_source,
)
from imgcodec.cli.values import DECODER, CropType

SUFFIX = ".png"

EXAMPLES = """\b
Examples:
  imgcodec decode photo.cvb                        photo.png beside it
  imgcodec decode photo.cvb photo.webp
  imgcodec decode photo.cvb natural.png --decoder natural
  imgcodec decode photo.cvb preview.png --scale 1/8
  imgcodec decode download.cvb.part sofar.png --allow-truncated
  imgcodec decode photo.cvb part.png --crop 1200,800,512,512
  imgcodec decode logo.cvb logo.jpg --background white
  imgcodec decode -r out -o pictures -j 4 --skip-existing
  imgcodec decode photo.cvb - | display"""


class ScaleType(click.ParamType):
    """A reduction by a power of two: 1/8."""

    name = "scale"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the denominator."""
        match = re.fullmatch(r"(?:1/)?(\d+)", str(value))
        scale = int(match[1]) if match else 0
        if scale not in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            self.fail(f"{value!r} is none of 1/1, 1/2, 1/4, ..., 1/256", param, ctx)
        return scale


def _check_colour(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        from imgcodec.codec.picture.write import parse_colour

        parse_colour(value)
    return value


@click.command("decode", epilog=EXAMPLES)
@click.argument("arguments", metavar="IN [OUT] | IN... -o DIR", nargs=-1, required=True)
@click.option(
    "--passes",
    "max_passes",
    metavar="K",
    type=click.IntRange(min=1),
    help="Decode the first K passes only: a preview.",
)
@click.option(
    "--levels",
    metavar="K",
    type=click.IntRange(min=1),
    help="Decode the first K levels only (hier has three).",
)
@click.option(
    "--allow-truncated",
    is_flag=True,
    help="Of a file that is cut off, show what is there; its last bytes are not checked.",
)
@click.option(
    "--decoder",
    type=DECODER,
    metavar="NAME",
    default="fidelity",
    show_default=True,
    help="Which decoder of the model: natural has textures, fidelity is closer to the pixels.",
)
@click.option(
    "--crop",
    metavar="X,Y,W,H",
    type=CropType(),
    help="Decode this part only (pixels as stored) and no more tiles than it needs.",
)
@click.option(
    "--scale",
    metavar="1/N",
    type=ScaleType(),
    default=1,
    help="Reduce to 1/2, 1/4, ..., 1/256: a preview.",
)
@click.option(
    "--background",
    metavar="COLOUR",
    callback=_check_colour,
    help="Lay transparent pictures on this colour (white, '#ff8000'): for JPEG, BMP, GIF.",
)
@model_option
@batch_options
@click.option("-f", "--force", is_flag=True, help="Overwrite outputs.")
@threads_option
@console_options
def command(
    arguments: tuple[str, ...],
    batch: BatchOptions,
    force: bool,
    console: Console,
    **options: Any,
) -> None:
    """Decode .cvb files to pictures.

    The suffix of OUT chooses the format; what the format cannot hold is refused. OUT defaults to
    IN with the suffix .png. - is stdin or stdout, which gets a PNG. With -o DIR all arguments are
    inputs: files, patterns, and with -r folders; their outputs are PNG files.
    """
    if batch.folder is not None:
        work: Work = functools.partial(decode_file, **options)
        found = find_items(arguments, batch, SUFFIX, _is_stream)
        run_batch(found, work, batch, force=force, console=console, describe=_describe)
        return
    source, target = input_and_output(arguments, lambda path: not _is_stream(path))
    target = choose_output(source, target, SUFFIX, force=force)
    if target == DASH and console.is_json:
        raise click.UsageError("--json and the picture cannot both go to stdout.")
    picture_format(target)
    with console.progress("decoding") as progress:
        record = decode_file(source, target, progress=progress, **options)
    if console.is_json:
        console.record({"input": source, "output": target, **record})
    console.note(f"{source} -> {target}: {_describe(record)}")


def decode_file(
    source: str, target: str, *, background: str | None = None, **options: Any
) -> dict[str, Any]:
    """Decode one file and return what to tell of the picture.

    Args:
        source: path or ``-``.
        target: path or ``-``.
        background: colour to lay transparent pictures on, None to keep them transparent.
        options: keywords of `imgcodec.decode`.
    """
    from imgcodec.codec import api
    from imgcodec.codec.picture.write import write_image

    picture = api.decode(read_source(source), **options)
    place = sys.stdout.buffer if target == DASH else Path(target)
    write_image(picture, place, picture_format(target), background=background)
    return {"height": picture.height, "width": picture.width, "mode": picture.mode}


def _describe(record: dict[str, Any]) -> str:
    return f"{record['width']}x{record['height']} {record['mode']}"


def _is_stream(path: Path) -> bool:
    return path.suffix.lower() == ".cvb"
