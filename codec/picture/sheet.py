"""Pictures on one sheet: rows of panels with headings, labels and captions, on white."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

from PIL import Image, ImageDraw, ImageFont

INK = "#1d2126"
QUIET = "#667079"
_MARGIN_PX = 16
_TEXT_GAP_PX = 6
_TITLE_PX, _HEADING_PX, _CAPTION_PX = 21, 19, 16
_LINE = 1.3
"""Height of a line of text in sizes of its font."""
_SPELT = str.maketrans({"†": "*", "\N{MULTIPLICATION SIGN}": "x", "\N{MINUS SIGN}": "-"})
"""What the font that Pillow brings does not have."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Panel:
    """A picture of a sheet and the lines below it, all but the first in a quiet colour."""

    picture: Image.Image
    caption: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heading:
    """What stands above a column, behind a patch of its colour if it has one."""

    text: str
    color: str | None = None


def draw_sheet(
    rows: Sequence[Sequence[Panel]],
    *,
    title: str = "",
    note: str = "",
    headings: Sequence[Heading] = (),
    labels: Sequence[str] = (),
    gap_px: int = 14,
) -> Image.Image:
    """Return panels as one RGB picture; pictures keep their pixels, columns fit the widest.

    Args:
        rows: at least one panel; the rows may differ in length.
        title: stands above everything.
        note: stands below everything.
        headings: one for each column, or none.
        labels: one for each row, at its left, or none.
        gap_px: between panels.
    """
    width_of = [
        max(_panel_width(row[column]) for row in rows if column < len(row))
        for column in range(max(map(len, rows)))
    ]
    for column, heading in enumerate(headings):
        patch = 0 if heading.color is None else _HEADING_PX
        width_of[column] = max(width_of[column], _width(heading.text, _HEADING_PX) + patch)
    label_px = max((_width(text, _CAPTION_PX) for text in labels), default=0)
    left = _MARGIN_PX + (label_px + _TEXT_GAP_PX if labels else 0)
    lefts = list(accumulate((width + gap_px for width in width_of), initial=left))
    top = _MARGIN_PX + (_line(_TITLE_PX) + _TEXT_GAP_PX if title else 0)
    first = top + (_line(_HEADING_PX) + _TEXT_GAP_PX if headings else 0)
    tops = list(accumulate((_row_height(row) + gap_px for row in rows), initial=first))
    text_px = max(_width(title, _TITLE_PX), _width(note, _CAPTION_PX))
    size = (
        max(lefts[-1] - gap_px, _MARGIN_PX + text_px) + _MARGIN_PX,
        tops[-1] - gap_px + (_TEXT_GAP_PX + _line(_CAPTION_PX) if note else 0) + _MARGIN_PX,
    )
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    _text(draw, (_MARGIN_PX, _MARGIN_PX), title, _TITLE_PX)
    _text(draw, (_MARGIN_PX, tops[-1] - gap_px + _TEXT_GAP_PX), note, _CAPTION_PX, QUIET)
    for x, heading in zip(lefts, headings, strict=False):
        if heading.color is not None:
            draw.rectangle((x, top + 2, x + 9, top + _HEADING_PX + 2), fill=heading.color)
            x += _HEADING_PX
        _text(draw, (x, top), heading.text, _HEADING_PX)
    for y, row, label in zip(tops, rows, labels or [""] * len(rows), strict=False):
        middle = y + (max(panel.picture.height for panel in row) - _line(_CAPTION_PX)) // 2
        _text(draw, (_MARGIN_PX, max(y, middle)), label, _CAPTION_PX)
        for x, panel in zip(lefts, row, strict=False):
            sheet.paste(panel.picture.convert("RGB"), (x, y))
            line_y = y + panel.picture.height + _TEXT_GAP_PX
            for number, line in enumerate(panel.caption):
                _text(draw, (x, line_y), line, _CAPTION_PX, QUIET if number else INK)
                line_y += _line(_CAPTION_PX)
    return sheet


def enlarged(picture: Image.Image, smallest_px: int) -> Image.Image:
    """Return a picture enlarged by the least whole factor that brings each side to a size."""
    factor = -(-smallest_px // min(picture.size))
    size = (picture.width * factor, picture.height * factor)
    return picture if factor <= 1 else picture.resize(size, Image.Resampling.NEAREST)


def reduced(picture: Image.Image, largest_px: int) -> Image.Image:
    """Return a picture reduced, if it must be, so that no side exceeds a size."""
    small = picture.convert("RGB")
    small.thumbnail((largest_px, largest_px), Image.Resampling.LANCZOS)
    return small


def full_columns(count: int) -> int:
    """Return the number of columns nearest above a square that leaves no cell of a sheet empty."""
    return next(n for n in range(math.isqrt(count - 1) + 1, count + 1) if count % n == 0)


def wrap(items: Sequence[Item], columns: int) -> Iterator[Sequence[Item]]:
    """Yield rows of so many items; the last one may be shorter."""
    for start in range(0, len(items), columns):
        yield items[start : start + columns]


def _panel_width(panel: Panel) -> int:
    return max(panel.picture.width, *(_width(line, _CAPTION_PX) for line in panel.caption), 0)


def _row_height(row: Sequence[Panel]) -> int:
    return max(
        panel.picture.height
        + (_TEXT_GAP_PX + len(panel.caption) * _line(_CAPTION_PX) if panel.caption else 0)
        for panel in row
    )


def _line(size_px: int) -> int:
    return round(_LINE * size_px)


def _width(text: str, size_px: int) -> int:
    return math.ceil(ImageFont.load_default(size_px).getlength(text.translate(_SPELT)))


def _text(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size_px: int, color: str = INK
) -> None:
    font = ImageFont.load_default(size_px)
    draw.text(place, text.translate(_SPELT), fill=color, font=font)
