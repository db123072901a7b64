"""Optional packages of the harness: say which is missing and how to get it."""

from __future__ import annotations

import importlib.util

from imgcodec.codec.errors import CodecError


class MissingPackageError(CodecError):
    """A package of the `eval` extra is not installed."""


def require(*modules: str) -> None:
    """Check that modules are installed, without importing them.

    Raises:
        MissingPackageError: names all that are missing and the command that installs them.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(
            f"this command needs {', '.join(missing)}: pip install 'imgcodec[eval]'"
        )
