"""Metrics of whole sets of images (FID, KID): one row per codec and setting, in `sets.csv`.

Images are coded again for this, one setting at a time, so that only features stay in memory.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from imgcodec.codec.files import write_atomically
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
) -> list[SetRow]:
    """Compute set metrics for all codecs and settings of a plan and write them as CSV.

    Args:
        plan: what to measure (its per-image metrics are not used).
        names: some of `distribution.SET_METRICS`.
        path: CSV file, rewritten after every setting.
        progress: called after every setting.

    Raises:
        MetricError: package or weights are missing.
    """
    extractors = create_extractors(names, plan.metric_options)
    bench = Bench(plan)
    count = len(bench.dataset.image_names)
    images = range(count if plan.num_images is None else min(count, plan.num_images))
    originals = _features(extractors, [patches_of(bench.dataset.load(i)) for i in images])
    rows: list[SetRow] = []
    for codec in bench.codecs.values():
        for setting in thin(codec.settings, plan.num_settings):
            rates, patches = [], []
            error = ""
            try:
                for index in images:
                    rgb = bench.dataset.load(index)
                    data = codec.encode(rgb, setting)
                    rates.append(len(data) * 8 / (rgb.shape[0] * rgb.shape[1]))
                    patches.append(patches_of(codec.decode(data)))
            except Exception as problem:
                error = f"{type(problem).__name__}: {problem}"
            decoded = {} if error else _features(extractors, patches)
            row = SetRow(
                bench.dataset.name,
                codec.name,
                codec.describe(setting),
                float(np.mean(rates)) if rates else float("nan"),
                sum(map(len, patches)),
                {
                    name: set_distance(name, originals[backbone], decoded[backbone])
                    for backbone, (_, used) in extractors.items()
                    for name in used
                    if decoded
                },
                error,
            )
            rows.append(row)
            write_atomically(path, _to_csv(rows, names).encode())
            if progress:
                progress(row)
    return rows


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


def _to_csv(rows: Sequence[SetRow], names: Sequence[str]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = [name.replace("-", "_") for name in names]
    writer.writerow(["dataset", "codec", "setting", "bpp", "patches", *columns, "error"])
    for row in rows:
        values = [repr(row.values[name]) if name in row.values else "" for name in names]
        writer.writerow(
            [row.dataset, row.codec, row.setting, repr(row.bpp), row.patches, *values, row.error]
        )
    return buffer.getvalue()
