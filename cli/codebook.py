"""``imgcodec codebook``: what the codes of a discrete model look like."""

from __future__ import annotations

from pathlib import Path

import click

from imgcodec.cli.console import Console, console_options
from imgcodec.cli.files import check_writable, picture_format
from imgcodec.cli.values import MODEL

EXAMPLES = """\b
Examples:
  imgcodec codebook vq.png
  imgcodec codebook --model cv --stage 2 cv-2.png"""


@click.command("codebook", epilog=EXAMPLES)
@click.argument("out", metavar="OUT", type=click.Path(dir_okay=False))
@click.option(
    "-m",
    "--model",
    type=MODEL,
    metavar="MODEL",
    default="vq",
    show_default=True,
    help="A discrete model.",
)
@click.option(
    "--stage", type=click.IntRange(min=1), default=1, show_default=True, help="Which codebook."
)
@click.option("-f", "--force", is_flag=True, help="Overwrite OUT.")
@console_options
def command(out: str, model: str, stage: int, force: bool, console: Console) -> None:
    """Draw a codebook as decoded patches, the most used code first.

    Each patch is the centre of a field of the same code, decoded. Of later stages it is what the
    code changes where the stages before have their most used code, around grey and stretched.
    Use is what training saw last.
    """
    check_writable(Path(out), force=force)
    format = picture_format(out)

    from imgcodec.codec.picture.write import write_image
    from imgcodec.codec.weights.installed import find_model
    from imgcodec.codec.weights.store import load_model
    from imgcodec.eval.looks.codebooks import codebook_sheet, draw_codebook

    loaded = load_model(find_model(model))
    drawing = draw_codebook(loaded.torch_model, stage)
    about = (
        f"{loaded.info.id}, stage {stage}: {drawing.num_codes} codes, "
        f"{drawing.used_share:.1%} in use, perplexity {drawing.perplexity:.0f}"
    )
    differences = f"; differences, {drawing.contrast:.1f} times stretched" if stage > 1 else ""
    write_image(codebook_sheet(drawing, about + differences), Path(out), format)
    figures = {
        "model": loaded.info.id,
        "stage": stage,
        "codes": drawing.num_codes,
        "used_share": drawing.used_share,
        "perplexity": drawing.perplexity,
        "contrast": drawing.contrast,
        "output": out,
    }
    if console.is_json:
        console.record(figures)
    console.note(f"{about} -> {out}")
