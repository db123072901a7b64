"""Codecs in the same bytes."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from imgcodec.eval.anchors.base import Setting
from imgcodec.eval.anchors.registry import get_codec
from imgcodec.eval.match import (
    largest_within,
    match_dataset,
    search_settings,
    smallest_reaching,
    summarise_matches,
    write_matches,
)
from imgcodec.eval.metrics.base import create_metrics
from imgcodec.eval.quality import quality_of


@dataclasses.dataclass(frozen=True)
class Padding:
    """A codec whose files are as long as its setting says."""

    name: str = "padding"
    settings: Sequence[Setting] = (10, 20, 90)

    def encode(self, rgb, setting):
        return bytes(setting * 10)

    def decode(self, data):
        return np.full((8, 8, 3), min(len(data), 255), np.uint8)

    def describe(self, setting):
        return f"q={setting}"

    def describe_codec(self):
        return "padding"


RGB = np.zeros((8, 8, 3), np.uint8)


@pytest.mark.parametrize(("limit", "setting", "fits"), [(437, 43, True), (5, 0, True)])
def test_the_best_file_within_the_bytes_is_found(limit, setting, fits):
    match, found = largest_within(Padding(), RGB, limit, range(0, 101))
    assert (match.setting, found) == (setting, fits)
    assert len(match.data) <= limit


def test_a_codec_that_cannot_get_so_small_shows_its_smallest_file():
    match, fits = largest_within(Padding(), RGB, 50, (10, 20))
    assert not fits
    assert match.setting == 10


def test_the_smallest_file_that_is_good_enough_is_found():
    match, reached = smallest_reaching(Padding(), RGB, lambda data: len(data) >= 437, range(0, 101))
    assert (match.setting, reached) == (44, True)
    match, reached = smallest_reaching(Padding(), RGB, lambda data: False, (10, 20))
    assert (match.setting, reached) == (20, False)


def test_whole_number_qualities_are_searched_completely():
    assert len(search_settings(Padding())) == 101
    assert search_settings(get_codec("jxl@2.0,1.0")) == [2.0, 1.0]


@pytest.fixture
def two_images(photo_like):
    class TwoImages:
        name = "two"
        image_names = ("a", "b")

        def load(self, index):
            return photo_like[: 64 + 16 * index, :64]

        def path(self, index):
            return None

    return TwoImages()


def test_equal_quality_is_reached_with_as_few_bytes_as_can_be(two_images):
    metrics = create_metrics(["psnr"])
    reference, other = get_codec("webp@20,80"), get_codec("jpeg")
    by = quality_of("psnr")
    rows = list(match_dataset(two_images, reference, [other], metrics, lambda _: None, by))
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert second.fits
        assert second.values["psnr"] >= first.values["psnr"]
        assert second.values["psnr"] < first.values["psnr"] + 1.5
    with pytest.raises(ValueError, match="not among the metrics"):
        next(match_dataset(two_images, reference, [], metrics, print, quality_of("vif")))


def test_rows_and_means(two_images, tmp_path):
    metrics = create_metrics(["psnr"])
    reference, other = get_codec("webp@20,80"), get_codec("jpeg")
    rows = list(match_dataset(two_images, reference, [other], metrics, lambda _: None))
    assert len(rows) == 2 * 2 * 2
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        assert (first.codec, second.codec) == ("webp", "jpeg")
        assert second.bpp <= first.bpp or not second.fits
    records = summarise_matches(rows)
    assert [(r["setting"], r["codec"], r["images"]) for r in records] == [
        ("q=20", "webp", 2),
        ("q=20", "jpeg", 2),
        ("q=80", "webp", 2),
        ("q=80", "jpeg", 2),
    ]
    write_matches(rows, tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [(r["image"], r["setting"], r["codec"]) for r in written] == [
        (row.image, row.setting, row.codec) for row in rows
    ]
    assert float(written[-1]["psnr"]) == pytest.approx(rows[-1].values["psnr"], rel=1e-6)
    both = [row.values["psnr"] for row in rows if row.codec == "webp" and row.setting == "q=20"]
    assert records[0]["psnr"] == pytest.approx(np.mean(both))
