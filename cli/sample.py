"""``imgcodec sample``: new pictures from a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imgcodec.cli.console import Console, console_options, counted
from imgcodec.cli.files import check_writable, picture_format
from imgcodec.cli.values import LABEL, MODEL

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imgcodec.codec.weights.store import LoadedModel

    Pixels = NDArray[np.uint8]

EXAMPLES = """\b
Examples:
  imgcodec sample -m convvae -n 64 digits.png
  imgcodec sample -m vq -n 16 --size 256x256 --random noise.png
  imgcodec sample -m convvae --interpolate a.png b.png --steps 10 between.png
  imgcodec sample -m convvae --attribute 7 --strength=-1,0,1,2 sevens.png
  imgcodec sample -m vq --reconstruct a.png b.png -q 90 pairs.png"""

PICTURE = click.Path(exists=True, dir_okay=False)
SMALLEST_PX = 96
"""Pictures with a smaller side are enlarged on the sheet, by a whole factor."""
_MODES = ("random", "interpolate", "attribute", "reconstruct")


@dataclass(frozen=True)
class Sheet:
    """Rows of pictures, what stands above their columns and beside the rows, and what they are."""

    rows: Sequence[Sequence[Pixels]]
    what: str
    headings: Sequence[str] = ()
    labels: Sequence[str] = ()


def _parse_size(ctx: click.Context, param: click.Parameter, value: str | None) -> object:
    try:
        size = None if value is None else tuple(int(side) for side in value.lower().split("x"))
    except ValueError:
        size = ()
    if size is not None and (len(size) != 2 or min(size) < 1 or max(size) > 4096):
        raise click.BadParameter("use HEIGHTxWIDTH in pixels, at most 4096 each, such as 256x384.")
    return size


def _parse_strengths(ctx: click.Context, param: click.Parameter, value: str) -> list[float]:
    try:
        strengths = [float(part) for part in value.split(",")]
    except ValueError:
        strengths = []
    if not strengths or not all(math.isfinite(strength) for strength in strengths):
        raise click.BadParameter("use numbers with commas between them, such as 0,1,2.")
    return strengths


@click.command("sample", epilog=EXAMPLES)
@click.argument("images", metavar="[IMAGE]...", nargs=-1, type=PICTURE)
@click.argument("out", metavar="OUT", type=click.Path(dir_okay=False))
@click.option(
    "-m",
    "--model",
    type=MODEL,
    metavar="MODEL",
    required=True,
    help="A family, a model id of `imgcodec models`, or a .safetensors file.",
)
@click.option("-q", "--quality", type=click.IntRange(1, 100), default=60, show_default=True)
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1, 1024),
    default=16,
    show_default=True,
    help="Pictures to draw, or to take from --data.",
)
@click.option(
    "--size", metavar="HxW", callback=_parse_size, help="Of drawn pictures.  [default: as trained]"
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--random", "uniform", is_flag=True, help="Draw all codes with equal probability.")
@click.option(
    "--interpolate", metavar="A B", nargs=2, type=PICTURE, help="Go from picture A to picture B."
)
@click.option("--steps", type=click.IntRange(2, 64), default=8, show_default=True)
@click.option("--spherical", is_flag=True, help="Interpolate along a great circle.")
@click.option(
    "--attribute", type=LABEL, metavar="LABEL", help="Add what pictures of a label have in common."
)
@click.option(
    "--strength",
    "strengths",
    metavar="LIST",
    default="0,1,2,3",
    show_default=True,
    callback=_parse_strengths,
    help="How much of the attribute, one column each.",
)
@click.option("--reconstruct", is_flag=True, help="Show pictures above their reconstructions.")
@click.option(
    "--data",
    metavar="PATH",
    type=click.Path(exists=True, path_type=Path),
    help="mnist.npz, or a folder with a subfolder for each label.  [default: MNIST]",
)
@click.option(
    "--max-pictures",
    type=click.IntRange(2),
    default=2000,
    show_default=True,
    help="Labelled pictures to look at.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite OUT.png.")
@console_options
def command(
    images: tuple[str, ...],
    out: str,
    model: str,
    quality: int,
    count: int,
    size: tuple[int, int] | None,
    seed: int,
    uniform: bool,
    interpolate: tuple[str, str] | None,
    steps: int,
    spherical: bool,
    attribute: str | None,
    strengths: list[float],
    reconstruct: bool,
    data: Path | None,
    max_pictures: int,
    force: bool,
    console: Console,
) -> None:
    """Draw new pictures from a model, as a labelled sheet in one picture.

    Without further options the integers of a file are drawn at random with the probabilities of
    the model's tables, and decoded. --interpolate, --attribute and --reconstruct start from
    pictures instead: those given, or test digits of MNIST. Pictures smaller than 96 pixels are
    enlarged by a whole factor.
    """
    chosen = (uniform, interpolate is not None, attribute is not None, reconstruct)
    if sum(chosen) > 1:
        names = ", ".join(f"--{name}" for name in _MODES)
        raise click.UsageError(f"{names} exclude each other.")
    if images and attribute is None and not reconstruct:
        raise click.UsageError("IMAGE needs --attribute or --reconstruct.")
    check_writable(Path(out), force=force)
    format = picture_format(out)

    from PIL import Image

    from imgcodec.codec.picture.sheet import Heading, Panel, draw_sheet, enlarged
    from imgcodec.codec.picture.write import write_image
    from imgcodec.codec.weights.installed import find_model
    from imgcodec.codec.weights.store import load_model

    loaded = load_model(find_model(model))
    if interpolate is not None:
        sheet = _interpolation(loaded, interpolate, steps, quality, spherical=spherical)
    elif attribute is not None:
        shown = _pictures(images, data, min(count, 8))
        sheet = _attributes(loaded, shown, attribute, strengths, data, max_pictures, quality)
    elif reconstruct:
        sheet = _reconstructions(loaded, _pictures(images, data, count), quality)
    else:
        sheet = _draws(loaded, count, size, quality, seed, uniform=uniform)
    image = draw_sheet(
        [[Panel(enlarged(Image.fromarray(p), SMALLEST_PX)) for p in row] for row in sheet.rows],
        title=f"{loaded.info.id}, quality {quality}: {sheet.what}",
        headings=[Heading(text) for text in sheet.headings],
        labels=sheet.labels,
        gap_px=4,
    )
    write_image(image, out, format)
    num_pictures = sum(len(row) for row in sheet.rows)
    if console.is_json:
        console.record(
            {
                "output": out,
                "model": loaded.info.id,
                "quality": quality,
                "pictures": num_pictures,
                "rows": len(sheet.rows),
            }
        )
    pictures = counted(num_pictures, "picture")
    console.note(f"{pictures} of {loaded.info.id} at quality {quality}: {out}")


def _draws(
    loaded: LoadedModel,
    count: int,
    size: tuple[int, int] | None,
    quality: int,
    seed: int,
    *,
    uniform: bool,
) -> Sheet:
    import numpy as np

    from imgcodec.codec.picture.sheet import wrap
    from imgcodec.eval.looks.sampling import draw_picture, training_size

    rng = np.random.default_rng(seed)
    size = size or training_size(loaded)
    drawn = [draw_picture(loaded, size, quality, rng, uniform=uniform) for _ in range(count)]
    what = f"{'codes of equal probability' if uniform else 'drawn from its tables'}, seed {seed}"
    return Sheet(list(wrap(drawn, math.ceil(math.sqrt(count)))), what)


def _interpolation(
    loaded: LoadedModel, paths: tuple[str, str], steps: int, quality: int, *, spherical: bool
) -> Sheet:
    from imgcodec.eval.looks.sampling import blend, latents_of, picture_of

    first, second = _read(paths)
    if first.shape != second.shape:
        raise click.UsageError("--interpolate needs two pictures of equal size.")
    start, end = (latents_of(loaded, pixels, quality) for pixels in (first, second))
    shares = [step / (steps - 1) for step in range(steps)]
    latents = [blend(start, end, share, spherical=spherical) for share in shares]
    row = [picture_of(loaded, y, quality, first.shape[:2]) for y in latents]
    what = f"from {Path(paths[0]).name} to {Path(paths[1]).name}"
    return Sheet([row], what, [f"{share:.0%}" for share in shares])


def _attributes(
    loaded: LoadedModel,
    shown: list[Pixels],
    label: str,
    strengths: list[float],
    data: Path | None,
    max_pictures: int,
    quality: int,
) -> Sheet:
    """Return a row for each picture: itself, then one reconstruction per strength."""
    from imgcodec.datasets.labels import load_labelled
    from imgcodec.eval.looks.sampling import attribute_vector, latents_of, picture_of

    pictures, labels = load_labelled(data, "train", max_pictures)
    if label not in labels:
        known = ", ".join(sorted(set(labels)))
        raise click.UsageError(f"no picture has the label {label!r}; labels are {known}.")
    direction = attribute_vector(loaded, pictures, [name == label for name in labels], quality)
    rows = []
    for pixels in shown:
        y = latents_of(loaded, pixels, quality)
        if y.shape != direction.shape:
            raise click.UsageError("IMAGE must be as large as the labelled pictures.")
        size = pixels.shape[:2]
        moved = [picture_of(loaded, y + s * direction, quality, size) for s in strengths]
        rows.append([pixels, *moved])
    return Sheet(
        rows, f"{label} added", ["original", *(f"{s:+g}" if s else "0" for s in strengths)]
    )


def _reconstructions(loaded: LoadedModel, shown: list[Pixels], quality: int) -> Sheet:
    """Return rows of pictures, each above the row of its reconstructions."""
    from imgcodec.codec.picture.sheet import wrap
    from imgcodec.eval.looks.sampling import latents_of, picture_of

    decoded = [
        picture_of(loaded, latents_of(loaded, p, quality), quality, p.shape[:2]) for p in shown
    ]
    pairs = zip(wrap(shown, 16), wrap(decoded, 16), strict=True)
    rows = [row for pair in pairs for row in pair]
    return Sheet(rows, "reconstructions", labels=["original", "decoded"] * (len(rows) // 2))


def _pictures(images: Sequence[str], data: Path | None, count: int) -> list[Pixels]:
    """Return the pictures given, or the first of the test data."""
    from imgcodec.datasets.labels import load_labelled

    return _read(images) if images else load_labelled(data, "test", count)[0]


def _read(paths: Sequence[str]) -> list[Pixels]:
    from imgcodec.codec.picture.read import read_picture

    return [read_picture(path).pixels for path in paths]
