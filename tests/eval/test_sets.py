"""FID and KID over a run: one row per codec and setting, errors kept."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgcodec.eval import sets
from imgcodec.eval.runner import BenchPlan


def mean_colours(patches: np.ndarray) -> np.ndarray:
    """A stand-in for a network: mean and spread of the channels of patches (N, 256, 256, 3)."""
    values = patches.reshape(len(patches), -1, 3).astype(np.float32)
    return np.concatenate([values.mean(axis=1), values.std(axis=1)], axis=1)


@pytest.fixture
def photos(tmp_path: Path, photo_like) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    large = np.tile(photo_like, (3, 3, 1))
    Image.fromarray(large).save(folder / "a.png")
    Image.fromarray(np.roll(large, 100, axis=0)).save(folder / "b.png")
    return folder


def test_distances_fall_with_the_rate(photos: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        sets,
        "create_extractors",
        lambda names, options: {"squeeze": (mean_colours, list(names))},
    )
    plan = BenchPlan(str(photos), ("jpeg@3,95", "jpeg2000@0"), ())
    rows = sets.run_sets(plan, ["fid-squeeze", "kid-squeeze"], tmp_path / "sets.csv")
    assert [(row.codec, row.setting) for row in rows] == [
        ("jpeg", "q=3"),
        ("jpeg", "q=95"),
        ("jpeg2000", "bpp=0"),
    ]
    assert rows[0].values["fid-squeeze"] > 3 * rows[1].values["fid-squeeze"] > 0
    # 576x768: 2x3 patches, and one row of two moved by half a patch.
    assert rows[0].patches == 2 * (6 + 2)
    assert "ZeroDivisionError" in rows[2].error
    with (tmp_path / "sets.csv").open() as file:
        written = list(csv.DictReader(file))
    assert float(written[0]["fid_squeeze"]) == rows[0].values["fid-squeeze"]
    assert written[2]["fid_squeeze"] == ""
    assert "fid" not in written[0]


def test_a_run_that_goes_on_measures_what_is_missing_alone(
    photos: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(
        sets,
        "create_extractors",
        lambda names, options: {"squeeze": (mean_colours, list(names))},
    )
    path, names, measured = tmp_path / "sets.csv", ["fid-squeeze"], []

    def run(codecs: str, resume: bool = True) -> list[sets.SetRow]:
        measured.clear()
        plan = BenchPlan(str(photos), (codecs, "jpeg2000@0"), ())
        return sets.run_sets(
            plan, names, path, lambda row: measured.append(row.setting), resume=resume
        )

    first = run("jpeg@3,95", resume=False)
    before = path.read_text()
    assert measured == ["q=3", "q=95", "bpp=0"]
    again = run("jpeg@3,95")
    assert measured == ["bpp=0"], "what failed is tried again"
    assert (again[:2], path.read_text()) == (first[:2], before)
    assert [row.setting for row in run("jpeg@3,50,95")] == ["q=3", "q=50", "q=95", "bpp=0"]
    assert measured == ["q=50", "bpp=0"]
    names.append("kid-squeeze")
    run("jpeg@3,95")
    assert measured == ["q=3", "q=95", "bpp=0"], "a metric more"
