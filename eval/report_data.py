"""What a report shows, as JSON values: codecs, curves, points, BD-rates, failures."""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from imgcodec.codec.errors import CodecError
from imgcodec.eval.anchors.base import ImageCodec, taught_of
from imgcodec.eval.bdrate import BdRateError, bd_rate
from imgcodec.eval.bdtable import mean_curve
from imgcodec.eval.curves import (
    Overlays,
    available_metrics,
    codec_curve,
    overlay_curve,
    usable_rows,
)
from imgcodec.eval.quality import TAUGHT_NOTE, Quality
from imgcodec.eval.style import Style, codec_order, codec_styles, overlay_color, overlay_order

MAX_IMAGES_BD = 40
OPENING = "ssimulacra2"
"""Metric that a report opens with where it was measured: the look that `-q` stands for."""
Curve = tuple[np.ndarray, np.ndarray]


def page_data(
    rows: pd.DataFrame, overlays: Overlays, codecs: Mapping[str, ImageCodec]
) -> dict[str, Any]:
    """Return everything on the page but the pictures, as JSON values."""
    usable = usable_rows(rows)
    names = codec_order([str(name) for name in usable["codec"].unique()])
    looks = codec_styles(names)
    metrics = sorted(available_metrics(usable), key=lambda metric: metric.column != OPENING)
    taught = taught_of(codecs.values())
    sizes = usable.drop_duplicates("image").sort_values("image")
    images = sizes["image"].to_list()
    datasets = [str(name) for name in usable["dataset"].dropna().unique()]
    failed = rows[rows["status"].astype(str) != "ok"]
    return {
        "dataset": ", ".join(datasets) or "images",
        "created": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        "numRows": len(rows),
        "metrics": [
            {
                "key": metric.axis,
                "label": metric.axis_label,
                "digits": metric.axis_digits,
                "up": metric.is_better_up,
                "taught": [name for name in names if metric.taught_mark(taught.get(name, ()))],
            }
            for metric in metrics
        ],
        "codecs": [
            _codec_entry(name, look, codecs.get(name), usable) for name, look in looks.items()
        ],
        "images": [
            {"name": name, "width": int(width), "height": int(height)}
            for name, width, height in zip(images, sizes["width"], sizes["height"], strict=True)
        ],
        "means": [
            {metric.axis: _mean_points(usable, name, metric) for metric in metrics}
            for name in names
        ],
        "points": _points(usable, names, images, metrics),
        "bd": {metric.axis: _bd_table(usable, names, images, metric) for metric in metrics},
        "overlays": [
            {
                "name": name,
                "color": overlay_color(index),
                "curves": {
                    metric.axis: overlay_curve(overlays[name], metric.axis) for metric in metrics
                },
            }
            for index, name in enumerate(overlay_order(overlays))
        ],
        "taughtNote": TAUGHT_NOTE,
        "errors": [
            {
                "codec": str(row["codec"]),
                "image": str(row["image"]),
                "setting": str(row["setting"]),
                "error": str(row["error"]),
            }
            for _, row in failed.iterrows()
        ],
    }


def _codec_entry(
    name: str, look: Style, codec: ImageCodec | None, rows: pd.DataFrame
) -> dict[str, Any]:
    part = rows[rows["codec"] == name]
    return {
        "name": name,
        "label": look.label,
        "color": look.color,
        "marker": look.marker,
        "dash": look.dash,
        "own": look.is_own,
        "note": _describe(codec),
        "encodeMps": _median(part, "encode_mp_s"),
        "decodeMps": _median(part, "decode_mp_s"),
    }


def _describe(codec: ImageCodec | None) -> str:
    if codec is None:
        return ""
    try:
        return codec.describe_codec()
    except (CodecError, OSError, RuntimeError, ValueError):
        return ""


def _median(part: pd.DataFrame, column: str) -> float | None:
    if column not in part.columns or part[column].isna().all():
        return None
    return rounded(float(part[column].median()))


def rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _mean_points(rows: pd.DataFrame, codec: str, metric: Quality) -> list[dict[str, Any]]:
    return [
        {
            "bpp": rounded(point.bpp),
            "value": rounded(point.value),
            "bytes": round(point.bytes),
            "setting": point.setting,
            "count": point.num_images,
        }
        for point in codec_curve(rows, codec, metric.axis)
    ]


def _points(
    rows: pd.DataFrame, names: Sequence[str], images: Sequence[str], metrics: Sequence[Quality]
) -> list[list[Any]]:
    """Return [image index, codec index, setting, bytes, bpp, encode s, decode s, values...]."""
    image_index = {name: index for index, name in enumerate(images)}
    codec_index = {name: index for index, name in enumerate(names)}
    columns = ["encode_s", "decode_s", *(metric.axis for metric in metrics)]
    result = []
    for record in rows.sort_values("bpp").to_dict("records"):
        values = [rounded(float(record.get(column, math.nan))) for column in columns]
        result.append(
            [
                image_index[record["image"]],
                codec_index[str(record["codec"])],
                record["setting"],
                int(record["bytes"]),
                rounded(float(record["bpp"])),
                *values,
            ]
        )
    return result


def _bd_table(
    rows: pd.DataFrame, names: Sequence[str], images: Sequence[str], metric: Quality
) -> list[dict[str, Any]]:
    """Return BD-rates of every codec against every other, per scope (mean curve, each image).

    A scope is {"anchor,test": [percent, overlap in percent]} or a reason as text when refused.
    """
    kept = rows[rows[metric.column].notna()]
    scopes = [kept]
    if len(images) <= MAX_IMAGES_BD:
        scopes += [kept[kept["image"] == image] for image in images]
    table = []
    for scope in scopes:
        parts = {str(name): part for name, part in scope.groupby("codec")}
        curves = {name: mean_curve(part, metric) for name, part in parts.items()}
        entries: dict[str, list[float] | str] = {}
        for anchor, test in itertools.permutations(range(len(names)), 2):
            first, second = names[anchor], names[test]
            if first not in parts or second not in parts:
                entries[f"{anchor},{test}"] = "no values"
                continue
            pair = curves[first], curves[second]
            common = set(parts[first]["image"]) & set(parts[second]["image"])
            if any(parts[name]["image"].nunique() != len(common) for name in (first, second)):
                # As in the table that `imgcodec bench` prints: common images only.
                kept_parts = [parts[n][parts[n]["image"].isin(common)] for n in (first, second)]
                pair = mean_curve(kept_parts[0], metric), mean_curve(kept_parts[1], metric)
            entries[f"{anchor},{test}"] = _bd_entry(*pair, metric.is_better_up)
        table.append(entries)
    return table


def _bd_entry(anchor: Curve, test: Curve, is_better_up: bool) -> list[float] | str:
    try:
        result = bd_rate(*anchor, *test, higher_is_better=is_better_up)
    except BdRateError as error:
        return str(error)
    return [round(result.percent, 2), round(100.0 * result.overlap)]
