"""The regression gate: each codec of a run against its own rows in an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from imgcodec.eval.bdrate import BdRateError, Method
from imgcodec.eval.bdtable import BdEntry, compare
from imgcodec.eval.quality import QUALITIES, Quality

if TYPE_CHECKING:
    import pandas as pd


def against_baseline(
    frame: pd.DataFrame,
    baseline: pd.DataFrame,
    *,
    metrics: Sequence[Quality] = QUALITIES,
    method: Method = "pchip",
) -> list[BdEntry]:
    """Return the BD-rate of every codec that both runs hold, new against old.

    Raises:
        BdRateError: the runs have no codec and image in common.
    """
    new, old = frame[frame["status"] == "ok"], baseline[baseline["status"] == "ok"]
    entries = []
    for codec in new["codec"].unique():
        before, after = old[old["codec"] == codec], new[new["codec"] == codec]
        if not set(before["image"]) & set(after["image"]):
            continue
        entries += [
            compare(before, after, metric, codec=codec, method=method)
            for metric in metrics
            if before[metric.column].notna().any() and after[metric.column].notna().any()
        ]
    if not entries:
        raise BdRateError("the baseline has no codec and image in common with this run")
    return entries


def regressions(entries: Sequence[BdEntry], tolerance_percent: float) -> list[BdEntry]:
    """Return the entries that need more bits than before by more than a tolerance.

    A refused comparison counts as a regression: curves that no longer overlap are not the same.
    """
    return [entry for entry in entries if entry.refused or entry.percent > tolerance_percent]
