"""MNIST and labelled folders: both namings, the data root, download, training pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from imgcodec.codec.files import file_sha256
from imgcodec.datasets import mnist
from imgcodec.datasets.labels import load_labelled
from imgcodec.datasets.manifest import DatasetError
from imgcodec.datasets.mnist import load_mnist, read_images, to_block
from imgcodec.datasets.shards import iter_pictures

DIGITS = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def _arrays(images: str = "{}_images", labels: str = "{}_labels") -> dict[str, np.ndarray]:
    return {
        images.format("train"): DIGITS,
        labels.format("train"): LABELS,
        images.format("test"): DIGITS[:2],
        labels.format("test"): LABELS[:2],
    }


@pytest.fixture
def npz(tmp_path):
    np.savez(tmp_path / "mnist.npz", **_arrays())
    return tmp_path / "mnist.npz"


def test_both_namings_are_read(npz, tmp_path):
    np.savez(tmp_path / "keras.npz", **_arrays("x_{}", "y_{}"))
    for path in (npz, tmp_path, tmp_path / "keras.npz"):
        images, labels = load_mnist("train", path)
        np.testing.assert_array_equal(images, DIGITS)
        np.testing.assert_array_equal(labels, LABELS)
        assert len(load_mnist("test", path)[0]) == 2


def test_data_root_comes_before_the_network(npz, tmp_path, monkeypatch):
    monkeypatch.setattr(mnist, "URL", "http://127.0.0.1:1/nothing")
    monkeypatch.setenv("IMGCODEC_DATA", str(tmp_path / "root"))
    (tmp_path / "root" / "mnist").mkdir(parents=True)
    npz.rename(tmp_path / "root" / "mnist" / "mnist.npz")
    assert len(load_mnist("test")[0]) == 2


def test_missing_digits_are_downloaded_once_and_checked(server, tmp_path, monkeypatch):
    buffer = io.BytesIO()
    np.savez(buffer, **_arrays("x_{}", "y_{}"))
    server.files["mnist.npz"] = buffer.getvalue()
    monkeypatch.setattr(mnist, "URL", f"{server.url}/mnist.npz")
    monkeypatch.setenv("IMGCODEC_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match="checksum"):  # not the file of Keras
        load_mnist("train")
    assert not (tmp_path / "mnist" / "mnist.npz").exists()
    target = tmp_path / "sum"
    target.write_bytes(buffer.getvalue())
    monkeypatch.setattr(mnist, "SHA256", file_sha256(target))
    for _ in range(2):
        np.testing.assert_array_equal(load_mnist("train")[1], LABELS)
    assert [path for path, _ in server.requests].count("mnist.npz") == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"other": DIGITS}, "no array train_images or x_train, only other"),
        ({"train_images": DIGITS.astype(float), "train_labels": LABELS}, "float64"),
        ({"train_images": DIGITS, "train_labels": LABELS[:3]}, "5 digits"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, arrays, message):
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(DatasetError, match=message):
        load_mnist("train", tmp_path)


def test_damaged_file_is_a_clear_error(npz):
    npz.write_bytes(npz.read_bytes()[:-200])
    with pytest.raises(DatasetError, match="damaged"):
        read_images(npz, "train")


def test_block_continues_the_last_pixels():
    block = to_block(DIGITS[0])
    assert block.shape == (32, 32, 3)
    np.testing.assert_array_equal(block[:28, :28, 1], DIGITS[0])
    assert (block[5, 28:, 0] == DIGITS[0][5, 27]).all()
    assert (block[28:, 9, 2] == DIGITS[0][27, 9]).all()
    assert (block[28:, 28:] == DIGITS[0][27, 27]).all()


def test_training_takes_the_digits_of_a_file_or_its_folder(npz, tmp_path):
    np.savez(tmp_path / "statistics.npz", anything=np.zeros(3))
    for path in (npz, tmp_path):
        pictures = list(iter_pictures([path]))
        assert len(pictures) == 5
        np.testing.assert_array_equal(pictures[3], to_block(DIGITS[3]))
    with pytest.raises(DatasetError, match="only anything"):
        list(iter_pictures([tmp_path / "statistics.npz"]))


def test_labels_of_digits_are_words(npz):
    pictures, labels = load_labelled(npz, "train", 3)
    assert labels == ["3", "1", "4"]
    np.testing.assert_array_equal(pictures[2][..., 0], DIGITS[2])
    assert pictures[2].shape == (28, 28, 3)
    assert load_labelled(npz.parent, "test", 10)[1] == ["3", "1"]


def test_subfolders_are_labels(tmp_path):
    for label, count in (("cat", 1), ("dog", 3)):
        (tmp_path / label).mkdir()
        for index in range(count):
            Image.new("RGB", (4, 3), (index, 0, 0)).save(tmp_path / label / f"{index}.png")
    pictures, labels = load_labelled(tmp_path, "train", 4)
    assert labels == ["cat", "dog", "dog"]
    assert [int(picture[0, 0, 0]) for picture in pictures] == [0, 0, 1]
    with pytest.raises(DatasetError, match="subfolder"):
        load_labelled(tmp_path / "cat", "train", 4)
