"""Metrics of whole sets of images (FID, KID): one row per codec and setting, in `sets.csv`.

Images are coded again for this, one setting at a time, so that only features stay in memory.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from imgcodec.codec.files import write_atomically
from imgcodec.datasets.images import ImageDataset
from imgcodec.eval.anchors.base import ImageCodec, Setting
from imgcodec.eval.metrics.distribution import (
    FeatureExtractor,
    Features,
    create_extractors,
    patches_of,
    set_distance,
)
from imgcodec.eval.runner import Bench, BenchPlan, thin


@dataclasses.dataclass(frozen=True)
class SetRow:
    """Set metrics of one codec at one setting.

    Attributes:
        dataset, codec, setting: as in the rows table.
        bpp: mean over images.
        patches: number of patches behind the distances; few patches bias FID upwards.
        values: metric name to distance.
        error: why there are no values, else empty.
    """

    dataset: str
    codec: str
    setting: str
    bpp: float
    patches: int
    values: dict[str, float]
    error: str = ""


def run_sets(
    plan: BenchPlan,
    names: Sequence[str],
    path: Path,
    progress: Callable[[SetRow], None] | None = None,
    *,
    resume: bool = False,
) -> list[SetRow]:
    """Compute set metrics for all codecs and settings of a plan and write them as CSV.

    Args:
        plan: what to measure (its per-image metrics are not used).
        names: some of `set_quality.SET_QUALITIES`.
        path: CSV file, rewritten after every setting.
        progress: called after every setting that is measured.
        resume: keep the rows of an earlier run of the same plan that have all of these metrics.

    Raises:
        MetricError: package or weights are missing.
    """
    extractors = create_extractors(names, plan.metric_options)
    bench = Bench(plan)
    count = len(bench.dataset.image_names)
    images = range(count if plan.num_images is None else min(count, plan.num_images))
    tasks = {
        (bench.dataset.name, codec.name, codec.describe(setting)): (codec, setting)
        for codec in bench.codecs.values()
        for setting in thin(codec.settings, plan.num_settings)
    }
    done = _finished(path, names) if resume else {}
    todo = [key for key in tasks if key not in done]
    originals: dict[str, Features] = {}
    if todo:
        originals = _features(extractors, [patches_of(bench.dataset.load(i)) for i in images])
    for key in todo:
        rates, decoded, error = _coded(bench.dataset, images, *tasks[key])
        features = {} if error else _features(extractors, decoded)
        values = {
            name: set_distance(name, originals[backbone], features[backbone])
            for backbone, (_, used) in extractors.items()
            for name in used
            if features
        }
        bpp = float(np.mean(rates)) if rates else float("nan")
        done[key] = SetRow(*key, bpp, sum(map(len, decoded)), values, error)
        _write(path, [done[key] for key in tasks if key in done], names)
        if progress:
            progress(done[key])
    rows = [done[key] for key in tasks]
    _write(path, rows, names)
    return rows


def _coded(
    dataset: ImageDataset, images: Iterable[int], codec: ImageCodec, setting: Setting
) -> tuple[list[float], list[np.ndarray], str]:
    """Return bits per pixel and patches of the decoded images, and what went wrong."""
    rates, patches = [], []
    try:
        for index in images:
            rgb = dataset.load(index)
            data = codec.encode(rgb, setting)
            rates.append(len(data) * 8 / (rgb.shape[0] * rgb.shape[1]))
            patches.append(patches_of(codec.decode(data)))
    except Exception as problem:
        return rates, patches, f"{type(problem).__name__}: {problem}"
    return rates, patches, ""


def _finished(path: Path, names: Sequence[str]) -> dict[tuple[str, str, str], SetRow]:
    """Return the rows of a file that have all metrics, by data set, codec and setting."""
    if not path.is_file():
        return {}
    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            values = {name: line.get(_column(name)) or "" for name in names}
            if all(values.values()):
                key = (line["dataset"], line["codec"], line["setting"])
                numbers = {name: float(value) for name, value in values.items()}
                found[key] = SetRow(*key, float(line["bpp"]), int(line["patches"]), numbers)
    return found


def _column(name: str) -> str:
    return name.replace("-", "_")


def _features(
    extractors: dict[str, tuple[FeatureExtractor, list[str]]],
    patches: Sequence[np.ndarray],
) -> dict[str, Features]:
    return {
        backbone: np.concatenate([extract(part) for part in patches if len(part)])
        if any(len(part) for part in patches)
        else np.zeros((0, 1), np.float32)
        for backbone, (extract, _) in extractors.items()
    }


def _write(path: Path, rows: Sequence[SetRow], names: Sequence[str]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = [_column(name) for name in names]
    writer.writerow(["dataset", "codec", "setting", "bpp", "patches", *columns, "error"])
    for row in rows:
        values = [repr(row.values[name]) if name in row.values else "" for name in names]
        writer.writerow(
            [row.dataset, row.codec, row.setting, repr(row.bpp), row.patches, *values, row.error]
        )
    write_atomically(path, buffer.getvalue().encode())
