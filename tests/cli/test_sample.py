"""`imgcodec sample`: sheets of the right size, honest errors, no file overwritten."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.codec.conftest import make_tiny_weights

CELL = 28 + 2


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_tiny_weights("convvae", tmp_path_factory.mktemp("convvae"))


@pytest.fixture
def mnist(tmp_path):
    generator = np.random.default_rng(0)
    digits = generator.integers(0, 256, (30, 28, 28), np.uint8)
    labels = np.arange(30, dtype=np.uint8) % 3
    np.savez(
        tmp_path / "mnist.npz",
        train_images=digits,
        train_labels=labels,
        test_images=digits[::-1],
        test_labels=labels[::-1],
    )
    return tmp_path / "mnist.npz"


@pytest.fixture
def digits(tmp_path):
    """Two pictures of 28x28."""
    paths = []
    for index, value in enumerate((20, 220)):
        paths.append(tmp_path / f"{index}.png")
        Image.new("L", (28, 28), value).save(paths[-1])
    return paths


@pytest.fixture
def sheet(invoke, weights, tmp_path):
    """Run the command and return what it drew as an array."""

    def run(*args):
        out = tmp_path / "sheet.png"
        result = invoke("sample", "-m", weights, *args, out, "-f")
        assert result.exit_code == 0, result.output
        return np.asarray(Image.open(out))

    return run


def test_draws_follow_the_seed(sheet):
    first = sheet("-n", 5, "--size", "40x33")
    assert first.shape == (2 + 2 * (40 + 2), 2 + 3 * (33 + 2), 3)
    np.testing.assert_array_equal(first, sheet("-n", 5, "--size", "40x33", "--seed", 0))
    assert np.any(first != sheet("-n", 5, "--size", "40x33", "--seed", 1))
    assert np.any(first != sheet("-n", 5, "--size", "40x33", "--random"))


def test_default_size_is_that_of_training(sheet):
    assert sheet("-n", 1).shape == (68, 68, 3)


def test_interpolation_ends_at_the_reconstructions(sheet, digits):
    row = sheet("--interpolate", *digits, "--steps", 4)
    assert row.shape == (2 + CELL, 2 + 4 * CELL, 3)
    pairs = sheet("--reconstruct", *digits)
    assert pairs.shape == (2 + 2 * CELL, 2 + 2 * CELL, 3)
    assert (pairs[2:30, 2:30] == 20).all()
    np.testing.assert_array_equal(row[2:30, 2:30], pairs[32:60, 2:30])
    np.testing.assert_array_equal(row[2:30, 92:120], pairs[32:60, 32:60])
    assert np.any(row[2:30, 32:60] != row[2:30, 2:30])
    assert sheet("--interpolate", *digits, "--spherical").shape == (2 + CELL, 2 + 8 * CELL, 3)


def test_attribute_of_strength_0_is_the_reconstruction(sheet, digits, mnist):
    options = ["--attribute", 1, "--strength=-4,0,4", "--data", mnist, "-q", 100]
    rows = sheet(*options, *digits)
    assert rows.shape == (2 + 2 * CELL, 2 + 4 * CELL, 3)
    pairs = sheet("--reconstruct", *digits, "-q", 100)
    np.testing.assert_array_equal(rows[2:30, 62:90], pairs[32:60, 2:30])
    assert np.any(rows[2:30, 32:60] != rows[2:30, 62:90])
    # Without pictures the first test digits of the data are shown.
    assert sheet(*options, "-n", 3).shape == (2 + 3 * CELL, 2 + 4 * CELL, 3)


def test_reconstruct_wraps_after_16(sheet, mnist):
    assert sheet("--reconstruct", "-n", 17, "--data", mnist).shape[:2] == (
        2 + 4 * CELL,
        2 + 16 * CELL,
    )


def test_json_tells_what_was_drawn(invoke, weights, tmp_path):
    out = tmp_path / "out.png"
    report = json.loads(invoke("sample", "-m", weights, "-n", 6, "--json", out).stdout)
    expected = {"output": str(out), "model": "convvae-tiny-1", "quality": 60}
    assert report == {**expected, "pictures": 6, "rows": 2}


def test_existing_file_is_kept(invoke, weights, tmp_path):
    out = tmp_path / "out.png"
    out.write_bytes(b"mine")
    assert invoke("sample", "-m", weights, out).exit_code == 1
    assert out.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--size", "30"], "HEIGHTxWIDTH"),
        (["--size", "0x9"], "HEIGHTxWIDTH"),
        (["--strength", "1,x", "--attribute", "1"], "commas"),
        (["--random", "--reconstruct"], "exclude"),
        (["{image}"], "IMAGE needs"),
        (["--interpolate", "{image}", "{other}"], "equal size"),
        (["--attribute", "9", "--data", "{data}"], "labels are 0, 1, 2"),
        (["--attribute", "1", "--data", "{data}", "{other}"], "as large as"),
    ],
)
def test_wrong_usage_says_what_is_wrong(invoke, weights, digits, mnist, tmp_path, args, message):
    other = tmp_path / "other.png"
    Image.new("L", (50, 40)).save(other)
    places = {"image": digits[0], "other": other, "data": mnist}
    given = [arg.format(**places) for arg in args]
    result = invoke("sample", "-m", weights, *given, tmp_path / "out.png")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "out.png").exists()


def test_unknown_model_and_damaged_data_have_their_exit_codes(invoke, weights, mnist, tmp_path):
    assert invoke("sample", "-m", "nosuch", tmp_path / "out.png").exit_code == 4
    mnist.write_bytes(b"broken")
    args = ["--attribute", "1", "--data", mnist, tmp_path / "out.png"]
    result = invoke("sample", "-m", weights, *args)
    assert result.exit_code == 1
    assert "damaged" in result.stderr
