"""One look per codec: the same colour, line and name in every plot, page and picture."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Style:
    """How one codec is drawn.

    Attributes:
        label: the name to show.
        color: `#rrggbb`.
        marker: of its points, as matplotlib names it; `chart.js` draws the same shapes.
        dash: SVG dash pattern in px, empty for a full line.
        is_own: whether the codec is one of this project and is drawn with emphasis.
    """

    label: str
    color: str
    marker: str
    dash: str = ""
    is_own: bool = False


def _own(name: str, color: str, marker: str, dash: str = "") -> tuple[str, Style]:
    return name, Style(name, color, marker, dash, True)


STYLES: dict[str, Style] = dict(
    (
        _own("imgcodec-beta", "#d6254d", "o"),
        _own("imgcodec-beta-eye", "#ff7a1a", "^"),
        _own("imgcodec-beta-psnr", "#f06595", "D"),
        _own("imgcodec-beta-natural", "#7a1230", "s"),
        _own("imgcodec-hier", "#b0179b", "v"),
        _own("imgcodec-vq", "#7a4fd0", "P"),
        _own("imgcodec-cv", "#c2410c", "X"),
        _own("imgcodec-convvae", "#4d7c0f", "p"),
        _own("imgcodec-beta-effort2", "#e8a0a0", "<", "5 3"),
        _own("imgcodec-beta-effort3", "#d98880", ">", "5 3"),
        _own("imgcodec-beta-effort4", "#c97064", "p", "5 3"),
        _own("imgcodec-beta-effort5", "#b85a4a", "h", "5 3"),
        _own("imgcodec-beta-effort6", "#a34432", "8", "5 3"),
        _own("imgcodec-beta-effort7", "#8c2f1c", "d", "5 3"),
        _own("imgcodec-beta-effort8", "#741c0a", "*", "5 3"),
        _own("imgcodec-beta-effort9", "#4a0f14", "h", "5 3"),
        ("jpeg", Style("JPEG", "#8a6d4b", "<")),
        ("jpeg-420", Style("JPEG 4:2:0", "#b9975b", "^", "5 3")),
        ("jpeg-444", Style("JPEG 4:4:4", "#5f4632", "v", "8 3 2 3")),
        ("jpeg2000", Style("JPEG 2000", "#d9a404", "D")),
        ("webp", Style("WebP", "#2f9e44", ">")),
        ("webp-m4", Style("WebP-m4", "#8fce7c", "v", "2 2")),
        # The figures of one tune are no verdict on another.
        ("avif", Style("AVIF (default tune)", "#1c7ed6", "h")),
        ("avif-420", Style("AVIF 4:2:0 (default tune)", "#72b7f0", "p", "5 3")),
        ("avif-s2", Style("AVIF-s2 (default tune)", "#0b4f94", "8", "2 2")),
        ("avif-420-s2", Style("AVIF 4:2:0-s2 (default tune)", "#4a90a8", "s", "5 3")),
        ("avif-half", Style("AVIF of half the size (default tune)", "#1098ad", "^", "1 2")),
        ("avif-psnr", Style("AVIF (tune psnr)", "#14306e", "d", "2 2")),
        ("avif-ssim", Style("AVIF (tune ssim)", "#22b8cf", "*", "8 3 2 3")),
        ("jxl", Style("JPEG XL", "#5c5fef", "8")),
        ("jxl-e9", Style("JPEG XL-e9", "#33268f", "X", "2 2")),
        ("heic", Style("HEIC", "#0ca678", "X")),
        ("heic-420", Style("HEIC 4:2:0", "#6fd6b8", "P", "5 3")),
    )
)
"""The look of every codec that the registry names: no two have the same colour."""
_SPARE_COLORS = ("#5c940d", "#364fc7", "#087f5b", "#862e9c", "#e67700", "#495057", "#0b7285")
SPARE_MARKERS = "s^Dv<>pPXh8d*"
_REFERENCES = ("vtm", "bpg", "hm", "av1")


def codec_style(name: str) -> Style:
    """Return the style of a codec name, of this table or not; it depends on the name alone."""
    known = STYLES.get(name.lower())
    return known or _spare_style(name, zlib.crc32(name.lower().encode()))


def codec_styles(names: Iterable[str]) -> dict[str, Style]:
    """Return the styles of names that are shown together, of different colours while there are."""
    styles: dict[str, Style] = {}
    for name in names:
        first = zlib.crc32(name.lower().encode())
        spare = (_spare_style(name, first + step) for step in range(len(_SPARE_COLORS)))
        taken = {style.color for style in styles.values()}
        style = codec_style(name)
        styles[name] = next((s for s in (style, *spare) if s.color not in taken), style)
    return styles


def _spare_style(name: str, number: int) -> Style:
    """Return the look of a name that is not in the table: a model, a command, a file."""
    color = _SPARE_COLORS[number % len(_SPARE_COLORS)]
    marker = SPARE_MARKERS[number % len(SPARE_MARKERS)]
    if name.lower().startswith("custom:"):
        return Style(name.split(":")[1], color, marker)
    if not name.lower().startswith("imgcodec"):
        return Style(name, color, marker)
    label = name.removeprefix("imgcodec:").replace("\\", "/").rsplit("/", 1)[-1]
    return Style(label.removesuffix(".safetensors"), color, marker, "", True)


def overlay_color(index: int) -> str:
    """Return the colour of the `index`-th published curve: quiet greys and slates."""
    shades = ("#66707a", "#93887a", "#5c7f92", "#8e939a", "#728a72", "#8a7793")
    return shades[index % len(shades)]


def overlay_order(names: Iterable[str]) -> list[str]:
    """Return names of published curves, the usual references first, else in the order given."""

    def rank(name: str) -> int:
        lowered = name.lower()
        found = [i for i, prefix in enumerate(_REFERENCES) if lowered.startswith(prefix)]
        return found[0] if found else len(_REFERENCES)

    return sorted(names, key=rank)


def codec_order(names: list[str]) -> list[str]:
    """Return the names with the codecs of this project first, else in the order given."""
    return sorted(names, key=lambda name: not codec_style(name).is_own)
