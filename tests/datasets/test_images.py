"""Datasets by name, folder, pattern and file; partial sets under their own names only."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgcodec.datasets.images import open_dataset
from imgcodec.datasets.manifest import DatasetError, data_root, load_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`b.png` (RGBA), `a.jpg` (grey), a text file, and `sub/c.png`."""
    Image.new("RGBA", (5, 4), (1, 2, 3, 0)).save(tmp_path / "b.png")
    Image.new("L", (3, 2), 77).save(tmp_path / "a.jpg")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "sub").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "sub" / "c.png")
    return tmp_path


def test_folder_is_its_images_by_name(folder: Path) -> None:
    dataset = open_dataset(str(folder))
    assert dataset.name == folder.name
    assert dataset.image_names == ("a.jpg", "b.png")
    assert dataset.load(0).shape == (2, 3, 3)
    assert dataset.load(1).tolist() == [[[1, 2, 3]] * 5] * 4
    assert dataset.path(1) == folder / "b.png"


def test_pattern_may_be_recursive(folder: Path, monkeypatch) -> None:
    assert open_dataset(f"{folder}/*.png").image_names == ("b.png",)
    assert open_dataset(f"{folder}/**/*.png").image_names == ("b.png", "c.png")
    monkeypatch.chdir(folder)
    assert open_dataset("**/[c-d].png").image_names == ("c.png",)


def test_equal_names_are_told_apart_by_their_folder(folder: Path, monkeypatch) -> None:
    Image.new("RGB", (2, 2)).save(folder / "sub" / "b.png")
    monkeypatch.chdir(folder)
    assert open_dataset("**/b.png").image_names == ("b.png", "sub/b.png")


def test_single_file(folder: Path) -> None:
    dataset = open_dataset(str(folder / "b.png"))
    assert dataset.image_names == ("b.png",)


def test_datasets_travel_to_workers(folder: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_dataset(str(folder))))
    assert dataset.load(0).shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("kodac", "did you mean 'kodak'"),
        ("nope/here", "no such file or folder: nope/here"),
        ("nope.png", "no such file or folder"),
        ("nope*.png", r"no files match nope\*\.png"),
    ],
)
def test_what_is_not_there_is_told(spec: str, message: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match=message):
        open_dataset(spec)


def test_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no images in the folder"):
        open_dataset(str(tmp_path))


def test_missing_dataset_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"imgcodec datasets fetch kodak.*IMGCODEC_DATA"):
        open_dataset("kodak", tmp_path)


def test_partial_set_is_used_under_its_own_name_only(tmp_path: Path) -> None:
    sample = load_manifest("clic2025-sample")
    (tmp_path / "clic2025").mkdir()
    for file in sample.files:
        Image.new("RGB", (4, 4)).save(tmp_path / "clic2025" / file.name)
    with pytest.raises(
        DatasetError, match=r"has 10 of 32 images.*under the name 'clic2025-sample'"
    ):
        open_dataset("clic2025", tmp_path)
    assert len(open_dataset("clic2025-sample", tmp_path).image_names) == 10


def idx(images: np.ndarray) -> bytes:
    head = np.array([0x803, *images.shape], ">i4").tobytes()
    return gzip.compress(head + images.tobytes())


def test_mnist_from_either_file(tmp_path: Path) -> None:
    digits = np.random.default_rng(0).integers(0, 256, (10000, 28, 28), dtype=np.uint8)
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(idx(digits))
    dataset = open_dataset("mnist", tmp_path)
    assert len(dataset.image_names) == 10000
    assert np.array_equal(dataset.load(42), np.stack([digits[42]] * 3, axis=2))
    assert dataset.path(42) is None
    np.savez(tmp_path / "mnist" / "mnist.npz", test_images=digits[::-1])
    assert np.array_equal(open_dataset("mnist", tmp_path).load(0)[..., 0], digits[-1])


def test_damaged_mnist_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    path = tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(idx(np.zeros((10, 28, 28), np.uint8))[:-9])
    with pytest.raises(DatasetError, match="is damaged"):
        open_dataset("mnist", tmp_path).load(0)


def test_data_root_is_option_then_variable_then_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("IMGCODEC_DATA", "/data/of/variable")
    assert data_root(tmp_path) == tmp_path
    assert data_root() == Path("/data/of/variable")
    monkeypatch.delenv("IMGCODEC_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert data_root() == tmp_path / "imgcodec" / "data"
