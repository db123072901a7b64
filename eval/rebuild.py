"""All results of the documents anew: what `eval/results/plan.yaml` lists, measured and drawn.

    python -m imgcodec.eval.rebuild                  # what is missing; `make results`
    python -m imgcodec.eval.rebuild --only kodak
    python -m imgcodec.eval.rebuild --only kodak --limit 1 --points 2 --out /tmp/results

A run that was stopped goes on where it was. Rows are kept while the plan asks for them and their
codec still describes itself as it did: new weights, or another version of a library, are measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from imgcodec.codec.errors import CodecError
from imgcodec.codec.files import write_atomically
from imgcodec.datasets.manifest import data_root
from imgcodec.eval import bench
from imgcodec.eval.documents import with_tables
from imgcodec.eval.plan import MadeFile, Run, load_plan
from imgcodec.eval.plots import set_plots, write_plots
from imgcodec.eval.quality import QUALITIES, TAUGHT_NOTE
from imgcodec.eval.results import RunInfo, forget_costs, keep_lines
from imgcodec.eval.runner import Bench, BenchPlan, Progress
from imgcodec.eval.set_quality import SET_QUALITIES
from imgcodec.eval.sets import SetRow, run_sets
from imgcodec.processors import num_processors

ROOT = Path("eval/results")
PLAN_FILE = "plan.yaml"
_JPEG_QUALITY = 85
_EVERY_ROWS = 20

Report = Callable[[str], None]


def measure(run: Run, plan: BenchPlan, folder: Path, jobs: int, report: Report) -> tuple[int, int]:
    """Measure what is missing of a run, draw it, and return the numbers of new and failed rows.

    Args:
        run: says the metrics of sets.
        plan: of the run.
        folder: of its results.
        jobs: worker processes.
        report: takes lines of progress.
    """
    new = 0

    def progress(state: Progress) -> None:
        nonlocal new
        new += 1
        if new % _EVERY_ROWS == 0 or state.done == state.total:
            report(f"{state.done} of {state.total} rows, {state.errors} failed")

    forget_changed(folder, plan, bench.run_info(plan, jobs))
    rows, info, failed = bench.run(plan, folder, resume=True, jobs=jobs, progress=progress)
    # Hours on several processors, beside whatever else runs there: no times to be shown.
    forget_costs(folder / bench.ROWS_FILE)
    write_plots(rows, folder, taught=info.taught, suffixes=(".png",))
    if run.set_metrics:
        measured: list[SetRow] = []
        path = folder / bench.SETS_FILE
        sets = run_sets(plan, run.set_metrics, path, measured.append, resume=True)
        set_plots(pd.read_csv(path), folder)
        failed += sum(bool(row.error) for row in sets)
        new += len(measured)
    return new, failed


def forget_changed(folder: Path, plan: BenchPlan, info: RunInfo) -> None:
    """Leave out rows that a plan no longer asks for, and those of codecs that have changed.

    Args:
        folder: of a run, or one that is not there yet.
        plan: what is to be measured.
        info: record of the run to come, with what its codecs say of themselves.
    """
    if not (folder / bench.INFO_FILE).is_file():
        return
    old = RunInfo.load(folder / bench.INFO_FILE)
    asked = Bench(plan)
    same = {name for name, text in info.codecs.items() if old.codecs.get(name) == text}
    kept = {key[2:] for key in map(asked.key, asked.tasks()) if key[2] in same}  # codec, setting
    for name in (bench.ROWS_FILE, bench.SETS_FILE):
        if (folder / name).is_file():
            keep_lines(folder / name, lambda line: (line["codec"], line["setting"]) in kept)
    options = old.options | {"codecs": info.options["codecs"]}
    dataclasses.replace(old, options=options).save(folder / bench.INFO_FILE)


def make_files(files: Mapping[str, MadeFile], root: Path, report: Report) -> list[str]:
    """Make the files that are missing and return the names of those that could not be made."""
    failed = []
    folders: dict[str, tuple[Path, bytes]] = {}
    with tempfile.TemporaryDirectory(prefix="imgcodec-results-") as work:
        for name, made in files.items():
            if (root / name).is_file():
                continue
            report(f"{name}: {made.run}")
            try:
                if made.run not in folders:
                    folder = Path(work, str(len(folders)))
                    folder.mkdir()
                    folders[made.run] = folder, _output(made.run, folder, root)
                folder, output = folders[made.run]
                if made.take:
                    _place(folder / made.take, root / name, made.is_halved)
                else:
                    _write(root / name, output)
            except (OSError, subprocess.CalledProcessError) as error:
                report(f"{name} failed: {error}")
                failed.append(name)
    return failed


def _output(command: str, folder: Path, root: Path) -> bytes:
    """Run a command of the plan and return what it printed."""
    program, *rest = shlex.split(command)
    start = {"imgcodec": ["-m", "imgcodec"], "python": []}[program]
    fields = {"folder": str(folder), "data": str(data_root()), "root": str(root)}
    arguments = [part.format(**fields) for part in rest]
    result = subprocess.run(
        [sys.executable, *start, *arguments], stdout=subprocess.PIPE, check=True
    )
    return result.stdout


def _place(source: Path, target: Path, is_halved: bool) -> None:
    """Bring a file to its place; a picture may change its format and its size."""
    if source.suffix == target.suffix and not is_halved:
        _write(target, source.read_bytes())
        return
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    if is_halved:
        picture = picture.reduce(2)
    buffer = io.BytesIO()
    kind = Image.registered_extensions()[target.suffix]
    picture.save(buffer, kind, quality=_JPEG_QUALITY, optimize=True, progressive=True)
    _write(target, buffer.getvalue())


def _write(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, data)


def document(runs: Mapping[str, Run], root: Path) -> str:
    """Return the page of runs that were made: figures and tables."""
    text = [
        "# Results",
        f"`make results` makes this page and what it shows from [{PLAN_FILE}]({PLAN_FILE}).",
    ]
    for name, run in runs.items():
        folder = root / run.folder
        drawn = {path.stem.removeprefix("rd_"): path for path in folder.glob("rd_*.png")}
        shown = [q for q in (*QUALITIES, *SET_QUALITIES) if q.column in drawn]
        text += [
            f"## {name}",
            f"Fewer or more bytes than `{run.anchor}` at equal quality; every file is in "
            f"[{bench.ROWS_FILE}]({run.folder}/{bench.ROWS_FILE}), what measured it in "
            f"[{bench.INFO_FILE}]({run.folder}/{bench.INFO_FILE}):",
            _table(f"{{kind: run-bd, folder: {folder}, anchor: {run.anchor}}}"),
            *(
                f"![{quality.label}]({run.folder}/{drawn[quality.column].name})"
                for quality in shown
            ),
            _table(f"{{kind: run-points, folder: {folder}}}"),
            TAUGHT_NOTE,
        ]
    return with_tables("\n\n".join(text) + "\n")


def _table(options: str) -> str:
    return f"<!-- table: {options} -->\n<!-- end of table -->"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing of all results, and the page that shows them."""
    parser = argparse.ArgumentParser(prog="python -m imgcodec.eval.rebuild")
    parser.add_argument("--plan", type=Path, default=ROOT / PLAN_FILE)
    parser.add_argument("--only", action="append", help="a run or a file; may be repeated")
    parser.add_argument("--out", type=Path, default=ROOT, help="root of all results")
    parser.add_argument("--limit", type=int, help="only the first so many pictures")
    parser.add_argument("--points", type=int, help="thin ladders to so many settings")
    parser.add_argument("--jobs", type=int, default=num_processors())
    parser.add_argument("--device", default="cpu", help="torch device of the metrics")
    options = parser.parse_args(arguments)
    if (options.limit or options.points) and options.out == ROOT:
        parser.error("--limit and --points need an --out of their own")

    plan = load_plan(options.plan)
    wanted = options.only or [*plan.runs, *plan.files]
    unknown = set(wanted) - {*plan.runs, *plan.files}
    if unknown:
        parser.error(f"the plan has no {', '.join(sorted(unknown))}")
    failed: list[str] = []
    where = bench.metric_options(options.device, None, None)
    for name in (name for name in plan.runs if name in wanted):
        run = plan.runs[name]
        todo = run.plan(where, options.limit, options.points)
        report = functools.partial(_say, name)
        started = time.monotonic()
        try:
            new, bad = measure(run, todo, options.out / run.folder, options.jobs, report)
        except CodecError as error:
            raise SystemExit(f"{name}: {error}") from error
        report(f"{new} rows measured in {time.monotonic() - started:.0f} s")
        failed += [f"{bad} rows of {name}"] if bad else []
    files = {name: made for name, made in plan.files.items() if name in wanted}
    failed += make_files(files, options.out, functools.partial(_say, "files"))
    made = {
        n: r for n, r in plan.runs.items() if (options.out / r.folder / bench.ROWS_FILE).is_file()
    }
    if made:
        write_atomically(options.out / "README.md", document(made, options.out).encode())
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _say(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
