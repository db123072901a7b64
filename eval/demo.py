"""The demonstration: one picture at several qualities, other codecs given the same bytes.

Needs Pillow and numpy only. For measurements over data sets see the benchmark; one picture
proves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imgcodec.eval.anchors import ImageCodec, get_codec
from imgcodec.eval.anchors.base import RgbArray
from imgcodec.eval.pictures import Shot, detail_window, psnr_db
from imgcodec.eval.style import codec_style

RIVALS = ("jpeg", "webp", "avif")

_CROP_PX = 160
_ZOOM = 2
_MARGIN_PX = 12
_CAPTION_PX = 50


@dataclass(frozen=True)
class DemoRow:
    """imgcodec at one quality, and each rival in at most as many bytes (None: it cannot).

    Attributes:
        quality: imgcodec's quality.
        bpp: bits per pixel of the imgcodec file.
        encode_s: wall time of `imgcodec.encode`, model loaded.
        decode_s: wall time of `imgcodec.decode`, model loaded.
        ours: the imgcodec file.
        rivals: the others, by registry name.
    """

    quality: int
    bpp: float
    encode_s: float
    decode_s: float
    ours: Shot
    rivals: dict[str, Shot | None]


class SizeSearch:
    """Finds the best file of a codec within a number of bytes; remembers what it tried."""

    def __init__(self, codec: ImageCodec, rgb: RgbArray) -> None:
        self._codec = codec
        self._rgb = rgb
        self._files: dict[int, bytes] = {}

    def within(self, budget_bytes: int) -> Shot | None:
        """Return the largest file not above the budget, by bisection over quality 1 to 100.

        Returns None when even quality 1 is too large. File sizes of the codecs used here rise
        with quality, which the bisection relies on.
        """
        low, high = 1, 100
        while low < high:
            middle = (low + high + 1) // 2
            if len(self._encode(middle)) <= budget_bytes:
                low = middle
            else:
                high = middle - 1
        data = self._encode(low)
        if len(data) > budget_bytes:
            return None
        pixels = self._codec.decode(data)
        return Shot(
            self._codec.name,
            self._codec.describe(low),
            data,
            pixels,
            psnr_db(self._rgb, pixels),
        )

    def _encode(self, quality: int) -> bytes:
        if quality not in self._files:
            self._files[quality] = self._codec.encode(self._rgb, quality)
        return self._files[quality]


def run_demo(rgb: RgbArray, qualities: Sequence[int], model: str = "beta") -> Iterator[DemoRow]:
    """Encode and decode a picture at each quality, with the rivals at the same bytes.

    Args:
        rgb: uint8 HxWx3.
        qualities: imgcodec qualities, 1 to 100.
        model: imgcodec model.

    Yields:
        One row for each quality, as soon as it is measured.
    """
    from imgcodec.codec import api

    searches = {name: SizeSearch(get_codec(name), rgb) for name in RIVALS}
    api.decode(api.encode(rgb[:64, :64], model=model))  # loads the model outside the timing
    for quality in qualities:
        start = time.perf_counter()
        data = api.encode(rgb, model=model, quality=quality)
        middle = time.perf_counter()
        pixels = np.asarray(api.decode(data).convert("RGB"))
        end = time.perf_counter()
        yield DemoRow(
            quality=quality,
            bpp=8 * len(data) / (rgb.shape[0] * rgb.shape[1]),
            encode_s=middle - start,
            decode_s=end - middle,
            ours=Shot("imgcodec", f"q={quality}", data, pixels, psnr_db(rgb, pixels)),
            rivals={name: search.within(len(data)) for name, search in searches.items()},
        )


def side_by_side(rgb: RgbArray, rows: Sequence[DemoRow]) -> Image.Image:
    """Draw a crop of the original and of every codec, a line for each row, numbers below."""
    window = detail_window(rgb, _CROP_PX, _CROP_PX)
    panel_px = _CROP_PX * _ZOOM
    columns = 2 + len(RIVALS)
    cell_width, cell_height = panel_px + _MARGIN_PX, panel_px + _CAPTION_PX + _MARGIN_PX
    sheet = Image.new(
        "RGB", (columns * cell_width + _MARGIN_PX, len(rows) * cell_height + _MARGIN_PX), "white"
    )
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(18), ImageFont.load_default(15)

    def panel(column: int, line: int, pixels: RgbArray | None, name: str, numbers: str) -> None:
        x, y = _MARGIN_PX + column * cell_width, _MARGIN_PX + line * cell_height
        if pixels is None:
            draw.rectangle((x, y, x + panel_px - 1, y + panel_px - 1), fill="#eeeeee")
        else:
            crop = Image.fromarray(np.ascontiguousarray(window.cut(pixels)))
            sheet.paste(crop.resize((crop.width * _ZOOM, crop.height * _ZOOM), 0), (x, y))
        colour = codec_style(name).color if name != "original" else "#222222"
        label = codec_style(name).label if name != "original" else name
        draw.text((x, y + panel_px + 4), label, fill=colour, font=title)
        draw.text((x, y + panel_px + 28), numbers, fill="#222222", font=small)

    height, width = rgb.shape[:2]
    for line, row in enumerate(rows):
        panel(0, line, rgb, "original", f"{width}x{height}, crop x{_ZOOM}")
        panel(1, line, row.ours.rgb, "imgcodec", f"q={row.quality}  {_numbers(row.ours)}")
        for column, (name, rival) in enumerate(row.rivals.items(), start=2):
            if rival is None:
                panel(column, line, None, name, f"no file within {len(row.ours.data)} bytes")
            else:
                panel(column, line, rival.rgb, name, _numbers(rival))
    return sheet


def _numbers(shot: Shot) -> str:
    height, width = shot.rgb.shape[:2]
    bpp = 8 * len(shot.data) / (height * width)
    return f"{len(shot.data)} bytes  {bpp:.3f} bpp  {shot.psnr:.2f} dB"
