"""``imgcodec compare``: one image, several codecs, about the same bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgcodec.cli.console import Console, console_options
from imgcodec.cli.files import INPUT, choose_output, read_source, write_bytes

if TYPE_CHECKING:
    from imgcodec.eval.compare import Comparison

DEFAULT_CODECS = "imgcodec-beta,jpeg,webp,avif"
DEFAULT_BPP = 0.4
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".html")


@click.command("compare")
@click.argument("image", metavar="IMAGE", type=INPUT)
@click.option(
    "--codecs",
    "codec_list",
    default=DEFAULT_CODECS,
    show_default=True,
    help="Names as of `imgcodec bench --codecs`, separated by commas.",
)
@click.option(
    "--bpp",
    "target_bpp",
    type=click.FloatRange(min=0.0, min_open=True),
    help=f"Bits per pixel that every file shall have.  [default: {DEFAULT_BPP}]",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    help="Quality of the first codec; the others get its number of bytes.",
)
@click.option(
    "--crop",
    "crops",
    metavar="X,Y,W,H",
    multiple=True,
    help="Part to enlarge, in pixels; may be repeated. Default: where the detail is.",
)
@click.option(
    "--num-crops",
    type=click.IntRange(1, 6),
    default=2,
    show_default=True,
    help="How many parts to choose when no --crop is given.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False),
    help="Picture or .html page to write.  [default: IMAGE's name with -compare.png]",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
@console_options
def compare(
    image: str,
    codec_list: str,
    target_bpp: float | None,
    quality: int | None,
    crops: tuple[str, ...],
    num_crops: int,
    out: str | None,
    force: bool,
    console: Console,
) -> None:
    """Show IMAGE beside what each codec makes of it at about the same bytes.

    Writes one picture (the original and every codec, crops enlarged, numbers under each) or,
    with -o NAME.html, one page with a slider that opens from disk.
    """
    if target_bpp is not None and quality is not None:
        raise click.UsageError("--bpp and --quality exclude each other.")
    if image == "-" and out is None:
        raise click.UsageError("-o is needed when the image comes from stdin.")
    name = "stdin" if image == "-" else Path(image).name
    target = out or f"{Path(image).stem}-compare.png"
    if Path(target).suffix.lower() not in SUFFIXES:
        raise click.UsageError(f"-o {target}: the name must end in one of {', '.join(SUFFIXES)}.")
    windows = [_parse_crop(text) for text in crops]
    target = choose_output(image, target, ".png", force=force)

    from imgcodec.codec.picture.read import read_picture, upright
    from imgcodec.eval.anchors import get_codec
    from imgcodec.eval.compare import compare_codecs
    from imgcodec.eval.windows import Window

    codecs = [get_codec(part) for part in _split_codecs(codec_list)]
    rgb = upright(read_picture(read_source(image)))
    result = compare_codecs(
        name,
        rgb,
        codecs,
        target_bpp=DEFAULT_BPP if target_bpp is None and quality is None else target_bpp,
        quality=quality,
        windows=[Window(*window) for window in windows],
        num_windows=num_crops,
    )
    _write(result, target)
    _report(result, target, console)


command = compare


def _split_codecs(text: str) -> list[str]:
    """Split at commas; a part that is a bare setting belongs to the codec before (`jpeg@10,50`)."""
    parts: list[str] = []
    for part in (piece.strip() for piece in text.split(",")):
        if parts and "@" in parts[-1] and re.fullmatch(r"[+-]?[\d.]+", part):
            parts[-1] += f",{part}"
        elif part:
            parts.append(part)
    if not parts:
        raise click.UsageError("--codecs names no codec.")
    return parts


def _parse_crop(text: str) -> tuple[int, int, int, int]:
    numbers = text.split(",")
    if len(numbers) != 4 or not all(re.fullmatch(r"\s*\d+\s*", number) for number in numbers):
        raise click.UsageError(f"--crop {text}: four whole numbers X,Y,W,H are needed.")
    x, y, width, height = (int(number) for number in numbers)
    return x, y, width, height


def _write(result: Comparison, target: str) -> None:
    import io

    from imgcodec.eval.compare import comparison_sheet, write_comparison_page

    suffix = Path(target).suffix.lower()
    if suffix == ".html":
        write_comparison_page(result, target)
        return
    lossy: dict[str, tuple[str, dict[str, Any]]] = {
        ".webp": ("WEBP", {"quality": 95}),
        ".jpg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
        ".jpeg": ("JPEG", {"quality": 95, "subsampling": "4:4:4"}),
    }
    picture_format, options = lossy.get(suffix, ("PNG", {}))
    buffer = io.BytesIO()
    comparison_sheet(result).save(buffer, picture_format, **options)
    write_bytes(target, buffer.getvalue())


def _report(result: Comparison, target: str, console: Console) -> None:
    from imgcodec.eval.compare import numbers

    if console.is_json:
        console.record(
            {
                "output": target,
                "target_bytes": result.target_bytes,
                "codecs": [{"codec": shot.codec, **shot.numbers()} for shot in result.shots],
            }
        )
    for shot in result.shots:
        console.note(f"{shot.codec}: {'; '.join(numbers(result, shot))}")
    console.note(f"written: {target}")
