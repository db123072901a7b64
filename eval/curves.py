"""Rate-distortion curves from the rows of a run and from published JSON files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

Overlays = Mapping[str, Sequence[Mapping[str, float]]]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A quality column of the rows table.

    Attributes:
        column: column of the rows table.
        label: axis title, with its unit.
        digits: decimals shown.
        is_better_up: whether larger values are better.
        aliases: keys under which published JSON curves hold the same quantity.
        db_of: column in [0, 1] of which this one is -10 log10(1 - value); empty for none.
    """

    column: str
    label: str
    digits: int
    is_better_up: bool = True
    aliases: tuple[str, ...] = ()
    db_of: str = ""


METRICS: dict[str, Metric] = {
    metric.column: metric
    for metric in (
        Metric("psnr", "PSNR, dB", 2, aliases=("psnr", "psnr-rgb")),
        Metric(
            "ms_ssim_db",
            "MS-SSIM, dB",
            2,
            aliases=("ms_ssim", "ms-ssim", "ms-ssim-rgb"),
            db_of="ms_ssim",
        ),
        Metric("ssim_db", "SSIM, dB", 2, aliases=("ssim", "ssim-rgb"), db_of="ssim"),
        Metric("lpips", "LPIPS", 4, is_better_up=False, aliases=("lpips",)),
        Metric("ssimulacra2", "SSIMULACRA2", 1, aliases=("ssimulacra2",)),
    )
}


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of a curve; `bytes` is the mean file size in bytes, NaN where unknown."""

    bpp: float
    value: float
    bytes: float
    setting: str
    num_images: int


def usable_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that succeeded, with the columns `ms_ssim_db` and `ssim_db` added."""
    kept = rows[(rows["status"].astype(str) == "ok") & (rows["bpp"] > 0)].copy()
    kept["setting"] = kept["setting"].astype(str)
    kept["image"] = kept["image"].astype(str)
    for metric in METRICS.values():
        if metric.db_of in kept.columns:
            kept[metric.column] = _to_db(kept[metric.db_of])
    return kept


def available_metrics(rows: pd.DataFrame) -> list[Metric]:
    """Return the metrics of which usable rows hold at least one value."""
    return [
        metric
        for metric in METRICS.values()
        if metric.column in rows.columns and rows[metric.column].notna().any()
    ]


def codec_curve(rows: pd.DataFrame, codec: str, column: str) -> list[Point]:
    """Return the curve of one codec: for each setting the mean over the images, by rising bpp.

    Settings that lack an image which others have are left out: their mean would be of another
    set (as in `bdtable.mean_curve`, so that curves and BD-rates rest on the same points).

    Args:
        rows: usable rows (see `usable_rows`).
        codec: value of the codec column.
        column: quality column.
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
    metric = METRICS[column]
    for key in metric.aliases:
        if point.get(key) is not None:
            value = float(point[key])
            return float(_to_db(value)) if metric.db_of else value
    return None


def _to_db(values: Any) -> Any:
    """Return -10 log10(1 - value), 100 dB at most."""
    return -10.0 * np.log10(np.maximum(1.0 - values, 1e-10))
