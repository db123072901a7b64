"""Pictures with labels: MNIST, or a folder with one subfolder for each label."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgcodec.datasets.manifest import DatasetError
from imgcodec.datasets.mnist import FILE_NAME, load_mnist
from imgcodec.datasets.shards import iter_pictures

Labelled = tuple[list[npt.NDArray[np.uint8]], list[str]]


def load_labelled(path: Path | None, split: str, max_pictures: int) -> Labelled:
    """Return RGB pictures (H, W, 3) and the label of each.

    Args:
        path: an NPZ file of digits or a folder that holds mnist.npz; a folder whose subfolders are
            the labels; or None for MNIST from its usual place (see `load_mnist`).
        split: "train" or "test"; without effect on folders of pictures.
        max_pictures: at most so many in all, of folders equally many of each label.

    Raises:
        DatasetError: nothing there, or damaged.
    """
    if path is None or path.is_file() or (path / FILE_NAME).is_file():
        images, labels = load_mnist(split, path)
        digits = images[:max_pictures, :, :, None]
        return list(np.repeat(digits, 3, axis=3)), [str(label) for label in labels[:max_pictures]]
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir())
    if not folders:
        raise DatasetError(f"{path} has neither {FILE_NAME} nor a subfolder for each label")
    pictures: list[npt.NDArray[np.uint8]] = []
    names: list[str] = []
    for folder in folders:
        found = list(islice(iter_pictures([folder]), max(1, max_pictures // len(folders))))
        pictures += found
        names += [folder.name] * len(found)
    return pictures, names
