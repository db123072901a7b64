"""BD-rates of a whole run: every codec against an anchor, on mean curves and per image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from imgcodec.eval.bdrate import BdRateError, Method, bd_rate
from imgcodec.eval.quality import QUALITIES, Quality

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class BdEntry:
    """BD-rate of one codec in one metric.

    Attributes:
        codec, metric: what was compared (metric is the label).
        percent: BD-rate of the curves averaged over images per setting; NaN when refused.
        mean_per_image: mean of the BD-rates of the single images; NaN when none could be had.
        images: images with a BD-rate of their own.
        low, high: common interval of the averaged curves.
        overlap: the interval relative to the shorter curve.
        refused: why there is no number, else empty.
        column: column of the metric.
    """

    codec: str
    metric: str
    percent: float
    mean_per_image: float
    images: int
    low: float
    high: float
    overlap: float
    refused: str
    column: str


def mean_curve(rows: pd.DataFrame, metric: Quality) -> tuple[np.ndarray, np.ndarray]:
    """Return (bpp, quality), each averaged over the images of a setting.

    The mean is taken over decibels where the metric is in dB. Settings that lack an image that
    others have are left out, since their mean would be of another set.

    Args:
        rows: `ok` rows of one codec.
        metric: the axis.
    """
    rows = rows[rows[metric.column].notna()]
    values = rows.assign(_quality=_quality(rows, metric))
    groups = values.groupby("setting", sort=False)
    counts = groups["image"].nunique()
    means = groups[["bpp", "_quality"]].mean()[counts == counts.max()]
    return means["bpp"].to_numpy(), means["_quality"].to_numpy()


def bd_table(
    frame: pd.DataFrame,
    anchor: str,
    *,
    metrics: Sequence[Quality] = QUALITIES,
    method: Method = "pchip",
) -> list[BdEntry]:
    """Return the BD-rates of all codecs of a run against one of them.

    Args:
        frame: rows table.
        anchor: name of the codec to compare with.
        metrics: axes; those without values are left out.
        method: interpolation of `bd_rate`.

    Raises:
        BdRateError: the anchor has no rows.
    """
    good = frame[frame["status"] == "ok"]
    reference = good[good["codec"] == anchor]
    if reference.empty:
        known = ", ".join(good["codec"].unique()) or "none"
        raise BdRateError(f"the anchor {anchor!r} is not among the codecs of the run ({known})")
    return [
        compare(reference, good[good["codec"] == codec], metric, codec=codec, method=method)
        for metric in metrics
        if reference[metric.column].notna().any()
        for codec in good["codec"].unique()
        if codec != anchor
    ]


def compare(
    reference: pd.DataFrame,
    test: pd.DataFrame,
    metric: Quality,
    *,
    codec: str,
    method: Method = "pchip",
) -> BdEntry:
    """Return the BD-rate of rows of one codec against rows of another, on their common images."""
    common = set(reference["image"]) & set(test["image"])
    reference = reference[reference["image"].isin(common)]
    test = test[test["image"].isin(common)]
    if reference[metric.column].notna().sum() == 0 or test[metric.column].notna().sum() == 0:
        return _refused(codec, metric, "no values in common images")
    per_image = _per_image(reference, test, metric, method)
    mean_per_image = float(np.mean(per_image)) if per_image else math.nan
    try:
        details = bd_rate(
            *mean_curve(reference, metric),
            *mean_curve(test, metric),
            method=method,
            higher_is_better=metric.is_better_up,
        )
    except BdRateError as error:
        return dataclasses.replace(
            _refused(codec, metric, str(error)),
            mean_per_image=mean_per_image,
            images=len(per_image),
        )
    return BdEntry(
        codec,
        metric.bd_label,
        details.percent,
        mean_per_image,
        len(per_image),
        details.low,
        details.high,
        details.overlap,
        "",
        metric.column,
    )


def _per_image(
    reference: pd.DataFrame, test: pd.DataFrame, metric: Quality, method: Method
) -> list[float]:
    found = []
    test_images = dict(list(test.groupby("image")))
    for image, rows in reference.groupby("image"):
        other = test_images[image]
        try:
            details = bd_rate(
                rows["bpp"].to_numpy(),
                _quality(rows, metric),
                other["bpp"].to_numpy(),
                _quality(other, metric),
                method=method,
                higher_is_better=metric.is_better_up,
            )
        except BdRateError:
            continue
        found.append(details.percent)
    return found


def _quality(rows: pd.DataFrame, metric: Quality) -> np.ndarray:
    values: np.ndarray = metric.axis_values(rows[metric.column].to_numpy(dtype=np.float64))
    return values


def _refused(codec: str, metric: Quality, reason: str) -> BdEntry:
    nan = math.nan
    return BdEntry(codec, metric.bd_label, nan, nan, 0, nan, nan, 0.0, reason, metric.column)
