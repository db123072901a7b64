"""Where commands read and write: ``-``, default names, no overwriting, atomic files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from glob import has_magic
from pathlib import Path

import click

from imgcodec.cli.errors import Failure
from imgcodec.cli.values import MODEL
from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.files import STDOUT, descriptor_of, is_stream, write_atomically

DASH = "-"

INPUT = click.Path(exists=True, dir_okay=False, allow_dash=True)

model_option = click.option(
    "-m",
    "--model",
    type=MODEL,
    metavar="WEIGHTS",
    help="Weights that are not installed: the .safetensors file IN was made with.",
)


def read_source(source: str) -> bytes | Path:
    """Return the path of the input, or the bytes of stdin for ``-``."""
    if source == DASH:
        return sys.stdin.buffer.read()
    return Path(source)


def input_and_output(
    arguments: Sequence[str], is_output: Callable[[Path], bool]
) -> tuple[str, str | None]:
    """Return IN and OUT, or None for it, of a command without ``-o``.

    Args:
        arguments: one or two.
        is_output: whether an existing file is meant to be overwritten.

    Raises:
        click.UsageError: too many arguments, no input file, or an OUT that looks like an input.
    """
    if len(arguments) > 2:
        raise click.UsageError("several inputs need -o DIR.")
    source, target = arguments[0], arguments[1] if len(arguments) == 2 else None
    if source != DASH and not Path(source).exists() and has_magic(source):
        raise click.UsageError("a pattern of inputs needs -o DIR.")
    if Path(source).is_dir():
        raise click.UsageError(f"{source} is a folder: -r -o DIR takes the files in it.")
    INPUT.convert(source, None, click.get_current_context())
    if target is not None and target != DASH:
        path = Path(target)
        if path.is_dir():
            raise click.UsageError(f"{target} is a folder: -o {target} writes to it.")
        if path.is_file() and not is_stream(path) and not is_output(path):
            raise click.UsageError(
                f"{target} exists and does not look like an output: several inputs need -o DIR."
            )
    return source, target


def choose_output(source: str, target: str | None, suffix: str, *, force: bool) -> str:
    """Return where to write: the given name, or the input's with another suffix, or ``-``.

    Raises:
        click.UsageError: The output is the input.
        Failure: The output exists and ``force`` is not given, its folder does not exist, or
            stdout is a terminal.
    """
    if target is None:
        target = DASH if source == DASH else str(Path(source).with_suffix(suffix))
    if descriptor_of(target) == STDOUT:
        target = DASH
    if target == DASH:
        if sys.stdout.isatty() and not force:
            raise Failure("stdout is a terminal: name an output file, or -f to write to it anyway")
    else:
        path = Path(target)
        is_file = source != DASH and path.exists() and not is_stream(path)
        if is_file and path.samefile(source):
            raise click.UsageError(f"the output is the input: {target}")
        check_writable(path, force=force)
    return target


def check_writable(path: Path, *, force: bool) -> None:
    """Fail before any work is done when a file must not or cannot be written.

    Raises:
        Failure: The file exists and ``force`` is not given, or its folder does not exist.
    """
    if is_stream(path):
        return
    if path.is_file() and not force:
        raise Failure(f"{path} exists already: -f overwrites it")
    if not path.parent.is_dir():
        raise Failure(f"no such folder: {path.parent}")


def picture_format(target: str | Path) -> str:
    """Return Pillow's name of the format for an output: by its suffix, PNG where streams have none.

    Raises:
        click.UsageError: No pictures are written with such a suffix.
    """
    from imgcodec.codec.picture.write import format_of

    name = Path(target).name
    if str(target) == DASH or (not Path(name).suffix and is_stream(target)):
        return "PNG"
    try:
        return format_of(name)
    except ImageFormatError as error:
        raise click.UsageError(f"{error}.") from error


def write_bytes(target: str, data: bytes) -> None:
    """Write to stdout for ``-``, else to a file that appears only when it is complete."""
    if target == DASH:
        stream = sys.stdout.buffer
        stream.write(data)
        stream.flush()
        return
    write_atomically(Path(target), data)
