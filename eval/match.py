"""Codecs at the same bytes over a data set: who looks better in at most as many bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from imgcodec.datasets.images import ImageDataset, readable_images
from imgcodec.eval.anchors.base import ImageCodec, RgbArray, Setting
from imgcodec.eval.matching import Match
from imgcodec.eval.metrics.base import Metric


@dataclasses.dataclass(frozen=True)
class MatchRow:
    """One image by one codec, in the bytes that the reference codec took at a setting.

    Attributes:
        image: name of the image.
        setting: setting of the reference codec that gave the bytes.
        codec: name of the codec.
        bpp: bits per pixel of its own file.
        fits: False where even its smallest file is larger than the bytes given; that file is
            then measured, to the codec's advantage.
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


def match_dataset(
    dataset: ImageDataset,
    reference: ImageCodec,
    others: Sequence[ImageCodec],
    metrics: Sequence[Metric],
    report: Callable[[str], None],
) -> Iterator[MatchRow]:
    """Yield a row per image, setting of the reference, and codec (the reference first).

    Others with a whole-number quality are searched from 0 to 100, the rest along their ladder.

    Args:
        dataset: the images.
        reference: its ladder sets the bytes.
        others: codecs that get these bytes.
        metrics: what to measure.
        report: receives a line per image.
    """
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
            yield row(reference, label, data, True)
            for codec in others:
                match, fits = largest_within(codec, rgb, len(data), search_settings(codec))
                yield row(codec, label, match.data, fits)
        report(f"{name}: {index + 1} of {len(dataset.image_names)}")


def search_settings(codec: ImageCodec) -> Sequence[Setting]:
    """Return all settings worth a search: every quality where they are whole numbers."""
    ladder = list(codec.settings)
    whole = [setting for setting in ladder if isinstance(setting, int)]
    if len(whole) == len(ladder) and min(whole) >= 0 and max(whole) <= 100:
        return range(0, 101)
    return ladder


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
