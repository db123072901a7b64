"""``imgcodec decode``: a .cvb file to a picture."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from imgcodec.cli.console import Console, console_options
from imgcodec.cli.files import DASH, INPUT, OUTPUT, choose_output, model_option, read_source


@click.command("decode")
@click.argument("source", metavar="IN", type=INPUT)
@click.argument("target", metavar="[OUT]", type=OUTPUT, required=False)
@click.option(
    "--passes",
    "max_passes",
    metavar="K",
    type=click.IntRange(min=1),
    help="Decode the first K passes only: a preview.",
)
@model_option
@click.option("-f", "--force", is_flag=True, help="Overwrite OUT.")
@console_options
def command(
    source: str,
    target: str | None,
    max_passes: int | None,
    model: str | None,
    force: bool,
    console: Console,
) -> None:
    """Decode a .cvb file to a picture.

    The suffix of OUT chooses the format (any that Pillow writes); OUT defaults to IN with the
    suffix .png. - is stdin or stdout, which gets a PNG.
    """
    target = choose_output(source, target, ".png", force=force)
    if target == DASH and console.is_json:
        raise click.UsageError("--json and the picture cannot both go to stdout.")

    from imgcodec.codec import api
    from imgcodec.codec.image import write_image

    _check_format(target)
    picture = api.decode(read_source(source), max_passes=max_passes, model=model)
    if target == DASH:
        write_image(picture, sys.stdout.buffer, format="PNG")
    else:
        write_image(picture, Path(target))
    if console.is_json:
        console.record(
            {
                "input": source,
                "output": target,
                "height": picture.height,
                "width": picture.width,
                "mode": picture.mode,
            }
        )
    console.note(f"{source} -> {target}: {picture.width}x{picture.height} {picture.mode}")


def _check_format(target: str) -> None:
    """Refuse, before decoding, a suffix that Pillow cannot write."""
    from PIL import Image

    Image.init()
    suffix = Path(target).suffix.lower()
    if target != DASH and Image.registered_extensions().get(suffix) not in Image.SAVE:
        raise click.UsageError(
            f"cannot tell a picture format from {target!r}: use a suffix such as .png"
        )
