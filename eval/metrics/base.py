"""What the harness asks of a metric, and the registry that names them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from imgcodec.codec.errors import CodecError

RgbArray = npt.NDArray[np.uint8]


class MetricError(CodecError):
    """A metric is unknown, or its package or weights are missing."""


class Metric(Protocol):
    """A full-reference metric on uint8 HxWx3 sRGB arrays of equal shape."""

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


def _factories() -> Mapping[str, Callable[[MetricOptions], Metric]]:
    from imgcodec.eval.metrics import lpips_metric, pixel, similarity, ssimulacra

    return {
        "psnr": lambda options: pixel.Psnr(),
        "ssim": lambda options: similarity.Ssim(options.device),
        "ms-ssim": lambda options: similarity.MsSsim(options.device),
        "lpips": lambda options: lpips_metric.Lpips("alex", options),
        "lpips-alex": lambda options: lpips_metric.Lpips("alex", options),
        "lpips-squeeze": lambda options: lpips_metric.Lpips("squeeze", options),
        "lpips-vgg": lambda options: lpips_metric.Lpips("vgg", options),
        "ssimulacra2": lambda options: ssimulacra.Ssimulacra2(),
    }


def metric_names() -> list[str]:
    """Return the names that `create_metrics` knows."""
    return list(_factories())


def create_metrics(names: Sequence[str], options: MetricOptions | None = None) -> list[Metric]:
    """Return the metrics of a list of names.

    Args:
        names: registry names; `lpips` is `lpips-alex`.
        options: device and folders of weights.

    Raises:
        MetricError: unknown name, two metrics for one column, or missing package or weights.
    """
    factories = _factories()
    metrics: list[Metric] = []
    filled: dict[str, str] = {}
    for name in names:
        if name not in factories:
            raise MetricError(f"unknown metric {name!r}: use {', '.join(factories)}")
        metric = factories[name](options or MetricOptions())
        for column in metric.columns:
            if column in filled:
                raise MetricError(f"{filled[column]} and {name} both fill the column {column!r}")
            filled[column] = name
        metrics.append(metric)
    return metrics
