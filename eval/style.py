"""One look per codec: the same colour, line and name in every plot, page and picture."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable

_FAMILIES: tuple[tuple[str, str, str, str], ...] = (
    # prefix of the codec name, colour, matplotlib marker, name to show
    ("beta", "#d6254d", "o", "beta"),
    ("hier", "#b0179b", "o", "hier"),
    ("vq", "#7a4fd0", "o", "vq"),
    ("cv", "#c2410c", "o", "cv"),
    ("jpeg2000", "#d98e04", "D", "JPEG 2000"),
    ("jpegxl", "#7c3aed", "P", "JPEG XL"),
    ("jpeg-xl", "#7c3aed", "P", "JPEG XL"),
    ("jxl", "#7c3aed", "P", "JPEG XL"),
    ("jpeg", "#8a6d4b", "^", "JPEG"),
    ("webp", "#2f9e44", "v", "WebP"),
    ("avif", "#1c7ed6", "s", "AVIF"),
    ("heic", "#0ca5a5", "X", "HEIC"),
    ("custom:", "#495057", "h", ""),
)
_OWN = ("imgcodec", "beta", "hier", "vq", "cv")
_TUNES = ("psnr", "ssim")
_REFERENCES = ("vtm", "bpg", "hm", "av1")
_SPARE = ("#5c940d", "#e8590c", "#364fc7", "#a61e4d", "#087f5b", "#862e9c", "#495057")


@dataclasses.dataclass(frozen=True)
class Style:
    """How one codec is drawn.

    Attributes:
        label: the name to show.
        color: `#rrggbb`.
        dash: SVG dash pattern in px, empty for a full line.
        marker: matplotlib marker.
        is_own: whether the codec is one of this project and is drawn with emphasis.
    """

    label: str
    color: str
    dash: str
    marker: str
    is_own: bool


def codec_style(name: str) -> Style:
    """Return the style of a codec name; it depends on the name alone.

    Variants of a format (`jpeg-420`, `avif-s2`) share its colour and are dashed.
    """
    lowered = name.lower()
    stem = lowered.removeprefix("imgcodec-").removeprefix("imgcodec:")
    is_own = stem != lowered or lowered.startswith(_OWN)
    family = next((entry for entry in _FAMILIES if stem.startswith(entry[0])), None)
    if family is None:
        spare = _FAMILIES[0][1] if is_own else _SPARE[zlib.crc32(lowered.encode()) % len(_SPARE)]
        family = (lowered, spare, "h", name)
    prefix, color, marker, shown = family
    if is_own:
        label = name.removeprefix("imgcodec:").replace("\\", "/").rsplit("/", 1)[-1]
        return Style(label.removesuffix(".safetensors"), color, "", "o", True)
    suffix = name[len(prefix) :]
    if prefix == "custom:":
        return Style(suffix.split(":")[0], color, "", marker, False)
    label = shown + suffix.replace("-420", " 4:2:0").replace("-444", " 4:4:4")
    if shown == "AVIF":  # the figures of one tune are no verdict on another
        tune = next((tune for tune in _TUNES if suffix == f"-{tune}"), "")
        label = f"{shown} (tune {tune})" if tune else f"{label} (default tune)"
    return Style(label, color, _dash(suffix), marker, False)


def _dash(suffix: str) -> str:
    if not suffix:
        return ""
    if "420" in suffix:
        return "5 3"
    if "444" in suffix or "ssim" in suffix:
        return "8 3 2 3"
    return "2 2"


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
