"""Frequency tables: invariants, construction, code lengths."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgcodec.codec.stream.tables import TOTAL, Tables

SCALES = np.exp(np.linspace(math.log(0.11), math.log(64), 32))


def assert_valid(tables: Tables) -> None:
    for row, half in zip(tables.frequencies, tables.half_widths, strict=True):
        used = row[: 2 * half + 2]
        assert used.min() >= 1
        assert used.sum() == TOTAL
        assert not row[2 * half + 2 :].any()


@settings(deadline=None)
@given(
    st.lists(st.floats(1e-3, 1e4), min_size=1, max_size=8),
    st.floats(1e-7, 0.5),
    st.integers(1, 600),
)
def test_gaussian_rows_are_valid_for_any_scale(scales, tail_mass, max_half_width):
    tables = Tables.gaussian(scales, tail_mass=tail_mass, max_half_width=max_half_width)
    assert tables.num_rows == len(scales)
    assert tables.half_widths.max() <= max_half_width
    assert_valid(tables)


def test_gaussian_frequencies_are_the_integrals_of_the_density():
    scale = 2.7
    tables = Tables.gaussian([scale], tail_mass=1e-6)
    half = int(tables.half_widths[0])

    def cdf(x):
        return 0.5 * (1 + math.erf(x / scale / math.sqrt(2)))

    for q in range(-half, half + 1):
        expected = (cdf(q + 0.5) - cdf(q - 0.5)) * TOTAL
        assert tables.frequencies[0, q + half] == pytest.approx(expected, abs=2 * half + 2)
    assert tables.frequencies[0, -1] == pytest.approx(2 * cdf(-half - 0.5) * TOTAL, abs=2)


def test_gaussian_half_widths_leave_at_most_the_tail_mass_outside():
    tables = Tables.gaussian(SCALES, tail_mass=1e-4)
    for scale, half in zip(SCALES, tables.half_widths, strict=True):
        assert math.erfc((half + 0.5) / scale / math.sqrt(2)) <= 1e-4
        assert half == 1 or math.erfc((half - 0.5) / scale / math.sqrt(2)) > 1e-4


@pytest.mark.parametrize("scales", [[0.0], [-1.0], [math.nan], [math.inf], [[1.0]]])
def test_gaussian_refuses_bad_scales(scales):
    with pytest.raises(ValueError, match="scales"):
        Tables.gaussian(scales)


def test_measured_tables_approach_the_histogram_and_shorten_the_code():
    rng = np.random.default_rng(0)
    prior = Tables.gaussian(SCALES)
    indexes = rng.integers(0, 31, 200_000)  # row 31 is never seen
    q = np.round(rng.laplace(size=indexes.size) * SCALES[indexes]).astype(np.int32)
    counts = prior.count(q, indexes)
    measured = Tables.from_histograms(counts, prior, strength=64)
    assert_valid(measured)
    assert counts.sum() == q.size
    np.testing.assert_array_equal(measured.half_widths, prior.half_widths)
    np.testing.assert_array_equal(measured.frequencies[31], prior.frequencies[31])
    assert measured.code_lengths(q, indexes).sum() < 0.98 * prior.code_lengths(q, indexes).sum()
    seen = counts[10] / counts[10].sum()
    np.testing.assert_allclose(measured.frequencies[10] / TOTAL, seen, atol=0.01)


def test_from_histograms_refuses_wrong_counts():
    prior = Tables.gaussian([1.0, 8.0])
    counts = np.zeros(prior.frequencies.shape)
    with pytest.raises(ValueError, match="match"):
        Tables.from_histograms(counts[:1], prior, 1)
    with pytest.raises(ValueError, match="strength"):
        Tables.from_histograms(counts, prior, 0)
    for position, value in (((0, -1), 1), ((0, 0), -1), ((0, 0), math.nan)):
        bad = counts.copy()
        bad[position] = value
        with pytest.raises(ValueError, match="counts"):
            Tables.from_histograms(bad, prior, 1)


def test_bits_are_infinite_where_a_row_has_no_symbol():
    tables = Tables.gaussian([0.5, 20.0])
    bits = tables.bits()
    np.testing.assert_array_equal(np.isinf(bits), tables.frequencies == 0)
    np.testing.assert_allclose(np.exp2(-bits).sum(axis=1), 1)


def test_code_lengths_count_every_bit_of_an_escape():
    tables = Tables(np.array([[1 << 22, 1 << 22, 1 << 22, 1 << 22]]), np.array([1]))
    # (q, bits): 2 for the symbol; an escape adds unary length, sign and suffix
    expected = {
        0: 2,
        -1: 2,
        2: 4,
        -2: 4,
        3: 6,
        4: 6,
        -5: 8,
        8: 8,
        9: 10,
        1 + 2**14: 2 + 15 + 1 + 14,
    }
    q = np.array(list(expected))
    np.testing.assert_allclose(
        tables.code_lengths(q, np.zeros_like(q)), list(expected.values()), atol=1e-9
    )


def test_arrays_round_trip_through_their_storage_types():
    tables = Tables.gaussian(SCALES)
    arrays = tables.to_arrays()
    assert {name: array.dtype for name, array in arrays.items()} == {
        "frequencies": np.uint32,
        "half_widths": np.int16,
    }
    again = Tables.from_arrays(arrays)
    np.testing.assert_array_equal(again.frequencies, tables.frequencies)
    np.testing.assert_array_equal(again.half_widths, tables.half_widths)


@pytest.mark.parametrize(
    "damage",
    [
        lambda f, h: f.__setitem__((0, 0), f[0, 0] + 1),
        lambda f, h: f.__setitem__((0, slice(0, 2)), (0, f[0, 0] + f[0, 1])),
        lambda f, h: f.__setitem__((0, -1), 5),
        lambda f, h: h.__setitem__(0, h[0] + 1),
        lambda f, h: h.__setitem__(0, -1),
        lambda f, h: h.__setitem__(1, 30_000),
    ],
)
def test_inconsistent_arrays_are_refused(damage):
    arrays = {name: a.copy() for name, a in Tables.gaussian([1.0, 8.0]).to_arrays().items()}
    damage(arrays["frequencies"], arrays["half_widths"])
    with pytest.raises(ValueError, match=r"frequencies|half widths"):
        Tables.from_arrays(arrays)


def test_arrays_of_wrong_kind_are_refused():
    arrays = Tables.gaussian([1.0]).to_arrays()
    with pytest.raises(ValueError, match="lack"):
        Tables.from_arrays({"frequencies": arrays["frequencies"]})
    with pytest.raises(ValueError, match="integer"):
        Tables.from_arrays({**arrays, "frequencies": arrays["frequencies"].astype(np.float32)})
    with pytest.raises(ValueError, match="rows"):
        Tables.from_arrays({**arrays, "half_widths": np.array([1, 1], np.int16)})


def test_tables_cannot_be_changed_in_place():
    tables = Tables.gaussian([1.0])
    with pytest.raises(ValueError, match="read-only"):
        tables.frequencies[0, 0] = 3
