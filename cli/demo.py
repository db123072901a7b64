"""``imgcodec demo``: see what the codec does to a photograph, beside JPEG, WebP and AVIF."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from imgcodec.cli.console import Console, console_options, format_table
from imgcodec.cli.errors import Failure
from imgcodec.cli.files import write_bytes
from imgcodec.cli.values import MODEL

if TYPE_CHECKING:
    from PIL import Image

    from imgcodec.eval.demo import DemoRow
    from imgcodec.eval.pictures import Shot

QUALITIES = (5, 20, 40, 60, 80, 95)


@click.command("demo")
@click.argument("images", metavar="[IMAGE]...", nargs=-1, type=click.Path(exists=True))
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    default="imgcodec-demo",
    show_default=True,
    help="Folder for the files and the pictures.",
)
@click.option(
    "-m",
    "--model",
    type=MODEL,
    metavar="MODEL",
    default="beta",
    show_default=True,
    help="Which model to show.",
)
@click.option(
    "--max-side",
    "max_side_px",
    type=click.IntRange(min=64),
    default=2048,
    show_default=True,
    help="Reduce larger pictures to this many pixels a side.",
)
@console_options
def command(
    images: tuple[str, ...], out: str, model: str, max_side_px: int, console: Console
) -> None:
    """Encode and decode photographs at several qualities and show the result.

    Prints bytes, bpp and PSNR, with the PSNR of JPEG, WebP and AVIF in at most the same bytes,
    and writes the .cvb files, the decoded pictures and a side-by-side picture. Without IMAGE a
    photograph is used that matplotlib brings along, reduced to 3/4 since it is a JPEG.
    """
    from PIL import Image

    from imgcodec.codec.picture.read import read_picture
    from imgcodec.codec.picture.write import write_image
    from imgcodec.eval.demo import run_demo, side_by_side

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for path in [Path(image) for image in images] or [_sample_photograph()]:
        picture = Image.fromarray(read_picture(path).pixels)
        if not images:  # it is a JPEG: at its own grid and tables JPEG would be flattered
            picture = picture.resize(_scaled(picture, 0.75), Image.Resampling.LANCZOS)
        picture.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
        console.note(f"{path.name}: {picture.width}x{picture.height}")
        rgb = read_picture(picture).pixels
        rows = []
        for row in run_demo(rgb, QUALITIES, model=model):
            stem = f"{path.stem}-q{row.quality:03d}"
            write_bytes(str(folder / f"{stem}.cvb"), row.ours.data)
            write_image(Image.fromarray(row.ours.rgb), folder / f"{stem}.png")
            console.note(f"  {stem}.cvb: {len(row.ours.data)} bytes")
            rows.append(row)
        sheet = folder / f"{path.stem}-side-by-side.png"
        write_image(side_by_side(rgb, rows[2:4]), sheet)
        if console.is_json:
            records.append({"image": str(path), "side_by_side": str(sheet), "rows": _as_json(rows)})
        else:
            click.echo(_as_text(rows))
            click.echo(f"\nside by side: {sheet}\n")
    if console.is_json:
        console.record(records)


def _sample_photograph() -> Path:
    try:
        from matplotlib.cbook import get_sample_data
    except ImportError as error:
        raise Failure(
            "the sample photograph comes with matplotlib: name a picture of your own, "
            "or pip install 'imgcodec[demo]'"
        ) from error
    return Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))


def _scaled(image: Image.Image, factor: float) -> tuple[int, int]:
    return round(image.width * factor), round(image.height * factor)


def _as_text(rows: list[DemoRow]) -> str:
    names = list(rows[0].rivals)
    table = [
        [
            str(row.quality),
            str(len(row.ours.data)),
            f"{row.bpp:.3f}",
            f"{row.encode_s:.2f}",
            f"{row.decode_s:.2f}",
            f"{row.ours.psnr:.2f}",
            *(_psnr(row.rivals[name]) for name in names),
        ]
        for row in rows
    ]
    header = ["quality", "bytes", "bpp", "enc s", "dec s", "imgcodec dB"]
    header += [f"{name} dB" for name in names]
    legend = "PSNR of the others: their largest file of at most the same bytes; - none that small"
    return f"{format_table(header, table)}\n{legend}"


def _psnr(rival: Shot | None) -> str:
    return "-" if rival is None else f"{rival.psnr:.2f}"


def _as_json(rows: list[DemoRow]) -> list[dict[str, object]]:
    return [
        {
            "quality": row.quality,
            "bytes": len(row.ours.data),
            "bpp": row.bpp,
            "encode_s": row.encode_s,
            "decode_s": row.decode_s,
            "psnr_db": {
                "imgcodec": row.ours.psnr,
                **{name: rival and rival.psnr for name, rival in row.rivals.items()},
            },
            "rival_bytes": {name: rival and len(rival.data) for name, rival in row.rivals.items()},
        }
        for row in rows
    ]
