"""Training pictures from tar shards, folders or single files, decoded once into memory."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm"}


def iter_pictures(paths: list[Path]) -> Iterator[np.ndarray]:
    """Yield RGB uint8 arrays (H, W, 3) from folders, ``.tar`` shards and picture files.

    A folder is searched recursively for pictures and shards; everything comes in sorted order.

    Raises:
        FileNotFoundError: a path does not exist, or nothing was found below any of them.
    """
    count = 0
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"training data not found: {path}")
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            for picture in _pictures_of_file(file):
                count += 1
                yield picture
    if not count:
        raise FileNotFoundError(f"no pictures or .tar shards in {', '.join(map(str, paths))}")


def _pictures_of_file(file: Path) -> Iterator[np.ndarray]:
    if file.suffix.lower() in SUFFIXES:
        yield _decode(file.read_bytes())
    elif file.suffix.lower() == ".tar":
        with tarfile.open(file) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None and Path(member.name).suffix.lower() in SUFFIXES:
                    yield _decode(content.read())


def _decode(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
