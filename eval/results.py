"""The rows of a run: one per image, codec and setting, saved as they come, read back, averaged."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from imgcodec.codec.errors import CodecError
from imgcodec.codec.files import write_atomically
from imgcodec.eval.quality import metric_columns

if TYPE_CHECKING:
    import pandas as pd

COST_COLUMNS = (
    "encode_s",
    "decode_s",
    "encode_transform_s",
    "encode_entropy_s",
    "decode_transform_s",
    "decode_entropy_s",
    "encode_mp_s",
    "decode_mp_s",
    "peak_memory_bytes",
)
COLUMNS = (
    "dataset",
    "image",
    "width",
    "height",
    "codec",
    "setting",
    "bytes",
    "bpp",
    "payload_bpp",
    "estimate_bpp",
    "ratio",
    *metric_columns(),
    *COST_COLUMNS,
    "status",
    "error",
)
TEXT_COLUMNS = ("dataset", "image", "codec", "setting", "status", "error")
KEY_COLUMNS = ("dataset", "image", "codec", "setting")
DIGITS = 7
"""Of numbers in tables: more than any metric is worth."""
RowKey = tuple[str, ...]


class ResultsError(CodecError):
    """A results file is missing, damaged, or belongs to a run with other options."""


def row_key(row: Mapping[str, Any]) -> RowKey:
    """Return what makes a row unique: dataset, image, codec, setting."""
    return tuple(str(row[name]) for name in KEY_COLUMNS)


class RowWriter:
    """Append rows to a CSV file, each complete on disk before the next.

    Args:
        path: the file; its folder is made.
        resume: keep the `ok` rows that are there (and drop an unfinished last line and failed
            rows, which are tried again) instead of starting anew.

    Attributes:
        done: keys of the rows kept.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self._path = path
        self._file: TextIO | None = None
        kept = _finished_rows(path) if resume and path.exists() else []
        self.done: set[RowKey] = {row_key(row) for row in kept}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, _to_csv(kept, COLUMNS).encode())

    def __enter__(self) -> RowWriter:
        self._file = self._path.open("a", newline="", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row; columns that it lacks stay empty."""
        assert self._file is not None, "use the writer as a context manager"
        self._file.write(_to_csv([row], COLUMNS, header=False))
        self._file.flush()
        os.fsync(self._file.fileno())


def read_rows(path: Path) -> pd.DataFrame:
    """Return the rows table of a CSV or Parquet file, with every column of `COLUMNS`.

    Raises:
        ResultsError: the file is missing or is not a rows table.
    """
    import pandas as pd

    if not path.is_file():
        raise ResultsError(f"no results file {path}: run imgcodec bench first, or check the name")
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        else:
            text = dict.fromkeys(TEXT_COLUMNS, str)
            frame = pd.read_csv(path, dtype=text, keep_default_na=True)
    except (ValueError, OSError, ImportError) as error:
        raise ResultsError(f"{path} cannot be read as a rows table: {error}") from error
    return _normalise(frame, path)


def write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write records, at least one and all with the same names, as a CSV file with a header."""
    write_atomically(path, _to_csv(records, tuple(records[0])).encode())


def keep_lines(path: Path, is_wanted: Callable[[dict[str, str]], bool]) -> None:
    """Leave out the lines of a CSV file that are not wanted, and an unfinished last one."""
    text = path.read_text(encoding="utf-8")
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    kept = [line for line in reader if is_wanted(line)]
    write_atomically(path, _to_csv(kept, tuple(reader.fieldnames or ())).encode())


def forget_costs(path: Path) -> None:
    """Empty the columns of time and memory of a rows table in CSV."""
    rows = [row | dict.fromkeys(COST_COLUMNS, "") for row in _read_dicts(path)]
    write_atomically(path, _to_csv(rows, COLUMNS).encode())


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write the rows table as Parquet (package pyarrow)."""
    temporary = path.with_name(path.name + ".part")
    try:
        frame.to_parquet(temporary, index=False)
    except ImportError as error:
        raise ResultsError("Parquet needs the package pyarrow: pip install pyarrow") from error
    temporary.replace(path)


def sort_rows(path: Path, order: Sequence[RowKey]) -> None:
    """Rewrite a finished CSV in a fixed order, so that workers leave no trace in it."""
    rank = {key: index for index, key in enumerate(order)}
    rows = _read_dicts(path)
    rows.sort(key=lambda row: rank.get(row_key(row), len(rank)))
    write_atomically(path, _to_csv(rows, COLUMNS).encode())


def summarise(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over images of each codec and setting, by codec and rising bpp.

    Only `ok` rows count. `psnr` is the mean of dB, `psnr_of_mean_mse` the dB of the mean MSE;
    the speeds are all pixels over all seconds; `images` is the number of images behind a line.
    """
    import numpy as np

    good = frame[frame["status"] == "ok"]
    numeric = [name for name in COLUMNS if name not in TEXT_COLUMNS]
    groups = good.groupby(["codec", "setting"], sort=False)
    table = groups[numeric].mean()
    table["images"] = groups.size()
    pixels = (good["width"] * good["height"]).groupby([good["codec"], good["setting"]]).sum()
    for direction in ("encode", "decode"):
        seconds = groups[f"{direction}_s"].sum(min_count=1)  # none where costs were forgotten
        table[f"{direction}_mp_s"] = pixels / 1e6 / seconds
    table["psnr_of_mean_mse"] = 10.0 * np.log10(255.0**2 / table["mse"].clip(lower=1e-12))
    table = table.reset_index()
    order = {name: index for index, name in enumerate(frame["codec"].unique())}
    table["_order"] = table["codec"].map(order)
    table = table.sort_values(["_order", "bpp"], kind="stable").drop(columns="_order")
    return table.reset_index(drop=True)


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What a run was made with, saved as `run.json` beside the rows.

    Attributes:
        options: everything that changes the numbers; `--resume` needs the same ones.
        codecs: codec name to library, version and effort.
        metrics: metric definitions in words.
        machine: versions, processor count, threads.
        taught: codec name to the columns of the metrics that were losses of its training.
    """

    options: dict[str, Any]
    codecs: dict[str, str]
    metrics: list[str]
    machine: dict[str, Any]
    taught: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write the record as JSON."""
        write_atomically(path, (json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> RunInfo:
        """Return the record of a file.

        Raises:
            ResultsError: no such record, or damaged.
        """
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ResultsError(f"{path} is not the record of a run: {error}") from error

    def require_same_options(self, other: RunInfo) -> None:
        """Raise `ResultsError` naming the first option in which a later run differs from this."""
        for name in sorted({*self.options, *other.options}):
            old, new = self.options.get(name), other.options.get(name)
            if old != new:
                raise ResultsError(
                    f"--resume needs the options of the run it continues: {name} was {old!r}, "
                    f"now {new!r}; use another --out or start anew with --force"
                )


def _normalise(frame: pd.DataFrame, path: Path) -> pd.DataFrame:
    import pandas as pd

    missing = [name for name in (*KEY_COLUMNS, "bytes", "bpp", "status") if name not in frame]
    if missing:
        raise ResultsError(f"{path}: not a rows table, it lacks {', '.join(missing)}")
    frame = frame.reindex(columns=list(COLUMNS))
    for name in COLUMNS:
        if name in TEXT_COLUMNS:
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
        else:
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return frame


def _finished_rows(path: Path) -> list[dict[str, str]]:
    return [row for row in _read_dicts(path) if row["status"] == "ok"]


def _read_dicts(path: Path) -> list[dict[str, str]]:
    text = path.read_text(encoding="utf-8")
    # A killed run may leave a line without its end.
    lines = text[: text.rfind("\n") + 1]
    reader = csv.DictReader(io.StringIO(lines))
    if lines and tuple(reader.fieldnames or ()) != COLUMNS:
        raise ResultsError(f"{path} has other columns than this version writes; start anew")
    return list(reader)


def _to_csv(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, header: bool = True
) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(row.get(name, "")) for name in columns})
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if value != value else f"{value:.{DIGITS}g}"
    return " ".join(value.split()) if isinstance(value, str) else value
