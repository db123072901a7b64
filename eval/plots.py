"""Rate-distortion plots as SVG and PNG. Needs matplotlib (the `eval` extra)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image

from imgcodec.eval.curves import (
    Overlays,
    available_metrics,
    codec_curve,
    overlay_curve,
    usable_rows,
)
from imgcodec.eval.quality import (
    QUALITIES,
    TAUGHT_NOTE,
    Quality,
    Taught,
    quality_of,
)
from imgcodec.eval.set_quality import SET_QUALITIES
from imgcodec.eval.style import codec_order, codec_styles, overlay_color, overlay_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TICKS_BPP = (0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2, 3, 5, 7, 10)
MAX_NAMED_OVERLAYS = 6
_REST = " more (published)"
_INK = "#212529"
_QUIET = "#868e96"
_COLOURS = 128
"""Of a PNG: a third of its bytes."""


def write_plots(
    rows: pd.DataFrame,
    out_dir: str | Path,
    overlays: Overlays | None = None,
    taught: Taught | None = None,
    suffixes: Sequence[str] = (".svg", ".png"),
) -> list[Path]:
    """Write `rd_<metric>.svg` and `.png` for every metric the rows hold.

    Args:
        rows: rows table of a run (see the module `imgcodec.eval.runner`).
        out_dir: folder, created if absent.
        overlays: published curves, name to points with `bpp` and metric keys.
        taught: codec name to columns of the metrics that taught it, where it gets a dagger.
        suffixes: kinds of files.

    Returns:
        The paths written; none when no row succeeded.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for metric in available_metrics(usable_rows(rows)):
        for suffix in suffixes:
            path = folder / f"rd_{metric.column}{suffix}"
            rd_plot(rows, metric.column, path, overlays=overlays, taught=taught)
            written.append(path)
    return written


def rd_plot(
    rows: pd.DataFrame,
    metric: str,
    path: str | Path,
    overlays: Overlays | None = None,
    taught: Taught | None = None,
) -> Path:
    """Draw the mean curve of every codec against bits per pixel on a log axis.

    Args:
        rows: rows table of a run.
        metric: column of the rows table (see `imgcodec.eval.quality`), drawn in decibels where
            its record says so.
        path: `.svg` or `.png` file to write.
        overlays: published curves, drawn thin and grey.
        taught: codec name to columns of the metrics that taught it, where it gets a dagger.

    Raises:
        ValueError: the metric is unknown or no row has a value for it.
    """
    try:
        quality = quality_of(metric)
    except KeyError:
        known = ", ".join(entry.column for entry in QUALITIES)
        raise ValueError(f"unknown metric {metric!r}: use one of {known}") from None
    usable = usable_rows(rows)
    curves = {}
    if quality.axis in usable.columns:
        for codec in codec_order([str(name) for name in usable["codec"].unique()]):
            points = codec_curve(usable, codec, quality.axis)
            if points:
                curves[codec] = [(point.bpp, point.value) for point in points]
    if not curves:
        raise ValueError(f"no row has a value for {metric!r}")
    return _save(curves, quality, _title(usable), Path(path), overlays or {}, taught or {})


def set_plots(rows: pd.DataFrame, folder: Path) -> list[Path]:
    """Write `rd_<metric>.png` for every metric of sets in a table of `imgcodec.eval.sets`."""
    written = []
    for quality in SET_QUALITIES:
        if quality.column not in rows or not rows[quality.column].notna().any():
            continue
        good = rows[rows[quality.column].notna()].sort_values("bpp")
        curves = {
            codec: list(zip(part["bpp"], part[quality.column], strict=True))
            for codec in codec_order(list(dict.fromkeys(rows["codec"])))
            if len(part := good[good["codec"] == codec])
        }
        title = f"{', '.join(rows['dataset'].unique())}: {rows['patches'].max()} patches of 256 px"
        path = folder / f"rd_{quality.column}.png"
        written.append(_save(curves, quality, title, path, {}, {}))
    return written


def _save(
    curves: dict[str, list[tuple[float, float]]],
    quality: Quality,
    title: str,
    target: Path,
    overlays: Overlays,
    taught: Taught,
) -> Path:
    """Draw curves, codec to (bpp, value) by rising bpp, into a file."""
    # The object interface leaves the user's matplotlib backend and settings alone.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"font.size": 10, "font.family": "DejaVu Sans", "svg.hashsalt": "imgcodec"}):
        figure = Figure(figsize=(8.2, 5.4), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        _draw(axes, curves, quality, overlays, taught)
        if any(quality.taught_mark(taught.get(codec, ())) for codec in curves):
            figure.supxlabel(TAUGHT_NOTE, fontsize=8, color=_QUIET)
        axes.set_title(title, loc="left", fontsize=12, color=_INK, pad=12)
        metadata = {"Date": None} if target.suffix == ".svg" else {}
        figure.savefig(target, dpi=160, metadata=metadata, facecolor="white")
    if target.suffix == ".png":
        with Image.open(target) as drawn:
            few = drawn.convert("RGB").quantize(_COLOURS)
        few.save(target, optimize=True)
    return target


def _draw(
    axes: Axes,
    curves: dict[str, list[tuple[float, float]]],
    metric: Quality,
    overlays: Overlays,
    taught: Taught,
) -> None:
    lowest = min(points[0][0] for points in curves.values())
    highest = max(points[-1][0] for points in curves.values())
    axes.set_xscale("log")
    _draw_overlays(axes, overlays, metric.axis, lowest / 1.15, highest * 1.15)
    looks = codec_styles(curves)
    for codec, pairs in curves.items():
        look = looks[codec]
        axes.plot(
            *zip(*pairs, strict=True),
            color=look.color,
            linestyle=(0, [0.6 * float(part) for part in look.dash.split()]) if look.dash else "-",
            marker=look.marker,
            markersize=6.5 if look.is_own else 5.5,
            markeredgecolor="white",
            markeredgewidth=0.7,
            linewidth=2.6 if look.is_own else 1.6,
            label=look.label + metric.taught_mark(taught.get(codec, ())),
            zorder=4 if look.is_own else 3,
        )
    _finish_axes(axes, lowest, highest)
    axes.set_xlabel("bits per pixel (whole file, log scale)", color=_INK)
    note = "" if metric.is_better_up else " (lower is better, axis turned round)"
    axes.set_ylabel(metric.axis_label + note, color=_INK)
    if not metric.is_better_up:
        axes.invert_yaxis()
    _legend(axes, metric)


def _draw_overlays(
    axes: Axes, overlays: Overlays, column: str, lowest: float, highest: float
) -> None:
    """Draw published curves, cut to the rates of the run; name the first few."""
    num_unnamed = 0
    for name in overlay_order(overlays):
        points = overlay_curve(overlays[name], column)
        pairs = [pair for pair in points if lowest <= pair[0] <= highest]
        if not pairs:
            continue
        index = len(axes.lines) - num_unnamed
        is_named = index < MAX_NAMED_OVERLAYS
        num_unnamed += not is_named
        axes.plot(
            *zip(*pairs, strict=True),
            linestyle=("--", "-.", ":")[index % 3] if is_named else "-",
            color=overlay_color(index) if is_named else "#dee2e6",
            linewidth=1.2 if is_named else 0.8,
            label=f"{name} (published)" if is_named else "_",
            zorder=2 if is_named else 1.5,
        )
    if num_unnamed:
        axes.lines[-1].set_label(f"{num_unnamed}{_REST}")


def _finish_axes(axes: Axes, lowest: float, highest: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xlim(lowest / 1.08, highest * 1.08)
    spread = math.log10(highest / lowest)
    ticks = _TICKS_BPP if spread < 1.7 else [t for t in _TICKS_BPP if f"{t:g}"[-1] in "125"]
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(color="#e9ecef", linewidth=0.9)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#adb5bd")
    axes.tick_params(color="#adb5bd", labelcolor=_INK)


def _legend(axes: Axes, metric: Quality) -> None:
    """List the curves from best to worst at the middle rate, so that it reads as the plot does."""
    handles, labels = axes.get_legend_handles_labels()
    low, high = axes.get_xlim()
    middle = math.sqrt(low * high)
    sign = 1.0 if metric.is_better_up else -1.0

    def height(handle: object) -> float:
        xs, ys = handle.get_data()  # type: ignore[attr-defined]
        return -sign * _interpolate([math.log(x) for x in xs], list(ys), math.log(middle))

    order = sorted(
        range(len(handles)),
        key=lambda index: (labels[index].endswith(_REST), height(handles[index])),
    )
    axes.legend(
        [handles[index] for index in order],
        [labels[index] for index in order],
        loc="lower right",
        frameon=True,
        facecolor="white",
        edgecolor="none",
        framealpha=0.9,
        fontsize=9 if len(order) < 12 else 8,
        handlelength=2.8,
        labelspacing=0.35,
    )


def _interpolate(xs: list[float], ys: list[float], x: float) -> float:
    """Return the straight-line value at x, extended beyond the ends of the curve."""
    if len(xs) == 1:
        return ys[0]
    last = len(xs) - 2
    index = next((i for i in range(last) if xs[i + 1] >= x), last)
    share = (x - xs[index]) / (xs[index + 1] - xs[index])
    return ys[index] + share * (ys[index + 1] - ys[index])


def _title(rows: pd.DataFrame) -> str:
    num_images = rows["image"].nunique()
    datasets = ", ".join(str(name) for name in rows["dataset"].dropna().unique())
    plural = "image" if num_images == 1 else "images"
    return f"{datasets or 'images'}: mean of {num_images} {plural}"
