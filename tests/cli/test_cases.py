"""Files from public reports: they come back as they are shown, or are refused in one line."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

import imgcodec
from tests.codec.picture.test_colour import P3, SRGB, srgb_of

CASES = Path(__file__).parents[3] / "shared" / "cases"
FILES = {path.name: path for path in sorted(CASES.glob("*/*"))}
SUFFIXES = [".png", ".tif", ".webp", ".avif", ".jpg", ".jp2", ".bmp", ".gif", ".ico"]
HOLD_METADATA = {".png", ".tif", ".webp", ".avif", ".jpg"}
NO_TRANSPARENCY = {".jpg", ".bmp", ".gif"}
MAX_ERROR = {".jpg": 16, ".avif": 5}
"""In levels; two for rounding elsewhere, where colours were converted."""
MAKER, ORIENTATION = 271, 274
MAX_ICO_PX = 256
MAX_GIF_COLOURS = 256

pytestmark = pytest.mark.skipif(not FILES, reason="the cases are not here")


def shown(path):
    """Return what a viewer shows of a file that Pillow reads right: upright, sRGB, RGBA."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        profile = image.info.get("icc_profile")
    if profile:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        upright = ImageCms.profileToProfile(upright, source, target, outputMode=upright.mode)
    return np.asarray(upright.convert("RGBA")).astype(float)


def expected(path):
    """Return what a case shows, by the words of its report where Pillow does not know."""
    with Image.open(path) as image:
        samples = np.asarray(image).astype(float)
    by_report = {
        "gamma1.0.png": lambda: srgb_of(samples, 1.0, SRGB),
        "p3-chrm.png": lambda: srgb_of(samples, 2.2, P3),
        "gray12.tif": lambda: samples[..., None] * 255 / 4095,
        "float01.tif": lambda: samples[..., None] * 255,
        "signed16.tif": lambda: (samples[..., None] + 32768) / 257,
        "rgb16.jp2": lambda: (
            pytest.importorskip("imagecodecs").jpeg2k_decode(path.read_bytes()) / 257
        ),
    }
    if path.name not in by_report:
        return shown(path)
    colours = by_report[path.name]()
    height, width, channels = colours.shape
    opaque = np.full((height, width, 1), 255.0)
    return np.concatenate([colours.repeat(3 // channels, 2), opaque], 2)


def is_refused(rgba, suffix):
    """Return whether a format cannot hold a picture."""
    if suffix in NO_TRANSPARENCY and rgba[..., 3].min() < 255:
        return True
    if suffix == ".ico":
        return max(rgba.shape) > MAX_ICO_PX
    stored = np.round(rgba).astype(int)
    return suffix == ".gif" and len(np.unique(stored.reshape(-1, 4), axis=0)) > MAX_GIF_COLOURS


@pytest.mark.parametrize("name", FILES)
def test_every_case_comes_back_or_is_refused_in_one_line(invoke, tmp_path, name):
    path, stream = FILES[name], tmp_path / "a.cvb"
    rgba = expected(path)
    result = invoke("encode", path, stream, "--lossless")
    assert result.exit_code == 0, result.output
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) <= 2
    for suffix in SUFFIXES:
        target = tmp_path / f"a{suffix}"
        result = invoke("decode", stream, target)
        if is_refused(rgba, suffix):
            assert result.exit_code == 2
            assert isinstance(result.exception, SystemExit)
            assert result.stderr.splitlines()[-1].startswith("Error: ")
            assert not target.exists()
            continue
        assert result.exit_code == 0, result.output
        back = shown(target)
        assert back.shape == rgba.shape
        stretch = 5 if name in ("gamma1.0.png", "p3-chrm.png") else 1  # by the curve, near black
        assert np.abs(back - rgba).max() <= MAX_ERROR.get(suffix, 2 / stretch) * stretch
        assert np.abs(back - rgba).mean() < 1
        np.testing.assert_array_equal(back[..., 3], rgba[..., 3])
        if suffix in HOLD_METADATA:
            check_metadata(path, target)


def check_metadata(path, target):
    """Compare maker, orientation and XMP of two files."""
    with Image.open(path) as image, Image.open(target) as back:
        before, after = image.getexif(), back.getexif()
        assert after.get(MAKER) == before.get(MAKER)
        assert after.get(ORIENTATION, 1) == before.get(ORIENTATION, 1)
        if not (target.suffix == ".jpg" and len(image.info.get("xmp", b"")) > 65_000):
            assert back.info.get("xmp") == image.info.get("xmp")


@pytest.mark.parametrize("name", FILES)
def test_every_case_looks_alike_at_high_quality(invoke, tmp_path, name):
    path, stream, target = FILES[name], tmp_path / "a.cvb", tmp_path / "a.png"
    assert invoke("encode", path, stream, "-q", 95).exit_code == 0
    assert invoke("decode", stream, target).exit_code == 0
    back, rgba = shown(target), expected(path)
    limit = 3.5 if name == "rgb300.xpm" else 1.5  # 20 x 20 pixels of many colours
    assert np.abs(back - rgba).mean() < limit
    np.testing.assert_array_equal(back[..., 3], rgba[..., 3])


@pytest.mark.parametrize("name", FILES)
def test_strict_refuses_what_loses_bits(invoke, tmp_path, name):
    is_deep = name in ("gray12.tif", "float01.tif", "signed16.tif", "rgb16.jp2", "rgb10.avif")
    result = invoke("encode", FILES[name], tmp_path / "a.cvb", "--strict", "--lossless")
    assert result.exit_code == (2 if is_deep else 0), result.output
    assert ("bits a sample" in result.stderr) == is_deep


@pytest.mark.parametrize("suffix", sorted(NO_TRANSPARENCY))
def test_a_background_lets_transparency_go_on_purpose(invoke, tmp_path, suffix):
    path, stream, target = FILES["alpha.png"], tmp_path / "a.cvb", tmp_path / f"a{suffix}"
    with Image.open(path) as image:
        background = Image.new("RGBA", image.size, "white")
        background.alpha_composite(image.convert("RGBA"))
    stream.write_bytes(imgcodec.encode(path, exact="all"))
    result = invoke("decode", stream, target, "--background", "white")
    if is_refused(np.asarray(background), suffix):
        assert "256 colours" in result.stderr
        return
    assert result.exit_code == 0, result.output
    error = np.abs(shown(target) - np.asarray(background).astype(float))
    assert error.max() <= MAX_ERROR.get(suffix, 1)
