"""Run codecs over a dataset: rows image x codec x setting, saved as they come.

One failing image, codec or even a crash inside a native library costs its rows, never the run.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from imgcodec.datasets.images import ImageDataset, open_dataset
from imgcodec.eval.anchors.base import ImageCodec, Setting
from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.measure import Row, measure_row, warm_up
from imgcodec.eval.metrics.base import Metric, MetricOptions, create_metrics
from imgcodec.eval.results import RowKey, RowWriter, row_key, sort_rows
from imgcodec.pool import DIED, run_in_processes
from imgcodec.processors import num_processors

_CACHED_IMAGES = 2


@dataclasses.dataclass(frozen=True)
class BenchPlan:
    """What to measure.

    Attributes:
        dataset: dataset name, folder, glob pattern or file (see `open_dataset`).
        codecs: registry names (see `get_codec`).
        metrics: metric names (see `create_metrics`).
        reps: timed runs per row; their median is kept.
        num_images: only the first so many images, None for all.
        num_settings: thin every ladder to so many settings, ends included; None for all.
        data_root: data root, None for the default.
        metric_options: device and weights of the metrics.
    """

    dataset: str
    codecs: tuple[str, ...]
    metrics: tuple[str, ...]
    reps: int = 1
    num_images: int | None = None
    num_settings: int | None = None
    data_root: Path | None = None
    metric_options: MetricOptions = dataclasses.field(default_factory=MetricOptions)


@dataclasses.dataclass(frozen=True)
class Task:
    """One row to make: image number, codec (registry name) and setting."""

    image: int
    codec: str
    setting: Setting


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a run stands: rows done and in all, failures, last row."""

    done: int
    total: int
    errors: int
    row: Row


class Bench:
    """Measures single rows; holds the dataset, the codecs and the prepared originals.

    Raises:
        CodecError: dataset, codec or metric cannot be had.
    """

    def __init__(self, plan: BenchPlan) -> None:
        self.plan = plan
        self.dataset: ImageDataset = open_dataset(plan.dataset, plan.data_root)
        self.codecs: dict[str, ImageCodec] = {name: get_codec(name) for name in plan.codecs}
        self._warm: set[str] = set()
        self._images: collections.OrderedDict[int, tuple[Any, list[Any]]] = (
            collections.OrderedDict()
        )

    @functools.cached_property
    def metrics(self) -> list[Metric]:
        """The metrics of the plan."""
        return create_metrics(self.plan.metrics, self.plan.metric_options)

    def tasks(self) -> list[Task]:
        """Return all rows of the plan: by image, then codec, then setting."""
        count = len(self.dataset.image_names)
        num_images = count if self.plan.num_images is None else min(count, self.plan.num_images)
        return [
            Task(image, name, setting)
            for image in range(num_images)
            for name, codec in self.codecs.items()
            for setting in thin(codec.settings, self.plan.num_settings)
        ]

    def key(self, task: Task) -> RowKey:
        """Return the key of the row that a task makes."""
        return row_key(self._head(task))

    def run(self, task: Task) -> Row:
        """Return the row of a task; whatever goes wrong is told in its `error`."""
        row = self._head(task)
        codec = self.codecs[task.codec]
        try:
            rgb, prepared = self._image(task.image)
            row["height"], row["width"] = rgb.shape[:2]
            if task.codec not in self._warm:
                warm_up(codec, rgb, task.setting)
                self._warm.add(task.codec)
            row |= measure_row(codec, self.metrics, rgb, prepared, task.setting, self.plan.reps)
            row["status"] = "ok"
        except Exception as error:
            row |= failure(f"{type(error).__name__}: {error}")
        return row

    def failed(self, task: Task, reason: str) -> Row:
        """Return the row of a task that could not be run at all."""
        return self._head(task) | failure(reason)

    def _head(self, task: Task) -> Row:
        codec = self.codecs[task.codec]
        return {
            "dataset": self.dataset.name,
            "image": self.dataset.image_names[task.image],
            "codec": codec.name,
            "setting": codec.describe(task.setting),
        }

    def _image(self, index: int) -> tuple[Any, list[Any]]:
        """Return an original and what the metrics prepared of it; the last few are kept."""
        if index not in self._images:
            rgb = self.dataset.load(index)
            self._images[index] = rgb, [metric.prepare(rgb) for metric in self.metrics]
            if len(self._images) > _CACHED_IMAGES:
                self._images.popitem(last=False)
        return self._images[index]


def failure(reason: str) -> Row:
    """Return the columns of a row that failed."""
    return {"status": "error", "error": reason[:500]}


def thin(settings: Sequence[Setting], count: int | None) -> list[Setting]:
    """Return `count` settings spread evenly over a ladder, with both ends (one: the middle)."""
    if count is None or count >= len(settings):
        return list(settings)
    if count <= 1:
        return [settings[len(settings) // 2]]
    step = (len(settings) - 1) / (count - 1)
    return [settings[round(index * step)] for index in range(count)]


def run_bench(
    plan: BenchPlan,
    rows_path: Path,
    *,
    resume: bool = False,
    jobs: int = 1,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> int:
    """Measure everything in a plan and return the number of rows that failed.

    Args:
        plan: what to measure.
        rows_path: CSV file; each row is on disk before the next is taken up.
        resume: keep the `ok` rows of an earlier run of the same plan.
        jobs: worker processes; 1 measures in this process.
        threads: threads of a worker, None for its share of the processors.
        progress: called after every row.

    Raises:
        CodecError: dataset, codec or metric cannot be had; nothing has been measured then.
    """
    bench = Bench(plan)
    tasks = bench.tasks()
    order = [bench.key(task) for task in tasks]
    writer = RowWriter(rows_path, resume=resume)
    todo = [task for task, key in zip(tasks, order, strict=True) if key not in writer.done]
    create_metrics(plan.metrics, plan.metric_options)  # so that missing weights show first
    errors = 0
    source = (
        map(bench.run, todo)
        if jobs == 1
        else _in_workers(bench, todo, jobs, threads or max(num_processors() // jobs, 1))
    )
    with writer:
        for count, row in enumerate(source, start=1):
            writer.write(row)
            errors += row["status"] != "ok"
            if progress:
                done = len(tasks) - len(todo) + count
                progress(Progress(done, len(tasks), errors, row))
    sort_rows(rows_path, order)
    return errors


_worker_bench: Bench | None = None


def _start_worker(plan: BenchPlan) -> None:
    global _worker_bench
    _worker_bench = Bench(plan)


def _run_in_worker(task: Task) -> Row:
    assert _worker_bench is not None
    return _worker_bench.run(task)


def _in_workers(bench: Bench, todo: Sequence[Task], jobs: int, threads: int) -> Iterator[Row]:
    """Yield rows as workers finish them; tasks that kill their worker become errors."""
    start = functools.partial(_start_worker, bench.plan)
    rows = run_in_processes(_run_in_worker, todo, jobs, threads=threads, prepare=start)
    for task, row in rows:
        yield row or bench.failed(task, DIED)
