"""Where the bits went: colours over the faded picture, with a legend in bits a pixel."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from imgcodec.codec.picture.sheet import INK, Panel, draw_sheet

_COLOURS = ((24, 15, 61), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Equal steps of the map "inferno" (Smith and van der Walt, matplotlib): lightness rises evenly."""
_PICTURE_SHARE = 0.4
_LEGEND_PX = (18, 360)
_FONT_PX = 15
_ROUND_STEPS = (1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 5.0, 6.0, 8.0, 10.0)


def draw_heatmap(bits_bpp: NDArray[np.float64], cell_px: int, picture: Image.Image) -> Image.Image:
    """Return a picture of how many bits each part of a picture took.

    The scale is linear and ends at a round number that no position exceeds.

    Args:
        bits_bpp: (rows, columns) bits a pixel of each latent position.
        cell_px: side of the square that a position covers, from the top left corner on.
        picture: what they cover; squares at its right and bottom edges may reach beyond it.
    """
    top = _round_up(float(bits_bpp.max(initial=0.0)))
    rows, columns = bits_bpp.shape
    heat = Image.fromarray(colours_of(bits_bpp / top))
    heat = heat.resize((columns * cell_px, rows * cell_px), Image.Resampling.NEAREST)
    heat = heat.crop((0, 0, *picture.size))
    faded = picture.convert("L").convert("RGB")
    caption = f"bits a pixel; {bits_bpp.mean():.3g} on average"
    return draw_sheet(
        [
            [Panel(Image.blend(heat, faded, _PICTURE_SHARE))],
            [Panel(_legend(top), (caption,))],
        ]
    )


def colours_of(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return uint8 colours (..., 3) of values from 0 to 1."""
    places = np.linspace(0.0, 1.0, len(_COLOURS))
    channels = [np.interp(shares, places, channel) for channel in zip(*_COLOURS, strict=True)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _legend(top: float) -> Image.Image:
    """Return the scale from 0 to `top` as it looks over medium grey, its quarters numbered."""
    height, width = _LEGEND_PX
    shares = np.broadcast_to(np.linspace(0.0, 1.0, width), (height, width))
    ramp = Image.fromarray(colours_of(shares))
    ramp = Image.blend(ramp, Image.new("RGB", ramp.size, "gray"), _PICTURE_SHARE)
    font = ImageFont.load_default(_FONT_PX)
    legend = Image.new("RGB", (width + 2 * _FONT_PX, height + 8 + _FONT_PX), "white")
    legend.paste(ramp, (_FONT_PX, 0))
    pen = ImageDraw.Draw(legend)
    for quarter in range(5):
        x = _FONT_PX + quarter * (width - 1) // 4
        pen.line((x, 0, x, height + 4), fill=INK)
        text = f"{top * quarter / 4:g}"
        pen.text((x, height + 6), text, fill=INK, font=font, anchor="ma")
    return legend


def _round_up(value: float) -> float:
    """Return the next number of those whose quarters are short; 1 for 0."""
    if value <= 0.0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in _ROUND_STEPS if step * unit >= value)
