"""Downloads that can be broken off: resume, checksum, atomic rename; ZIP files unpacked safely."""

from __future__ import annotations

import fnmatch
import http.client
import shutil
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from imgcodec.codec.files import file_sha256
from imgcodec.datasets.manifest import DatasetError

CHUNK_BYTES = 1 << 18
# Called with (bytes so far, bytes in all or None).
Progress = Callable[[int, int | None], None]


class ChecksumError(DatasetError):
    """A file is complete but not the one that was asked for."""


class _BrokenOffError(Exception):
    """The connection ended before the file did; what came is kept."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    progress: Progress | None = None,
    attempts: int = 5,
    pause_s: float = 1.0,
    timeout_s: float = 30.0,
) -> Path:
    """Fetch a file; an earlier unfinished download of it is continued.

    Data go to `target` + `.part`; the file appears under its own name only when it is complete
    and its checksum is right.

    Args:
        url: HTTP(S) address.
        target: file to write; its folder is made.
        sha256: expected hash, None where unknown.
        progress: called while data arrive.
        attempts: connections tried in a row without a byte before giving up.
        pause_s: rest between attempts.
        timeout_s: longest silence on a connection.

    Raises:
        ChecksumError: the file is not the expected one, also when fetched from its start.
        DatasetError: no network, refused by the server, or the disk is full or read-only.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        is_resumed = part.exists()
        _fetch(url, part, progress, attempts, pause_s, timeout_s)
        if sha256 and is_resumed and file_sha256(part) != sha256:
            _discard(part)
            _fetch(url, part, progress, attempts, pause_s, timeout_s)
        if sha256 and (found := file_sha256(part)) != sha256:
            _discard(part)
            raise ChecksumError(
                f"wrong checksum of {url}: expected SHA-256 {sha256}, got {found}; "
                "the file was thrown away"
            )
        part.replace(target)
        _tag_file(part).unlink(missing_ok=True)
    except OSError as error:
        raise DatasetError(f"cannot write {target}: {error}") from error
    return target


def unpack(archive: Path, folder: Path, members: str) -> list[Path]:
    """Put the matching files of a ZIP archive flat into a folder and return their paths.

    Files appear under their names only when the whole archive could be read (its CRCs are
    checked). Folders inside the archive are ignored, so that no member can land elsewhere.

    Args:
        archive: ZIP file.
        folder: where to; made if need be.
        members: pattern for the base names, such as `*.png`.

    Raises:
        DatasetError: damaged archive, no match, or two members of the same name.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        try:
            names = _extract(archive, Path(scratch), members)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise DatasetError(f"archive {archive} is damaged: {error}") from error
        folder.mkdir(exist_ok=True)
        return [Path(scratch, name).replace(folder / name) for name in sorted(names)]


def _extract(archive: Path, scratch: Path, members: str) -> set[str]:
    names: set[str] = set()
    with zipfile.ZipFile(archive) as source:
        for entry in source.infolist():
            name = PurePosixPath(entry.filename).name
            is_hidden = name.startswith(".") or "__MACOSX" in entry.filename
            if entry.is_dir() or is_hidden or not fnmatch.fnmatch(name, members):
                continue
            if name in names:
                raise DatasetError(f"archive {archive} holds {name} twice")
            names.add(name)
            with source.open(entry) as data, (scratch / name).open("wb") as file:
                shutil.copyfileobj(data, file)
    if not names:
        raise DatasetError(f"archive {archive} holds no {members}")
    return names


def _fetch(
    url: str,
    part: Path,
    progress: Progress | None,
    attempts: int,
    pause_s: float,
    timeout_s: float,
) -> None:
    """Bring `part` to its full length, over as many connections as it takes."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _transfer(url, part, progress, timeout_s)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416 and before:  # longer than the file on the server
                _discard(part)
            elif error.code < 500:
                raise DatasetError(
                    f"{url}: the server answers {error.code} {error.reason}"
                ) from error
            reason: Exception = error
        except (
            urllib.error.URLError,
            http.client.HTTPException,
            ConnectionError,
            TimeoutError,
            _BrokenOffError,
        ) as error:
            reason = error
        after = part.stat().st_size if part.exists() else 0
        failures = 1 if after > before else failures + 1
        if failures >= attempts:
            text = getattr(reason, "reason", None) or reason
            kept = f"; {after} bytes are kept, the next attempt continues there" if after else ""
            raise DatasetError(f"cannot fetch {url}: {text}{kept}") from reason
        time.sleep(pause_s)


def _transfer(url: str, part: Path, progress: Progress | None, timeout_s: float) -> None:
    """Append what one connection yields."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "imgcodec"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        if _tag_file(part).is_file():
            # Continue only the very same file; a changed one comes whole.
            request.add_header("If-Range", _tag_file(part).read_text("utf-8"))
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        is_partial = response.status == 206
        start = start if is_partial else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        tag = response.headers.get("ETag", "")
        if tag and not tag.startswith("W/"):
            _tag_file(part).write_text(tag, "utf-8")
        done = start
        with part.open("ab" if is_partial else "wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                if progress:
                    progress(done, total)
    if total is not None and done < total:
        raise _BrokenOffError(f"connection broke off at {done} of {total} bytes")


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)
