"""Targets: the search, and files that meet a size or a likeness."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import imgcodec
from imgcodec.codec.api import encode_to_target
from imgcodec.codec.session.targets import Target, last_below, meet_target, psnr_db
from imgcodec.codec.stream.container import read_header
from tests.codec.conftest import smooth_pictures


@given(st.integers(0, 100))
def test_search_finds_the_last_quality_below_in_seven_steps(last):
    asked = []

    def make(quality):
        asked.append(quality)
        return -quality

    assert last_below(make, lambda result: result >= -last) == (last, {q: -q for q in asked})
    assert len(asked) <= 7
    assert all(1 <= quality <= 100 for quality in asked)


def fake_encode(quality, rounding):
    return bytes(quality * 10)


def fake_decode(data):
    return np.full((10, 8, 3), len(data) // 10, np.uint8)


def fake_meet(name, value, measure=None, lower_is_better=False):
    target = Target(name, value, measure, lower_is_better)
    return meet_target(target, np.zeros((10, 8, 3), np.uint8), fake_encode, fake_decode)


@pytest.mark.parametrize(("budget", "quality"), [(10, 1), (499, 49), (500, 50), (10**6, 100)])
def test_size_targets_give_the_largest_file_that_fits(budget, quality):
    found = fake_meet("bytes", budget)
    assert (found.quality, len(found.data), found.value) == (quality, 10 * quality, 10 * quality)
    found = fake_meet("bpp", budget * 8 / 80)
    assert (found.quality, found.value) == (quality, quality)


@given(st.integers(10_000, 500_000))
def test_sizes_between_two_qualities_are_filled_by_rounding(budget):
    """Files as large as those of a model: 4 % a quality, up to 10 % by rounding."""
    asked = []

    def encode(quality, rounding):
        asked.append((quality, rounding))
        return bytes(int(10_000 * 1.04 ** (quality - 1) * (1.2 - 0.2 * rounding)))

    found = meet_target(Target("bytes", budget), np.zeros((1, 1, 3), np.uint8), encode, fake_decode)
    best = 10_000 * 1.04**99
    assert 0.99 * min(budget, best) <= len(found.data) <= budget
    assert len(asked) <= 7 + 4
    assert all(rounding == 1 for _, rounding in asked[:6])


def test_a_family_that_rounds_in_one_way_is_asked_once():
    asked = []

    def encode(quality, rounding):
        asked.append((quality, rounding))
        return fake_encode(quality, rounding)

    found = meet_target(Target("bytes", 308), np.zeros((1, 1, 3), np.uint8), encode, fake_decode)
    assert (found.quality, len(found.data)) == (30, 300)
    assert [quality for quality, rounding in asked if rounding != 1] == [31]


def test_likeness_targets_give_the_smallest_file_that_reaches():
    def likeness(original, decoded):
        return float(decoded.mean())

    def distance(original, decoded):
        return 1 / float(decoded.mean())

    assert fake_meet("likeness", 40.5, likeness).quality == 41
    assert fake_meet("likeness", 41, likeness).quality == 41
    assert fake_meet("distance", 0.1, distance, lower_is_better=True).quality == 10


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (("bytes", 9), "the best is 10, with quality 1"),
        (("bpp", 0.9), "the best is 1, with quality 1"),
        (
            ("likeness", 101, lambda original, decoded: float(decoded.mean())),
            "best is 100, with quality 100",
        ),
        (("likeness", 1, lambda original, decoded: math.nan), "not defined"),
    ],
)
def test_targets_out_of_reach_raise(target, text):
    with pytest.raises(imgcodec.UnreachableTargetError, match=text):
        fake_meet(*target)


def test_beyond_the_highest_quality_as_few_blocks_as_possible_are_repaired():
    """A file of 1000 bytes is that of quality 100; each percent repaired adds one."""
    asked = []

    def repair(data):
        assert data == fake_encode(100, 1)

        def repaired(share):
            asked.append(share)
            return data + bytes(round(100 * share))

        return repaired

    def meet(value, lower_is_better=False):
        sign = -1 if lower_is_better else 1
        target = Target("l", sign * value, lambda _, b: sign * b.size, lower_is_better)
        decode = lambda data: np.zeros(len(data), np.uint8)  # noqa: E731
        return meet_target(target, np.zeros((1, 1, 3), np.uint8), fake_encode, decode, repair)

    for lower_is_better in (False, True):
        assert len(meet(990, lower_is_better).data) == 990 and not asked
        found = meet(1023, lower_is_better)
        assert (found.quality, len(found.data)) == (100, 1023)
        with pytest.raises(imgcodec.UnreachableTargetError, match=r"best is -?1100,"):
            meet(1101, lower_is_better)
        asked.clear()


def test_exact_blocks_reach_what_the_model_cannot(picture):
    picture = picture[:64, :96]
    with pytest.raises(imgcodec.UnreachableTargetError, match="the best is ") as error:
        imgcodec.encode(picture, target_psnr=60, exact="none")
    (best,) = map(float, re.findall(r"best is ([\d.]+),", str(error.value)))
    sizes = []
    for target in (best, best + 1, 60):
        data = imgcodec.encode(picture, target_psnr=target)
        assert psnr_db(picture, np.asarray(imgcodec.decode(data))) >= target
        sizes.append(len(data))
    lossless = imgcodec.encode(picture, exact="all")
    assert sizes[0] < sizes[1] < 0.9 * sizes[2]
    assert sizes[2] <= len(lossless)


def test_text_beside_a_photograph_stays_exact_where_more_has_to_be(picture):
    """What was exact at quality 100 already is so beyond it."""
    picture = picture[:64, :96]
    page = np.full_like(picture, 255)
    page[8:56:6, 8:88:3] = 0
    both = np.concatenate([picture, page], axis=1)
    usual = np.asarray(imgcodec.decode(imgcodec.encode(both, quality=100)))
    target = psnr_db(both, usual) + 1
    data = imgcodec.encode(both, target_psnr=target)
    decoded = np.asarray(imgcodec.decode(data))
    assert psnr_db(both, decoded) >= target
    was_exact = (usual == both).all(axis=2)[:, 96:]
    assert was_exact.mean() > 0.5
    assert (decoded == both).all(axis=2)[:, 96:][was_exact].all()


@pytest.mark.parametrize("value", [0, -5, math.nan, math.inf])
def test_senseless_sizes_are_value_errors(value):
    with pytest.raises(ValueError, match="positive"):
        fake_meet("bytes", value)


def test_psnr_is_that_of_the_definition():
    a, b = (np.random.default_rng(seed).integers(0, 256, (600, 7, 3), np.uint8) for seed in (0, 1))
    expected = 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))
    assert psnr_db(a, b) == pytest.approx(expected, abs=1e-9)
    assert psnr_db(a, a) == math.inf


@pytest.fixture(scope="module")
def picture():
    smooth = smooth_pictures(2, side=160)[1]
    noisy = smooth + np.random.default_rng(0).normal(0, 8, smooth.shape)
    return noisy.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "budget",
    [
        700,
        3000,
        pytest.param(1999, marks=pytest.mark.slow),
        pytest.param(6001, marks=pytest.mark.slow),
    ],
)
def test_files_fill_their_budget_and_never_exceed_it(picture, budget):
    data = imgcodec.encode(picture, target_bytes=budget)
    assert 0.97 * budget <= len(data) <= budget
    # As good as the quality below it, decoded like any file.
    quality = read_header(data).quality
    lower = imgcodec.encode(picture, quality=quality - 1)
    reached, least = (psnr_db(picture, np.asarray(imgcodec.decode(d))) for d in (data, lower))
    assert reached > least
    assert imgcodec.inspect(data, verify=True).integers_sha256


def test_bits_a_pixel_are_a_size(picture):
    small = picture[:64, :80]
    data = imgcodec.encode(small, target_bytes=500)
    assert data == imgcodec.encode(small, target_bpp=500 * 8 / (64 * 80))


def test_encode_reaches_its_likeness(picture):
    data = imgcodec.encode(picture, target_psnr=30)
    quality = read_header(data).quality
    assert psnr_db(picture, np.asarray(imgcodec.decode(data))) >= 30
    lower = imgcodec.encode(picture, quality=quality - 1)
    assert psnr_db(picture, np.asarray(imgcodec.decode(lower))) < 30


def test_any_measure_can_be_a_target():
    picture = smooth_pictures(1, side=64)[0]

    def largest_error(original, decoded):
        return float(np.abs(original.astype(int) - decoded).max())

    target = Target("largest error", 40, largest_error, lower_is_better=True)
    found = encode_to_target(picture, target)
    decoded = np.asarray(imgcodec.decode(found.data))
    assert largest_error(picture, decoded) == found.value <= 40
    assert read_header(found.data).quality == found.quality


def test_a_quality_and_a_target_exclude_each_other():
    picture = np.zeros((8, 8, 3), np.uint8)
    for options in ({"quality": 50, "target_psnr": 30}, {"target_bytes": 900, "target_bpp": 1}):
        with pytest.raises(ValueError, match="give one"):
            imgcodec.encode(picture, **options)
