"""Where commands read and write: ``-``, default names, no overwriting, atomic files."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from imgcodec.cli.errors import Failure
from imgcodec.codec.files import write_atomically

DASH = "-"

INPUT = click.Path(exists=True, dir_okay=False, allow_dash=True)
OUTPUT = click.Path(dir_okay=False, allow_dash=True)

model_option = click.option(
    "-m",
    "--model",
    metavar="WEIGHTS",
    help="Weights that are not installed: the .safetensors file IN was made with.",
)


def read_source(source: str) -> bytes | Path:
    """Return the path of the input, or the bytes of stdin for ``-``."""
    if source == DASH:
        return sys.stdin.buffer.read()
    return Path(source)


def choose_output(source: str, target: str | None, suffix: str, *, force: bool) -> str:
    """Return where to write: the given name, or the input's with another suffix, or ``-``.

    Raises:
        click.UsageError: The output is the input.
        Failure: The output exists and ``force`` is not given, its folder does not exist, or
            stdout is a terminal.
    """
    if target is None:
        target = DASH if source == DASH else str(Path(source).with_suffix(suffix))
    if target == DASH:
        if sys.stdout.isatty() and not force:
            raise Failure("stdout is a terminal: name an output file, or -f to write to it anyway")
    else:
        path = Path(target)
        if source != DASH and path.exists() and path.samefile(source):
            raise click.UsageError(f"the output is the input: {target}")
        check_writable(path, force=force)
    return target


def check_writable(path: Path, *, force: bool) -> None:
    """Fail before any work is done when a file must not or cannot be written.

    Raises:
        Failure: The file exists and ``force`` is not given, or its folder does not exist.
    """
    if path.is_file() and not force:
        raise Failure(f"{path} exists already: -f overwrites it")
    if not path.parent.is_dir():
        raise Failure(f"no such folder: {path.parent}")


def write_bytes(target: str, data: bytes) -> None:
    """Write to stdout for ``-``, else to a file that appears only when it is complete."""
    if target == DASH:
        stream = sys.stdout.buffer
        stream.write(data)
        stream.flush()
        return
    write_atomically(Path(target), data)
