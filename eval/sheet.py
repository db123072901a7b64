"""Pictures with captions on one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

CELL_PX = 640
_GAP_PX = 12
_LINE_PX = 24
_FONT_PX = 18


def captioned_sheet(
    pictures: Sequence[tuple[Image.Image, str]], cell_px: int = CELL_PX
) -> Image.Image:
    """Return pictures row by row on white, each with its caption below.

    Args:
        pictures: at least one; each with its caption, a line of text.
        cell_px: side of a cell; larger pictures are reduced to fit.
    """
    columns = math.ceil(math.sqrt(len(pictures)))
    cells = [picture.convert("RGB") for picture, _ in pictures]
    for cell in cells:
        cell.thumbnail((cell_px, cell_px), Image.Resampling.LANCZOS)
    font = ImageFont.load_default(_FONT_PX)
    text_px = max(math.ceil(font.getlength(caption)) for _, caption in pictures)
    width = max(text_px, *(cell.width for cell in cells)) + _GAP_PX
    height = max(cell.height for cell in cells) + _LINE_PX + _GAP_PX
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP_PX, rows * height + _GAP_PX), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (cell, (_, caption)) in enumerate(zip(cells, pictures, strict=True)):
        left = _GAP_PX + index % columns * width
        top = _GAP_PX + index // columns * height
        sheet.paste(cell, (left, top))
        place = (left, top + cell.height + 2)
        draw.text(place, caption, fill="#222222", font=font)
    return sheet
