"""The pictures inside a report: which images and rates, and how they are embedded.

Everything is decoded here once more from files made at matched sizes. A file that browsers
decode themselves (JPEG, WebP, AVIF) is embedded as it is; what other codecs decode to is embedded
as AVIF 4:4:4 of high quality, and the smallest PSNR between the two is reported.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, features

from imgcodec.codec.errors import CodecError
from imgcodec.codec.stream.tiles import Tile
from imgcodec.eval.anchors.base import ImageCodec, RgbArray
from imgcodec.eval.matching import known_sizes, match_bytes
from imgcodec.eval.metrics.pixel import mse, psnr_of_mse
from imgcodec.eval.windows import detail_window

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

NOMINAL_BPP = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
MAX_PIXELS = 600_000
# Quality of the embedding and share of the window's sides, tried until an image fits its budget.
_ATTEMPTS = ((93, 1.0), (86, 1.0), (74, 1.0), (74, 0.7), (66, 0.5), (60, 0.35))


@dataclasses.dataclass(frozen=True)
class Shot:
    """One coded picture: the file, what it decodes to, and its numbers.

    Attributes:
        codec: name of the codec.
        setting: what made the file, as text.
        data: the file.
        rgb: what it decodes to, uint8 HxWx3.
        psnr: in dB, infinite when lossless.
        scores: further metrics by column of the rows table, where they were measured.
    """

    codec: str
    setting: str
    data: bytes
    rgb: RgbArray
    psnr: float
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, codec: str, setting: str, data: bytes, decoded: RgbArray, rgb: RgbArray) -> Shot:
        """Return what a codec made of an original, PSNR measured."""
        return cls(codec, setting, data, decoded, psnr_db(rgb, decoded))

    def numbers(self) -> dict[str, Any]:
        """Return bytes, bpp and PSNR in dB of the whole picture (None when lossless)."""
        height, width = self.rgb.shape[:2]
        return {
            "setting": self.setting,
            "bytes": len(self.data),
            "bpp": round(8.0 * len(self.data) / (height * width), 5),
            "psnr": round(self.psnr, 3) if math.isfinite(self.psnr) else None,
        }


def psnr_db(first: RgbArray, second: RgbArray) -> float:
    """Return the PSNR of two uint8 arrays over all samples, infinite when equal."""
    return psnr_of_mse(mse(first, second))


def shoot(
    codec: ImageCodec,
    rgb: RgbArray,
    target_bytes: float,
    *,
    known: Mapping[Any, int] | None = None,
    tolerance: float = 0.02,
    max_encodes: int = 8,
) -> Shot:
    """Encode near `target_bytes`, decode, and measure. Arguments as in `match_bytes`."""
    match = match_bytes(
        codec, rgb, target_bytes, known=known, tolerance=tolerance, max_encodes=max_encodes
    )
    decoded = codec.decode(match.data)
    return Shot.of(codec.name, codec.describe(match.setting), match.data, decoded, rgb)


def choose_images(rows: pd.DataFrame, available: Sequence[str], num_images: int) -> list[str]:
    """Return up to `num_images` names, spread evenly from easy to hard to compress.

    Args:
        rows: usable rows.
        available: names of images whose pixels can be read.
        num_images: how many to choose at most.
    """
    part = rows[rows["image"].isin(list(available))]
    rates = part.assign(log_bpp=np.log(part["bpp"])).groupby("image")["log_bpp"].mean()
    ranked = [str(name) for name in rates.sort_values(kind="stable").index]
    if len(ranked) > num_images:
        positions = np.linspace(0, len(ranked) - 1, num_images).round().astype(int)
        ranked = [ranked[position] for position in positions]
    return sorted(ranked)


def choose_rates(rows: pd.DataFrame, num_rates: int = 3) -> list[float]:
    """Return up to `num_rates` rates in bpp: the lowest that at least half of the codecs reach."""
    means = rows.groupby(["codec", "setting"])["bpp"].mean().groupby("codec")
    lows, highs = means.min(), means.max()
    reached = [
        rate
        for rate in NOMINAL_BPP
        if ((lows <= 1.1 * rate) & (highs >= 0.9 * rate)).sum() >= 0.5 * len(lows)
    ]
    return reached[:num_rates] or [float(rows["bpp"].median())]


def data_uri(data: bytes, mime: str) -> str:
    """Return bytes as a `data:` URI."""
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def browser_type(data: bytes) -> str | None:
    """Return the MIME type of a file that every current browser decodes, else None."""
    if data[:3] == b"\xff\xd8\xff":
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] == b"ftypavif" and features.check("avif"):
        return "image/avif"
    return None


def embed(rgb: RgbArray, quality: int) -> tuple[bytes, str]:
    """Return uint8 HxWx3 as a high-quality file for the page and its MIME type.

    AVIF 4:4:4 where Pillow writes it (about half the bytes at equal fidelity), else JPEG 4:4:4.
    """
    buffer = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(rgb))
    if features.check("avif"):
        image.save(buffer, "AVIF", quality=quality, subsampling="4:4:4", speed=8)
        return buffer.getvalue(), "image/avif"
    image.save(buffer, "JPEG", quality=min(95, quality + 4), subsampling="4:4:4", optimize=True)
    return buffer.getvalue(), "image/jpeg"


def read_rgb(path: str | Path) -> RgbArray:
    """Return the picture at `path` as uint8 HxWx3."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def shoot_image(
    rows: pd.DataFrame,
    rgb: RgbArray,
    codecs: Sequence[ImageCodec],
    rates_bpp: Sequence[float],
) -> list[list[Shot]]:
    """Return for each rate the shots of all codecs that succeeded.

    Args:
        rows: usable rows of this image; their sizes save searching.
        rgb: the image, uint8 HxWx3.
        codecs: codecs to run.
        rates_bpp: targets in bits per pixel.
    """
    num_pixels = rgb.shape[0] * rgb.shape[1]
    levels: list[list[Shot]] = []
    for rate in rates_bpp:
        shots = []
        for codec in codecs:
            part = rows[rows["codec"] == codec.name]
            known = known_sizes(codec, zip(part["setting"], part["bytes"], strict=True))
            try:
                shots.append(
                    shoot(
                        codec,
                        rgb,
                        rate * num_pixels / 8.0,
                        known=known,
                        tolerance=0.04,
                        max_encodes=2 if known else 6,
                    )
                )
            except (CodecError, OSError, RuntimeError, ValueError) as error:
                logger.warning("report: %s at %g bpp: %s", codec.name, rate, error)
        levels.append(shots)
    return levels


def embed_image(
    rgb: RgbArray,
    levels: Sequence[Sequence[Shot]],
    budget_bytes: float,
    max_pixels: int = MAX_PIXELS,
) -> dict[str, Any]:
    """Return one image of the viewer: original, window, and pictures per rate, as page data.

    Args:
        rgb: the original, uint8 HxWx3.
        levels: shots per rate.
        budget_bytes: the base64 text of all pictures together should stay below this.
        max_pixels: larger images are shown as a window of this many pixels.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, math.sqrt(max_pixels / (height * width)))
    result: dict[str, Any] = {}
    for quality, share in _ATTEMPTS:
        side = scale * share
        if side >= 1.0:
            window = Tile(0, 0, height, width)
        else:
            window = detail_window(rgb, max(1, int(side * height)), max(1, int(side * width)))
        result = _embed_at(rgb, levels, window, quality)
        if result["size"] <= budget_bytes:
            break
    return result


def _embed_at(
    rgb: RgbArray, levels: Sequence[Sequence[Shot]], window: Tile, quality: int
) -> dict[str, Any]:
    is_whole = (window.height, window.width) == rgb.shape[:2]
    data, mime = embed(window.cut(rgb), min(95, quality + 4))
    original = data_uri(data, mime)
    size = len(original)
    worst = math.inf
    embedded: list[dict[str, Any]] = []
    for shots in levels:
        pictures: dict[str, Any] = {}
        for shot in shots:
            native = browser_type(shot.data) if is_whole else None
            if native:
                source = data_uri(shot.data, native)
            else:
                cut = window.cut(shot.rgb)
                data, mime = embed(cut, quality)
                worst = min(worst, psnr_db(cut, _decoded(data)))
                source = data_uri(data, mime)
            size += len(source)
            pictures[shot.codec] = {**shot.numbers(), "src": source, "isFile": bool(native)}
        embedded.append(pictures)
    return {
        "window": dataclasses.asdict(window),
        "isWhole": is_whole,
        "original": original,
        "levels": embedded,
        "quality": quality,
        "worstDb": worst,
        "size": size,
    }


def _decoded(data: bytes) -> RgbArray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
