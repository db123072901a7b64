"""Codecs at the same bytes, or at the same quality, over a data set.

At the same bytes: who looks better in at most as many. At the same quality: who needs fewer bytes
to look at least as good.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from imgcodec.codec.errors import OptionError
from imgcodec.datasets.images import ImageDataset, readable_images
from imgcodec.eval.anchors.base import ImageCodec, RgbArray, Setting
from imgcodec.eval.matching import Match
from imgcodec.eval.metrics.base import Metric
from imgcodec.eval.quality import Quality
from imgcodec.eval.results import write_csv


@dataclasses.dataclass(frozen=True)
class MatchRow:
    """One image by one codec, in the bytes or as good as the reference codec at a setting.

    Attributes:
        image: name of the image.
        setting: setting of the reference codec that gave the bytes or the quality.
        codec: name of the codec.
        bpp: bits per pixel of its own file.
        fits: False where even its smallest file is larger than the bytes given, or its best one
            worse than the quality given; that file is then measured, to the codec's advantage.
        values: metrics by column.
    """

    image: str
    setting: str
    codec: str
    bpp: float
    fits: bool
    values: dict[str, float]


def largest_within(
    codec: ImageCodec, rgb: RgbArray, limit_bytes: int, settings: Sequence[Setting]
) -> tuple[Match, bool]:
    """Return the best file of at most `limit_bytes` and True, or the smallest file and False.

    Args:
        codec: its sizes rise along `settings`, up to small dents.
        rgb: uint8 HxWx3.
        limit_bytes: size not to exceed.
        settings: at least one, low to high rate; searched by bisection.
    """
    low, high = 0, len(settings) - 1
    best = Match(settings[0], codec.encode(rgb, settings[0]))
    if len(best.data) > limit_bytes:
        return best, False
    while low < high:
        middle = (low + high + 1) // 2
        data = codec.encode(rgb, settings[middle])
        if len(data) <= limit_bytes:
            low, best = middle, Match(settings[middle], data)
        else:
            high = middle - 1
    return best, True


def smallest_reaching(
    codec: ImageCodec,
    rgb: RgbArray,
    is_reached: Callable[[bytes], bool],
    settings: Sequence[Setting],
) -> tuple[Match, bool]:
    """Return the smallest file that is good enough and True, or the best file and False.

    Args:
        codec: its quality rises along `settings`, up to small dents.
        rgb: uint8 HxWx3.
        is_reached: whether a file is good enough.
        settings: at least one, low to high rate; searched by bisection.
    """
    low, high = 0, len(settings) - 1
    best = Match(settings[high], codec.encode(rgb, settings[high]))
    if not is_reached(best.data):
        return best, False
    while low < high:
        middle = (low + high) // 2
        data = codec.encode(rgb, settings[middle])
        if is_reached(data):
            high, best = middle, Match(settings[middle], data)
        else:
            low = middle + 1
    return best, True


def match_dataset(
    dataset: ImageDataset,
    reference: ImageCodec,
    others: Sequence[ImageCodec],
    metrics: Sequence[Metric],
    report: Callable[[str], None],
    by: Quality | None = None,
) -> Iterator[MatchRow]:
    """Yield a row per image, setting of the reference, and codec (the reference first).

    Others with a whole-number quality are searched from 0 to 100, the rest along their ladder.

    Args:
        dataset: the images.
        reference: its ladder sets the bytes, or the quality.
        others: codecs that get these bytes, or must look at least as good.
        metrics: what to measure.
        report: receives a line per image.
        by: match this quality, which one of `metrics` measures, instead of the bytes.

    Raises:
        ValueError: no metric measures `by`.
    """
    judge = next((i for i, m in enumerate(metrics) if by and m.columns[0] == by.column), None)
    if by is not None and judge is None:
        raise OptionError(f"{by.label} is to be matched, but is not among the metrics")
    for index, name, rgb in readable_images(dataset, report):
        prepared = [metric.prepare(rgb) for metric in metrics]
        pixels = rgb.shape[0] * rgb.shape[1]

        def row(
            codec: ImageCodec,
            setting: str,
            data: bytes,
            fits: bool,
            name: str = name,
            pixels: int = pixels,
            prepared: list[Any] = prepared,
        ) -> MatchRow:
            decoded = codec.decode(data)
            values: dict[str, float] = {}
            for metric, state in zip(metrics, prepared, strict=True):
                values |= metric.measure(state, decoded)
            return MatchRow(name, setting, codec.name, 8 * len(data) / pixels, fits, values)

        for setting in reference.settings:
            data = reference.encode(rgb, setting)
            label = reference.describe(setting)
            first = row(reference, label, data, True)
            yield first
            for codec in others:
                settings = search_settings(codec)
                if by is None or judge is None:
                    match, fits = largest_within(codec, rgb, len(data), settings)
                else:
                    is_reached = functools.partial(
                        _is_as_good, codec, metrics[judge], prepared[judge], by, first.values
                    )
                    match, fits = smallest_reaching(codec, rgb, is_reached, settings)
                yield row(codec, label, match.data, fits)
        report(f"{name}: {index + 1} of {len(dataset.image_names)}")


def _is_as_good(
    codec: ImageCodec,
    metric: Metric,
    prepared: Any,
    by: Quality,
    wanted: dict[str, float],
    data: bytes,
) -> bool:
    """Return whether a file is at least as good as wanted; never where the metric is NaN."""
    value, goal = metric.measure(prepared, codec.decode(data))[by.column], wanted[by.column]
    return value >= goal if by.is_better_up else value <= goal


def search_settings(codec: ImageCodec) -> Sequence[Setting]:
    """Return all settings worth a search: every quality where they are whole numbers."""
    ladder = list(codec.settings)
    whole = [setting for setting in ladder if isinstance(setting, int)]
    if len(whole) == len(ladder) and min(whole) >= 0 and max(whole) <= 100:
        return range(0, 101)
    return ladder


def write_matches(rows: Sequence[MatchRow], path: Path) -> None:
    """Write a CSV file with a line per row."""
    fields = ("image", "setting", "codec", "bpp", "fits")
    write_csv(path, [{name: getattr(row, name) for name in fields} | row.values for row in rows])


def summarise_matches(rows: Sequence[MatchRow]) -> list[dict[str, Any]]:
    """Return one record per reference setting and codec: means, and how many images fitted."""
    groups: dict[tuple[str, str], list[MatchRow]] = {}
    for row in rows:
        groups.setdefault((row.setting, row.codec), []).append(row)
    return [
        {
            "setting": setting,
            "codec": codec,
            "bpp": _mean([row.bpp for row in group]),
            "fits": sum(row.fits for row in group),
            "images": len(group),
            **{name: _mean([row.values[name] for row in group]) for name in group[0].values},
        }
        for (setting, codec), group in groups.items()
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
