"""All results from one plan: what is missing is measured, and nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

pytest.importorskip("pandas")

from imgcodec.codec.strict import RecipeError
from imgcodec.eval import rebuild, sets
from imgcodec.eval.anchors.pillow_codecs import PillowCodec
from imgcodec.eval.anchors.registry import check_codec_name
from imgcodec.eval.metrics.base import MetricOptions
from imgcodec.eval.plan import load_plan
from imgcodec.eval.quality import find_quality
from imgcodec.eval.results import read_rows
from imgcodec.eval.set_quality import set_metric_names
from tests.eval.test_sets import mean_colours


@pytest.fixture
def results(tmp_path: Path, photo_like, monkeypatch):
    """Call it with codecs: runs the plan and returns the settings that were measured."""
    large = np.tile(photo_like, (2, 2, 1))
    for name in "ab":
        Image.fromarray(np.roll(large, ord(name), axis=0)).save(tmp_path / f"{name}.png")
    monkeypatch.setattr(
        sets,
        "create_extractors",
        lambda names, options: {"vgg": (mean_colours, list(names))},
    )
    encode, encoded = PillowCodec.encode, []

    def counted(self: PillowCodec, rgb: Any, setting: Any) -> bytes:
        encoded.append((self.name, setting))
        return encode(self, rgb, setting)

    monkeypatch.setattr(PillowCodec, "encode", counted)

    def run(codecs: dict[str, list[int]], *arguments: str) -> set[tuple[str, int]]:
        tree = {
            "defaults": {"metrics": ["psnr"], "set_metrics": ["fid-vgg"], "anchor": "jpeg"},
            "runs": {"small": {"dataset": f"{tmp_path}/*.png", "folder": "x", "codecs": codecs}},
        }
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
        encoded.clear()
        options = ["--plan", f"{tmp_path}/plan.yaml", "--out", f"{tmp_path}/out", "--jobs", "1"]
        rebuild.main([*options, *arguments])
        return set(encoded)

    return run


def test_only_what_is_missing_is_measured(results, tmp_path: Path) -> None:
    first = {"jpeg": [5, 30, 60, 90], "webp": [5, 30, 60, 90]}
    folder = tmp_path / "out" / "x"
    assert results(first) == {(name, q) for name in first for q in first[name]}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"rows.csv", "sets.csv", "run.json", "rd_psnr.png", "rd_fid_vgg.png"}
    assert results(first) == set()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert {quality for name, quality in results(first | {"webp": [5, 60, 75]})} == {75}
    rows = read_rows(folder / "rows.csv")
    webp = rows[rows["codec"] == "webp"]
    assert list(webp["setting"]) == ["q=5", "q=60", "q=75"] * 2, "what is not asked for is gone"
    assert rows["encode_s"].isna().all(), "machines that measure for hours do other things too"


def test_rows_of_a_codec_that_has_changed_are_measured_again(
    results, monkeypatch, tmp_path: Path
) -> None:
    codecs = {"jpeg": [5, 60], "webp": [5, 60]}
    results(codecs)
    text = PillowCodec.describe_codec
    monkeypatch.setattr(
        PillowCodec, "describe_codec", lambda self: text(self).replace("WEBP", "newer WEBP")
    )
    assert results(codecs) == {("webp", 5), ("webp", 60)}
    assert len(read_rows(tmp_path / "out" / "x" / "rows.csv")) == 8


def test_a_run_that_was_stopped_goes_on(results, tmp_path: Path) -> None:
    codecs = {"jpeg": [5, 60, 90]}
    results(codecs)
    for name in ("rows.csv", "sets.csv"):
        file = tmp_path / "out" / "x" / name
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[:-1]) + lines[-1][:7])
    assert results(codecs) == {("jpeg", 90)}


def test_the_page_has_the_figures_and_the_tables_of_the_rows(results, tmp_path: Path) -> None:
    results({"jpeg": [5, 30, 60, 90], "webp": [5, 30, 60, 90]})
    page = (tmp_path / "out" / "README.md").read_text()
    assert "![PSNR](x/rd_psnr.png)" in page
    assert "![fid-vgg](x/rd_fid_vgg.png)" in page
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    (rate,) = (line for line in lines if line[:1] == ["webp"] and len(line) == 2)
    assert -80 < float(rate[1].removesuffix(" %")) < 0
    header = next(line for line in lines if line[:2] == ["codec", "setting"])
    line = next(line for line in lines if line[:2] == ["jpeg", "q=5"])
    point = dict(zip(header, line, strict=True))
    assert not {"enc MP/s", "dec MP/s"} & set(header)
    assert float(point["ratio"]) == pytest.approx(24 / float(point["bpp"]), rel=0.1)
    assert float(point["fid-vgg"]) > 0


def test_limits_need_a_folder_of_their_own(capsys) -> None:
    with pytest.raises(SystemExit):
        rebuild.main(["--limit", "1"])
    assert "--out" in capsys.readouterr().err


def test_an_unknown_key_of_the_plan_is_named(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("runs: {a: {datasets: kodak}}")
    with pytest.raises(
        RecipeError, match=r"runs: a: unknown key 'datasets'; did you mean 'dataset'"
    ):
        load_plan(plan)


def test_files_are_made_where_they_are_missing(tmp_path: Path, monkeypatch) -> None:
    program = tmp_path / "make.py"
    program.write_text(
        "import pathlib, sys; from PIL import Image; print('a,b')\n"
        "Image.new('RGB', (9, 9)).save(pathlib.Path(sys.argv[1], 'made.png'))\n"
        f"open({str(tmp_path / 'calls')!r}, 'a').write('x')\n"
    )
    (tmp_path / "plan.yaml").write_text(
        "runs: {}\n"
        "files:\n"
        f"  m/table.csv: {{run: &one 'python {program} {{folder}}'}}\n"
        "  m/look.jpg: {run: *one, take: made.png}\n"
        "  m/bad.csv: {run: python -c 'raise SystemExit(3)'}\n"
    )
    options = ["--plan", f"{tmp_path}/plan.yaml", "--out", f"{tmp_path}/out"]
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"failed: m/bad.csv"):
            rebuild.main(options)
    assert (tmp_path / "out/m/table.csv").read_text() == "a,b\n"
    assert Image.open(tmp_path / "out/m/look.jpg").format == "JPEG"
    assert (tmp_path / "calls").read_text() == "x", "one command made both, once"
    assert not (tmp_path / "out/m/bad.csv").exists()


def test_the_plan_of_this_repository_names_what_there_is(root: Path) -> None:
    plan = load_plan(root / rebuild.ROOT / rebuild.PLAN_FILE)
    for run in plan.runs.values():
        for codec in run.codecs:
            check_codec_name(codec)
        assert run.anchor in run.codecs
        assert all(map(find_quality, run.metrics))
        assert set(run.set_metrics) <= set(set_metric_names())
    missing = [name for name in plan.files if not (root / rebuild.ROOT / name).is_file()]
    assert missing == []


def test_lpips_is_left_out_where_its_weights_are_not_at_hand(root, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    run = load_plan(root / rebuild.ROOT / rebuild.PLAN_FILE).runs["kodak"]
    assert not [name for name in run.plan(MetricOptions()).metrics if "lpips" in name]
    (tmp_path / "squeezenet1_1_features.safetensors").touch()
    here = dataclasses.replace(MetricOptions(), weights_dir=tmp_path)
    assert "lpips-squeeze" in run.plan(here).metrics
