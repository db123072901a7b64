"""Tables of a whole run, from its folder: all codecs, by every metric that it has."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from imgcodec.eval.bdtable import bd_table
from imgcodec.eval.bench import INFO_FILE, ROWS_FILE, SETS_FILE, summary_table
from imgcodec.eval.quality import quality_of
from imgcodec.eval.results import RunInfo, read_rows
from imgcodec.eval.set_quality import SET_QUALITIES


def run_points(folder: str) -> list[list[str]]:
    """Return a line for each setting of each codec: means over the pictures, and those of sets.

    Args:
        folder: of a run; `sets.csv` may be missing.
    """
    path = Path(folder)
    header, lines = summary_table(
        read_rows(path / ROWS_FILE), RunInfo.load(path / INFO_FILE).taught
    )
    if (path / SETS_FILE).is_file():
        sets = pd.read_csv(path / SETS_FILE).set_index(["codec", "setting"])
        found = [quality for quality in SET_QUALITIES if quality.column in sets]
        header += [quality.label for quality in found]
        for line in lines:
            key = (line[0], line[1])
            line += [q.text(sets.at[key, q.column]) if key in sets.index else "" for q in found]
    return [header, *([cell.strip() for cell in line] for line in lines)]


def run_bd_rates(folder: str, anchor: str) -> list[list[str]]:
    """Return BD-rates against one codec of a run, a line for each of the others.

    Args:
        folder: of a run.
        anchor: codec to compare with.
    """
    path = Path(folder)
    taught = RunInfo.load(path / INFO_FILE).taught
    entries = bd_table(read_rows(path / ROWS_FILE), anchor)
    columns = list(dict.fromkeys(entry.column for entry in entries))
    table = [["BD-rate", *(quality_of(column).label for column in columns)]]
    for codec in dict.fromkeys(entry.codec for entry in entries):
        own = {entry.column: entry for entry in entries if entry.codec == codec}
        marks = [quality_of(column).taught_mark(taught.get(codec, ())) for column in columns]
        cells = [
            "" if own[column].refused else f"{own[column].percent:+.1f} %{mark}"
            for column, mark in zip(columns, marks, strict=True)
        ]
        table.append([codec, *cells])
    return table
