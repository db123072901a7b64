"""Files that appear only when they are complete."""

from __future__ import annotations

import re
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

LEFTOVER_AGE_S = 24 * 60 * 60
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def temporary_name(name: str) -> str:
    """Return a new name for the time in which a file is written: hidden, not to be guessed."""
    return f".{name}.{secrets.token_hex(4)}.tmp"


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write a file under a temporary name beside it, then rename: never half a file.

    A symbolic link stays and its target is replaced; a pipe or a device is written to directly.

    Raises:
        OSError: The path cannot be written; an older file is left as it was.
    """
    path = path.resolve()
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        path.write_bytes(data)
        return
    temporary = path.with_name(temporary_name(path.name))
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files in a folder that killed processes left a day ago or earlier."""
    for path in folder.glob(".*.tmp"):
        if not _TEMPORARY.fullmatch(path.name):
            continue
        with suppress(OSError):  # someone else's, or gone already
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_mtime < time.time() - LEFTOVER_AGE_S:
                path.unlink()
