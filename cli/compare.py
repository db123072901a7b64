"""``imgcodec compare``: one image, several codecs, about the same bytes; or files of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgcodec.cli.console import Console, console_options, format_table
from imgcodec.cli.files import INPUT, choose_output, read_source, write_bytes
from imgcodec.cli.values import CODECS, CropType
from imgcodec.eval.quality import TAUGHT_NOTE, metric_names

if TYPE_CHECKING:
    from imgcodec.eval.anchors.base import RgbArray
    from imgcodec.eval.compare import Comparison
    from imgcodec.eval.metrics.base import Metric

DEFAULT_CODECS = "imgcodec-beta,jpeg,webp,avif"
DEFAULT_BPP = 0.4
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".html")


@click.command("compare")
@click.argument("image", metavar="IMAGE", type=INPUT)
@click.argument(
    "files", metavar="[FILE]...", nargs=-1, type=click.Path(exists=True, dir_okay=False)
)
@click.option(
    "--codecs",
    "codec_list",
    type=CODECS,
    metavar="LIST",
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
    type=CropType(),
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
    "--metrics",
    "metric_list",
    help=f"What to measure: {', '.join(metric_names())}.  [default: all that are at hand]",
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
    files: tuple[str, ...],
    codec_list: str,
    target_bpp: float | None,
    quality: int | None,
    crops: tuple[tuple[int, int, int, int], ...],
    num_crops: int,
    metric_list: str | None,
    out: str | None,
    force: bool,
    console: Console,
) -> None:
    """Show IMAGE beside what each codec makes of it at about the same bytes.

    With FILE (pictures or .cvb files made of IMAGE) these are shown instead. Prints what all
    metrics say, and writes one picture (the original and every codec, crops enlarged, numbers
    under each) or, with -o NAME.html, one page with a slider that opens from disk.
    """
    if files and (target_bpp is not None or quality is not None):
        raise click.UsageError("--bpp and --quality are for codecs: they do not change a FILE.")
    if target_bpp is not None and quality is not None:
        raise click.UsageError("--bpp and --quality exclude each other.")
    if image == "-" and out is None:
        raise click.UsageError("-o is needed when the image comes from stdin.")
    name = "stdin" if image == "-" else Path(image).name
    target = out or f"{Path(image).stem}-compare.png"
    if Path(target).suffix.lower() not in SUFFIXES:
        raise click.UsageError(f"-o {target}: the name must end in one of {', '.join(SUFFIXES)}.")
    target = choose_output(image, target, ".png", force=force)

    from imgcodec.codec.picture.read import read_picture, upright
    from imgcodec.codec.stream.tiles import Tile
    from imgcodec.eval.anchors.registry import get_codec, split_names
    from imgcodec.eval.compare import compare_codecs, compare_files

    codecs = [] if files else [get_codec(part) for part in split_names(codec_list)]
    metrics = _metrics(metric_list, console)
    rgb = upright(read_picture(read_source(image)))
    parts = [Tile(top, left, height, width) for left, top, width, height in crops]
    if files:
        result = compare_files(
            name,
            rgb,
            [_read_file(file) for file in files],
            windows=parts,
            num_windows=num_crops,
            metrics=metrics,
            taught=_taught_files(files),
        )
    else:
        result = compare_codecs(
            name,
            rgb,
            codecs,
            target_bpp=DEFAULT_BPP if target_bpp is None and quality is None else target_bpp,
            quality=quality,
            windows=parts,
            num_windows=num_crops,
            metrics=metrics,
        )
    _write(result, target)
    _report(result, target, console)


command = compare


def _metrics(text: str | None, console: Console) -> list[Metric]:
    from imgcodec.eval.bench import default_metrics, metric_options
    from imgcodec.eval.metrics.base import create_metrics

    options = metric_options("cpu", None, None)
    if text is not None:
        return create_metrics([name.strip() for name in text.split(",") if name.strip()], options)
    names, note = default_metrics(options)
    if note:
        console.note(note)
    return create_metrics(names, options)


def _is_own(data: bytes) -> bool:
    from imgcodec.codec.stream.container import MAGIC

    return data.startswith(MAGIC)


def _read_file(file: str) -> tuple[str, bytes, RgbArray]:
    """Return name, bytes and uint8 HxWx3 picture of a file of any kind."""

    from imgcodec.codec import api
    from imgcodec.codec.picture.read import read_picture, upright

    data = Path(file).read_bytes()
    if _is_own(data):
        picture = read_picture(api.decode(data))
        return Path(file).name, data, upright(picture)
    return Path(file).name, data, upright(read_picture(data))


def _taught_files(files: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return name of each .cvb file to the columns of the metrics that taught its weights."""
    from imgcodec.codec.stream.container import read_stream
    from imgcodec.codec.weights.installed import find_model_of_stream, trained_losses
    from imgcodec.eval.quality import taught_columns

    found = {}
    for file in files:
        data = Path(file).read_bytes()
        if _is_own(data):
            info = find_model_of_stream(read_stream(data).header.model_hash)
            found[Path(file).name] = taught_columns(trained_losses(info))
    return found


def _write(result: Comparison, target: str) -> None:
    import io

    from imgcodec.eval.comparison_sheet import comparison_sheet, write_comparison_page

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
    from imgcodec.eval.compare import score_table

    if console.is_json:
        console.record(
            {
                "output": target,
                "target_bytes": result.target_bytes,
                "codecs": [
                    {"codec": shot.codec, **shot.numbers(), "scores": _finite(shot.scores)}
                    for shot in result.shots
                ],
                "taught": {name: sorted(columns) for name, columns in result.taught.items()},
            }
        )
    else:
        click.echo(format_table(*score_table(result)))
        if any(result.taught.values()):
            click.echo(TAUGHT_NOTE)
    console.note(f"written: {target}")


def _finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Return scores as JSON values: null where not defined, or infinite."""
    import math

    return {name: value if math.isfinite(value) else None for name, value in scores.items()}
