"""Datasets as sequences of RGB images: by name, folder, glob pattern or single file."""

from __future__ import annotations

import dataclasses
import functools
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.picture.read import read_picture
from imgcodec.datasets.manifest import (
    DatasetError,
    Manifest,
    data_root,
    load_manifest,
    manifest_names,
)
from imgcodec.datasets.mnist import read_images

RgbArray = npt.NDArray[np.uint8]
IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm"))
_MAGIC = frozenset("*?[")
_IDX_IMAGES = 0x00000803


class ImageDataset(Protocol):
    """Named RGB images, loaded when asked for.

    Attributes:
        name: value of the `dataset` column.
        image_names: one unique name per image.
    """

    @property
    def name(self) -> str: ...

    @property
    def image_names(self) -> tuple[str, ...]: ...

    def load(self, index: int) -> RgbArray:
        """Return image `index` as a uint8 HxWx3 array."""
        ...

    def path(self, index: int) -> Path | None:
        """Return the file of image `index`, None where it has none of its own."""
        ...


def readable_images(
    dataset: ImageDataset, report: Callable[[str], None]
) -> Iterator[tuple[int, str, RgbArray]]:
    """Yield index, name and pixels of the images; those that cannot be read are reported."""
    for index, name in enumerate(dataset.image_names):
        try:
            rgb = dataset.load(index)
        except (ImageFormatError, OSError) as error:
            report(f"left out: {error}")
            continue
        yield index, name, rgb


@dataclasses.dataclass(frozen=True)
class FileDataset:
    """Images that are one file each."""

    name: str
    image_names: tuple[str, ...]
    paths: tuple[Path, ...]

    def load(self, index: int) -> RgbArray:
        """Return image `index` as a uint8 HxWx3 array (alpha and metadata are left out).

        Raises:
            ImageFormatError: the file is no picture; the message names it.
        """
        path = self.paths[index]
        try:
            return read_picture(path).pixels
        except ImageFormatError as error:
            raise ImageFormatError(f"{path}: {error}") from error

    def path(self, index: int) -> Path | None:
        """Return the file of image `index`."""
        return self.paths[index]


@dataclasses.dataclass(frozen=True)
class MnistDataset:
    """The digits of MNIST as grey 28x28 RGB images; `source` is an IDX or NPZ file."""

    name: str
    image_names: tuple[str, ...]
    source: Path
    split: str

    def load(self, index: int) -> RgbArray:
        """Return digit `index` as a uint8 28x28x3 array."""
        digits = _mnist_images(self.source, self.split)
        return np.repeat(digits[index][:, :, None], 3, axis=2)

    def path(self, index: int) -> Path | None:
        """Return None: digits are not files."""
        return None


def open_dataset(spec: str, root: Path | None = None) -> ImageDataset:
    """Return the dataset that a name, folder, glob pattern or image file stands for.

    A dataset name wins over a folder of the same name; write `./kodak` for the folder.

    Args:
        spec: `kodak`, `photos/`, `photos/*.png` or `photo.png`. Folders are not searched
            recursively; `**` in a pattern is.
        root: data root for names (see `data_root`).

    Raises:
        DatasetError: nothing there, not complete, or no such name; says how to get it.
    """
    if spec in manifest_names():
        return _open_named(load_manifest(spec), data_root(root))
    path = Path(spec)
    if path.is_dir():
        found = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
        return _of_files(path.resolve().name, found, f"no images in the folder {spec}")
    if path.is_file():
        return _of_files(path.name, [path], "")
    if _MAGIC & set(spec):
        found = [file for file in _glob(path) if file.is_file()]
        return _of_files(spec, found, f"no files match {spec}")
    if "/" in spec or path.suffix:
        raise DatasetError(f"no such file or folder: {spec}")
    load_manifest(spec)  # raises with the nearest name
    raise AssertionError("unreachable")


def local_files(manifest: Manifest, root: Path) -> list[Path]:
    """Return the image files of a dataset that lie below a data root, sorted by name."""
    folder = root / manifest.folder
    if not folder.is_dir():
        return []
    if manifest.files:
        candidates = [folder / file.name for file in manifest.files]
        return sorted(path for path in candidates if path.is_file())
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")


def _open_named(manifest: Manifest, root: Path) -> ImageDataset:
    if manifest.kind == "mnist":
        return _open_mnist(manifest, root)
    found = local_files(manifest, root)
    if len(found) < manifest.num_images:
        raise DatasetError(_missing_message(manifest, root, len(found)))
    return _of_files(manifest.name, found, "")


def _open_mnist(manifest: Manifest, root: Path) -> MnistDataset:
    folder = root / manifest.folder
    names = tuple(f"{index:05d}" for index in range(manifest.num_images))
    split = "train" if manifest.name == "mnist-train" else "test"
    if (folder / "mnist.npz").is_file():
        return MnistDataset(manifest.name, names, folder / "mnist.npz", split)
    images = next(file.name for file in manifest.files if "images" in file.name)
    if (folder / images).is_file():
        return MnistDataset(manifest.name, names, folder / images, split)
    raise DatasetError(_missing_message(manifest, root, 0))


def _missing_message(manifest: Manifest, root: Path, found: int) -> str:
    place = root / manifest.folder
    what = "is not there" if found == 0 else f"has {found} of {manifest.num_images} images"
    message = (
        f"dataset {manifest.name!r} {what} ({place}): get it with "
        f"'imgcodec datasets fetch {manifest.name}', or name the folder that holds "
        f"{manifest.folder}/ with --data-root or IMGCODEC_DATA"
    )
    for other in manifest_names():
        part = load_manifest(other)
        if (
            other != manifest.name
            and part.kind == "images"
            and part.folder == manifest.folder
            and len(local_files(part, root)) == part.num_images
        ):
            message += f"; the part that is there can be used under the name {other!r}"
    return message


def _glob(pattern: Path) -> list[Path]:
    """Return what matches a relative or absolute pattern."""
    fixed = next(index for index, part in enumerate(pattern.parts) if _MAGIC & set(part))
    folder = Path(*pattern.parts[:fixed])
    return list(folder.glob(str(Path(*pattern.parts[fixed:]))))


def _of_files(name: str, paths: list[Path], if_empty: str) -> FileDataset:
    if not paths:
        raise DatasetError(f"{if_empty} ({', '.join(sorted(IMAGE_SUFFIXES))})")
    paths = sorted(paths)
    short = [path.name for path in paths]
    names = short if len(set(short)) == len(short) else [path.as_posix() for path in paths]
    return FileDataset(name, tuple(names), tuple(paths))


@functools.lru_cache(maxsize=2)
def _mnist_images(source: Path, split: str) -> npt.NDArray[np.uint8]:
    """Return the digits (N, 28, 28) of an NPZ file, or of a gzipped IDX file of one split."""
    if source.suffix == ".npz":
        return read_images(source, split)
    try:
        data = gzip.decompress(source.read_bytes())
        magic, count, height, width = np.frombuffer(data, ">i4", 4)
        if magic != _IDX_IMAGES:
            raise ValueError("not an IDX file of images")
        return np.frombuffer(data, np.uint8, offset=16).reshape(count, height, width)
    except (OSError, EOFError, ValueError) as error:
        raise DatasetError(f"{source} is damaged: {error}") from error
