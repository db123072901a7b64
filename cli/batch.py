"""Many inputs at once: what they are, where their outputs go, and working through them.

One bad file never stops the others: each gives an outcome, and the exit code tells whether all
were good. Outputs are written atomically (`imgcodec.codec.files`), so that whatever happens no
name holds half a file; a process that is killed may leave `.NAME.XXXXXXXX.tmp` behind, which
nothing here ever reads, and which a batch into the same folder removes a day later.
"""

# Long because naming, skipping, counting and reporting are one promise.

from __future__ import annotations

import functools
import json
import logging
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path
from typing import Any, NamedTuple

import click

from imgcodec.cli.console import Console
from imgcodec.cli.errors import Failure, exit_code_of
from imgcodec.cli.files import DASH
from imgcodec.cli.sources import is_made_of, remember_source
from imgcodec.codec.files import remove_leftovers

Work = Callable[[str, str], dict[str, Any]]
"""Handle one input, write one output, return what to tell; picklable."""
_NO_FILE = "no such file"
_FOLDER = "it is a folder"
_LINKED_FOLDER = "linked folder"
_NO_SUFFIX = "without suffix"
_STREAM_SUFFIX = ".cvb"
_MAX_NAME_BYTES = 255


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is to be done.

    Attributes:
        folder: where the outputs go, None outside batches.
        is_recursive: inputs may be folders.
        skip_existing: leave inputs alone whose output was made of them.
        jobs: processes.
    """

    folder: Path | None
    is_recursive: bool
    skip_existing: bool
    jobs: int


@dataclass(frozen=True)
class Item:
    """One input of a batch with its output, or with the problem that it has."""

    source: str
    target: str
    problem: str | None = None


class FoundItems(NamedTuple):
    """What a batch is about.

    Attributes:
        items: the inputs.
        left_out: what lay in folders and is none, counted by suffix.
    """

    items: list[Item]
    left_out: Counter[str]


@dataclass(frozen=True)
class Outcome:
    """What became of an item: "ok", "skipped" or "failed".

    Attributes:
        record: what the work returned.
        error: message of a failure.
        notes: messages that the library logged.
    """

    item: Item
    status: str
    record: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return one line of `--json`."""
        line: dict[str, Any] = {"input": self.item.source, "output": self.item.target}
        line |= {"status": self.status, **self.record}
        if self.error is not None:
            line["error"] = self.error
        if self.notes:
            line["notes"] = list(self.notes)
        return line


def batch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of batches to a command, passed to it as ``batch``."""

    @click.option(
        "-o",
        "--out",
        "folder",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        help="Take every argument as an input and write the outputs to DIR.",
    )
    @click.option("-r", "--recursive", is_flag=True, help="Inputs may be folders: mirror them.")
    @click.option("--skip-existing", is_flag=True, help="Leave out what its output was made of.")
    @click.option(
        "-j", "--jobs", type=click.IntRange(min=1), default=1, help="Processes.  [default: 1]"
    )
    @functools.wraps(function)
    def wrapper(
        *args: Any,
        folder: Path | None,
        recursive: bool,
        skip_existing: bool,
        jobs: int,
        **kwargs: Any,
    ) -> Any:
        if folder is None and (recursive or skip_existing or jobs > 1):
            raise click.UsageError("-r, --skip-existing and -j need -o DIR.")
        return function(*args, batch=BatchOptions(folder, recursive, skip_existing, jobs), **kwargs)

    return wrapper


def find_items(
    inputs: Iterable[str],
    batch: BatchOptions,
    suffix: str,
    accepts: Callable[[Path], bool],
) -> FoundItems:
    """Return the inputs of a batch with their outputs.

    A file goes to the folder itself; what a folder or a pattern yields keeps its path below that
    folder, or below the fixed part of the pattern. Outputs are named after their input alone:
    a.png becomes a.png.cvb, a.cvb becomes a.png. What has the name of an input but cannot be one (a
    link that leads nowhere, a pipe, a folder) is an item with a problem.

    Args:
        inputs: files, patterns, and folders where `batch.is_recursive`.
        batch: the options.
        suffix: of the outputs.
        accepts: whether a file that was found in a folder is an input.

    Raises:
        click.UsageError: an input is stdin, or a folder without `-r`.
        OSError: a folder cannot be listed.
    """
    assert batch.folder is not None
    found: dict[Path, tuple[Path, str | None]] = {}  # input: path below the folder, problem
    left_out: Counter[str] = Counter()

    def add(file: Path, below: Path, problem: str | None = None) -> None:
        found.setdefault(file, (below, problem or _problem_of(file)))

    for name in inputs:
        if name == DASH:
            raise click.UsageError("stdin cannot be part of a batch: leave out -o.")
        path = Path(name)
        problem = _problem_of(path)
        if problem == _FOLDER and not batch.is_recursive:
            raise click.UsageError(f"{name} is a folder: -r takes the files in it.")
        if problem == _FOLDER:
            for file, problem in sorted(_walk(path, accepts, left_out)):
                add(file, file.relative_to(path), problem)
        elif problem != _NO_FILE or not has_magic(name):
            add(path, Path(path.name))
        else:
            matches = _expand(path, accepts)
            for file, below in matches:
                add(file, below)
            if not matches:
                add(path, Path(path.name), "no file fits the pattern")
    taken: dict[Path, Path] = {}
    items = []
    for file, (below, problem) in found.items():
        target = batch.folder / below.with_name(_output_name(below.name, suffix))
        other = taken.setdefault(target, file)
        if other != file:
            problem = f"its output would be that of {other}"
        elif problem is None and _exists(target) and target.samefile(file):
            problem = "the output would be the input"
        items.append(Item(str(file), str(target), problem))
    return FoundItems(items, left_out)


def _output_name(name: str, suffix: str) -> str:
    """Return the name of an output: with the suffix of the input, unless it is ours or too long."""
    longer = f"{name}{suffix}"
    is_stream = Path(name).suffix.lower() == _STREAM_SUFFIX
    if is_stream or len(os.fsencode(longer)) > _MAX_NAME_BYTES:
        return Path(name).with_suffix(suffix).name
    return longer


def _problem_of(path: Path) -> str | None:
    """Return why a path is no input: anything but a file, since reading a pipe may never end."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "the link leads nowhere" if path.is_symlink() else _NO_FILE
    except OSError as error:  # a circle of links, a folder that must not be entered
        return error.strerror
    if stat.S_ISREG(mode):
        return None
    return _FOLDER if stat.S_ISDIR(mode) else "it is a pipe, a socket or a device"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is too long: writing it will tell
        return False


def _walk(
    folder: Path, accepts: Callable[[Path], bool], left_out: Counter[str]
) -> Iterator[tuple[Path, str]]:
    """Yield what has the name of an input below a folder, and folders that cannot be listed.

    Each comes with its problem, or an empty text. Hidden files and folders are left out in
    silence; other files, and linked folders, into which nobody goes, are counted.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    unlisted: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unlisted.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in (*folders, *files)):
            if path.name.startswith("."):
                continue
            if accepts(path):
                yield path, ""
            elif path.name not in folders:
                left_out[path.suffix.lower() or _NO_SUFFIX] += 1
            elif path.is_symlink():
                left_out[_LINKED_FOLDER] += 1
    for error in unlisted:
        if Path(error.filename) == folder:
            raise error
        yield Path(error.filename), f"the folder cannot be listed: {error.strerror}"


def _expand(pattern: Path, accepts: Callable[[Path], bool]) -> list[tuple[Path, Path]]:
    """Return what fits a pattern, folders left out, with the paths below its fixed part."""
    fixed = next(number for number, part in enumerate(pattern.parts) if has_magic(part))
    folder = Path(*pattern.parts[:fixed])
    files = folder.glob(str(Path(*pattern.parts[fixed:])))
    return [
        (file, file.relative_to(folder))
        for file in sorted(files)
        if accepts(file) or _problem_of(file) != _FOLDER
    ]


def run_batch(
    found: FoundItems,
    work: Work,
    batch: BatchOptions,
    *,
    force: bool,
    console: Console,
    describe: Callable[[dict[str, Any]], str],
) -> None:
    """Work through a batch, print an outcome each and a summary.

    Args:
        found: what `find_items` returned.
        work: handles one item.
        batch: the options.
        force: overwrite outputs.
        console: where to print.
        describe: a record of `work` in a few words.

    Raises:
        Failure: some items failed, or there is none.
    """
    items, left_out = found
    names = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
    if not items:
        raise Failure("nothing to do: no input found" + (f"; left out: {names}" if names else ""))
    start = time.perf_counter()
    for folder in {Path(item.target).parent for item in items}:
        remove_leftovers(folder)
    counts: Counter[str] = Counter()
    for outcome in _outcomes(items, work, batch, force):
        counts[outcome.status] += 1
        number = f"[{counts.total()}/{len(items)}]"
        source, target = outcome.item.source, outcome.item.target
        for note in outcome.notes:
            console.note(f"{source}: {note}")
        if outcome.status == "failed":
            click.echo(f"{number} {source}: {outcome.error}", err=True)
        elif outcome.status == "skipped":
            console.detail(f"{number} {source}: {target} was made of it")
        else:
            console.note(f"{number} {source} -> {target}: {describe(outcome.record)}")
        if console.is_json:
            click.echo(json.dumps(outcome.as_json()))
    console.note(
        f"{counts['ok']} done, {counts['skipped']} skipped, {counts['failed']} failed "
        f"in {time.perf_counter() - start:.1f} s" + (f"; left out: {names}" if names else "")
    )
    if counts["failed"]:
        raise Failure(f"{counts['failed']} of {len(items)} files failed")


def _outcomes(
    items: Sequence[Item], work: Work, batch: BatchOptions, force: bool
) -> Iterator[Outcome]:
    pending = []
    for item in items:
        exists = _exists(Path(item.target))
        if item.problem is not None:
            yield Outcome(item, "failed", error=item.problem)
        elif exists and batch.skip_existing and is_made_of(Path(item.target), Path(item.source)):
            yield Outcome(item, "skipped")
        elif exists and batch.skip_existing and not force:
            error = f"{item.target} exists, but was not made of these bytes: -f overwrites it"
            yield Outcome(item, "failed", error=error)
        elif exists and not force:
            yield Outcome(item, "failed", error=f"{item.target} exists already: -f overwrites it")
        else:
            pending.append(item)
    work = functools.partial(_work_and_remember, work)
    jobs = min(batch.jobs, len(pending))
    if jobs <= 1:
        for item in pending:
            yield attempt(work, item)
    else:
        yield from attempt_in_processes(work, pending, jobs)


def attempt_in_processes(work: Work, items: Sequence[Item], jobs: int) -> Iterator[Outcome]:
    """Yield the outcome of every item, in the order in which they are done."""
    from imgcodec.pool import DIED, run_in_processes

    for item, outcome in run_in_processes(functools.partial(attempt, work), items, jobs):
        yield outcome or Outcome(item, "failed", error=DIED)


def _work_and_remember(work: Work, source: str, target: str) -> dict[str, Any]:
    record = work(source, target)
    remember_source(Path(source), Path(target))
    return record


class _Notes(logging.Handler):
    """Collects messages."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message of a record."""
        self.messages.append(record.getMessage())


def attempt(work: Work, item: Item) -> Outcome:
    """Do the work of an item; whatever it raises becomes a failed outcome."""
    logger = logging.getLogger("imgcodec")
    handlers, level, notes = logger.handlers[:], logger.level, _Notes()
    logger.handlers[:] = [notes]
    logger.setLevel(logging.INFO)
    try:
        Path(item.target).parent.mkdir(parents=True, exist_ok=True)
        record = work(item.source, item.target)
        return Outcome(item, "ok", record, notes=tuple(notes.messages))
    except Exception as error:
        text = str(error) or type(error).__name__
        if exit_code_of(error) is None:  # a bug, but not one for the other files to suffer from
            text = f"{type(error).__name__}: {text}"
        return Outcome(item, "failed", error=text, notes=tuple(notes.messages))
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)
