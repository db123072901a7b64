"""Training pictures from shards, folders, files or MNIST, decoded once into memory."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from imgcodec.codec.errors import ImageFormatError
from imgcodec.datasets.mnist import FILE_NAME, read_images, to_block

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm"}


def iter_pictures(paths: list[Path]) -> Iterator[np.ndarray]:
    """Yield the pictures of `iter_kinds` alone."""
    for _, picture in iter_kinds(paths):
        yield picture


def iter_kinds(paths: list[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield kinds and RGB uint8 arrays (H, W, 3) from folders, shards and picture files.

    The kind of a picture is the name of its shard without the number, or that of its folder.

    A folder is searched recursively for pictures, ``.tar`` shards and ``mnist.npz``; everything
    comes in sorted order. An ``.npz`` file yields its training digits, continued to multiples of 32
    pixels.

    Raises:
        FileNotFoundError: a path does not exist, or nothing was found below any of them.
        DatasetError: an ``.npz`` file without training digits.
        ImageFormatError: a picture or an archive is damaged; the message names it.
    """
    count = 0
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"training data not found: {path}")
        for file in _files_below(path) if path.is_dir() else [path]:
            for picture in _pictures_of_file(file):
                count += 1
                yield _kind(file), picture
    if not count:
        raise FileNotFoundError(
            f"no pictures, .tar shards or mnist.npz in {', '.join(map(str, paths))}"
        )


def _kind(file: Path) -> str:
    if file.suffix.lower() in SUFFIXES:
        return file.parent.name
    return file.stem.rstrip("0123456789").rstrip("-_") or file.stem


def _files_below(folder: Path) -> list[Path]:
    """Return all files, but for arrays that are no digits."""
    files = sorted(folder.rglob("*"))
    return [file for file in files if file.suffix.lower() != ".npz" or file.name == FILE_NAME]


def _pictures_of_file(file: Path) -> Iterator[np.ndarray]:
    if file.suffix.lower() in SUFFIXES:
        yield _decode(file.read_bytes(), str(file))
    elif file.suffix.lower() == ".tar":
        try:
            yield from _pictures_of_shard(file)
        except tarfile.TarError as error:
            raise ImageFormatError(f"{file} is no tar archive, or it is damaged") from error
    elif file.suffix.lower() == ".npz":
        yield from map(to_block, read_images(file, "train"))


def _pictures_of_shard(file: Path) -> Iterator[np.ndarray]:
    with tarfile.open(file) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None and Path(member.name).suffix.lower() in SUFFIXES:
                yield _decode(content.read(), f"{file}: {member.name}")


def _decode(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's readers raise whatever they like on damaged files
        raise ImageFormatError(f"{name}: not a picture that Pillow reads, or damaged") from error
