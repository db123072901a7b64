"""One image by several codecs at about the same bytes, or as it is in files, side by side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from imgcodec.codec.errors import OptionError
from imgcodec.codec.stream.tiles import Tile
from imgcodec.eval import pictures
from imgcodec.eval.anchors.base import ImageCodec, RgbArray, taught_of
from imgcodec.eval.metrics.base import Metric
from imgcodec.eval.pictures import Shot
from imgcodec.eval.quality import QUALITIES, Taught, quality_of
from imgcodec.eval.windows import detail_windows

CROP_PX = 128


@dataclasses.dataclass(frozen=True)
class Comparison:
    """An image and what each codec made of it.

    Attributes:
        name: name of the image.
        rgb: the original, uint8 HxWx3.
        target_bytes: size that every file was to have, None where the files were given.
        shots: one for each codec or file, in order.
        windows: parts to enlarge.
        taught: codec name to columns of the metrics that taught it.
    """

    name: str
    rgb: RgbArray
    target_bytes: float | None
    shots: tuple[Shot, ...]
    windows: tuple[Tile, ...]
    taught: Taught = dataclasses.field(default_factory=dict)

    @property
    def target_bpp(self) -> float:
        """Bits per pixel that every file was to have; of the first file where they were given."""
        height, width = self.rgb.shape[:2]
        size = len(self.shots[0].data) if self.target_bytes is None else self.target_bytes
        return float(8.0 * size / (height * width))

    @property
    def sizes_text(self) -> str:
        """What the files have in common, in words."""
        if self.target_bytes is None:
            return "files as they are"
        return f"at about {self.target_bytes:,.0f} bytes ({self.target_bpp:.3f} bpp)"


def compare_codecs(
    name: str,
    rgb: RgbArray,
    codecs: Sequence[ImageCodec],
    *,
    target_bpp: float | None = None,
    quality: int | None = None,
    windows: Sequence[Tile] = (),
    num_windows: int = 2,
    metrics: Sequence[Metric] = (),
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
        metrics: what to measure besides PSNR.

    Raises:
        CodecError: a codec failed.
        OptionError: not exactly one of `target_bpp` and `quality`, or a window lies outside.
    """
    if (target_bpp is None) == (quality is None):
        raise OptionError("give either target_bpp or quality")
    height, width = rgb.shape[:2]
    parts = _windows_in(rgb, windows, num_windows)
    shots = []
    rest = list(codecs)
    if target_bpp is not None:
        target_bytes = target_bpp * height * width / 8.0
    else:
        assert quality is not None
        first = rest.pop(0)
        data = first.encode(rgb, quality)
        setting = first.describe(quality)
        shots.append(Shot.of(first.name, setting, data, first.decode(data), rgb))
        target_bytes = float(len(data))
    shots += [pictures.shoot(codec, rgb, target_bytes, tolerance=0.01) for codec in rest]
    scored = _scored(rgb, shots, metrics)
    return Comparison(name, rgb, target_bytes, scored, parts, taught_of(codecs))


def compare_files(
    name: str,
    rgb: RgbArray,
    files: Sequence[tuple[str, bytes, RgbArray]],
    *,
    windows: Sequence[Tile] = (),
    num_windows: int = 2,
    metrics: Sequence[Metric] = (),
    taught: Taught | None = None,
) -> Comparison:
    """Hold files that exist against the original they were made of.

    Args:
        name: name of the image, shown.
        rgb: the original, uint8 HxWx3.
        files: at least one: name, bytes, and what they decode to, of the size of the original.
        windows: parts to enlarge; default: where the detail is.
        num_windows: how many parts to choose when none are given.
        metrics: what to measure besides PSNR.
        taught: name of a file to columns of the metrics that taught the weights that made it.

    Raises:
        ValueError: a picture has another size, or a window lies outside.
    """
    parts = _windows_in(rgb, windows, num_windows)
    for label, _, decoded in files:
        if decoded.shape != rgb.shape:
            (height, width), (other_height, other_width) = rgb.shape[:2], decoded.shape[:2]
            raise ValueError(
                f"{label} is {other_width}x{other_height}, the original {width}x{height}"
            )
    shots = [Shot.of(label, "file", data, decoded, rgb) for label, data, decoded in files]
    return Comparison(name, rgb, None, _scored(rgb, shots, metrics), parts, taught or {})


def _windows_in(rgb: RgbArray, windows: Sequence[Tile], num_windows: int) -> tuple[Tile, ...]:
    """Return the windows, which must lie inside, or so many where the detail is."""
    height, width = rgb.shape[:2]
    for window in windows:
        if (
            min(window.width, window.height) < 1
            or min(window.left, window.top) < 0
            or window.left + window.width > width
            or window.top + window.height > height
        ):
            raise OptionError(f"the crop {window} is not inside the image of {width}x{height}")
    return tuple(windows or detail_windows(rgb, CROP_PX, CROP_PX, num_windows))


def _scored(rgb: RgbArray, shots: Sequence[Shot], metrics: Sequence[Metric]) -> tuple[Shot, ...]:
    """Return the shots with what the metrics say of them."""
    scores: list[dict[str, float]] = [{} for _ in shots]
    for metric in metrics:
        prepared = metric.prepare(rgb)
        for values, shot in zip(scores, shots, strict=True):
            values |= metric.measure(prepared, shot.rgb)
    return tuple(
        dataclasses.replace(shot, scores=values) for shot, values in zip(shots, scores, strict=True)
    )


def numbers(comparison: Comparison, shot: Shot) -> list[str]:
    """Return what is written under a picture: size, rate, deviation, PSNR, setting, judges."""
    height, width = comparison.rgb.shape[:2]
    bpp = 8.0 * len(shot.data) / (height * width)
    target_bytes = comparison.target_bytes or len(shot.data)
    off = 100.0 * (len(shot.data) / target_bytes - 1.0)
    taught = comparison.taught.get(shot.codec, ())
    mark = quality_of("psnr").taught_mark(taught)
    psnr = "lossless" if shot.psnr == float("inf") else f"{shot.psnr:.2f} dB PSNR{mark}"
    note = f" ({off:+.0f} % of the target)" if abs(off) >= 5.0 else ""
    judges = [
        f"{quality.label}{quality.taught_mark(taught)} {quality.text(shot.scores[quality.column])}"
        for quality in QUALITIES
        if quality.column != "psnr" and not math.isnan(shot.scores.get(quality.column, math.nan))
    ]
    lines = [", ".join(judges[index : index + 2]) for index in range(0, len(judges), 2)]
    return [f"{len(shot.data):,} bytes, {bpp:.3f} bpp{note}", f"{psnr}, {shot.setting}", *lines]


def score_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of a table of the shots: a line each, daggers where taught."""
    qualities = [
        quality
        for quality in QUALITIES
        if any(quality.column in shot.scores for shot in comparison.shots)
    ]
    header = ["codec", "setting", "bytes", "bpp", *(quality.label for quality in qualities)]
    height, width = comparison.rgb.shape[:2]
    pad = " " if comparison.taught else ""  # keeps digits below each other
    rows = []
    for shot in comparison.shots:
        taught = comparison.taught.get(shot.codec, ())
        rows.append(
            [
                shot.codec,
                shot.setting,
                str(len(shot.data)),
                f"{8.0 * len(shot.data) / (height * width):.4f}",
                *(
                    q.text(shot.scores[q.column]) + (q.taught_mark(taught) or pad)
                    for q in qualities
                ),
            ]
        )
    return header, rows
