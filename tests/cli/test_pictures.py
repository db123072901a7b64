"""`imgcodec encode` on pictures that are not plain RGB: options and messages."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

import imgcodec
from imgcodec.codec.stream.container import read_stream


@pytest.fixture
def moving(tmp_path):
    """A GIF of a red and a blue frame."""
    path = tmp_path / "moving.gif"
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


@pytest.fixture
def tagged(tmp_path):
    """A rotated PNG with ICC profile, EXIF and XMP."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "tagged.webp"
    image = Image.new("RGB", (12, 8), (90, 120, 30))
    image.save(path, exif=exif, icc_profile=b"a profile", xmp=b"<x:xmpmeta/>")
    return path


def test_a_frame_is_chosen_by_its_number(invoke, moving, tmp_path):
    result = invoke("encode", moving)
    assert result.exit_code == 2
    assert "2 frames" in result.stderr
    assert "--frame" in result.stderr
    assert "frame 0 to 1" in result.stderr
    for number, channel in ((0, 0), (1, 2)):
        path = tmp_path / f"{number}.cvb"
        assert invoke("encode", moving, path, "--frame", number, "-q", "90").exit_code == 0
        assert np.asarray(imgcodec.decode(path))[3, 4].argmax() == channel
    assert invoke("encode", moving, "--frame", "2").exit_code == 2
    assert invoke("encode", moving, "--frame", "-1").exit_code == 2


def test_sixteen_bits_warn_and_fail_when_strict(invoke, tmp_path):
    path = tmp_path / "wide.png"
    Image.fromarray(np.full((6, 5), 40_000, np.uint16)).save(path)
    result = invoke("encode", path)
    assert result.exit_code == 0
    assert "16 bits a sample are reduced to 8" in result.stderr
    result = invoke("encode", path, "-f", "--strict")
    assert result.exit_code == 2
    assert "16 bits" in result.stderr


@pytest.mark.parametrize(("mode", "name"), [("P", "palette"), ("CMYK", "CMYK")])
def test_converted_colours_are_noted(invoke, tmp_path, mode, name):
    path = tmp_path / "a.tif"
    Image.new(mode, (5, 5)).save(path)
    result = invoke("encode", path)
    assert result.exit_code == 0
    assert f"{name} colours are converted to RGB" in result.stderr
    assert invoke("encode", path, "-f", "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ([], ["icc", "exif", "xmp"]),
        (["--metadata", "all"], ["icc", "exif", "xmp"]),
        (["--metadata", "none"], []),
        (["--metadata", "icc"], ["icc"]),
        (["--metadata", "exif, xmp"], ["exif", "xmp"]),
    ],
    ids=" ".join,
)
def test_metadata_are_kept_as_told(invoke, tagged, options, kept):
    assert invoke("encode", tagged, *options).exit_code == 0
    assert set(read_stream(tagged.with_suffix(".cvb").read_bytes()).metadata) == set(kept)


@pytest.mark.parametrize("value", ["some", "icc,", "icc,all", ""])
def test_unknown_metadata_are_usage_errors(invoke, tagged, value):
    result = invoke("encode", tagged, "--metadata", value)
    assert result.exit_code == 2
    assert "icc,exif,xmp" in result.stderr


def test_a_rotated_tagged_photograph_comes_back_with_both(invoke, synthetic_rgb, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo, stream = tmp_path / "photo.jpg", tmp_path / "a.cvb"
    Image.fromarray(synthetic_rgb).save(photo, exif=exif, icc_profile=profile, quality=95)
    assert invoke("encode", photo, stream, "-q", "90").exit_code == 0
    for name in ("a.png", "a.webp", "a.jpg"):
        assert invoke("decode", stream, tmp_path / name).exit_code == 0
        with Image.open(tmp_path / name) as back:
            assert back.info["icc_profile"] == profile
            assert back.getexif()[0x0112] == 6
            assert np.abs(np.asarray(back).astype(int) - synthetic_rgb).mean() < 6
            assert ImageOps.exif_transpose(back).size == (96, 130)


def test_pictures_above_the_limit_are_refused(invoke, photo):
    result = invoke("encode", photo, "--max-pixels", 130 * 96 - 1, "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "more than 12479 pixels" in result.stderr
    result = invoke("encode", photo, "--max-pixels", 130 * 96, "--json")
    assert json.loads(result.stdout)["width"] == 130
