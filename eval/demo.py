"""The demonstration: one picture at several qualities, other codecs given the same bytes.

Needs Pillow and numpy only. For measurements over data sets see the benchmark; one picture
proves nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from imgcodec.codec.options import DEFAULT_FAMILY
from imgcodec.codec.picture.sheet import INK, Heading, Panel, draw_sheet, enlarged
from imgcodec.eval.anchors.base import ImageCodec, RgbArray
from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.pictures import Shot
from imgcodec.eval.style import codec_style
from imgcodec.eval.windows import detail_window

RIVALS = ("jpeg", "webp", "avif")

_CROP_PX = 160
_ZOOM = 2


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
        setting = self._codec.describe(low)
        return Shot.of(self._codec.name, setting, data, self._codec.decode(data), self._rgb)

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
            ours=Shot.of("imgcodec", f"q={quality}", data, pixels, rgb),
            rivals={name: search.within(len(data)) for name, search in searches.items()},
        )


def side_by_side(rgb: RgbArray, rows: Sequence[DemoRow]) -> Image.Image:
    """Draw a crop of the original and of every codec, a line for each row, numbers below."""
    window = detail_window(rgb, _CROP_PX, _CROP_PX)

    def panel(pixels: RgbArray, *caption: str) -> Panel:
        crop = Image.fromarray(np.ascontiguousarray(window.cut(pixels)))
        return Panel(enlarged(crop, _ZOOM * min(crop.size)), caption)

    def rival_panel(rival: Shot | None, budget_bytes: int) -> Panel:
        if rival is None:
            return panel(np.full_like(rgb, 238), f"no file within {budget_bytes} bytes")
        return panel(rival.rgb, _numbers(rival))

    height, width = rgb.shape[:2]
    cells = [
        [
            panel(rgb, f"{width}x{height}, crop x{_ZOOM}"),
            panel(row.ours.rgb, f"q={row.quality}  {_numbers(row.ours)}"),
            *(rival_panel(row.rivals[name], len(row.ours.data)) for name in RIVALS),
        ]
        for row in rows
    ]
    own, *others = (codec_style(name) for name in (f"imgcodec-{DEFAULT_FAMILY}", *RIVALS))
    headings = [
        *(Heading("original", INK), Heading("imgcodec", own.color)),
        *(Heading(look.label, look.color) for look in others),
    ]
    return draw_sheet(cells, headings=headings)


def _numbers(shot: Shot) -> str:
    height, width = shot.rgb.shape[:2]
    bpp = 8 * len(shot.data) / (height * width)
    return f"{len(shot.data)} bytes  {bpp:.3f} bpp  {shot.psnr:.2f} dB"
