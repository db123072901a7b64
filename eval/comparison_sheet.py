"""A comparison as one picture, or as one page with a slider."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from imgcodec.codec.picture.sheet import INK, Heading, Panel, draw_sheet, enlarged, reduced
from imgcodec.codec.stream.tiles import Tile
from imgcodec.eval import pictures
from imgcodec.eval.anchors.base import RgbArray
from imgcodec.eval.compare import Comparison, numbers
from imgcodec.eval.page import write_page
from imgcodec.eval.quality import TAUGHT_NOTE
from imgcodec.eval.style import codec_styles

CELL_PX = 384
_MARKS = ("#ffd43b", "#22d3ee", "#f783ac", "#a9e34b")
_PAGE_BYTES = 20_000_000
_PAGE_PIXELS = 30_000_000


def comparison_sheet(comparison: Comparison) -> Image.Image:
    """Draw the comparison: a column for the original and each codec, whole picture, then crops."""
    height, width = comparison.rgb.shape[:2]
    looks = codec_styles(shot.codec for shot in comparison.shots).values()
    headings = [Heading("original", INK), *(Heading(look.label, look.color) for look in looks)]
    captions = [
        [f"{height * width * 3:,} bytes of pixels", "24 bpp"],
        *(numbers(comparison, shot) for shot in comparison.shots),
    ]
    columns = [comparison.rgb, *(shot.rgb for shot in comparison.shots)]
    rows = [[_overview(rgb, comparison.windows) for rgb in columns]]
    for window, mark in zip(comparison.windows, itertools.cycle(_MARKS), strict=False):
        rows.append([_crop(rgb, window, mark) for rgb in columns])
    panels = [[Panel(picture) for picture in row] for row in rows[:-1]]
    last = zip(rows[-1], captions, strict=True)
    panels.append([Panel(picture, tuple(lines)) for picture, lines in last])
    return draw_sheet(
        panels,
        title=f"{comparison.name}, {width} x {height}, {comparison.sizes_text}",
        note=TAUGHT_NOTE if comparison.taught else "",
        headings=headings,
    )


def write_comparison_page(comparison: Comparison, path: str | Path) -> Path:
    """Write the comparison as one HTML file with the slider and the enlarged crops."""
    height, width = comparison.rgb.shape[:2]
    entry = pictures.embed_image(
        comparison.rgb, [comparison.shots], _PAGE_BYTES, max_pixels=_PAGE_PIXELS
    )
    worst_db = entry.pop("worstDb")
    how = "The slider shows the coded files themselves where browsers decode them"
    if math.isfinite(worst_db):
        how += f", else the decoder output as AVIF or JPEG, {worst_db:.1f} dB from it or closer"
    if not entry["isWhole"]:
        how += "; it shows a part of the picture, at full resolution"
    styles = codec_styles(shot.codec for shot in comparison.shots)
    looks = {
        shot.codec: {
            "label": styles[shot.codec].label,
            "color": styles[shot.codec].color,
            "lines": numbers(comparison, shot),
        }
        for shot in comparison.shots
    }
    crops = []
    for window in comparison.windows:
        columns = {"original": comparison.rgb, **{s.codec: s.rgb for s in comparison.shots}}
        crops.append(
            {
                "window": dataclasses.asdict(window),
                "pictures": {name: _png_uri(window.cut(rgb)) for name, rgb in columns.items()},
            }
        )
    data = {
        "title": comparison.name,
        "facts": f"{width} x {height}, {comparison.sizes_text}. {how}. The crops are lossless."
        + (f" {TAUGHT_NOTE}." if comparison.taught else ""),
        "looks": looks,
        "crops": crops,
        "viewer": {
            "rates": [comparison.target_bpp],
            "rateLabels": [f"{comparison.target_bpp:.3f} bpp"],
            "codecs": [shot.codec for shot in comparison.shots],
            "images": [{"name": comparison.name, "height": height, "width": width, **entry}],
        },
    }
    scripts = ("chart.js", "viewer.js", "compare.js")
    return write_page("compare.html", scripts, f"{comparison.name}: codecs compared", data, path)


def _png_uri(rgb: RgbArray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "PNG", optimize=True)
    return pictures.data_uri(buffer.getvalue(), "image/png")


def _overview(rgb: RgbArray, windows: Sequence[Tile]) -> Image.Image:
    """Return the whole picture, as large as a cell, with the windows marked."""
    height, width = rgb.shape[:2]
    scale = CELL_PX / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(np.ascontiguousarray(rgb)).resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    for window, mark in zip(windows, itertools.cycle(_MARKS), strict=False):
        left, top = window.left * scale, window.top * scale
        right, bottom = left + window.width * scale - 1, top + window.height * scale - 1
        box = (left, top, max(left, right), max(top, bottom))
        draw.rectangle(box, outline=mark, width=2)
    return picture


def _crop(rgb: RgbArray, window: Tile, mark: str) -> Image.Image:
    """Return a window, enlarged by the largest whole factor that fits, its mark along the top."""
    crop = Image.fromarray(np.ascontiguousarray(window.cut(rgb)))
    factor = max(1, CELL_PX // max(crop.size))
    crop = reduced(enlarged(crop, factor * min(crop.size)), CELL_PX)
    ImageDraw.Draw(crop).rectangle((0, 0, crop.width - 1, 3), fill=mark)
    return crop
