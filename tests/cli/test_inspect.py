"""`imgcodec inspect`: text, JSON, verification, heatmap."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image


def test_text_names_picture_model_and_chunks(invoke, cvb):
    result = invoke("inspect", cvb)
    assert result.exit_code == 0
    assert "130x96 RGB" in result.stdout
    assert re.search(r"^model +beta\S* \(hash [0-9a-f]{8}\)$", result.stdout, re.MULTILINE)
    assert re.search(r"^chunk +bytes +bpp +share$", result.stdout, re.MULTILINE)


def test_json_accounts_for_every_byte(invoke, cvb):
    report = json.loads(invoke("inspect", cvb, "--json").stdout)
    size = cvb.stat().st_size
    assert report["file_bytes"] == size
    assert sum(chunk["bytes"] for chunk in report["chunks"]) == size
    assert sum(chunk["share"] for chunk in report["chunks"]) == pytest.approx(1)
    assert report["bpp"] == pytest.approx(8 * size / (96 * 130))
    assert (report["header"]["height"], report["header"]["width"]) == (96, 130)
    assert report["header"]["quality"] == 40
    assert report["passes"] is None
    assert report["integers_sha256"] is None


def test_verify_hashes_the_integers_and_estimates_the_size(invoke, cvb):
    report = json.loads(invoke("inspect", cvb, "--verify", "--json").stdout)
    assert re.fullmatch("[0-9a-f]{64}", report["integers_sha256"])
    assert sum(entry["symbols"] for entry in report["passes"]) > 0
    size = cvb.stat().st_size
    assert abs(report["estimated_bytes"] - size) <= 0.01 * size + 48
    again = invoke("inspect", cvb, "--verify").stdout
    assert report["integers_sha256"] in again


def test_heatmap_is_a_picture_and_is_not_overwritten(invoke, cvb, tmp_path):
    path = tmp_path / "heat.png"
    assert invoke("inspect", cvb, "--heatmap", path).exit_code == 0
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width > image.height
    before = path.read_bytes()
    assert invoke("inspect", cvb, "--heatmap", path).exit_code == 1
    assert path.read_bytes() == before
    assert invoke("inspect", cvb, "--heatmap", path, "-f").exit_code == 0


def test_levels_add_up_to_the_file(invoke, photo, levelled, cvb):
    path = photo.with_suffix(".cvb")
    assert invoke("encode", photo, "-m", levelled).exit_code == 0
    report = json.loads(invoke("inspect", path, "--json").stdout)
    levels = report["levels"]
    assert [level["number"] for level in levels] == [1, 2, 3]
    front = sum(c["bytes"] for c in report["chunks"] if not c["name"].startswith("segment"))
    ends = [level["bytes_so_far"] for level in levels]
    assert ends == [front + sum(level["bytes"] for level in levels[:n]) for n in (1, 2, 3)]
    assert ends[-1] == path.stat().st_size
    assert levels[0]["share"] == pytest.approx(levels[0]["bytes"] / ends[-1])
    table = re.compile(r"^level +bytes +bpp +share +bytes so far$", re.MULTILINE)
    assert table.search(invoke("inspect", path).stdout)
    assert not table.search(invoke("inspect", cvb).stdout)  # one level


def test_a_cut_file_is_described_on_request(invoke, stream, tmp_path):
    path = tmp_path / "cut.cvb"
    path.write_bytes(stream[:-10])
    assert invoke("inspect", path).exit_code == 3
    report = json.loads(invoke("inspect", path, "--allow-truncated", "--verify", "--json").stdout)
    assert sum(chunk["bytes"] for chunk in report["chunks"]) == len(stream) - 10
    assert report["chunks"][-1]["name"] == "cut chunk"
    assert (report["file_bytes"], report["expected_bytes"]) == (len(stream) - 10, len(stream))
    assert report["levels"] == []
    assert report["passes"]
    text = invoke("inspect", path, "--allow-truncated").stdout
    share = (len(stream) - 10) / len(stream)
    assert f"{len(stream) - 10} of {len(stream)} bytes ({share:.0%})" in text


def test_stdin_is_inspected(run_cli, stream):
    result = run_cli("inspect", "-", "--json", stdin=stream)
    assert result.returncode == 0
    assert json.loads(result.stdout)["file_bytes"] == len(stream)


def test_heatmap_of_a_corrupt_file_is_not_written(invoke, stream, tmp_path):
    (tmp_path / "bad.cvb").write_bytes(stream[:-2])
    assert invoke("inspect", tmp_path / "bad.cvb", "--heatmap", tmp_path / "h.png").exit_code == 3
    assert not (tmp_path / "h.png").exists()
