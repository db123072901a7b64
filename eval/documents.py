"""Tables of README.md and MODELS.md, made from the rows of runs: no number is typed by hand.

A table stands between two comments, of which the first says in YAML what it is made of:

    <!-- table: {kind: bd, metrics: [psnr, vif], anchor: avif, codec: imgcodec-beta,
      lines: {Kodak: {rows: eval/results/kodak/all/rows.csv}}} -->
    <!-- end of table -->

`python -m imgcodec.eval.documents README.md MODELS.md` makes all tables anew. A kind of table is a
function of `KINDS`, and the rest of the comment its arguments.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from imgcodec.codec.files import write_atomically
from imgcodec.codec.weights.installed import find_model, trained_losses
from imgcodec.eval.bdtable import BdEntry, bd_table
from imgcodec.eval.quality import Quality, quality_of, taught_columns
from imgcodec.eval.regression import against_baseline
from imgcodec.eval.results import read_rows, summarise
from imgcodec.eval.run_tables import run_bd_rates, run_points
from imgcodec.eval.training_table import epochs

_TABLE = re.compile(r"(<!-- table: (.*?) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def bd_rates(
    metrics: Sequence[str], lines: dict[str, dict[str, str]], taught: str = "", **common: str
) -> list[list[str]]:
    """Return BD-rates, a line each: of a codec against an anchor in a file of rows.

    Args:
        metrics: columns.
        lines: label of a line to its `rows`, `codec` and `anchor`; with `baseline`, an earlier file
            of rows, the anchor is taken from there, and without one the codec against itself.
        taught: model whose losses get a dagger.
        common: what all lines have in common.
    """
    marked = _taught(taught)
    qualities = [quality_of(column) for column in metrics]
    table = [["BD-rate", *(q.label + q.taught_mark(marked) for q in qualities)]]
    for label, own in lines.items():
        line = common | own
        found = {
            entry.column: f"{entry.percent:+.1f} %"
            for entry in _entries(line, qualities)
            if entry.codec == line["codec"] and not entry.refused
        }
        table.append([label, *(found.get(column, "") for column in metrics)])
    return table


def _entries(line: dict[str, str], qualities: Sequence[Quality]) -> list[BdEntry]:
    rows = read_rows(Path(line["rows"]))
    rows = rows[rows["codec"].isin([line["codec"], line.get("anchor")])]
    if "baseline" in line:
        earlier = read_rows(Path(line["baseline"]))
        if "anchor" not in line:
            return against_baseline(rows, earlier, metrics=qualities)
        anchor = earlier[earlier["codec"] == line["anchor"]]
        rows = pd.concat([rows[rows["codec"] == line["codec"]], anchor])
    return bd_table(rows, line["anchor"], metrics=qualities)


def points(
    rows: str, codecs: dict[str, str], metrics: Sequence[str], taught: str = ""
) -> list[list[str]]:
    """Return a line for each setting of each codec: means over the pictures.

    Args:
        rows: file of rows.
        codecs: name in the rows to name in the table.
        metrics: columns.
        taught: model whose losses get a dagger.
    """
    marked = _taught(taught)
    qualities = [quality_of(column) for column in metrics]
    titles = [f"{q.label}{q.taught_mark(marked)} {q.unit}".strip() for q in qualities]
    means = summarise(read_rows(Path(rows)))
    lines = [["setting", "bpp", *titles]]
    for name, label in codecs.items():
        for record in means[means["codec"] == name].sort_values("bpp").to_dict("records"):
            values = [f"{record[q.column]:.{q.digits}f}" for q in qualities]
            lines.append([f"{label} {record['setting']}", f"{record['bpp']:.3f}", *values])
    return lines


def means(
    file: str,
    by: dict[str, str],
    columns: dict[str, str],
    derive: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    where: str | None = None,
) -> list[list[str]]:
    """Return a line for each group of the lines of a CSV file, in the order of the file.

    Args:
        file: any CSV file with a header.
        by: columns whose values make a group, to their titles.
        columns: title to a format string of the group: `{psnr:.2f}` is the mean of a column,
            `{max[psnr]:.2f}` and `{sum[fits]:.0f}` are what they say, `{count}` the lines.
        derive: more columns, from expressions over those of the file, as `DataFrame.eval` takes.
        labels: value in the file to what is written for it.
        where: only lines of which this is true, as `DataFrame.query` takes it.
    """
    frame = pd.read_csv(file)
    if where is not None:
        frame = frame.query(where, engine="python")
    for name, expression in (derive or {}).items():
        frame[name] = frame.eval(expression, engine="python")
    keys = [pd.Categorical(frame[name], frame[name].unique()) for name in by]
    lines = [[*by.values(), *columns]]
    for values, group in frame.groupby(keys, observed=True):
        found = {name: getattr(group, name)(numeric_only=True) for name in ("mean", "max", "sum")}
        fields = {**found.pop("mean"), **found, "count": len(group)}
        names = [(labels or {}).get(str(value), str(value)) for value in values]
        cells = (text.format(**fields).replace("%", " %") for text in columns.values())
        lines.append([*names, *cells])
    return lines


def held_out(file: str, column: str = "loss", digits: int = 3) -> list[list[str]]:
    """Return a line for each validation of a training run: one value by kind and quality.

    Args:
        file: validation.csv of the run.
        column: which of its values.
        digits: decimals.
    """
    frame = pd.read_csv(file)
    keys = list(dict.fromkeys(zip(frame["kind"], frame["quality"], strict=True)))
    keys.sort(key=lambda key: list(frame["kind"]).index(key[0]))
    lines = [["step", *(f"{kind} {quality}" for kind, quality in keys)]]
    for step, group in frame.groupby("step"):
        found = group.groupby(["kind", "quality"])[column].last()
        cells = [f"{found[key]:.{digits}f}" if key in found else "" for key in keys]
        lines.append([f"{step:,}", *cells])
    return lines


def model_facts(id: str, **told: str) -> list[list[str]]:
    """Return what a weights file says of itself, below what is told of it.

    Args:
        id: of the model.
        told: name of a line to its text.
    """
    info = find_model(id)
    sizes = (
        f"{info.params:,} parameters, {info.kmac_encode:.1f} kMAC/px to encode, "
        f"{info.kmac_decode:.1f} kMAC/px to decode (`imgcodec models`)"
    )
    weights = f"{info.bytes:,} bytes, float16 and integers, hash `{info.hash[:8]}`"
    facts = told | {
        "parameters, complexity": sizes,
        "weights": weights,
        "licence": info.licence,
    }
    if info.runs:
        facts["training runs"] = "; ".join(_run(run) for run in info.runs)
    return [["", ""], *([name, text] for name, text in facts.items())]


def _run(run: dict[str, Any]) -> str:
    text = f"{run['recipe']}, {run['steps']:,} steps"
    if "batch_size" in run:
        text += f" of {run['batch_size']} crops of {run['crop_px']} px"
    return text


KINDS: dict[str, Callable[..., list[list[str]]]] = {
    "bd": bd_rates,
    "points": points,
    "means": means,
    "epochs": epochs,
    "held-out": held_out,
    "model": model_facts,
    "run-bd": run_bd_rates,
    "run-points": run_points,
}


def with_tables(text: str) -> str:
    """Return a document with all its tables made anew; paths are those of the working folder."""

    def table(match: re.Match[str]) -> str:
        options: dict[str, Any] = yaml.safe_load(match[2])
        header, *lines = KINDS[options.pop("kind")](**options)
        ruled = [header, ["---"] * len(header), *lines]
        body = "".join(f"| {' | '.join(cells)} |\n" for cells in ruled)
        return match[1] + body + match[3]

    return _TABLE.sub(table, text)


def _taught(model: str) -> frozenset[str]:
    return taught_columns(trained_losses(find_model(model))) if model else frozenset()


def main(paths: Sequence[str]) -> None:
    """Make the tables of documents anew."""
    for path in map(Path, paths):
        write_atomically(path, with_tables(path.read_text(encoding="utf-8")).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
