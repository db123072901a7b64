"""`imgcodec encode --target-...`."""

from __future__ import annotations

import json

import click
import numpy as np
import pytest
from PIL import Image, ImageDraw

import imgcodec
from imgcodec.cli.goals import SizeType, target_of
from imgcodec.codec.session.targets import psnr_db


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("40000", 40_000),
        ("40k", 40_000),
        ("40kB", 40_000),
        ("40K", 40_000),
        ("40KiB", 40_960),
        ("1.5M", 1_500_000),
        ("2 MB", 2_000_000),
        ("2MiB", 2_097_152),
        ("12b", 12),
    ],
)
def test_sizes_have_units(text, size):
    assert SizeType().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "0", "0.0001k", "-3k", "k", "3q", "3kk", "1e3", "three"])
def test_other_sizes_are_refused(text):
    with pytest.raises(click.BadParameter, match="is no size"):
        SizeType().convert(text, None, None)


def test_file_is_never_above_the_target(invoke, photo, tmp_path):
    cvb = tmp_path / "a.cvb"
    result = invoke("encode", photo, cvb, "--target-bytes", "1.2k", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert 0.97 * 1200 <= report["bytes"] == cvb.stat().st_size <= 1200
    assert report["target"] == {"name": "bytes", "value": 1200, "reached": report["bytes"]}
    assert len(imgcodec.encode(photo, quality=report["quality"] + 1)) > 1200
    assert f"quality {report['quality']} for bytes 1200" in result.stderr


def test_psnr_is_reached_and_reported(invoke, photo, tmp_path):
    cvb = tmp_path / "a.cvb"
    result = invoke("encode", photo, cvb, "--target-psnr", "29", "--json")
    report = json.loads(result.stdout)
    with Image.open(photo) as image:
        measured = psnr_db(np.asarray(image), np.asarray(imgcodec.decode(cvb)))
    assert report["target"]["reached"] == pytest.approx(measured)
    assert measured >= 29
    assert f"psnr 29: {measured:.4g}" in result.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--target-bytes", "20"],
        ["--target-bpp", "0.0001"],
        ["--target-psnr", "90", "--exact", "none"],
    ],
    ids=" ".join,
)
def test_target_out_of_reach_fails_and_writes_nothing(invoke, photo, tmp_path, options):
    result = invoke("encode", photo, tmp_path / "a.cvb", *options)
    assert result.exit_code == 1
    assert "out of reach: the best is " in result.stderr
    assert not (tmp_path / "a.cvb").exists()


@pytest.mark.parametrize(("name", "value"), [("psnr", 45), ("ssimulacra2", 95)])
def test_black_text_reaches_what_the_model_alone_cannot(invoke, tmp_path, name, value):
    from imgcodec.eval.metrics.base import MetricError

    try:
        target_of((name, value))
    except MetricError as error:
        pytest.skip(str(error))
    page, cvb = tmp_path / "page.png", tmp_path / "page.cvb"
    image = Image.new("RGB", (224, 64), "white")
    pen = ImageDraw.Draw(image)
    for top in range(4, 60, 14):
        pen.text((4, top), "black text on white, line by line", "black")
    image.save(page)
    options = ("encode", page, cvb, f"--target-{name}", value)
    result = invoke(*options, "--exact", "none")
    assert result.exit_code == 1 and "the best is " in result.stderr
    result = invoke(*options, "--json")
    assert result.exit_code == 0, result.output
    reached = json.loads(result.stdout)["target"]["reached"]
    assert reached is None if name == "psnr" else reached >= value  # an infinite PSNR is null
    assert psnr_db(np.asarray(image), np.asarray(imgcodec.decode(cvb))) >= 45


@pytest.mark.parametrize(
    "options",
    [
        ["-q", "60", "--target-bytes", "9k"],
        ["--target-bpp", "1", "--target-psnr", "30"],
        ["--target-bytes", "many"],
        ["--target-psnr", "0"],
    ],
    ids=" ".join,
)
def test_contradicting_options_are_usage_errors(invoke, photo, options):
    assert invoke("encode", photo, *options).exit_code == 2


def test_two_targets_are_named(invoke, photo):
    result = invoke("encode", photo, "--target-bpp", "1", "--target-psnr", "30")
    assert "--target-bpp and --target-psnr exclude each other" in result.stderr
    result = invoke("encode", photo, "-q", "30", "--target-bytes", "9k")
    assert "--target-bytes and --quality exclude each other" in result.stderr


@pytest.mark.parametrize(("name", "value"), [("lpips", 0.3), ("ssimulacra2", 20), ("ms-ssim", 0.9)])
def test_metrics_of_the_harness_are_targets_where_installed(invoke, photo, tmp_path, name, value):
    from imgcodec.eval.metrics.base import MetricError

    try:
        target = target_of((name, value))
    except MetricError as error:
        pytest.skip(str(error))
    picture, cvb = tmp_path / "a.png", tmp_path / "a.cvb"
    with Image.open(photo) as image:  # MS-SSIM needs more than 160 px
        image.resize((176, 176)).save(picture)
    result = invoke("encode", picture, cvb, f"--target-{name}", value, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    with Image.open(picture) as image:
        measured = target.measure(np.asarray(image), np.asarray(imgcodec.decode(cvb)))
    assert report["target"]["reached"] == pytest.approx(measured)
    assert measured <= value if name == "lpips" else measured >= value
