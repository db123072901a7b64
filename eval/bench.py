"""A benchmark from plan to folder: rows, record, tables, plots, report and exports."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imgcodec.datasets.images import open_dataset
from imgcodec.datasets.manifest import data_root
from imgcodec.eval.anchors.base import taught_of
from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.bdtable import BdEntry
from imgcodec.eval.exports import export_codec_compare, export_compressai, load_overlay
from imgcodec.eval.metrics.base import MetricOptions, create_metrics
from imgcodec.eval.quality import QUALITIES, Quality, Taught, quality_of
from imgcodec.eval.results import ResultsError, RunInfo, read_rows, summarise
from imgcodec.eval.runner import BenchPlan, Progress, run_bench
from imgcodec.processors import num_processors

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_CODECS = ("imgcodec-beta", "jpeg", "webp", "avif")
EXPORTS = {"compressai": export_compressai, "codec-compare": export_codec_compare}
ROWS_FILE, INFO_FILE, SETS_FILE = "rows.csv", "run.json", "sets.csv"
_PACKAGES = (
    *("imgcodec", "torch", "numpy", "pillow"),
    *dict.fromkeys(quality.package for quality in QUALITIES if quality.package),
)


def metric_options(device: str, weights_dir: Path | None, root: Path | None) -> MetricOptions:
    """Return where metrics run and look for weights, the data root resolved."""
    return MetricOptions(device=device, weights_dir=weights_dir, data_root=data_root(root))


def default_metrics(options: MetricOptions) -> tuple[tuple[str, ...], str]:
    """Return the metrics of a run that names none, and a note on those left out for the user.

    All that are at hand: those whose package is missing are left out. LPIPS takes the AlexNet
    backbone, as papers do, where its weights are on this machine; else SqueezeNet where those are;
    else it is left out. Nothing is downloaded.
    """
    names: list[str] = []
    notes: list[str] = []
    for quality in QUALITIES:
        if not quality.is_installed:
            install = f"pip install 'imgcodec[{quality.extra}]'"
            notes.append(f"no {quality.label}: {install} brings {quality.package}")
        elif quality.name == "lpips":
            name, note = _lpips_at_hand(options)
            names += [name] if name else []
            notes += [note] if note else []
        else:
            names.append(quality.name)
    return tuple(names), "\n".join(notes)


def _lpips_at_hand(options: MetricOptions) -> tuple[str, str]:
    """Return the name of LPIPS with a backbone that is on this machine, and a note."""
    from imgcodec.eval.metrics.backbones import find_local

    if find_local("alex", options):
        return "lpips-alex", ""
    if find_local("squeeze", options):
        note = "LPIPS with the SqueezeNet backbone: no AlexNet weights here (--metrics lpips-alex)"
        return "lpips-squeeze", note
    return "", (
        "no LPIPS: no backbone weights here; --metrics lpips-alex downloads them, "
        "--weights-dir names a folder that has them"
    )


def run_info(plan: BenchPlan, jobs: int) -> RunInfo:
    """Return the record of a run, made before it starts.

    Raises:
        CodecError: a codec or metric cannot work here.
    """
    codecs = [get_codec(name) for name in plan.codecs]
    versions = {name: _version(name) for name in _PACKAGES}
    return RunInfo(
        options={
            "dataset": plan.dataset,
            "codecs": list(plan.codecs),
            "metrics": list(plan.metrics),
            "reps": plan.reps,
            "num_images": plan.num_images,
            "num_settings": plan.num_settings,
        },
        codecs={codec.name: codec.describe_codec() for codec in codecs},
        metrics=[
            "; ".join(filter(None, (metric.describe(), quality_of(metric.columns[0]).note)))
            for metric in create_metrics(plan.metrics, plan.metric_options)
        ],
        machine={
            "python": platform.python_version(),
            "system": platform.platform(),
            "processors": num_processors(),
            "workers": jobs,
            "versions": {name: version for name, version in versions.items() if version},
        },
        taught={name: sorted(columns) for name, columns in taught_of(codecs).items()},
    )


def run(
    plan: BenchPlan,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    jobs: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[pd.DataFrame, RunInfo, int]:
    """Measure a plan into a folder and return (rows table, record, number of failed rows).

    Args:
        plan: what to measure.
        folder: gets `rows.csv` and `run.json`.
        resume: continue the run that is there; a new run where there is none.
        force: throw away the run that is there.
        jobs: worker processes.
        progress: called after every row.

    Raises:
        ResultsError: a run is there and neither `resume` nor `force` is given, or its options
            differ.
        CodecError: dataset, codec or metric cannot be had.
    """
    rows_path, info_path = folder / ROWS_FILE, folder / INFO_FILE
    info = run_info(plan, jobs)
    if rows_path.exists() and not (resume or force):
        raise ResultsError(f"{rows_path} exists: continue it with --resume, or use --force")
    if resume and info_path.exists():
        RunInfo.load(info_path).require_same_options(info)
    folder.mkdir(parents=True, exist_ok=True)
    info.save(info_path)
    errors = run_bench(plan, rows_path, resume=resume, jobs=jobs, progress=progress)
    return read_rows(rows_path), info, errors


def image_files(plan: BenchPlan) -> dict[str, Path]:
    """Return image name to file for the images of a plan that are files."""
    dataset = open_dataset(plan.dataset, plan.data_root)
    paths = {name: dataset.path(index) for index, name in enumerate(dataset.image_names)}
    return {name: path for name, path in paths.items() if path is not None}


def load_overlays(paths: Sequence[Path], plan: BenchPlan) -> dict[str, list[dict[str, float]]]:
    """Return the published curves of all files that fit a plan.

    Published LPIPS is that of the AlexNet backbone: it is left out where the run has another one.

    Raises:
        ResultsError: a file is missing or holds no curves.
    """
    curves: dict[str, list[dict[str, float]]] = {}
    for path in paths:
        curves.update(load_overlay(path, plan.dataset))
    if {"lpips", "lpips-alex"} & set(plan.metrics):
        return curves
    return {
        name: [{key: value for key, value in point.items() if key != "lpips"} for point in points]
        for name, points in curves.items()
    }


def write_exports(
    names: Sequence[str], frame: pd.DataFrame, info: RunInfo, folder: Path
) -> list[Path]:
    """Write the rows in the schemas of others, each into its own subfolder."""
    return [path for name in names for path in EXPORTS[name](frame, info.codecs, folder / name)]


def summary_table(frame: pd.DataFrame, taught: Taught) -> tuple[list[str], list[list[str]]]:
    """Return header and cells of the mean results per codec and setting.

    Args:
        frame: rows table.
        taught: codec name to columns of the metrics that taught it, which get a dagger.
    """
    qualities = [
        (quality.column, quality.label, f".{quality.digits}f", quality) for quality in QUALITIES
    ]
    columns: list[tuple[str, str, str, Quality | None]] = [
        ("bpp", "bpp", ".4f", None),
        ("ratio", "ratio", ".1f", None),
        *qualities[:1],
        ("psnr_of_mean_mse", "(of mean MSE)", ".2f", None),
        *qualities[1:],
        ("encode_mp_s", "enc MP/s", ".2f", None),
        ("decode_mp_s", "dec MP/s", ".2f", None),
        ("images", "images", "d", None),
    ]
    table = summarise(frame)
    records = table.to_dict("records")
    header = ["codec", "setting"]
    rows = [[str(record["codec"]), str(record["setting"])] for record in records]
    for column, label, style, quality in columns:
        if not table[column].notna().any():
            continue
        header.append(label)
        marks = [
            quality.taught_mark(taught.get(str(record["codec"]), ())) if quality else ""
            for record in records
        ]
        width = max(map(len, marks))
        for row, record, mark in zip(rows, records, marks, strict=True):
            row.append(_cell(record[column], style) + mark.ljust(width))
    return header, rows


def bd_cells(
    entries: Sequence[BdEntry], taught: Taught
) -> tuple[list[str], list[list[str]], list[str]]:
    """Return header, cells and footnotes of BD-rates: one line per codec and metric.

    Arguments as in `summary_table`.
    """
    header = ["codec", "metric", "BD-rate", "per image", "images", "over", "overlap"]
    rows, notes = [], []
    for entry in entries:
        percent = f"{entry.percent:+.2f} %" if not entry.refused else "refused"
        per_image = "" if math.isnan(entry.mean_per_image) else f"{entry.mean_per_image:+.2f} %"
        interval = "" if entry.refused else f"{entry.low:.4g} to {entry.high:.4g}"
        overlap = "" if entry.refused else f"{100 * entry.overlap:.0f} %"
        metric = entry.metric + quality_of(entry.column).taught_mark(taught.get(entry.codec, ()))
        rows.append([entry.codec, metric, percent, per_image, str(entry.images), interval, overlap])
        if entry.refused:
            notes.append(f"{entry.codec}, {entry.metric}: {entry.refused}")
    return header, rows, notes


def as_json(frame: pd.DataFrame, entries: Sequence[BdEntry], taught: Taught) -> dict[str, Any]:
    """Return summary, BD-rates and what taught the codecs as JSON; what is no number is null."""
    summary = summarise(frame).to_dict("records")
    return {
        "summary": [
            {str(key): _json_value(value) for key, value in row.items()} for row in summary
        ],
        "bd_rates": [
            {key: _json_value(value) for key, value in dataclasses.asdict(entry).items()}
            for entry in entries
        ],
        "taught": {name: sorted(columns) for name, columns in taught.items()},
    }


def _json_value(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any, style: str) -> str:
    return "" if isinstance(value, float) and math.isnan(value) else format(value, style)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
