"""One image by several codecs at about the same bytes, as one picture or one page."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from imgcodec.codec.errors import OptionError
from imgcodec.eval import pictures
from imgcodec.eval.anchors.base import ImageCodec, RgbArray
from imgcodec.eval.page import write_page
from imgcodec.eval.pictures import Shot
from imgcodec.eval.style import codec_style
from imgcodec.eval.windows import Window, detail_windows

CELL_PX = 384
CROP_PX = 128
_MARGIN_PX = 24
_GAP_PX = 14
_INK = "#1d2126"
_QUIET = "#667079"
_MARKS = ("#ffd43b", "#22d3ee", "#f783ac", "#a9e34b")
_PAGE_BYTES = 20_000_000
_PAGE_PIXELS = 30_000_000


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An image and what each codec made of it.

    Attributes:
        name: name of the image.
        rgb: the original, uint8 HxWx3.
        target_bytes: size that every file was to have.
        shots: one for each codec, in order.
        windows: parts to enlarge.
    """

    name: str
    rgb: RgbArray
    target_bytes: float
    shots: tuple[Shot, ...]
    windows: tuple[Window, ...]

    @property
    def target_bpp(self) -> float:
        """Bits per pixel that every file was to have."""
        height, width = self.rgb.shape[:2]
        return float(8.0 * self.target_bytes / (height * width))


def compare_codecs(
    name: str,
    rgb: RgbArray,
    codecs: Sequence[ImageCodec],
    *,
    target_bpp: float | None = None,
    quality: int | None = None,
    windows: Sequence[Window] = (),
    num_windows: int = 2,
) -> Comparison:
    """Code an image with every codec at about the same number of bytes.

    Args:
        name: name of the image, shown.
        rgb: uint8 HxWx3.
        codecs: at least one.
        target_bpp: wanted bits per pixel of the whole file; or
        quality: setting of the first codec, whose file size the others then match.
        windows: parts to enlarge; default: where the detail is.
        num_windows: how many parts to choose when none are given.

    Raises:
        CodecError: a codec failed.
        OptionError: not exactly one of `target_bpp` and `quality`, or a window lies outside.
    """
    if (target_bpp is None) == (quality is None):
        raise OptionError("give either target_bpp or quality")
    height, width = rgb.shape[:2]
    for window in windows:
        if (
            min(window.width, window.height) < 1
            or min(window.x, window.y) < 0
            or window.x + window.width > width
            or window.y + window.height > height
        ):
            raise OptionError(f"the crop {window} is not inside the image of {width}x{height}")
    shots = []
    rest = list(codecs)
    if target_bpp is not None:
        target_bytes = target_bpp * height * width / 8.0
    else:
        assert quality is not None
        first = rest.pop(0)
        data = first.encode(rgb, quality)
        decoded = first.decode(data)
        psnr = pictures.psnr_db(rgb, decoded)
        shots.append(Shot(first.name, first.describe(quality), data, decoded, psnr))
        target_bytes = float(len(data))
    shots += [pictures.shoot(codec, rgb, target_bytes, tolerance=0.01) for codec in rest]
    chosen = list(windows) or detail_windows(rgb, CROP_PX, CROP_PX, num_windows)
    return Comparison(name, rgb, target_bytes, tuple(shots), tuple(chosen))


def numbers(comparison: Comparison, shot: Shot) -> list[str]:
    """Return what is written under a picture: size, rate and PSNR, setting and deviation."""
    height, width = comparison.rgb.shape[:2]
    bpp = 8.0 * len(shot.data) / (height * width)
    off = 100.0 * (len(shot.data) / comparison.target_bytes - 1.0)
    psnr = "lossless" if shot.psnr == float("inf") else f"{shot.psnr:.2f} dB PSNR"
    note = f" ({off:+.0f} % of the target)" if abs(off) >= 5.0 else ""
    return [f"{len(shot.data):,} bytes, {bpp:.3f} bpp{note}", f"{psnr}, {shot.setting}"]


def comparison_sheet(comparison: Comparison) -> Image.Image:
    """Draw the comparison: a column for the original and each codec, whole picture, then crops."""
    height, width = comparison.rgb.shape[:2]
    fit = min(CELL_PX / width, CELL_PX / height)
    whole = max(1, round(width * fit)), max(1, round(height * fit))
    rows = [whole[1], *(_enlarged(window)[1] for window in comparison.windows)]
    columns = 1 + len(comparison.shots)
    top = _MARGIN_PX + 92
    size = (
        2 * _MARGIN_PX + columns * CELL_PX + (columns - 1) * _GAP_PX,
        top + sum(rows) + len(rows) * _GAP_PX + 52 + _MARGIN_PX,
    )
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    title = f"{comparison.name}, {width} x {height}, at about {comparison.target_bytes:,.0f} bytes"
    _text(draw, (_MARGIN_PX, _MARGIN_PX - 4), f"{title} ({comparison.target_bpp:.3f} bpp)", 26)
    entries: list[tuple[str, str, RgbArray, list[str]]] = [
        ("original", _INK, comparison.rgb, [f"{height * width * 3:,} bytes of pixels", "24 bpp"])
    ]
    for shot in comparison.shots:
        look = codec_style(shot.codec)
        entries.append((look.label, look.color, shot.rgb, numbers(comparison, shot)))
    for column, (label, color, rgb, lines) in enumerate(entries):
        x = _MARGIN_PX + column * (CELL_PX + _GAP_PX)
        draw.rectangle((x, top - 44, x + 9, top - 16), fill=color)
        _text(draw, (x + 18, top - 45), label, 24)
        y = top
        picture = Image.fromarray(np.ascontiguousarray(rgb)).resize(whole, Image.Resampling.LANCZOS)
        _mark(picture, comparison.windows, fit)
        sheet.paste(picture, (x + (CELL_PX - whole[0]) // 2, y))
        y += whole[1] + _GAP_PX
        for index, window in enumerate(comparison.windows):
            crop = Image.fromarray(np.ascontiguousarray(window.cut(rgb)))
            crop = crop.resize(_enlarged(window), Image.Resampling.NEAREST)
            left = x + (CELL_PX - crop.width) // 2
            sheet.paste(crop, (left, y))
            outline = _MARKS[index % len(_MARKS)]
            draw.rectangle((left, y, left + crop.width - 1, y + 3), fill=outline)
            y += crop.height + _GAP_PX
        for index, line in enumerate(lines):
            _text(draw, (x, y - 4 + 25 * index), line, 19, _INK if index == 0 else _QUIET)
    return sheet


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
    looks = {
        shot.codec: {
            "label": codec_style(shot.codec).label,
            "color": codec_style(shot.codec).color,
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
        "facts": f"{width} x {height}, every codec at about {comparison.target_bytes:,.0f} bytes "
        f"({comparison.target_bpp:.3f} bpp). {how}. The crops are lossless.",
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


def _enlarged(window: Window) -> tuple[int, int]:
    """Return (width, height) in px of a crop enlarged by the largest whole factor that fits."""
    factor = max(1, min(CELL_PX // window.width, CELL_PX // window.height))
    if max(window.width, window.height) <= CELL_PX:
        return window.width * factor, window.height * factor
    fit = CELL_PX / max(window.width, window.height)
    return max(1, round(window.width * fit)), max(1, round(window.height * fit))


def _mark(picture: Image.Image, windows: Sequence[Window], scale: float) -> None:
    draw = ImageDraw.Draw(picture)
    for index, window in enumerate(windows):
        left, top = window.x * scale, window.y * scale
        right, bottom = left + window.width * scale - 1, top + window.height * scale - 1
        box = (left, top, max(left, right), max(top, bottom))
        draw.rectangle(box, outline=_MARKS[index % len(_MARKS)], width=2)


def _text(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, color: str = _INK
) -> None:
    draw.text(place, text, fill=color, font=ImageFont.load_default(size))
