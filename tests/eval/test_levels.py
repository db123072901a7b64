"""Models with levels over a data set."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import imgcodec
from imgcodec.cli.main import cli
from imgcodec.codec.session import allocation
from imgcodec.codec.session.allocation import rate_weight
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from imgcodec.eval.levels import (
    LevelRow,
    levels_figure,
    levels_markdown,
    measure_levels,
    summarise_levels,
)
from tests.codec.conftest import LEVELLED, make_tiny_weights, smooth_pictures

QUALITY = 60


@pytest.fixture(autouse=True)
def _few_trials(monkeypatch):
    """What `auto` finds is the matter of `test_allocation.py`."""
    monkeypatch.setattr(allocation, "MAX_TRIALS", 5)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(make_tiny_weights(LEVELLED[0], tmp_path_factory.mktemp("levels")))


class TwoImages:
    name = "two"
    image_names = ("a", "b")

    def load(self, index):
        return smooth_pictures(2)[index][:64, :80]


def test_rows_are_those_of_the_files(weights):
    rows = list(measure_levels(TwoImages(), weights, QUALITY, ("equal", "auto"), lambda _: None))
    assert [(row.image, row.allocation) for row in rows] == [
        (image, allocation) for image in ("a", "b") for allocation in ("equal", "auto")
    ]
    model = load_model(find_model(weights)).model
    weight = rate_weight(model, QUALITY)
    for row in rows:
        rgb = TwoImages().load("ab".index(row.image))
        data = imgcodec.encode(rgb, model=weights, quality=QUALITY, level_bits=row.allocation)
        error = np.square(np.asarray(imgcodec.decode(data, model=weights)).astype(float) - rgb)
        assert row.bytes[-1] == len(data)
        assert len(row.bytes) == len(row.bpp) == len(row.psnr) == 3
        assert row.bpp[-1] == pytest.approx(8 * len(data) / (64 * 80))
        assert row.cost == pytest.approx(row.bpp[-1] + weight * error.mean())
        assert row.psnr[-1] == pytest.approx(10 * np.log10(255**2 / error.mean()))


def test_means_and_savings():
    def row(image, allocation, cost):
        return LevelRow(image, allocation, cost, (10, 100), (0.1, 1.0), (20.0, 30.0 + cost))

    rows = [row("a", "equal", 2.0), row("a", "auto", 1.0)]
    rows += [row("b", "equal", 4.0), row("b", "auto", 4.0)]
    equal, auto = summarise_levels(rows)
    assert (equal["cost"], equal["saved"], equal["better"], equal["images"]) == (3.0, 0.0, 0, 2)
    assert (auto["cost"], auto["saved"], auto["better"]) == (2.5, 0.25, 1)
    assert auto["first_share"] == pytest.approx(0.1)
    assert (auto["psnr_1"], auto["psnr_2"]) == (20.0, 32.5)
    assert "| auto | 2 | 2.5000 | 25.00% | 1 |" in levels_markdown(rows, "title")


def test_the_figure_has_the_original_and_each_level(weights):
    figure = levels_figure(TwoImages().load(0), weights, QUALITY)
    assert figure.width >= 2 * 80
    assert figure.height >= 2 * 64


def test_command_writes_table_rows_and_figure(weights, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, name in enumerate(("one.png", "two.png")):
        Image.fromarray(TwoImages().load(index)).save(folder / name)
    out = tmp_path / "out"
    arguments = ["levels", "--dataset", str(folder), "-m", weights, "--out", str(out)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "allocation",
        "equal",
        "auto",
    ]
    with (out / "levels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert float(rows[0]["psnr_1"]) < float(rows[0]["psnr_3"])
    saved = 1 - float(rows[1]["cost"]) / float(rows[0]["cost"])
    assert float(rows[1]["saved"]) == pytest.approx(saved, abs=1e-6)
    assert (out / "levels.md").read_text().count("|") > 20
    with Image.open(out / "levels.png") as image:
        assert image.format == "PNG"


def test_models_without_levels_are_a_usage_error(tmp_path):
    Image.fromarray(TwoImages().load(0)).save(tmp_path / "one.png")
    result = CliRunner().invoke(cli, ["levels", "--dataset", str(tmp_path), "-m", "beta"])
    assert result.exit_code == 2
    assert "no levels" in result.stderr
