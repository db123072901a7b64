"""``--target-...``: options that say what a file should be like, in the place of a quality."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from imgcodec.codec.session.targets import Target

Goal = tuple[str, float]
"""Name and value of a target: picklable, as batches need it."""

_UNITS = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1000,
    "kib": 1024,
    "m": 1000**2,
    "mb": 1000**2,
    "mib": 1024**2,
}
_POSITIVE = click.FloatRange(min=0, min_open=True)
_SIMILARITY = click.FloatRange(min=0, max=1, min_open=True)


@dataclass(frozen=True)
class GoalOption:
    """A target of the command line: `--target-NAME`.

    Attributes:
        metavar, type, help: of the option.
    """

    metavar: str
    type: click.ParamType
    help: str


class SizeType(click.ParamType):
    """A number of bytes: 40000, 40k, 40kB (both 40000), 40KiB (40960), 1.5M."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes, rounded down."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", value.strip(), re.IGNORECASE)
        factor = _UNITS.get(match[2].lower()) if match else None
        size = int(float(match[1]) * factor) if match and factor else 0
        if size < 1:
            self.fail(f"{value!r} is no size; use 40000, 40k, 40KiB or 1.5M", param, ctx)
        return size


GOALS = {
    "bytes": GoalOption(
        "SIZE",
        SizeType(),
        "Search for the best quality in at most SIZE (40000, 40k, 40KiB, 1.5M).",
    ),
    "bpp": GoalOption("BPP", _POSITIVE, "The same in bits per pixel."),
    "psnr": GoalOption("DB", _POSITIVE, "Search for the smallest file with at least this PSNR."),
    "lpips": GoalOption(
        "D", _POSITIVE, "The same with at most this LPIPS distance; needs imgcodec[eval]."
    ),
    "ssimulacra2": GoalOption(
        "SCORE", click.FLOAT, "The same with at least this SSIMULACRA2 score; needs imgcodec[eval]."
    ),
    "ms-ssim": GoalOption(
        "S", _SIMILARITY, "The same with at least this MS-SSIM; needs imgcodec[eval]."
    ),
}
"""What a file should be like: sizes, and any metric of `eval.quality` by its name."""


def goal_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--quality`` and the targets, passed on as ``quality`` and ``goal``, one or none set."""

    @functools.wraps(function)
    def wrapper(*args: Any, quality: int | None, **kwargs: Any) -> Any:
        values = {name: kwargs.pop(_parameter(name)) for name in GOALS}
        goals = [(name, value) for name, value in values.items() if value is not None]
        if len(goals) + (quality is not None) > 1:
            given = [f"--target-{name}" for name, _ in goals]
            given += ["--quality"] if quality is not None else []
            raise click.UsageError(f"{' and '.join(given)} exclude each other: give one.")
        return function(*args, quality=quality, goal=goals[0] if goals else None, **kwargs)

    for name, option in reversed(GOALS.items()):
        add = click.option(
            f"--target-{name}",
            _parameter(name),
            metavar=option.metavar,
            type=option.type,
            help=option.help,
        )
        wrapper = add(wrapper)
    quality = click.option(
        "-q",
        "--quality",
        type=click.IntRange(1, 100),
        help="From 1 (smallest file) to 100 (best picture).  [default: 60]",
    )
    return quality(wrapper)


def _parameter(goal: str) -> str:
    return f"target_{goal.replace('-', '_')}"


def target_of(goal: Goal) -> Target:
    """Return the target for one picture; all but sizes and PSNR come from the evaluation harness.

    Raises:
        MetricError: a package or the weights of the metric are missing.
    """
    from imgcodec.codec.session.targets import Target, psnr_db
    from imgcodec.eval.quality import find_quality

    name, value = goal
    if name in ("bytes", "bpp"):
        return Target(name, value)
    if name == "psnr":
        return Target(name, value, psnr_db)
    found = find_quality(name)
    assert found is not None
    return Target(name, value, _measure(name), lower_is_better=not found[0].is_better_up)


def _measure(name: str) -> Callable[[Any, Any], float]:
    """Return a function that measures files of one original."""
    from imgcodec.eval.bench import default_metrics, metric_options
    from imgcodec.eval.metrics.base import MetricError, create_metrics

    options = metric_options("cpu", None, None)
    if name == "lpips":  # the backbone whose weights are at hand
        found = [default for default in default_metrics(options)[0] if default.startswith(name)]
        if not found:
            raise MetricError(
                "no LPIPS backbone weights here: `imgcodec bench --metrics lpips-alex` fetches them"
            )
        name = found[0]
    (metric,) = create_metrics([name], options)
    prepared = None

    def measure(original: Any, decoded: Any) -> float:
        nonlocal prepared
        if prepared is None:
            prepared = metric.prepare(original)
        return metric.measure(prepared, decoded)[metric.columns[0]]

    return measure
