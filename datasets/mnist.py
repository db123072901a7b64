"""MNIST with its labels: from an NPZ file, from the data root, or downloaded once."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imgcodec.datasets.download import download
from imgcodec.datasets.manifest import DatasetError, data_root

URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
FILE_NAME = "mnist.npz"
_KEYS = {
    "train_images": ("train_images", "x_train"),
    "train_labels": ("train_labels", "y_train"),
    "test_images": ("test_images", "x_test"),
    "test_labels": ("test_labels", "y_test"),
}
"""Names of the arrays, ours and those of the file of Keras."""

Digits = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def load_mnist(split: str, path: Path | None = None) -> Digits:
    """Return images (N, 28, 28) and labels (N,) of a split.

    Args:
        split: "train" or "test".
        path: an NPZ file or a folder with mnist.npz; by default mnist/mnist.npz below the data
            root (`IMGCODEC_DATA`, else the user's cache), downloaded if it is not there.

    Raises:
        DatasetError: not there, damaged, or cannot be fetched.
    """
    if path is None:
        path = data_root() / "mnist" / FILE_NAME
        if not path.is_file():
            download(URL, path, sha256=SHA256)
    elif path.is_dir():
        path = path / FILE_NAME
    images, labels = read_images(path, split), _read_array(path, f"{split}_labels")
    if labels.shape != images.shape[:1]:
        raise DatasetError(f"{path} has {len(images)} digits, but labels {labels.shape}")
    return images, labels


def read_images(path: Path, split: str) -> npt.NDArray[np.uint8]:
    """Return the images (N, H, W) of a split of an NPZ file.

    Raises:
        DatasetError: not there, damaged, or without digits.
    """
    images = _read_array(path, f"{split}_images")
    if images.dtype != np.uint8 or images.ndim != 3:
        raise DatasetError(f"{path} is damaged: {images.dtype} array of shape {images.shape}")
    return images


def _read_array(path: Path, name: str) -> npt.NDArray:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for key in _KEYS[name]:
                if key in arrays:
                    return arrays[key]
            found = ", ".join(arrays)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error
    raise DatasetError(f"{path} has no array {' or '.join(_KEYS[name])}, only {found or 'nothing'}")


def to_block(digit: npt.NDArray[np.uint8], multiple: int = 32) -> npt.NDArray[np.uint8]:
    """Return a grey digit (H, W) as RGB (H', W', 3), continued to multiples as the codec does."""
    height, width = (-side % multiple for side in digit.shape)
    padded = np.pad(digit, ((0, height), (0, width)), mode="edge")
    return np.repeat(padded[:, :, None], 3, axis=2)
