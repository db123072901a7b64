"""Bring a dataset to disk, and check what is there against its manifest."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.files import file_sha256
from imgcodec.codec.picture.read import read_picture
from imgcodec.datasets.download import ChecksumError, download, unpack
from imgcodec.datasets.images import local_files
from imgcodec.datasets.manifest import (
    DatasetError,
    Manifest,
    ManifestFile,
    load_manifest,
    manifest_names,
)
from imgcodec.datasets.mnist import FILE_NAME

Status = Literal["ok", "missing", "changed", "unknown"]


@dataclasses.dataclass(frozen=True)
class FileStatus:
    """What was found of one file: `ok`, `missing`, `changed`, or `unknown` (no checksum)."""

    name: str
    status: Status
    detail: str = ""


def fetch(
    manifest: Manifest,
    root: Path,
    *,
    mirror: str = "",
    progress: Callable[[float, str], None] = lambda share, text: None,
    attempts: int = 5,
    pause_s: float = 1.0,
) -> int:
    """Download what is missing of a dataset and return the number of files that were added.

    Args:
        manifest: the dataset.
        root: data root; the files go into the folder of the dataset below it.
        mirror: address to use in place of the official ones: `<mirror>/<folder>/<file name>`.
        progress: called with the share that is there and the file that is on its way.
        attempts, pause_s: as in `download`.

    Raises:
        DatasetError: not to be had, damaged, or not what the manifest says.
    """
    folder = root / manifest.folder
    before = {path.name for path in present_files(manifest, root)}
    if is_complete(manifest, root):
        progress(1.0, "")
        return 0

    count = len(manifest.archives) + len(manifest.files)

    def get(number: int, url: str, target: Path, sha256: str | None) -> None:
        def report(done: int, total: int | None) -> None:
            share = (number + (done / total if total else 0)) / count
            progress(share, f"{target.name} {done / 1e6:.1f} MB")

        address = _address(url, manifest, mirror)
        download(
            address, target, sha256=sha256, progress=report, attempts=attempts, pause_s=pause_s
        )

    for number, archive in enumerate(manifest.archives):
        name = PurePosixPath(urlsplit(archive.url).path).name
        target = root / name
        if not (target.is_file() and archive.sha256 in (None, file_sha256(target))):
            get(number, archive.url, target, archive.sha256)
        unpack(target, folder, archive.members)
        target.unlink()
    for number, file in enumerate(manifest.files, start=len(manifest.archives)):
        path = folder / file.name
        if not path.is_file() and file.url:
            get(number, file.url, path, file.sha256)
            _require_pixels(file, path)
    found = present_files(manifest, root)
    if not is_complete(manifest, root):
        raise DatasetError(
            f"dataset {manifest.name!r} is not complete after fetching: "
            f"{len(found)} files in {folder}, expected {_num_files(manifest)}"
        )
    return len({path.name for path in found} - before)


def verify(manifest: Manifest, root: Path) -> list[FileStatus]:
    """Compare the files of a dataset with its manifest, byte by byte or pixel by pixel.

    Datasets whose files have no known checksum are only counted.
    """
    folder = root / manifest.folder
    if _is_archive(present_files(manifest, root)):
        return [FileStatus(FILE_NAME, "unknown", "no checksum known")]
    if manifest.files:
        return [_check(file, folder / file.name) for file in manifest.files]
    found = local_files(manifest, root)
    entries = [FileStatus(path.name, "unknown", "no checksum known") for path in found]
    lacking = manifest.num_images - len(found)
    if lacking > 0:
        text = f"{len(found)} of {manifest.num_images} images in {folder}"
        entries.append(FileStatus(f"({lacking} more)", "missing", text))
    return entries


def pixels_sha256(path: Path) -> str:
    """Return the SHA-256 of the RGB bytes of an image, row by row."""
    return hashlib.sha256(read_picture(path).pixels.tobytes()).hexdigest()


def _check(file: ManifestFile, path: Path) -> FileStatus:
    if not path.is_file():
        return FileStatus(file.name, "missing", str(path))
    if file.sha256 and file_sha256(path) == file.sha256:
        return FileStatus(file.name, "ok", "same bytes")
    if file.pixels_sha256:
        try:
            if pixels_sha256(path) == file.pixels_sha256:
                return FileStatus(file.name, "ok", "same pixels")
        except ImageFormatError as error:
            return FileStatus(file.name, "changed", str(error))
        return FileStatus(file.name, "changed", "other pixels")
    if file.sha256:
        return FileStatus(file.name, "changed", "other bytes")
    return FileStatus(file.name, "unknown", "no checksum known")


def _require_pixels(file: ManifestFile, path: Path) -> None:
    """Throw away a fetched file whose pixels are not those of the manifest."""
    if file.sha256 or not file.pixels_sha256:
        return
    try:
        found = pixels_sha256(path)
    except ImageFormatError:
        found = "no readable image"
    if found != file.pixels_sha256:
        path.unlink()
        raise ChecksumError(
            f"{file.name}: expected pixels of SHA-256 {file.pixels_sha256}, got {found}; "
            "the file was thrown away"
        )


def present_files(manifest: Manifest, root: Path) -> list[Path]:
    """Return the files of a dataset that lie below a data root; of MNIST the NPZ file may do."""
    if manifest.kind != "mnist":
        return local_files(manifest, root)
    archive = root / manifest.folder / FILE_NAME
    if archive.is_file():
        return [archive]
    names = [root / manifest.folder / file.name for file in manifest.files]
    return [path for path in names if path.is_file()]


def is_complete(manifest: Manifest, root: Path) -> bool:
    """Return whether nothing of a dataset is missing."""
    found = present_files(manifest, root)
    return _is_archive(found) or len(found) >= _num_files(manifest)


def datasets_here(root: Path) -> list[Manifest]:
    """Return the datasets of which something lies below a data root.

    Left out is what a complete dataset in the same folder explains, such as a part of the whole.
    """
    manifests = [load_manifest(name) for name in manifest_names()]
    complete = [manifest for manifest in manifests if is_complete(manifest, root)]
    explained = {manifest.folder for manifest in complete}
    return [
        manifest
        for manifest in manifests
        if manifest in complete
        or (manifest.folder not in explained and present_files(manifest, root))
    ]


def _is_archive(found: list[Path]) -> bool:
    return [path.name for path in found] == [FILE_NAME]


def _num_files(manifest: Manifest) -> int:
    return len(manifest.files) or manifest.num_images


def _address(url: str, manifest: Manifest, mirror: str) -> str:
    if not mirror:
        return url
    name = PurePosixPath(urlsplit(url).path).name
    return f"{mirror.rstrip('/')}/{manifest.folder}/{name}"
