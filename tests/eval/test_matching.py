"""Matching of sizes, and the choice of images, rates and windows for a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from imgcodec.eval import pictures
from imgcodec.eval.anchors.base import RgbArray, Setting
from imgcodec.eval.curves import usable_rows
from imgcodec.eval.matching import known_sizes, match_bytes
from imgcodec.eval.windows import detail_window, detail_windows

RGB = np.zeros((8, 8, 3), np.uint8)


@dataclasses.dataclass
class FakeCodec:
    """Sizes follow a formula; the settings tried are recorded."""

    settings: Sequence[Setting]
    is_falling: bool = False
    name: str = "fake"
    tried: list[Setting] = dataclasses.field(default_factory=list)

    def encode(self, rgb: RgbArray, setting: Setting) -> bytes:
        self.tried.append(setting)
        place = float(self.settings.index(setting)) if isinstance(setting, str) else float(setting)
        return bytes(int(100 * 1.07 ** (-place if self.is_falling else place)))

    def decode(self, data: bytes) -> RgbArray:
        return RGB

    def describe(self, setting: Setting) -> str:
        return f"q={setting}"

    def describe_codec(self) -> str:
        return "fake"


@pytest.mark.parametrize("target", [150, 700, 3000, 20000])
def test_integer_settings_come_within_one_step_in_few_encodes(target: int) -> None:
    codec = FakeCodec((1, 20, 40, 60, 80, 100))
    match = match_bytes(codec, RGB, target)
    assert len(match.data) == pytest.approx(target, rel=0.04)
    assert isinstance(match.setting, int) and len(codec.tried) <= 8


def test_falling_real_settings_are_interpolated_too() -> None:
    codec = FakeCodec((-5.0, -20.0, -40.0), is_falling=True)
    assert len(match_bytes(codec, RGB, 700).data) == pytest.approx(700, rel=0.02)
    codec = FakeCodec((20.0, 8.0, 1.0), is_falling=True)
    assert len(match_bytes(codec, RGB, 50).data) == pytest.approx(50, rel=0.03)


def test_text_settings_are_chosen_from_the_ladder() -> None:
    codec = FakeCodec(("low", "middle", "high"))
    assert match_bytes(codec, RGB, 106).setting == "middle"


def test_target_out_of_reach_gives_the_nearest_end() -> None:
    codec = FakeCodec((10, 50, 90))
    assert match_bytes(codec, RGB, 1).setting == 10
    assert match_bytes(codec, RGB, 10**6).setting == 90


def test_measured_sizes_save_encodes() -> None:
    codec = FakeCodec((10, 50, 90))
    known = known_sizes(codec, [("q=10", 196), ("q=50", 2945), ("q=33", 932), ("d=1.5", 7)])
    assert known == {10: 196, 50: 2945, 33: 932}
    match = match_bytes(codec, RGB, 1600, known=known, max_encodes=2)
    assert len(codec.tried) <= 2
    assert len(match.data) == pytest.approx(1600, rel=0.05)


def test_measured_size_nearer_than_all_tries_is_encoded_again() -> None:
    codec = FakeCodec((10, 11))
    match = match_bytes(codec, RGB, 196, known={10: 196, 11: 210})
    assert match.setting == 10 and codec.tried == [10]


def test_images_are_spread_from_easy_to_hard(small_run: Any) -> None:
    rows = usable_rows(small_run.rows)
    assert pictures.choose_images(rows, ["hill", "lake", "gone"], 8) == ["hill", "lake"]
    assert len(pictures.choose_images(rows, ["hill", "lake"], 1)) == 1


def test_rates_are_low_ones_that_half_of_the_codecs_reach(small_run: Any) -> None:
    rows = usable_rows(small_run.rows)
    rates = pictures.choose_rates(rows)
    assert 1 <= len(rates) <= 3 and rates == sorted(rates)
    ranges = rows.groupby("codec")["bpp"].agg(["min", "max"])
    assert ((ranges["min"] <= 1.2 * rates[-1]) & (ranges["max"] >= 0.8 * rates[-1])).sum() >= 2


def test_windows_lie_where_the_detail_is_and_apart() -> None:
    rgb = np.full((120, 160, 3), 128, np.uint8)
    rgb[64:96, 100:132] = np.random.default_rng(0).integers(0, 255, (32, 32, 3))
    window = detail_window(rgb, 32, 32)
    assert abs(window.left - 100) <= 4 and abs(window.top - 64) <= 4
    first, second = detail_windows(rgb, 32, 32, 2)
    assert abs(first.left - second.left) >= 32 or abs(first.top - second.top) >= 32
    whole = detail_window(rgb, 500, 500)
    assert (whole.width, whole.height) == (160, 120)
