"""One record for each quality that is measured: all tables, plots and options read them here.

A new metric is a record in `QUALITIES` and a class in `eval/metrics` that its `maker` names.
Importing this module is cheap, so that the command line can list the metrics.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any

TAUGHT_MARK = "†"
TAUGHT_NOTE = (
    f"{TAUGHT_MARK} this metric was among the losses that the weights were trained with: "
    "it flatters them, and the other judges are the fair ones"
)
_MAX_DB = 100.0
Taught = Mapping[str, Collection[str]]
"""Codec name to the columns of the metrics that taught it (see `TAUGHT_NOTE`)."""


@dataclasses.dataclass(frozen=True)
class Quality:
    """What is known of a quality column of the rows table.

    Attributes:
        column: column of the rows table, and first of those that the metric fills.
        name: name on the command line; with `variants`, `name-variant` are names too.
        label: name in tables and plots.
        title: the name in full.
        source: address of the paper or the definition.
        maker: module and class in `eval/metrics`, made with `MetricOptions` and the variant.
        digits: decimals shown in tables.
        best: value of equal pictures; infinite for PSNR.
        is_better_up: whether larger values are better.
        unit: unit of the value, empty for none.
        in_db: whether plots and BD-rates take -10 log10(1 - value / best), as is usual for
            MS-SSIM: all similarities that end at `best` do, so that high rates count as low ones
            do. Over the logarithm of the rate it makes the curves of all but VIF straighter.
        module: Python module that must be installed, empty for none.
        package: distribution that brings it, whose version is recorded.
        extra: extra of imgcodec that installs it.
        variants: kinds of the metric, the default one first; all fill the same column.
        more_columns: further columns that the metric fills, which are no judges.
        taught_by: weights in the `loss` section of a recipe that teach it to a model.
        note: how to read it.
    """

    column: str
    name: str
    label: str
    title: str
    source: str
    maker: str
    digits: int
    best: float
    is_better_up: bool = True
    unit: str = ""
    in_db: bool = False
    module: str = ""
    package: str = ""
    extra: str = "eval"
    variants: tuple[str, ...] = ()
    more_columns: tuple[str, ...] = ()
    taught_by: tuple[str, ...] = ()
    note: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Names on the command line."""
        return (self.name, *(f"{self.name}-{variant}" for variant in self.variants))

    @property
    def axis(self) -> str:
        """Column of the values that plots and BD-rates take (see `axis_values`)."""
        return f"{self.column}_db" if self.in_db else self.column

    @property
    def axis_label(self) -> str:
        """Title of the axis, with its unit."""
        unit = "dB" if self.in_db else self.unit
        return f"{self.label}, {unit}" if unit else self.label

    @property
    def bd_label(self) -> str:
        """Name in tables of BD-rates."""
        return f"{self.label} dB" if self.in_db else self.label

    @property
    def axis_digits(self) -> int:
        """Decimals of `axis_values`."""
        return 2 if self.in_db else self.digits

    @property
    def overlay_keys(self) -> tuple[str, ...]:
        """Keys under which published JSON curves hold the same quantity."""
        return tuple(dict.fromkeys((self.column, self.name, f"{self.name}-rgb")))

    @property
    def is_installed(self) -> bool:
        """Whether the package is there (weights of networks are another matter)."""
        return not self.module or importlib.util.find_spec(self.module) is not None

    def axis_values(self, values: Any) -> Any:
        """Return values (float, or an array or series of any shape) as plots take them.

        Decibels end at 100, so that equal pictures keep their place.
        """
        if not self.in_db:
            return values
        import numpy as np

        least = 10.0 ** (-_MAX_DB / 10.0)
        return -10.0 * np.log10(np.maximum(1.0 - np.asarray(values) / self.best, least))

    def taught_mark(self, taught: Collection[str]) -> str:
        """Return the dagger where the column is among those that taught a codec, else nothing."""
        return TAUGHT_MARK if self.column in taught else ""

    def text(self, value: float) -> str:
        """Return a value with its digits, empty where it is NaN."""
        return "" if math.isnan(value) else f"{value:.{self.digits}f}"


QUALITIES = (
    Quality(
        column="psnr",
        name="psnr",
        label="PSNR",
        title="Peak Signal-to-Noise Ratio",
        source="https://en.wikipedia.org/wiki/Peak_signal-to-noise_ratio",
        maker="pixel.Psnr",
        digits=2,
        best=math.inf,
        unit="dB",
        more_columns=("mse",),
        taught_by=("mse",),
    ),
    Quality(
        column="ssim",
        name="ssim",
        label="SSIM",
        title="Structural Similarity Index Measure",
        source="https://en.wikipedia.org/wiki/Structural_similarity",
        maker="similarity.Ssim",
        digits=4,
        best=1.0,
        in_db=True,
        module="pytorch_msssim",
        package="pytorch-msssim",
        note="plots and BD-rates take -10 log10(1 - SSIM)",
    ),
    Quality(
        column="ms_ssim",
        name="ms-ssim",
        label="MS-SSIM",
        title="Multi-Scale Structural Similarity Index Measure",
        source="https://en.wikipedia.org/wiki/Structural_similarity#Multi-Scale_SSIM",
        maker="similarity.MsSsim",
        digits=4,
        best=1.0,
        in_db=True,
        module="pytorch_msssim",
        package="pytorch-msssim",
        taught_by=("ms_ssim",),
        note="plots and BD-rates take -10 log10(1 - MS-SSIM)",
    ),
    Quality(
        column="ssimulacra2",
        name="ssimulacra2",
        label="SSIMULACRA2",
        title="SSIMULACRA 2",
        source="https://github.com/cloudinary/ssimulacra2",
        maker="ssimulacra.Ssimulacra2",
        digits=1,
        best=100.0,
        module="ssimulacra2",
        package="ssimulacra2",
        taught_by=("ssimulacra2",),
        note="90: no visible difference, 70: high quality, 50: medium",
    ),
    Quality(
        column="cvvdp",
        name="cvvdp",
        label="CVVDP",
        title="ColorVideoVDP",
        source="https://doi.org/10.1145/3658144",
        maker="cvvdp_metric.Cvvdp",
        digits=3,
        best=10.0,
        unit="JOD",
        module="pycvvdp",
        package="cvvdp",
        extra="cvvdp",
        in_db=True,
        note="10: no visible difference; one JOD less: 75 of 100 people prefer the original; "
        "plots and BD-rates take -10 log10(1 - CVVDP / 10)",
    ),
    Quality(
        column="haarpsi",
        name="haarpsi",
        label="HaarPSI",
        title="Haar Wavelet-Based Perceptual Similarity Index",
        source="https://arxiv.org/abs/1607.06140",
        maker="piq_metrics.HaarPsi",
        digits=4,
        best=1.0,
        in_db=True,
        module="piq",
        package="piq",
        note="plots and BD-rates take -10 log10(1 - HaarPSI)",
    ),
    Quality(
        column="vif",
        name="vif",
        label="VIF",
        title="Visual Information Fidelity, pixel domain",
        source="https://doi.org/10.1109/TIP.2005.859378",
        maker="piq_metrics.Vif",
        digits=4,
        best=1.0,
        in_db=True,
        module="piq",
        package="piq",
        note="plots and BD-rates take -10 log10(1 - VIF)",
    ),
    Quality(
        column="lpips",
        name="lpips",
        label="LPIPS",
        title="Learned Perceptual Image Patch Similarity",
        source="https://arxiv.org/abs/1801.03924",
        maker="lpips_metric.Lpips",
        digits=4,
        best=0.0,
        is_better_up=False,
        module="lpips",
        package="lpips",
        variants=("alex", "squeeze", "vgg"),
        taught_by=("lpips", "texture"),
    ),
)


def quality_of(column: str) -> Quality:
    """Return the record of a column.

    Raises:
        KeyError: no metric fills it first.
    """
    return {quality.column: quality for quality in QUALITIES}[column]


def find_quality(name: str) -> tuple[Quality, str] | None:
    """Return record and variant (empty where there are none) of a metric's name, else None."""
    for quality in QUALITIES:
        if name == quality.name:
            return quality, quality.variants[0] if quality.variants else ""
        for variant in quality.variants:
            if name == f"{quality.name}-{variant}":
                return quality, variant
    return None


def metric_names() -> list[str]:
    """Return all names of metrics."""
    return [name for quality in QUALITIES for name in quality.names]


def metric_columns() -> tuple[str, ...]:
    """Return all columns of the rows table that metrics fill."""
    return tuple(name for quality in QUALITIES for name in (quality.column, *quality.more_columns))


def taught_columns(losses: Iterable[str]) -> frozenset[str]:
    """Return the columns of the metrics that the terms of a loss teach."""
    terms = set(losses)
    return frozenset(quality.column for quality in QUALITIES if terms & set(quality.taught_by))
