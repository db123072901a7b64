"""Plots: the files there are, the curves in them, and the codecs' looks."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="plots need matplotlib (extra eval)")

from imgcodec.eval.anchors.registry import codec_names
from imgcodec.eval.curves import codec_curve, overlay_curve, usable_rows
from imgcodec.eval.plots import rd_plot, write_plots
from imgcodec.eval.quality import TAUGHT_NOTE
from imgcodec.eval.style import (
    SPARE_MARKERS,
    STYLES,
    codec_order,
    codec_style,
    codec_styles,
    overlay_order,
)

PUBLISHED = {"vtm": [{"bpp": 0.5, "psnr": 30.0, "ms-ssim": 0.9}, {"bpp": 1.0, "psnr": 34.0}]}


def test_writes_one_svg_and_png_for_each_metric_with_values(small_run: Any, tmp_path: Path) -> None:
    written = write_plots(small_run.rows, tmp_path / "plots", PUBLISHED)
    names = {path.name for path in written}
    assert names == {f"rd_{m}{s}" for m in ("psnr", "ms_ssim", "lpips") for s in (".svg", ".png")}
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width > 1000 and np.asarray(image.convert("L")).std() > 5
        else:
            assert ET.parse(path).getroot().tag.endswith("svg")


def test_plot_shows_every_codec_in_its_colour_and_the_published_curve(
    small_run: Any, tmp_path: Path
) -> None:
    text = rd_plot(small_run.rows, "psnr", tmp_path / "a.svg", PUBLISHED).read_text()
    for codec in small_run.codecs:
        assert f"stroke: {codec_style(codec.name).color}" in text
    assert "vtm (published)" in text


def test_many_published_curves_are_drawn_but_few_are_named(small_run: Any, tmp_path: Path) -> None:
    many = {f"paper{index}": PUBLISHED["vtm"] for index in range(20)} | PUBLISHED
    text = rd_plot(small_run.rows, "psnr", tmp_path / "a.svg", many).read_text()
    assert "vtm (published)" in text and "15 more (published)" in text
    assert "paper19 (published)" not in text


def test_svg_is_the_same_every_time(small_run: Any, tmp_path: Path) -> None:
    first = rd_plot(small_run.rows, "psnr", tmp_path / "a.svg").read_bytes()
    assert rd_plot(small_run.rows, "psnr", tmp_path / "b.svg").read_bytes() == first


def test_metric_without_values_is_refused_by_name(small_run: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ssimulacra2"):
        rd_plot(small_run.rows, "ssimulacra2", tmp_path / "a.svg")
    with pytest.raises(ValueError, match="use one of psnr"):
        rd_plot(small_run.rows, "beauty", tmp_path / "a.svg")


def test_curve_is_the_mean_over_images_by_rising_rate(small_run: Any) -> None:
    rows = usable_rows(small_run.rows)
    curve = codec_curve(rows, "jpeg", "psnr")
    part = rows[(rows["codec"] == "jpeg") & (rows["setting"] == curve[0].setting)]
    assert curve[0].setting == "q=10" and curve[0].num_images == 2
    assert curve[0].value == pytest.approx(part["psnr"].mean())
    assert curve[0].bytes == pytest.approx(part["bytes"].mean())
    assert [point.bpp for point in curve] == sorted(point.bpp for point in curve)


def test_setting_that_lacks_an_image_is_left_out(small_run: Any) -> None:
    rows = usable_rows(small_run.rows)
    gone = (rows["codec"] == "jpeg") & (rows["setting"] == "q=50") & (rows["image"] == "lake")
    settings = {point.setting for point in codec_curve(rows[~gone], "jpeg", "psnr")}
    assert settings == {"q=10", "q=25", "q=75", "q=90"}


def test_published_similarity_is_put_into_decibels() -> None:
    assert overlay_curve(PUBLISHED["vtm"], "ms_ssim_db") == [(0.5, pytest.approx(10.0))]
    assert overlay_curve(PUBLISHED["vtm"], "psnr") == [(0.5, 30.0), (1.0, 34.0)]
    assert overlay_curve(PUBLISHED["vtm"], "lpips") == []


def test_every_codec_of_the_registry_has_a_colour_of_its_own() -> None:
    assert set(codec_names()) == set(STYLES)
    assert len({style.color for style in STYLES.values()}) == len(STYLES)


def test_what_is_compared_most_differs_in_colour_and_marker() -> None:
    names = [
        *("imgcodec-beta", "imgcodec-beta-psnr", "imgcodec-beta-natural", "imgcodec-beta-eye"),
        *("imgcodec-hier", "imgcodec-vq", "imgcodec-cv", "jpeg", "webp", "avif"),
    ]
    assert len({codec_style(name).marker for name in names}) == len(names)


def test_other_names_have_a_look_too_and_keep_apart() -> None:
    assert codec_style("jpeg-420").dash and not codec_style("jpeg").dash
    assert codec_style("imgcodec-beta").is_own and not codec_style("avif").is_own
    assert codec_style("imgcodec:runs/x/net.safetensors").label == "net"
    assert codec_style("custom:mine:a b:c d").label == "mine"
    assert codec_style("unheard-of") == codec_style("unheard-of")
    names = ["avif", *(f"file{number}.cvb" for number in range(6))]
    assert len({style.color for style in codec_styles(names).values()}) == len(names)
    assert codec_styles(names)["avif"] == codec_style("avif")


def test_the_page_draws_every_marker_of_the_table() -> None:
    script = (files("imgcodec.eval") / "templates" / "chart.js").read_text()
    table = script.partition("const MARKERS")[2].partition("};")[0]
    drawn = {"o", *re.findall(r'[\s"](\S)"?: ', table)}
    assert {style.marker for style in STYLES.values()} | set(SPARE_MARKERS) <= drawn


def test_order_puts_own_codecs_and_known_references_first() -> None:
    assert overlay_order(["x", "vtm18.0", "y", "bpg444"]) == ["vtm18.0", "bpg444", "x", "y"]
    assert codec_order(["jpeg", "imgcodec-beta", "avif"]) == ["imgcodec-beta", "jpeg", "avif"]


def test_metric_that_taught_a_codec_has_a_dagger(small_run: Any, tmp_path: Path) -> None:
    taught = {"imgcodec-beta": {"psnr"}}
    write_plots(small_run.rows, tmp_path, taught=taught)
    marked = (tmp_path / "rd_psnr.svg").read_text()
    assert "imgcodec-beta†" in marked and TAUGHT_NOTE in marked
    assert "JPEG†" not in marked
    assert "†" not in (tmp_path / "rd_lpips.svg").read_text()
