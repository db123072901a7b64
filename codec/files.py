"""Files: read from wherever they are, hashed, and written to appear only when complete."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

Source = bytes | bytearray | memoryview | str | os.PathLike | BinaryIO

LEFTOVER_AGE_S = 24 * 60 * 60
STDOUT = 1
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_TEMPORARY_BYTES = len("..01234567.tmp")
_LONG_BYTES = 100
_BLOCK_BYTES = 1 << 20
_DESCRIPTORS = {"stdin": 0, "stdout": STDOUT, "stderr": 2}
_DESCRIPTOR_PATH = re.compile(r"/dev/(stdin|stdout|stderr)|/(?:dev|proc/self)/fd/(\d+)")


def read_bytes(source: Source) -> bytes:
    """Return the bytes of a path, a binary file or a bytes-like object."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes()
    return source.read()


def temporary_name(name: str) -> str:
    """Return a new name for the time in which a file is written: hidden, not to be guessed.

    It is not longer than a name that is long itself, so that a file system takes both or none.
    """
    coded = os.fsencode(name)
    if len(coded) > _LONG_BYTES:
        name = coded[: len(coded) - _TEMPORARY_BYTES].decode("utf-8", "ignore")
    return f".{name}.{secrets.token_hex(4)}.tmp"


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def descriptor_of(path: str | os.PathLike) -> int | None:
    """Return the open file that a path such as /dev/stdout or /dev/fd/63 stands for, or None."""
    match = _DESCRIPTOR_PATH.fullmatch(os.fspath(path))
    if match is None:
        return None
    return _DESCRIPTORS[match[1]] if match[1] else int(match[2])


def is_stream(path: str | os.PathLike) -> bool:
    """Return whether a path stands for an open file, a pipe or a device: nothing to replace."""
    if descriptor_of(path) is not None:
        return True
    with suppress(OSError):
        mode = Path(path).stat().st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """Write a file under a temporary name beside it, then rename: never half a file.

    A symbolic link stays and its target is replaced, with the permissions that it had; an open
    file (/dev/stdout), a pipe or a device is written to directly.

    Raises:
        OSError: The path cannot be written; an older file is left as it was.
    """
    descriptor = descriptor_of(path)
    if descriptor is not None:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(data)
        return
    if is_stream(path):
        path.write_bytes(data)
        return
    path = path.resolve()
    temporary = path.with_name(temporary_name(path.name))
    try:
        with temporary.open("xb") as file:
            with suppress(FileNotFoundError):
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
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
