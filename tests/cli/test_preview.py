"""`imgcodec preview`: table, pictures, contact sheet."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import imgcodec
from tests.codec.picture.test_sheet import picture_is_on


@pytest.fixture
def levels_cvb(photo, levelled):
    path = photo.with_name("levels.cvb")
    path.write_bytes(imgcodec.encode(photo, model=levelled, quality=70))
    return path


def test_a_picture_for_each_level_beside_the_file(invoke, levels_cvb, levelled):
    result = invoke("preview", levels_cvb, "-m", levelled)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["step", "bytes", "so", "far", "bpp", "output"]
    assert [line.split()[0] for line in lines[1:]] == ["level1", "level2", "level3"]
    assert lines[-1].split()[1] == str(levels_cvb.stat().st_size)
    for name in ("level1", "level2", "level3"):
        with Image.open(levels_cvb.with_name(f"levels.{name}.png")) as image:
            assert image.size == (130, 96)
    assert invoke("preview", levels_cvb, "-m", levelled).exit_code == 1
    assert invoke("preview", levels_cvb, "-m", levelled, "-f").exit_code == 0


def test_one_level_gives_a_picture_for_each_pass(invoke, cvb, photo, tmp_path):
    folder = tmp_path / "new" / "steps"
    result = invoke("preview", cvb, "-o", folder, "--reference", photo, "--json")
    records = json.loads(result.stdout)
    passes = ["z", *(f"{name}{k}" for name in ("lead", "y") for k in range(1, 5))]
    assert [record["step"] for record in records] == passes
    assert [step.label for step in imgcodec.preview(cvb)][::8] == ["pass 1 of 9", "pass 9 of 9"]
    assert [record["bytes"] for record in records] == sorted(r["bytes"] for r in records)
    assert records[-1]["bytes"] == cvb.stat().st_size
    assert records[-1]["bpp"] == pytest.approx(8 * cvb.stat().st_size / (130 * 96))
    with Image.open(photo) as original, Image.open(folder / "file.y4.png") as last:
        error = np.mean((np.asarray(original).astype(float) - np.asarray(last)) ** 2)
    assert records[-1]["psnr"] == pytest.approx(10 * np.log10(255**2 / error))
    assert len(list(folder.iterdir())) == 9


def test_a_sheet_alone(invoke, levels_cvb, levelled, photo, tmp_path):
    sheet = tmp_path / "sheet.png"
    options = ("-m", levelled, "--sheet", sheet)
    assert invoke("preview", levels_cvb, *options).exit_code == 0
    with Image.open(sheet) as image:
        assert image.width > 3 * 130
        assert image.height < 2 * 96
    # With the original four pictures are there, in two rows of two.
    assert invoke("preview", levels_cvb, *options, "--reference", photo, "-f").exit_code == 0
    drawn = np.asarray(Image.open(sheet))
    assert 2 * 130 < drawn.shape[1] < drawn.shape[0] * 3
    assert picture_is_on(drawn, np.asarray(Image.open(photo)))
    assert picture_is_on(drawn, np.asarray(imgcodec.decode(levels_cvb, model=levelled)))
    assert sorted(path.name for path in tmp_path.glob("*level*")) == ["levels.cvb"]
    before = sheet.read_bytes()
    assert invoke("preview", levels_cvb, *options).exit_code == 1
    assert sheet.read_bytes() == before


def test_wrong_input(invoke, cvb, stream, tmp_path):
    assert invoke("preview", tmp_path / "nosuch.cvb").exit_code == 2
    assert invoke("preview", "-", stdin=stream).exit_code == 2
    (tmp_path / "bad.cvb").write_bytes(stream[:-3])
    assert invoke("preview", tmp_path / "bad.cvb").exit_code == 3
    Image.new("RGB", (5, 5)).save(tmp_path / "small.png")
    result = invoke("preview", cvb, "--reference", tmp_path / "small.png")
    assert result.exit_code == 2
    assert "5x5" in result.stderr
    assert not list(tmp_path.glob("file.*.png"))


def test_stdin(invoke, stream, tmp_path):
    result = invoke("preview", "-", "-o", tmp_path, "--json", stdin=stream)
    assert result.exit_code == 0
    assert (tmp_path / "stdin.z.png").is_file()
