"""`imgcodec bench` as a user runs it: files, tables, resume, gate, exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

pytest.importorskip("pandas")
pytest.importorskip("matplotlib")

from imgcodec.cli.main import cli

FAST = ("--codecs", "jpeg@5,20,50,80,webp@5,30,75,95", "--metrics", "psnr", "-j", "1")


def bench(*args: object) -> Result:
    return CliRunner().invoke(cli, ["bench", *map(str, args)])


@pytest.fixture
def photos(tmp_path: Path, photo_like) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(np.roll(photo_like, 50 * index, axis=1)).save(folder / f"{index}.png")
    return folder


def test_run_writes_everything_and_prints_bd_rates(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = bench("--dataset", photos, "--out", out, *FAST, "--parquet", "--export", "compressai")
    assert result.exit_code == 0, result.output
    names = {path.name for path in out.iterdir()}
    assert {
        "rows.csv",
        "rows.parquet",
        "run.json",
        "rd_psnr.svg",
        "rd_psnr.png",
        "report.html",
        "compressai",
    } <= names
    assert "BD-rate against jpeg" in result.stdout
    cells = [line.split() for line in result.stdout.splitlines()]
    bd_rate = next(float(line[2]) for line in cells if line[:2] == ["webp", "PSNR"])
    assert -80 < bd_rate < -5
    with (out / "rows.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 16
    record = json.loads((out / "run.json").read_text())
    assert record["codecs"]["webp"].endswith("4:2:0, method 6")


def test_json_goes_to_stdout_alone(photos: Path, tmp_path: Path) -> None:
    result = bench("--dataset", photos, "--out", tmp_path / "o", *FAST, "--no-report", "--json")
    document = json.loads(result.stdout)
    assert len(document["summary"]) == 8
    assert document["bd_rates"][0]["codec"] == "webp"
    assert document["summary"][0]["lpips"] is None


def test_second_run_needs_resume_or_force(photos: Path, tmp_path: Path) -> None:
    common = ("--dataset", photos, "--out", tmp_path / "o", *FAST, "--no-report")
    assert bench(*common).exit_code == 0
    before = (tmp_path / "o" / "rows.csv").read_text()
    refused = bench(*common)
    assert refused.exit_code == 1
    assert "--resume" in refused.stderr
    assert bench(*common, "--resume").exit_code == 0
    assert (tmp_path / "o" / "rows.csv").read_text() == before
    other = bench(*common, "--resume", "--reps", 2)
    assert other.exit_code == 1
    assert "reps was 1, now 2" in other.stderr
    assert bench(*common, "--force", "--reps", 2).exit_code == 0


def test_gate_passes_itself_and_fails_a_worse_run(photos: Path, tmp_path: Path) -> None:
    common = ("--dataset", photos, "--no-report", "--metrics", "psnr", "-j", 1)
    assert bench(*common, "--codecs", "webp@5,30,75,95", "--out", tmp_path / "a").exit_code == 0
    old = tmp_path / "a" / "rows.csv"
    same = bench(*common, "--codecs", "webp@5,30,75,95", "--out", tmp_path / "b", "--baseline", old)
    assert same.exit_code == 0, same.output
    assert "each codec against itself" in same.stdout
    text = old.read_text().splitlines()
    rows = list(csv.DictReader(text))
    for row in rows:
        row["bpp"] = repr(float(row["bpp"]) * 0.97)
    better = tmp_path / "better.csv"
    with better.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    worse = bench(
        *common, "--codecs", "webp@5,30,75,95", "--out", tmp_path / "c", "--baseline", better
    )
    assert worse.exit_code == 1
    assert "webp PSNR +3.09 %" in worse.stderr
    loose = ("--baseline", better, "--tolerance", 5, "--out", tmp_path / "d")
    assert bench(*common, "--codecs", "webp@5,30,75,95", *loose).exit_code == 0


def test_failed_rows_give_exit_code_1_and_keep_the_others(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"x")
    result = bench("--dataset", photos, "--out", tmp_path / "o", *FAST)
    assert result.exit_code == 1
    assert "8 rows failed" in result.stderr
    assert (tmp_path / "o" / "report.html").is_file()
    assert "BD-rate against jpeg" in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--dataset", "kodak"), "imgcodec datasets fetch kodak"),
        (("--dataset", "kodac"), "did you mean 'kodak'"),
        (("--dataset", "kodak", "--codecs", "gif"), "unknown codec 'gif'"),
        (("--dataset", "kodak", "--metrics", "vmaf"), "unknown metric 'vmaf'"),
        (("--dataset", "kodak", "--baseline", "no.csv"), "no results file no.csv"),
        (("--dataset", "kodak", "--overlay", "no.json"), "overlay no.json cannot be read"),
    ],
)
def test_what_is_missing_is_told_without_a_traceback(
    args: tuple[str, ...], message: str, tmp_path: Path, monkeypatch
) -> None:
    """No data, no network: one line, exit code 1."""
    monkeypatch.delenv("IMGCODEC_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    extra = () if "--codecs" in args else ("--codecs", "jpeg")
    result = bench(*args, *extra, "-j", 1)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_missing_packages_are_named(monkeypatch) -> None:
    from imgcodec.eval import extras

    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    result = bench("--dataset", "kodak")
    assert result.exit_code == 1
    assert "needs pandas, bjontegaard, matplotlib: pip install 'imgcodec[eval]'" in result.stderr


def test_codecs_help_lists_ladders_and_versions() -> None:
    result = bench("--codecs", "help")
    assert result.exit_code == 0
    assert "4:4:4, speed 6, tune psnr; q=5, q=10" in result.stdout


def test_kodak_points_and_lpips_from_local_weights(data_dir: Path, tmp_path: Path) -> None:
    result = bench(
        *("--dataset", "kodak", "--limit", 1, "--data-root", data_dir, "--out", tmp_path / "o"),
        *("--codecs", "jpeg@10,50", "-j", 1, "--no-report", "--metrics", "psnr,lpips-squeeze"),
    )
    assert result.exit_code == 0, result.output
    with (tmp_path / "o" / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["kodim01.png"] * 2
    assert float(rows[0]["lpips"]) > float(rows[1]["lpips"]) > 0
    assert {(row["width"], row["height"]) for row in rows} == {("768", "512")}


def test_every_installed_model_can_be_measured(photos: Path, tmp_path: Path) -> None:
    from imgcodec.codec.weights.installed import find_model, list_models
    from imgcodec.codec.weights.store import load_model

    models = list_models()
    codecs = []
    for info in models:
        ladder = load_model(find_model(info.id)).model.quality_ladder
        codecs.append(f"imgcodec:{info.id}@{ladder[0]},{ladder[-1]}")
    options = ("--metrics", "psnr", "-j", "1", "--no-report", "--limit", "1")
    out = tmp_path / "out"
    result = bench("--dataset", photos, "--out", out, "--codecs", ",".join(codecs), *options)
    assert result.exit_code == 0, result.output
    with (out / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * len(models)
    for low, high in zip(rows[::2], rows[1::2], strict=True):
        assert low["status"] == high["status"] == "ok"
        assert float(low["bytes"]) < float(high["bytes"])
        pixels = int(low["width"]) * int(low["height"])
        payload, estimate = float(low["payload_bpp"]), float(low["estimate_bpp"])
        assert abs(payload - estimate) * pixels / 8 <= 0.01 * estimate * pixels / 8 + 4
