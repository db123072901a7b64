"""`imgcodec sample`: labelled sheets, honest errors, no file overwritten."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from imgcodec.codec.picture.sheet import draw_sheet
from tests.codec.conftest import make_tiny_weights
from tests.codec.picture.test_sheet import picture_is_on


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
def drawn(invoke, weights, tmp_path, monkeypatch):
    """Run the command and return rows of pictures as arrays, headings and labels of its sheet."""
    calls = []

    def record(rows, **text):
        calls.append((rows, text))
        return draw_sheet(rows, **text)

    monkeypatch.setattr("imgcodec.codec.picture.sheet.draw_sheet", record)

    def run(*args):
        out = tmp_path / "sheet.png"
        result = invoke("sample", "-m", weights, *args, out, "-f")
        assert result.exit_code == 0, result.output
        rows, text = calls.pop()
        pictures = [[np.asarray(panel.picture) for panel in row] for row in rows]
        for picture in (row[0] for row in pictures):
            assert picture_is_on(np.asarray(Image.open(out)), picture)
        return pictures, [heading.text for heading in text["headings"]], text["labels"]

    return run


def test_draws_follow_the_seed(drawn):
    first, _, _ = drawn("-n", 5, "--size", "40x33")
    assert [len(row) for row in first] == [3, 2]
    assert first[0][0].shape == (3 * 40, 3 * 33, 3)
    np.testing.assert_array_equal(first[0], drawn("-n", 5, "--size", "40x33", "--seed", 0)[0][0])
    for options in (("--seed", 1), ("--random",)):
        assert np.any(first[0][0] != drawn("-n", 5, "--size", "40x33", *options)[0][0][0])


def test_default_size_is_that_of_training(drawn):
    ((picture,),), _, _ = drawn("-n", 1)
    assert picture.shape == (2 * 64, 2 * 64, 3)


def test_interpolation_ends_at_the_reconstructions(drawn, digits):
    (row,), shares, _ = drawn("--interpolate", *digits, "--steps", 5)
    assert shares == ["0%", "25%", "50%", "75%", "100%"]
    assert {picture.shape for picture in row} == {(4 * 28, 4 * 28, 3)}
    (originals, decoded), _, labels = drawn("--reconstruct", *digits)
    assert labels == ["original", "decoded"]
    assert (originals[0] == 20).all()
    np.testing.assert_array_equal(row[0], decoded[0])
    np.testing.assert_array_equal(row[-1], decoded[1])
    assert np.any(row[1] != row[0])
    assert len(drawn("--interpolate", *digits, "--spherical")[0][0]) == 8


def test_attribute_of_strength_0_is_the_reconstruction(drawn, digits, mnist):
    options = ["--attribute", 1, "--strength=-4,0,4", "--data", mnist, "-q", 100]
    rows, headings, _ = drawn(*options, *digits)
    assert headings == ["original", "-4", "0", "+4"]
    assert [len(row) for row in rows] == [4, 4]
    (_, decoded), _, _ = drawn("--reconstruct", *digits, "-q", 100)
    np.testing.assert_array_equal(rows[0][2], decoded[0])
    assert np.any(rows[0][1] != rows[0][2])
    # Without pictures the first test digits of the data are shown.
    assert len(drawn(*options, "-n", 3)[0]) == 3


def test_reconstruct_wraps_after_16(drawn, mnist):
    rows, _, labels = drawn("--reconstruct", "-n", 17, "--data", mnist)
    assert [len(row) for row in rows] == [16, 16, 1, 1]
    assert labels == ["original", "decoded"] * 2


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
