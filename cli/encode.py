"""``imgcodec encode``: a picture to a .cvb file."""

from __future__ import annotations

import click

from imgcodec.cli.console import Console, console_options
from imgcodec.cli.files import INPUT, OUTPUT, choose_output, read_source, write_bytes


@click.command("encode")
@click.argument("source", metavar="IN", type=INPUT)
@click.argument("target", metavar="[OUT]", type=OUTPUT, required=False)
@click.option(
    "-q",
    "--quality",
    type=click.IntRange(1, 100),
    default=60,
    show_default=True,
    help="From 1 (smallest file) to 100 (best picture).",
)
@click.option(
    "-m",
    "--model",
    default="beta",
    show_default=True,
    help="A family, a model id of `imgcodec models`, or a .safetensors file.",
)
@click.option("--strip-metadata", is_flag=True, help="Leave out ICC profile, EXIF and XMP.")
@click.option("-f", "--force", is_flag=True, help="Overwrite OUT.")
@console_options
def command(
    source: str,
    target: str | None,
    quality: int,
    model: str,
    strip_metadata: bool,
    force: bool,
    console: Console,
) -> None:
    """Encode a picture to a .cvb file.

    IN is any picture that Pillow reads, OUT defaults to IN with the suffix .cvb; - is stdin or
    stdout.
    """
    target = choose_output(source, target, ".cvb", force=force)
    if target == "-" and console.is_json:
        raise click.UsageError("--json and the file cannot both go to stdout.")

    from imgcodec.codec import api
    from imgcodec.codec.container import read_header

    data = api.encode(
        read_source(source), model=model, quality=quality, keep_metadata=not strip_metadata
    )
    write_bytes(target, data)

    header = read_header(data)
    bpp = 8 * len(data) / (header.height * header.width)
    if console.is_json:
        console.record(
            {
                "input": source,
                "output": target,
                "bytes": len(data),
                "bpp": bpp,
                "height": header.height,
                "width": header.width,
                "quality": quality,
            }
        )
    console.note(
        f"{source} -> {target}: {header.width}x{header.height}, {len(data)} bytes, {bpp:.3f} bpp"
    )
