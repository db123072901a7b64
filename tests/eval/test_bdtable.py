"""BD-rates of runs: means, per image, common images, and the regression gate."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("pandas")

from imgcodec.eval.bdrate import BdRateError, bd_rate
from imgcodec.eval.bdtable import bd_table
from imgcodec.eval.quality import quality_of
from imgcodec.eval.regression import against_baseline, regressions
from tests.eval.rows import frame_of, ladder

PSNR = [quality_of("psnr")]


def rows_of(codec: str, scale: float, images: str = "ab", lift: float = 0.0) -> list[dict]:
    """Rows on PSNR = 30 + 6 log2(bpp / scale), image b harder by a factor of two."""
    return ladder(
        codec,
        scale,
        lambda step: {
            "psnr": 30 + 6 * step + lift,
            "ms_ssim": 1 - 10 ** -(1 + step / 4),
            "lpips": 0.4 / 2**step,
        },
        images,
        lambda image: 2.0 if image == "b" else 1.0,
    )


def test_table_has_the_true_saving_in_every_metric() -> None:
    frame = frame_of(rows_of("jpeg", 1.0) + rows_of("mine", 0.7))
    entries = bd_table(frame, "jpeg")
    assert [entry.metric for entry in entries] == ["PSNR", "MS-SSIM dB", "LPIPS"]
    for entry in entries:
        assert entry.codec == "mine"
        assert entry.percent == pytest.approx(-30.0, abs=1e-6)
        assert entry.mean_per_image == pytest.approx(-30.0, abs=1e-6)
        assert entry.images == 2
        assert entry.overlap == pytest.approx(1.0)
        assert not entry.refused


def test_only_common_images_are_compared() -> None:
    frame = frame_of(rows_of("jpeg", 1.0, "ab") + rows_of("mine", 0.7, "b"))
    (entry,) = bd_table(frame, "jpeg", metrics=PSNR)
    assert entry.percent == pytest.approx(-30.0, abs=1e-6)
    assert entry.images == 1


def test_mean_curve_is_that_of_averaged_points() -> None:
    rows = rows_of("jpeg", 1.0) + rows_of("mine", 0.7)
    rows = [row for row in rows if not (row["codec"] == "mine" and row["image"] == "b")]
    rows += [{**row, "bpp": row["bpp"] * 0.5} for row in rows_of("mine", 0.7, "b")]
    (entry,) = bd_table(frame_of(rows), "jpeg", metrics=PSNR)
    quality = [30 + 6 * step for step in range(5)]
    anchor = [0.15 * 2**step for step in range(5)]
    test = [0.7 * 0.1 * 2**step for step in range(5)]
    assert entry.percent == pytest.approx(bd_rate(anchor, quality, test, quality).percent)
    assert entry.mean_per_image == pytest.approx((-30.0 - 65.0) / 2)


def test_setting_that_lacks_an_image_does_not_bend_the_curve() -> None:
    rows = rows_of("jpeg", 1.0) + rows_of("mine", 0.7)
    rows.remove(next(r for r in rows if r["codec"] == "mine" and r["setting"] == "q=2"))
    (entry,) = bd_table(frame_of(rows), "jpeg", metrics=PSNR)
    assert entry.percent == pytest.approx(-30.0, abs=1e-6)


def test_refusal_is_told_not_raised() -> None:
    frame = frame_of(rows_of("jpeg", 1.0) + rows_of("mine", 0.7, lift=23.0))
    (entry,) = bd_table(frame, "jpeg", metrics=PSNR)
    assert math.isnan(entry.percent)
    assert "overlap over 4 %" in entry.refused


def test_unknown_anchor_names_the_codecs() -> None:
    with pytest.raises(BdRateError, match=r"'webp' is not among the codecs of the run \(jpeg\)"):
        bd_table(frame_of(rows_of("jpeg", 1.0)), "webp")


def test_gate_passes_equal_runs_and_fails_worse_ones() -> None:
    old = frame_of(rows_of("jpeg", 1.0) + rows_of("mine", 0.7))
    entries = against_baseline(old, old)
    assert {entry.codec for entry in entries} == {"jpeg", "mine"}
    assert regressions(entries, 0.0) == []
    worse = frame_of(rows_of("jpeg", 1.0) + rows_of("mine", 0.72))
    found = regressions(against_baseline(worse, old, metrics=PSNR), 0.5)
    assert [entry.codec for entry in found] == ["mine"]
    assert found[0].percent == pytest.approx(100 * (0.72 / 0.7 - 1), abs=1e-6)
    assert regressions(against_baseline(worse, old), 5.0) == []


def test_gate_counts_a_refusal_as_a_regression() -> None:
    old = frame_of(rows_of("mine", 0.7))
    new = frame_of(rows_of("mine", 0.7, lift=23.0))
    assert regressions(against_baseline(new, old, metrics=PSNR), 0.5)[0].refused


def test_gate_needs_something_in_common() -> None:
    with pytest.raises(BdRateError, match="in common"):
        against_baseline(frame_of(rows_of("a", 1.0)), frame_of(rows_of("b", 1.0)))
