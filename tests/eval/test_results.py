"""Rows on disk, means, exports and overlays."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("pandas")

from imgcodec.eval.bench import load_overlays
from imgcodec.eval.exports import export_codec_compare, export_compressai, load_overlay
from imgcodec.eval.results import (
    COLUMNS,
    ResultsError,
    RowWriter,
    RunInfo,
    read_rows,
    row_key,
    summarise,
    write_parquet,
)
from imgcodec.eval.runner import BenchPlan
from tests.eval.rows import frame_of


def make_row(image: str, setting: int, **values: object) -> dict[str, object]:
    return {
        "dataset": "d",
        "image": image,
        "width": 20,
        "height": 10,
        "codec": "jpeg",
        "setting": f"q={setting}",
        "bytes": setting * 2,
        "bpp": setting * 2 * 8 / 200,
        "psnr": 20.0 + setting / 10,
        "mse": 65.025,
        "encode_s": 0.5,
        "decode_s": 0.25,
        "status": "ok",
        "error": "",
        **values,
    }


def test_rows_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.csv"
    rows = [
        make_row('a, "b".png', 10, psnr=0.1 + 0.2),
        make_row("none.png", 10, psnr=math.inf),
        make_row("c.png", 10, status="error", error="two\nlines, and a comma", bpp=math.nan),
    ]
    with RowWriter(path) as writer:
        for row in rows:
            writer.write(row)
    frame = read_rows(path)
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["image"]) == ['a, "b".png', "none.png", "c.png"]
    assert list(frame["psnr"])[:2] == [0.3, math.inf]  # seven digits
    assert frame["error"].iloc[2] == "two lines, and a comma"
    assert math.isnan(frame["bpp"].iloc[2])
    assert frame["lpips"].isna().all()


def test_each_row_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with RowWriter(path) as writer:
        writer.write(make_row("a", 1))
        assert len(path.read_text().splitlines()) == 2


def test_resume_drops_the_unfinished_line_and_failed_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    with RowWriter(path) as writer:
        writer.write(make_row("a", 1))
        writer.write(make_row("b", 1, status="error", error="x"))
        writer.write(make_row("c", 1))
    whole = path.read_text()
    path.write_text(whole[:-5])
    writer = RowWriter(path, resume=True)
    assert writer.done == {row_key(make_row("a", 1))}
    assert path.read_text() == "".join(whole.splitlines(keepends=True)[:2])
    assert RowWriter(path).done == set()
    assert path.read_text() == whole.splitlines(keepends=True)[0]


def test_resume_refuses_rows_of_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ResultsError, match="other columns"):
        RowWriter(path, resume=True)


def test_reading_what_is_not_a_rows_table_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no results file"):
        read_rows(tmp_path / "absent.csv")
    path = tmp_path / "other.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ResultsError, match="lacks dataset"):
        read_rows(path)
    path.write_bytes(b"")
    with pytest.raises(ResultsError, match="cannot be read"):
        read_rows(path)


def test_parquet_holds_the_same_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    frame = frame_of([make_row("a", 10), make_row("b", 20)])
    write_parquet(frame, tmp_path / "rows.parquet")
    pd.testing.assert_frame_equal(read_rows(tmp_path / "rows.parquet"), frame)


def test_summary_has_both_means_and_counts_good_rows_only() -> None:
    rows = [
        make_row("a", 20, psnr=30.0, mse=65.025),
        make_row("b", 20, psnr=40.0, mse=6.5025, encode_s=0.1),
        make_row("c", 20, psnr=99.0, mse=0.0, status="error"),
        make_row("a", 10),
    ]
    table = summarise(frame_of(rows))
    assert list(table["setting"]) == ["q=10", "q=20"]
    last = table.iloc[1]
    assert last["psnr"] == 35.0
    assert last["psnr_of_mean_mse"] == pytest.approx(10 * math.log10(255**2 / 35.76375))
    assert last["images"] == 2
    assert last["encode_mp_s"] == pytest.approx(2 * 200 / 1e6 / 0.6)


def test_run_record_names_the_option_that_differs(tmp_path: Path) -> None:
    info = RunInfo({"reps": 1, "codecs": ["jpeg"]}, {"jpeg": "x"}, ["PSNR"], {})
    info.save(tmp_path / "run.json")
    loaded = RunInfo.load(tmp_path / "run.json")
    assert loaded == info
    loaded.require_same_options(info)
    other = RunInfo({"reps": 3, "codecs": ["jpeg"]}, {}, [], {})
    with pytest.raises(ResultsError, match="reps was 1, now 3"):
        loaded.require_same_options(other)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ResultsError, match="not the record"):
        RunInfo.load(tmp_path / "run.json")


@pytest.fixture
def frame():
    return frame_of(
        [
            make_row(name, q, ms_ssim=0.9, psnr=q / 2)
            for name in ("a.png", "b.png")
            for q in (10, 60)
        ]
    )


def test_compressai_export_is_read_back_as_an_overlay(frame, tmp_path: Path) -> None:
    (path,) = export_compressai(frame, {"jpeg": "Pillow"}, tmp_path)
    document = json.loads(path.read_text())
    assert document["name"] == "jpeg"
    assert document["description"] == "Pillow"
    assert document["results"]["psnr"] == [5.0, 30.0]
    assert set(document["results"]) == {
        "bpp",
        "psnr",
        "ms-ssim",
        "encoding_time",
        "decoding_time",
    }
    points = load_overlay(path)["jpeg"]
    assert [point["bpp"] for point in points] == document["results"]["bpp"]


def test_codec_compare_export_has_its_schema(frame, tmp_path: Path) -> None:
    (path,) = export_codec_compare(frame, {"jpeg": "Pillow"}, tmp_path)
    document = json.loads(path.read_text())
    assert set(document) == {
        "constant_descriptions",
        "constant_values",
        "field_descriptions",
        "field_values",
    }
    constants = [next(iter(entry)) for entry in document["constant_descriptions"]]
    assert constants[:4] == ["name", "codec", "version", "time"]
    assert len(document["constant_values"]) == len(constants)
    fields = [next(iter(entry)) for entry in document["field_descriptions"]]
    assert {"original_name", "encoded_name", "encoded_size", "psnr", "msssim"} <= set(fields)
    assert "lpips" not in fields
    row = dict(zip(fields, document["field_values"][1], strict=True))
    assert row["original_name"] == "a.png"
    assert row["quality"] == 60.0
    assert row["encoded_size"] == 120
    assert json.loads((tmp_path / "batches.json").read_text()) == [["jpeg.json"]]


def test_overlays_of_every_layout(tmp_path: Path) -> None:
    points = [{"bpp": 0.1, "psnr": 30.0, "note": "x"}, {"bpp": 0.2, "psnr": 32}]
    path = tmp_path / "curves.json"
    path.write_text(json.dumps({"hm": points, "_private": points}))
    assert load_overlay(path) == {"hm": [{"bpp": 0.1, "psnr": 30.0}, {"bpp": 0.2, "psnr": 32.0}]}
    path.write_text(json.dumps({"kodak": {"hm": points}, "clic": {"bpg": points}}))
    assert list(load_overlay(path, "kodak")) == ["hm"]
    with pytest.raises(ResultsError, match="curves of kodak, clic, none of mnist"):
        load_overlay(path, "mnist")
    path.write_text(json.dumps(points))
    assert list(load_overlay(path)) == ["curves"]
    single = {"name": "a", "results": {"bpp": [0.1], "psnr": [30.0]}}
    path.write_text(json.dumps([single, {**single, "name": "b"}]))
    assert list(load_overlay(path)) == ["a", "b"]


def test_published_lpips_is_shown_beside_alexnet_only(tmp_path: Path) -> None:
    path = tmp_path / "curves.json"
    path.write_text(json.dumps({"hific": [{"bpp": 0.1, "psnr": 30.0, "lpips": 0.1}]}))
    for metric, keys in (
        ("lpips-alex", {"bpp", "psnr", "lpips"}),
        ("lpips-squeeze", {"bpp", "psnr"}),
    ):
        (point,) = load_overlays([path], BenchPlan("kodak", (), (metric,)))["hific"]
        assert set(point) == keys


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"a": 3}', '{"results": {"psnr": [1]}}'])
def test_an_overlay_without_curves_is_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match="overlay"):
        load_overlay(path)
    with pytest.raises(ResultsError, match="cannot be read"):
        load_overlay(tmp_path / "absent.json")
