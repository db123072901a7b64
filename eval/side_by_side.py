"""Parts of several pictures by several codecs at one rate, pixel for pixel, on one sheet.

    python -m imgcodec.eval.side_by_side a.png@128,64 b.png --bpp 0.15 -o sheet.png

A row for each picture: a square of `SIDE_PX` of the original, its corner behind the @ or where the
detail is, and the same of what each codec makes of the whole picture in about the same bytes. Below
each stand the bytes and SSIMULACRA2 of the whole picture. `imgcodec compare` shows one picture,
enlarged, with all that the judges say.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from imgcodec.codec.errors import OptionError
from imgcodec.codec.picture.read import read_picture, upright
from imgcodec.codec.picture.sheet import INK, Heading, Panel, draw_sheet
from imgcodec.codec.stream.tiles import Tile
from imgcodec.eval.anchors.base import ImageCodec
from imgcodec.eval.anchors.registry import get_codec, split_names
from imgcodec.eval.bench import metric_options
from imgcodec.eval.compare import Comparison, compare_codecs
from imgcodec.eval.metrics.base import Metric, create_metrics
from imgcodec.eval.quality import TAUGHT_NOTE, quality_of
from imgcodec.eval.style import codec_styles
from imgcodec.eval.windows import detail_windows

SIDE_PX = 256
JUDGE = "ssimulacra2"


def compared(source: str, codecs: list[ImageCodec], bpp: float, judges: list[Metric]) -> Comparison:
    """Code a picture, "path" or "path@x,y", with every codec at a rate.

    Raises:
        OptionError: the corner is no pair of numbers, or the square lies outside.
    """
    path, _, corner = source.partition("@")
    rgb = upright(read_picture(Path(path).read_bytes()))
    windows = detail_windows(rgb, SIDE_PX, SIDE_PX, 1)
    if corner:
        try:
            left, top = map(int, corner.split(","))
        except ValueError as error:
            raise OptionError(f"{source}: a corner is X,Y") from error
        windows = [Tile(top, left, SIDE_PX, SIDE_PX)]
    name = Path(path).stem
    return compare_codecs(name, rgb, codecs, target_bpp=bpp, windows=windows, metrics=judges)


def sheet(comparisons: list[Comparison], bpp: float) -> Image.Image:
    """Draw a row for each comparison."""
    looks = codec_styles(shot.codec for shot in comparisons[0].shots).values()
    headings = [Heading("original", INK), *(Heading(look.label, look.color) for look in looks)]
    return draw_sheet(
        [_row(comparison) for comparison in comparisons],
        title=f"{bpp:g} bits per pixel, {SIDE_PX} x {SIDE_PX} pixels of each picture",
        note=TAUGHT_NOTE if any(comparison.taught for comparison in comparisons) else "",
        headings=headings,
    )


def _row(comparison: Comparison) -> list[Panel]:
    window, quality = comparison.windows[0], quality_of(JUDGE)
    row = [Panel(_picture(window.cut(comparison.rgb)), (comparison.name,))]
    for shot in comparison.shots:
        mark = quality.taught_mark(comparison.taught.get(shot.codec, ()))
        score = f"{quality.label}{mark} {quality.text(shot.scores[quality.column])}"
        row.append(Panel(_picture(window.cut(shot.rgb)), (f"{len(shot.data):,} bytes, {score}",)))
    return row


def _picture(rgb: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(rgb))


def main() -> None:
    """Write the sheet of a command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs="+", metavar="PICTURE[@X,Y]")
    parser.add_argument("--codecs", default="imgcodec-beta,avif")
    parser.add_argument("--bpp", type=float, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    codecs = [get_codec(name) for name in split_names(args.codecs)]
    judges = create_metrics([JUDGE], metric_options("cpu", None, None))
    rows = [compared(source, codecs, args.bpp, judges) for source in args.pictures]
    sheet(rows, args.bpp).save(args.out)


if __name__ == "__main__":
    main()
