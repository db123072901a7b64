"""``imgcodec bench``: this codec and others over a dataset, measured like a referee."""

# Long because the most options of all commands.

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imgcodec.cli.console import Console, console_options, format_table
from imgcodec.cli.console import Progress as Show
from imgcodec.cli.errors import Failure
from imgcodec.cli.values import CODEC, CODECS, DATASET
from imgcodec.eval.quality import TAUGHT_NOTE, metric_names
from imgcodec.eval.set_quality import set_metric_names

if TYPE_CHECKING:
    import pandas as pd

    from imgcodec.eval.bdtable import BdEntry
    from imgcodec.eval.quality import Taught
    from imgcodec.eval.results import RunInfo
    from imgcodec.eval.runner import BenchPlan, Progress

DEFAULT_CODECS = "imgcodec-beta,jpeg,webp,avif"
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


EXAMPLES = """\b
Examples:
  imgcodec bench --dataset kodak
  imgcodec bench --dataset 'photos/*.png' --codecs imgcodec-beta@20,50,80,jpeg --metrics psnr
  imgcodec bench --out runs/bench --resume --anchor avif"""


@click.command("bench", epilog=EXAMPLES)
@click.option(
    "--dataset",
    type=DATASET,
    metavar="DATASET",
    default="kodak",
    show_default=True,
    help="Name (see `imgcodec datasets list`), folder, 'glob/*.png' or picture.",
)
@click.option(
    "--codecs",
    "codec_list",
    type=CODECS,
    metavar="LIST",
    default=DEFAULT_CODECS,
    show_default=True,
    help="Names separated by commas; NAME@10,50,90 for settings of your own, "
    "imgcodec:MODEL for a model id or weights file. `--codecs help` lists them.",
)
@click.option(
    "--codec",
    "more_codecs",
    type=CODEC,
    metavar="CODEC",
    multiple=True,
    help="One more codec, such as custom:NAME:encode-cmd:decode-cmd with {in}, {out} and {q}.",
)
@click.option(
    "--metrics",
    "metric_list",
    help=f"Names separated by commas: {', '.join(metric_names())}.  [default: all whose packages "
    "and weights are at hand]",
)
@click.option(
    "--set-metrics",
    "set_metric_list",
    default="",
    help=f"Also {', '.join(set_metric_names())} over all patches of 256, into sets.csv.",
)
@click.option("--out", type=_FOLDER, help="Folder of the results.  [default: bench-DATASET]")
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option("-f", "--force", is_flag=True, help="Throw away the run in --out.")
@click.option(
    "-j", "--jobs", type=click.IntRange(0), default=0, help="Workers.  [default: processors]"
)
@click.option("--reps", type=click.IntRange(1), default=1, show_default=True, help="Timed runs.")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many images.")
@click.option("--points", type=click.IntRange(1), help="Thin every ladder to so many settings.")
@click.option(
    "--anchor", help="Codec that BD-rates refer to.  [default: jpeg if it runs, else the first]"
)
@click.option(
    "--bd-method", type=click.Choice(["pchip", "cubic"]), default="pchip", show_default=True
)
@click.option("--overlay", "overlays", type=_FILE, multiple=True, help="Published curves (JSON).")
@click.option(
    "--export",
    "exports",
    type=click.Choice(["compressai", "codec-compare"]),
    multiple=True,
    help="Write the results in this schema too.",
)
@click.option("--parquet", is_flag=True, help="Write rows.parquet too.")
@click.option("--no-report", is_flag=True, help="No plots and no report.html.")
@click.option("--baseline", type=_FILE, help="Earlier rows.csv to compare with.")
@click.option(
    "--tolerance",
    type=float,
    default=0.5,
    show_default=True,
    help="BD-rate in percent that --baseline lets pass.",
)
@click.option("--device", default="cpu", show_default=True, help="Torch device of the metrics.")
@click.option("--weights-dir", type=_FOLDER, help="Folder with LPIPS and FID backbone weights.")
@click.option(
    "--data-root", type=_FOLDER, help="Folder of the datasets.  [default: $IMGCODEC_DATA]"
)
@console_options
def command(console: Console, **options: Any) -> None:
    """Measure codecs over a dataset: rates, quality, speed, BD-rates, plots and a report.

    \b
    imgcodec bench --dataset kodak
    imgcodec bench --dataset photos/ --codecs imgcodec-beta,jxl,heic --anchor jxl
    imgcodec bench --dataset kodak --baseline bench-old/rows.csv
    """
    from imgcodec.eval.extras import require

    if options["codec_list"] == "help":
        _list_codecs()
        return
    require("pandas", "bjontegaard", "matplotlib")
    from imgcodec.eval import bench
    from imgcodec.eval.bdtable import bd_table
    from imgcodec.eval.results import read_rows, write_parquet

    baseline = read_rows(options["baseline"]) if options["baseline"] else None
    plan = _plan(options, console)
    overlays = bench.load_overlays(options["overlays"], plan)
    out = options["out"] or Path(f"bench-{_slug(options['dataset'])}")
    rows, info, errors = _measure(plan, out, options, console)
    if not (rows["status"] == "ok").any():
        raise Failure(f"no row succeeded; the first says: {rows['error'].iloc[0]}")
    anchor = options["anchor"] or (
        "jpeg" if "jpeg" in set(rows["codec"]) else rows["codec"].iloc[0]
    )
    entries = bd_table(rows, anchor, method=options["bd_method"])
    if console.is_json:
        console.record(bench.as_json(rows, entries, info.taught))
    else:
        _print_tables(rows, entries, anchor, info.taught)
    if options["parquet"]:
        write_parquet(rows, out / "rows.parquet")
    written = bench.write_exports(options["exports"], rows, info, out)
    if not options["no_report"]:
        written += _report(plan, rows, overlays, out, console)
    for path in written:
        console.note(f"wrote {path}")
    if options["set_metric_list"]:
        _sets(plan, options["set_metric_list"].split(","), out, options["resume"], console)
    if baseline is not None:
        _gate(rows, baseline, options, console)
    if errors:
        raise Failure(f"{errors} rows failed; see the column error of {out / 'rows.csv'}")


def _list_codecs() -> None:
    from imgcodec.codec.errors import CodecError
    from imgcodec.eval.anchors.registry import codec_names, get_codec

    rows = []
    for name in codec_names():
        try:
            codec = get_codec(name)
            settings = ", ".join(map(codec.describe, codec.settings))
            rows.append((name, f"{codec.describe_codec()}; {settings}"))
        except CodecError as error:
            rows.append((name, f"not available: {error}"))
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name.ljust(width)}  {text}")


def _plan(options: dict[str, Any], console: Console) -> BenchPlan:
    from imgcodec.eval import bench
    from imgcodec.eval.anchors.registry import split_names
    from imgcodec.eval.runner import BenchPlan

    where = bench.metric_options(options["device"], options["weights_dir"], options["data_root"])
    if options["metric_list"]:
        metrics = tuple(name.strip() for name in options["metric_list"].split(",") if name.strip())
    else:
        metrics, note = bench.default_metrics(where)
        if note:
            console.note(note)
    codecs = (*split_names(options["codec_list"]), *options["more_codecs"])
    return BenchPlan(
        dataset=options["dataset"],
        codecs=codecs,
        metrics=metrics,
        reps=options["reps"],
        num_images=options["limit"],
        num_settings=options["points"],
        data_root=options["data_root"],
        metric_options=where,
    )


def _measure(
    plan: BenchPlan, out: Path, options: dict[str, Any], console: Console
) -> tuple[pd.DataFrame, RunInfo, int]:
    from imgcodec.eval import bench
    from imgcodec.processors import num_processors

    jobs = options["jobs"] or num_processors()
    try:
        with console.progress("rows") as show:
            result = bench.run(
                plan,
                out,
                resume=options["resume"],
                force=options["force"],
                jobs=jobs,
                progress=_rows_progress(show),
            )
    except KeyboardInterrupt:
        console.note(f"stopped; the rows so far are in {out}: continue with --resume")
        raise
    if jobs > 1:
        console.note(
            f"times were taken with {jobs} workers side by side; -j 1 for undisturbed ones"
        )
    for codec, text in result[1].codecs.items():
        console.detail(f"{codec}: {text}")
    return result


def _print_tables(
    rows: pd.DataFrame, entries: Sequence[BdEntry], anchor: str, taught: Taught
) -> None:
    from imgcodec.eval import bench

    click.echo(format_table(*bench.summary_table(rows, taught)))
    if entries:
        click.echo(f"\nBD-rate against {anchor} (negative: fewer bits at equal quality)")
        _print_bd(entries, taught)
    if taught:
        click.echo(TAUGHT_NOTE)


def _print_bd(entries: Sequence[BdEntry], taught: Taught) -> None:
    from imgcodec.eval import bench

    header, cells, notes = bench.bd_cells(entries, taught)
    click.echo(format_table(header, cells))
    for note in notes:
        click.echo(f"refused: {note}")


def _report(
    plan: BenchPlan, rows: pd.DataFrame, overlays: dict[str, Any], out: Path, console: Console
) -> list[Path]:
    from imgcodec.eval import bench
    from imgcodec.eval.anchors.registry import get_codec
    from imgcodec.eval.plots import write_plots
    from imgcodec.eval.report import write_report
    from imgcodec.eval.results import RunInfo

    console.note("drawing plots and report")
    codecs = [get_codec(name) for name in plan.codecs]
    info = RunInfo.load(out / bench.INFO_FILE)
    written = write_plots(rows, out, overlays, info.taught)
    page = write_report(
        rows,
        out / "report.html",
        bench.image_files(plan),
        overlays,
        codecs=codecs,
        notes=info.metrics,
    )
    return [*written, page]


def _sets(plan: BenchPlan, names: Sequence[str], out: Path, resume: bool, console: Console) -> None:
    from imgcodec.eval.bench import SETS_FILE
    from imgcodec.eval.sets import run_sets

    names = [name.strip() for name in names if name.strip()]
    rows = run_sets(
        plan,
        names,
        out / SETS_FILE,
        lambda row: console.note(f"{row.codec} {row.setting}: {row.error or row.values}"),
        resume=resume,
    )
    failed = [row for row in rows if row.error]
    if failed:
        raise Failure(f"{len(failed)} settings failed; the first says: {failed[0].error}")


def _gate(
    rows: pd.DataFrame, baseline: pd.DataFrame, options: dict[str, Any], console: Console
) -> None:
    from imgcodec.eval.regression import against_baseline, regressions

    entries = against_baseline(rows, baseline, method=options["bd_method"])
    if not console.is_json:
        click.echo(f"\nBD-rate against {options['baseline']} (each codec against itself)")
        _print_bd(entries, {})
    bad = regressions(entries, options["tolerance"])
    if bad:
        told = "; ".join(
            f"{entry.codec} {entry.metric} {entry.refused or f'{entry.percent:+.2f} %'}"
            for entry in bad
        )
        raise Failure(f"worse than the baseline by more than {options['tolerance']} %: {told}")


def _rows_progress(show: Show) -> Callable[[Progress], None]:
    """Return what shows each row; the time left is that of rows that were not there before."""
    before: int | None = None

    def report(progress: Progress) -> None:
        nonlocal before
        before = progress.done - 1 if before is None else before
        failed = f", {progress.errors} failed" if progress.errors else ""
        row = " ".join(str(progress.row[name]) for name in ("image", "codec", "setting"))
        show(
            (progress.done - before) / (progress.total - before),
            f"{progress.done}/{progress.total}{failed}, {row[:60]}",
        )

    return report


def _slug(name: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    return kept.strip("-") or "images"
