"""Files that appear only when they are complete."""

from __future__ import annotations

import secrets
import stat
from pathlib import Path


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
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
