"""Exit codes: the one place where exceptions become process results.

0 ok, 1 failed, 2 usage (click's own errors, wrong options and recipes, and pictures that need
others), 3 corrupt or unreadable input, 4 unknown model or version.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

from imgcodec.codec.errors import (
    CodecError,
    CorruptStreamError,
    ImageFormatError,
    MissingPackageError,
    OptionError,
    UnknownModelError,
    UnsupportedVersionError,
)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CORRUPT = 3
EXIT_UNKNOWN = 4

TORCH_PACKAGES = ("torch", "yaml", "onnx")
"""What the extra `torch` brings."""
VERBOSE_KEY = "imgcodec.verbose"

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (OptionError, EXIT_USAGE),
    (CorruptStreamError, EXIT_CORRUPT),
    (ImageFormatError, EXIT_CORRUPT),
    (UnknownModelError, EXIT_UNKNOWN),
    (UnsupportedVersionError, EXIT_UNKNOWN),
    (CodecError, EXIT_FAILED),
    (OSError, EXIT_FAILED),
)


class Failure(click.ClickException):
    """An error to print as one line on stderr, with the exit code of its kind."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it per class


def exit_code_of(error: Exception) -> int | None:
    """Return the exit code of an expected error, None for one that is a bug."""
    for kind, code in _EXIT_CODES:
        if isinstance(error, kind):
            return code
    return None


def _as_expected(error: Exception) -> Exception:
    """Return what it means that a package of the extra `torch` cannot be imported."""
    if isinstance(error, ModuleNotFoundError) and error.name in TORCH_PACKAGES:
        return MissingPackageError(
            f"this needs {error.name}, which is not installed: pip install 'imgcodec[torch]'"
        )
    return error


@contextmanager
def exit_codes(ctx: click.Context) -> Iterator[None]:
    """Turn expected errors into ``Failure``; with ``-v`` print the traceback first.

    A broken pipe is left to click, which ends quietly; unexpected exceptions stay as they are.
    """
    try:
        yield
    except (click.ClickException, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        error = _as_expected(error)
        code = exit_code_of(error)
        if code is None:
            raise
        if ctx.meta.get(VERBOSE_KEY):
            click.echo(traceback.format_exc().rstrip(), err=True)
        raise Failure(str(error) or type(error).__name__, code) from error
