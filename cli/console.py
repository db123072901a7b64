"""What commands print: messages to stderr, data to stdout, ``-v``, ``--quiet`` and ``--json``."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import click

from imgcodec.cli.errors import VERBOSE_KEY
from imgcodec.processors import THREADS_VARIABLE

PROGRESS_STEPS = 1000
PROGRESS_INTERVAL_S = 15.0


class Progress(Protocol):
    """Shows how far work is: a share of 0 to 1, and what is being done."""

    def __call__(self, share: float, text: str = "") -> None: ...


@dataclass(frozen=True)
class Console:
    """The output manners that the user chose."""

    is_verbose: bool = False
    is_quiet: bool = False
    is_json: bool = False

    def note(self, message: str) -> None:
        """Print a message to stderr unless ``--quiet``."""
        if not self.is_quiet:
            click.echo(message, err=True)

    def detail(self, message: str) -> None:
        """Print a message to stderr only with ``-v``."""
        if self.is_verbose:
            click.echo(message, err=True)

    @contextlib.contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        """Yield what keeps a bar with the time left on a terminal; elsewhere a line every 15 s.

        Work that is done when it first says so gets no bar.
        """
        stream = sys.stderr
        if self.is_quiet or not stream.isatty():
            yield self._progress_lines(label)
            return
        with contextlib.ExitStack() as stack:
            bar: Any = None

            def show(share: float, text: str = "") -> None:
                nonlocal bar
                if bar is None and share < 1:
                    bar = stack.enter_context(
                        click.progressbar(
                            length=PROGRESS_STEPS,
                            label=label,
                            file=stream,
                            item_show_func=lambda text: text,
                        )
                    )
                if bar is not None:
                    bar.update(round(share * PROGRESS_STEPS) - bar.pos, text)

            yield show

    def _progress_lines(self, label: str) -> Progress:
        last = time.monotonic()

        def show(share: float, text: str = "") -> None:
            nonlocal last
            if time.monotonic() - last >= PROGRESS_INTERVAL_S:
                last = time.monotonic()
                self.note(f"{label}: {share:.0%} {text}".rstrip())

        return show

    def record(self, values: Any) -> None:
        """Print a JSON value to stdout."""
        click.echo(json.dumps(values, indent=2))


def console_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-v``, ``--quiet`` and ``--json`` to a command, passed to it as ``console``."""

    @click.option("--json", "is_json", is_flag=True, help="Print the result as JSON to stdout.")
    @click.option("--quiet", "is_quiet", is_flag=True, help="Print errors only.")
    @click.option("-v", "--verbose", "is_verbose", is_flag=True, help="Print more; trace errors.")
    @functools.wraps(function)
    def wrapper(*args: Any, is_verbose: bool, is_quiet: bool, is_json: bool, **kwargs: Any) -> Any:
        if is_verbose and is_quiet:
            raise click.UsageError("--verbose and --quiet exclude each other.")
        click.get_current_context().meta[VERBOSE_KEY] = is_verbose
        _log_to_stderr(logging.DEBUG if is_verbose else _level(is_quiet))
        return function(*args, console=Console(is_verbose, is_quiet, is_json), **kwargs)

    return wrapper


def _set_threads(ctx: click.Context, param: click.Parameter, value: int | None) -> None:
    if value is None:
        return
    before = os.environ.get(THREADS_VARIABLE)

    def restore() -> None:
        os.environ.pop(THREADS_VARIABLE, None)
        if before is not None:
            os.environ[THREADS_VARIABLE] = before

    ctx.call_on_close(restore)
    os.environ[THREADS_VARIABLE] = str(value)  # nothing that starts threads is imported yet


threads_option = click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(min=1),
    callback=_set_threads,
    expose_value=False,
    help=f"Threads of each process: as {THREADS_VARIABLE}.  [default: processors, at most 8]",
)


def _level(is_quiet: bool) -> int:
    return logging.ERROR if is_quiet else logging.INFO


def _log_to_stderr(level: int) -> None:
    """Let the library's log messages appear on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("imgcodec")
    logger.handlers[:] = [handler]
    logger.setLevel(level)


def counted(number: int, noun: str) -> str:
    """Return a number of things, such as "1 tile" and "2 tiles"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows of text: the first column to the left, the others to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
