"""The records of the metrics: that everything reads them, decibels, daggers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pandas")

from imgcodec.codec.weights.installed import find_model, trained_losses
from imgcodec.eval.anchors.base import taught_of
from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.bdtable import bd_table
from imgcodec.eval.bench import as_json, bd_cells, summary_table
from imgcodec.eval.exports import export_codec_compare, export_compressai
from imgcodec.eval.metrics import MetricError, MetricOptions, create_metrics
from imgcodec.eval.quality import (
    QUALITIES,
    find_quality,
    metric_names,
    quality_of,
    taught_columns,
)
from imgcodec.eval.report_data import page_data
from imgcodec.eval.results import COLUMNS
from tests.eval.rows import frame_of, ladder

IDS = [quality.column for quality in QUALITIES]


def value_of(column: str, step: int) -> float:
    """Return a value that gets better with the step, within the range of the metric."""
    quality = quality_of(column)
    if not quality.is_better_up:
        return 0.4 / 2**step
    return 30.0 + 2 * step if math.isinf(quality.best) else quality.best * (1 - 0.4 / 2**step)


@pytest.fixture(scope="module")
def frame():
    """Two codecs with a value in every column; the second needs half the bytes."""
    times = {"mse": 10.0, "encode_s": 0.1, "decode_s": 0.1}

    def values(step: int) -> dict[str, float]:
        return {**{column: value_of(column, step) for column in IDS}, **times}

    return frame_of(ladder("jpeg", 1.0, values) + ladder("imgcodec-beta", 0.5, values))


@pytest.mark.parametrize("quality", QUALITIES, ids=IDS)
def test_implementation_fills_the_columns_of_the_record(quality, data_dir: Path) -> None:
    name = "lpips-squeeze" if quality.variants else quality.name
    try:
        (metric,) = create_metrics([name], MetricOptions(data_root=data_dir))
    except MetricError as error:
        pytest.skip(str(error))
    assert metric.columns == (quality.column, *quality.more_columns)
    image = np.zeros((200, 200, 3), np.uint8)
    assert tuple(metric.measure(metric.prepare(image), image)) == metric.columns
    assert metric.describe()


def test_every_name_leads_to_its_record() -> None:
    assert len(set(metric_names())) == len(metric_names())
    for name in metric_names():
        found = find_quality(name)
        assert found is not None and name in found[0].names
    assert find_quality("lpips") == find_quality("lpips-alex") == (quality_of("lpips"), "alex")
    assert find_quality("vmaf") is None
    assert {quality.column for quality in QUALITIES if not quality.is_better_up} == {"lpips"}


@pytest.fixture(scope="module")
def made(frame, tmp_path_factory) -> dict[str, Any]:
    """All that is made of a run, once for all metrics."""
    folder = tmp_path_factory.mktemp("exports")
    (results, *_) = export_compressai(frame, {}, folder)
    (compare, *_) = export_codec_compare(frame, {}, folder / "compare")
    return {
        "summary": summary_table(frame, {}),
        "entries": bd_table(frame, "jpeg"),
        "page": page_data(frame, {}, {}),
        "results": json.loads(results.read_text())["results"],
        "fields": json.loads(compare.read_text())["field_descriptions"],
    }


@pytest.mark.parametrize("quality", QUALITIES, ids=IDS)
def test_every_metric_is_in_rows_tables_report_and_exports(quality, made) -> None:
    assert quality.column in COLUMNS
    header, cells = made["summary"]
    assert quality.label in header and all(len(row) == len(header) for row in cells)
    entries = [entry for entry in made["entries"] if entry.column == quality.column]
    assert [entry.percent for entry in entries] == [pytest.approx(-50.0, abs=1e-6)]
    assert any(row[1] == quality.bd_label for row in bd_cells(entries, {})[1])
    page = made["page"]
    assert quality.axis in {entry["key"] for entry in page["metrics"]}
    names = [codec["name"] for codec in page["codecs"]]
    pair = f"{names.index('jpeg')},{names.index('imgcodec-beta')}"
    assert page["bd"][quality.axis][0][pair][0] == pytest.approx(-50.0, abs=0.01)
    assert quality.name in made["results"]
    assert any(quality.source in text for field in made["fields"] for text in field.values())


def test_decibels_are_of_the_distance_to_the_best_value() -> None:
    similarity, jod = quality_of("ms_ssim"), quality_of("cvvdp")
    assert similarity.axis_values([0.9, 0.99, 0.999]) == pytest.approx([10.0, 20.0, 30.0])
    assert jod.axis_values(np.array([9.0, 9.9])) == pytest.approx([10.0, 20.0])
    assert jod.axis_label == "CVVDP, dB"
    assert quality_of("vif").axis_values(1.2) == pytest.approx(100.0)
    assert math.isnan(similarity.axis_values(math.nan))
    assert quality_of("psnr").axis_values(31.0) == 31.0


def test_dagger_marks_what_taught_a_codec_and_nothing_else(frame) -> None:
    taught = {"imgcodec-beta": frozenset({"ssimulacra2"})}
    header, cells = summary_table(frame, taught)
    marked = {
        (row[0], header[index])
        for row in cells
        for index, cell in enumerate(row)
        if cell.endswith("†")
    }
    assert marked == {("imgcodec-beta", "SSIMULACRA2")}
    entries = bd_table(frame, "jpeg")
    labels = [row[1] for row in bd_cells(entries, taught)[1]]
    assert [label for label in labels if "†" in label] == ["SSIMULACRA2†"]
    assert as_json(frame, entries, taught)["taught"] == {"imgcodec-beta": ["ssimulacra2"]}


def test_report_marks_what_taught_a_codec(frame) -> None:
    class Taught:
        name = "imgcodec-beta"
        settings = ()

        def encode(self, rgb, setting): ...
        def decode(self, data): ...
        def describe(self, setting): ...
        def describe_codec(self) -> str:
            return "x"

        def taught(self) -> frozenset[str]:
            return frozenset({"ms_ssim"})

    page = page_data(frame, {}, {"imgcodec-beta": Taught()})
    marked = {entry["key"]: entry["taught"] for entry in page["metrics"] if entry["taught"]}
    assert marked == {"ms_ssim_db": ["imgcodec-beta"]}
    assert page["taughtNote"].startswith("†")


def test_losses_of_the_recipe_say_what_taught_the_weights() -> None:
    terms = {"mse", "ssimulacra2", "ms_ssim", "rate"}
    assert taught_columns(terms) == {"psnr", "ssimulacra2", "ms_ssim"}
    info = find_model("beta-base-2")
    assert "lpips" not in trained_losses(info) >= {"mse", "rate"}
    assert trained_losses(find_model("beta"), "natural") >= {"ssimulacra2", "texture"}
    codecs = [get_codec(name) for name in ("imgcodec:beta-base-2", "jpeg")]
    assert taught_of(codecs) == {"imgcodec:beta-base-2": {"psnr"}}
    assert {"ssimulacra2", "lpips"} <= get_codec("imgcodec-beta-natural").taught()  # type: ignore[attr-defined]
