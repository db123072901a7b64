"""Training runs side by side at equal rate, validation by validation.

Each run folder holds the validation.csv and log.csv that training writes. PSNR and LPIPS are
interpolated on the logarithm of bpp between the validated qualities of the same step.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

Row = dict[str, float]


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a training CSV as numbers; empty cells are left out."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {name: float(value) for name, value in row.items() if name and value}
            for row in csv.DictReader(file)
        ]


def at_rate(rows: list[Row], bpp: float) -> tuple[float, float]:
    """Return PSNR in dB and LPIPS at a rate, interpolated between the rows of one step."""
    rows = sorted(rows, key=lambda row: row["bpp"])
    rates = np.log([row["bpp"] for row in rows])
    psnr, lpips = (
        float(np.interp(np.log(bpp), rates, [row[name] for row in rows]))
        for name in ("psnr_db", "lpips")
    )
    return psnr, lpips


def usage(log: list[Row], step: float) -> tuple[float, float]:
    """Return the mean over stages of the share of codes in use and of the perplexity."""
    row = min(log, key=lambda row: abs(row["step"] - step))
    used = [value for name, value in row.items() if name.startswith("used_")]
    spread = [value for name, value in row.items() if name.startswith("perplexity_")]
    return float(np.mean(used)), float(np.mean(spread))


def epochs(runs: dict[str, str], bpp: float, epoch_steps: int) -> list[list[str]]:
    """Return the lines of a table, after its titles one for each step that all runs validated.

    Args:
        runs: name to folder.
        bpp: the rate.
        epoch_steps: steps of an epoch.
    """
    validations = [read_rows(Path(run, "validation.csv")) for run in runs.values()]
    logs = [read_rows(Path(run, "log.csv")) for run in runs.values()]
    columns = [f"{n} {c}" for n in runs for c in ("PSNR dB", "LPIPS", "in use", "perplexity")]
    lines = [["epoch", "step", *columns]]
    steps = set.intersection(*({row["step"] for row in rows} for rows in validations))
    for step in sorted(steps):
        cells = [f"{step / epoch_steps:.1f}", f"{step:,.0f}"]
        for rows, log in zip(validations, logs, strict=True):
            psnr, lpips = at_rate([row for row in rows if row["step"] == step], bpp)
            used, spread = usage(log, step)
            cells += [f"{psnr:.2f}", f"{lpips:.3f}", f"{100 * used:.1f} %", f"{spread:.0f}"]
        lines.append(cells)
    return lines
