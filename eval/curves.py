"""Rate-distortion curves from the rows of a run and from published JSON files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from imgcodec.eval.quality import QUALITIES, Quality

Overlays = Mapping[str, Sequence[Mapping[str, float]]]


METRICS: dict[str, Quality] = {quality.axis: quality for quality in QUALITIES}
"""Records by the column that plots take."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of a curve; `bytes` is the mean file size in bytes, NaN where unknown."""

    bpp: float
    value: float
    bytes: float
    setting: str
    num_images: int


def usable_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that succeeded, with a column for each axis that is in decibels."""
    kept = rows[(rows["status"].astype(str) == "ok") & (rows["bpp"] > 0)].copy()
    kept["setting"] = kept["setting"].astype(str)
    kept["image"] = kept["image"].astype(str)
    for axis, quality in METRICS.items():
        if quality.column in kept.columns:
            kept[axis] = quality.axis_values(kept[quality.column])
    return kept


def available_metrics(rows: pd.DataFrame) -> list[Quality]:
    """Return the metrics of which usable rows hold at least one value."""
    return [
        quality
        for axis, quality in METRICS.items()
        if axis in rows.columns and rows[axis].notna().any()
    ]


def codec_curve(rows: pd.DataFrame, codec: str, column: str) -> list[Point]:
    """Return the curve of one codec: for each setting the mean over the images, by rising bpp.

    Settings that lack an image which others have are left out: their mean would be of another
    set (as in `bdtable.mean_curve`, so that curves and BD-rates rest on the same points).

    Args:
        rows: usable rows (see `usable_rows`).
        codec: value of the codec column.
        column: quality column, as plots take it (a key of `METRICS`).
    """
    part = rows[(rows["codec"] == codec) & rows[column].notna()]
    if part.empty:
        return []
    grouped = part.groupby("setting", sort=False)
    counts = grouped["image"].nunique()
    means = grouped[["bpp", "bytes", column]].mean()[counts == counts.max()]
    points = [
        Point(bpp, value, size, str(setting), int(counts.loc[setting]))
        for setting, bpp, size, value in zip(
            means.index,
            means["bpp"].to_list(),
            means["bytes"].to_list(),
            means[column].to_list(),
            strict=True,
        )
    ]
    return sorted(points, key=lambda point: point.bpp)


def overlay_curve(points: Sequence[Mapping[str, float]], column: str) -> list[tuple[float, float]]:
    """Return (bpp, value) pairs of a published curve by rising bpp; empty without the metric."""
    found: list[tuple[float, float]] = []
    for point in points:
        value = _overlay_value(point, column)
        bpp = point.get("bpp")
        if bpp is not None and value is not None and bpp > 0:
            found.append((float(bpp), value))
    return sorted(found)


def _overlay_value(point: Mapping[str, Any], column: str) -> float | None:
    quality = METRICS[column]
    for key in quality.overlay_keys:
        if point.get(key) is not None:
            return float(quality.axis_values(float(point[key])))
    return None
