"""What the harness asks of a metric, and how metrics are made from their names."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from imgcodec.codec.errors import CodecError
from imgcodec.eval.quality import Quality, find_quality, metric_names

RgbArray = npt.NDArray[np.uint8]


class MetricError(CodecError):
    """A metric is unknown, or its package or weights are missing."""


class Metric(Protocol):
    """A full-reference metric on uint8 HxWx3 sRGB arrays of equal shape.

    It is made with `MetricOptions`, and with the variant where its record has variants.
    """

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the rows table that `measure` fills."""
        ...

    def prepare(self, reference: RgbArray) -> Any:
        """Return whatever can be computed once per original."""
        ...

    def measure(self, prepared: Any, image: RgbArray) -> dict[str, float]:
        """Return one value per column; NaN where the metric is not defined (too small images)."""
        ...

    def describe(self) -> str:
        """Return package, version and variant as one line."""
        ...


@dataclasses.dataclass(frozen=True)
class MetricOptions:
    """Where metrics run and where their weights lie.

    Attributes:
        device: torch device of the metrics that are networks or filters.
        weights_dir: folder with backbone weights, looked at before the caches.
        data_root: data folder whose `weights` subfolder is looked at too.
    """

    device: str = "cpu"
    weights_dir: Path | None = None
    data_root: Path | None = None


def create_metrics(names: Sequence[str], options: MetricOptions | None = None) -> list[Metric]:
    """Return the metrics of a list of names.

    Args:
        names: names of `imgcodec.eval.quality`; `lpips` is `lpips-alex`.
        options: device and folders of weights.

    Raises:
        MetricError: unknown name, two metrics for one column, or missing package or weights.
    """
    metrics: list[Metric] = []
    filled: dict[str, str] = {}
    for name in names:
        found = find_quality(name)
        if found is None:
            raise MetricError(f"unknown metric {name!r}: use {', '.join(metric_names())}")
        quality, variant = found
        if quality.column in filled:
            raise MetricError(
                f"{filled[quality.column]} and {name} both fill the column {quality.column!r}"
            )
        filled[quality.column] = name
        metrics.append(_create(quality, variant, options or MetricOptions()))
    return metrics


def _create(quality: Quality, variant: str, options: MetricOptions) -> Metric:
    needs = (
        f"{quality.label} needs the package {quality.package}: "
        f"pip install 'imgcodec[{quality.extra}]'"
    )
    if not quality.is_installed:
        raise MetricError(needs)
    module, _, name = quality.maker.partition(".")
    make = getattr(importlib.import_module(f"imgcodec.eval.metrics.{module}"), name)
    try:
        metric: Metric = make(options, variant) if variant else make(options)
    except ImportError as error:
        raise MetricError(f"{needs} ({error})") from error
    return metric
