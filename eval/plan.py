"""The list of all results that the documents show, as `eval/results/plan.yaml` has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from imgcodec.codec.strict import check_keys
from imgcodec.eval.metrics.backbones import find_local
from imgcodec.eval.metrics.base import MetricOptions
from imgcodec.eval.quality import find_quality
from imgcodec.eval.results import ResultsError
from imgcodec.eval.runner import BenchPlan


@dataclasses.dataclass(frozen=True)
class Run:
    """A data set under codecs.

    Attributes:
        dataset: as of `open_dataset`.
        folder: of its results, below the root.
        codecs: name to settings, empty for the codec's own.
        metrics: of pictures.
        set_metrics: of the whole set.
        anchor: codec that BD-rates refer to.
    """

    dataset: str
    folder: str
    codecs: Mapping[str, Sequence[Any]]
    metrics: Sequence[str]
    set_metrics: Sequence[str]
    anchor: str

    def plan(
        self,
        where: MetricOptions,
        num_images: int | None = None,
        num_settings: int | None = None,
    ) -> BenchPlan:
        """Return what is to be measured; LPIPS only where its weights are at hand."""
        names = (
            f"{name}@{','.join(map(str, settings))}" if settings else name
            for name, settings in self.codecs.items()
        )
        metrics = tuple(name for name in self.metrics if _is_at_hand(name, where))
        return BenchPlan(
            self.dataset,
            tuple(names),
            metrics,
            num_images=num_images,
            num_settings=num_settings,
            metric_options=where,
        )


@dataclasses.dataclass(frozen=True)
class MadeFile:
    """A file that a command makes: the keys are explained in the plan."""

    run: str
    take: str = ""
    is_halved: bool = False


@dataclasses.dataclass(frozen=True)
class Plan:
    """All runs and files by name."""

    runs: dict[str, Run]
    files: dict[str, MadeFile]


def load_plan(path: Path) -> Plan:
    """Return the plan of a YAML file.

    Raises:
        RecipeError: an unknown key.
        ResultsError: a key is missing.
    """
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    check_keys(tree, ["defaults", "runs", "files"], str(path))
    try:
        runs = {
            name: _record(Run, tree.get("defaults", {}) | own, f"{path}: runs: {name}")
            for name, own in tree["runs"].items()
        }
        files = {
            name: _record(MadeFile, own, f"{path}: files: {name}")
            for name, own in tree.get("files", {}).items()
        }
    except (KeyError, TypeError) as error:
        raise ResultsError(f"{path} is no plan of results: {error}") from error
    return Plan(runs, files)


def _record(cls: type, values: dict[str, Any], source: str) -> Any:
    check_keys(values, [field.name for field in dataclasses.fields(cls)], source)
    return cls(**values)


def _is_at_hand(name: str, where: MetricOptions) -> bool:
    found = find_quality(name)
    if found is None or found[0].name != "lpips":
        return True
    return find_local(found[1], where) is not None
