"""The range coder: exact round trips, the decoder of SPEC.md, golden bytes, hostile data.

All of it with every backend; `test_backends.py` compares them with each other.
"""

import math
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.stream.backends import VARIABLE, backend_named
from imgcodec.codec.stream.coder import PassDecoder, PassEncoder, PrefixDecoder
from imgcodec.codec.stream.tables import MAX_MAGNITUDE, MISSING, TOTAL, Tables

SCALES = np.exp(np.linspace(math.log(0.11), math.log(64), 24))
TABLES = Tables.gaussian(SCALES)
EXAMPLE = Tables(np.array([[4194304, 8388608, 4186112, 8192]]), np.array([1]))
BACKENDS = ("constriction", "python")
SPEC = Path(__file__).parents[3] / "SPEC.md"

values = st.one_of(st.integers(-4, 4), st.integers(-MAX_MAGNITUDE, MAX_MAGNITUDE))
passes = st.lists(
    st.lists(st.tuples(values, st.integers(0, len(SCALES) - 1)), max_size=60), max_size=4
)


@pytest.fixture(autouse=True, scope="module", params=BACKENDS)
def backend(request):
    """Choose each backend in turn."""
    if request.param == "constriction":
        pytest.importorskip("constriction")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, request.param)
        yield backend_named(request.param)


def encode(tables, *coded_passes):
    encoder = PassEncoder(tables)
    for q, indexes in coded_passes:
        encoder.encode(np.asarray(q, np.int32), np.asarray(indexes, np.int64))
    return encoder.to_bytes()


def random_pass(rng, size, spread=1.0):
    indexes = rng.integers(0, len(SCALES), size)
    return np.round(rng.normal(size=size) * SCALES[indexes] * spread).astype(np.int32), indexes


class SpecDecoder:
    """SPEC.md chapter 2 word for word, in Python integers; shares nothing with the package."""

    def __init__(self, payload: bytes) -> None:
        self.payload, self.position = payload, 0
        self.range, self.d = 2**64 - 1, self.read(8)

    def read(self, num_bytes: int) -> int:
        piece = self.payload[self.position : self.position + num_bytes]
        self.position += num_bytes
        return int.from_bytes(piece + bytes(num_bytes - len(piece)), "big")

    def symbol(self, f: list[int]) -> int:
        scale = self.range >> 24
        t = self.d // scale
        assert t < 2**24, "invalid"
        s = c = 0
        while t >= c + f[s]:
            c += f[s]
            s += 1
        self.d -= scale * c
        self.range = scale * f[s]
        if self.range < 2**32:
            self.range *= 2**32
            self.d = self.d * 2**32 + self.read(4)
        return s

    def decode_pass(self, tables: Tables, indexes: list[int], into: list | None = None) -> list:
        q, escapes = [None] * len(indexes) if into is None else into, []
        for row in reversed(range(tables.num_rows)):
            h = int(tables.half_widths[row])
            f = [int(n) for n in tables.frequencies[row, : 2 * h + 2]]
            for i in (i for i, index in enumerate(indexes) if index == row):
                s = self.symbol(f)
                if s == 2 * h + 1:
                    escapes.append((i, h))
                else:
                    q[i] = s - h
        lengths = [2 ** (23 - k) for k in range(15)] + [2**9]
        ks = [self.symbol(lengths) for _ in escapes]
        signs = [self.symbol([2**23, 2**23]) for _ in escapes]
        m = [1] * len(escapes)
        for k in range(1, 16):
            for j in (j for j in range(len(escapes)) if ks[j] == k):
                m[j] = 2**k + self.symbol([2 ** (24 - k)] * 2**k)
        for (i, h), sign, magnitude in zip(escapes, signs, m, strict=True):
            q[i] = -(h + magnitude) if sign else h + magnitude
        return q


@settings(deadline=None)
@given(passes)
def test_the_decoder_of_the_specification_reads_the_same_integers(coded_passes):
    coded_passes = [tuple(zip(*p, strict=True)) if p else ((), ()) for p in coded_passes]
    data = encode(TABLES, *coded_passes)
    stranger, ours = SpecDecoder(data), PassDecoder(TABLES, data)
    for q, indexes in coded_passes:
        assert stranger.decode_pass(TABLES, indexes) == list(q)
        assert ours.decode(np.array(indexes, np.int64)).tolist() == list(q)


def test_the_decoder_of_the_specification_reads_a_long_stream():
    q, indexes = random_pass(np.random.default_rng(1), 4000, spread=1.5)
    data = encode(TABLES, (q, indexes))
    assert SpecDecoder(data).decode_pass(TABLES, indexes.tolist()) == q.tolist()


def test_the_example_of_the_specification_is_right():
    text = SPEC.read_text(encoding="utf-8")
    documented = bytes.fromhex(re.search(r"gives the bytes `([0-9A-F ]+)`", text).group(1))
    q = [0, 1, -1, 0, 5, -3, 0]
    assert encode(EXAMPLE, (q, [0] * 7)) == documented
    assert SpecDecoder(documented).decode_pass(EXAMPLE, [0] * 7) == q


def test_golden_words():
    rows = Tables(
        np.array([[1 << 20, (1 << 24) - (1 << 20), 0, 0], [3, 5, (1 << 24) - 9, 1]]),
        np.array([0, 1]),
    )
    q = np.array([[0, -1, 1, 0], [7, 1, -1, -300]])
    indexes = np.array([[0, 1, 1, 1], [0, 1, 1, 0]])
    golden = "000000000020fff27a8056ded1fc13c000162f0006eb286e"
    assert encode(rows, (q, indexes), (q[:, ::-1], indexes)).hex() == golden
    stranger = SpecDecoder(bytes.fromhex(golden))
    assert stranger.decode_pass(rows, indexes.ravel().tolist()) == q.ravel().tolist()


def test_frequencies_reach_the_coder_bit_for_bit(backend):
    rng = np.random.default_rng(2)
    scale = (2**64 - 1) >> 24
    rows = [row[: 2 * h + 2] for row, h in zip(TABLES.frequencies, TABLES.half_widths, strict=True)]
    for n in (2, 3, 1000):  # rough tables as well: many ones, one giant
        weights = rng.integers(0, 2, n) * rng.integers(0, TOTAL // n - 1, n) + 1
        weights[-1] += TOTAL - weights.sum()
        rows.append(weights)
    for row in rows:
        assert row.sum() == TOTAL
        model = backend.categorical(row)
        for symbol, cumulative in enumerate(np.cumsum(row) - row):
            coder = backend.encoder()
            coder.encode(np.array([symbol], np.int32), model)
            lower = scale * int(cumulative)
            assert coder.end() == (b"", lower, lower + scale * int(row[symbol]))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 5), (1, 7, 1, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_any_shape_and_index_type_round_trips(shape, dtype):
    rng = np.random.default_rng(3)
    indexes = rng.integers(0, len(SCALES), shape).astype(dtype)
    q = np.asarray(rng.integers(-99, 100, shape))
    encoder = PassEncoder(TABLES)
    encoder.encode(q, indexes)
    decoder = PassDecoder(TABLES, encoder.to_bytes())
    decoded = decoder.decode(indexes)
    assert decoded.dtype == np.int32
    assert decoded.shape == shape
    np.testing.assert_array_equal(decoded, q)


def test_extreme_values_round_trip_in_every_row():
    extremes = [s * m for m in (MAX_MAGNITUDE, MAX_MAGNITUDE - 1, 1 << 14, 512, 1) for s in (1, -1)]
    widest = Tables.gaussian([0.1, 1e4], max_half_width=(1 << 15) - 2)
    for tables in (TABLES, widest):
        indexes = np.repeat(np.arange(tables.num_rows), len(extremes))
        q = np.tile(extremes, tables.num_rows)
        decoder = PassDecoder(tables, encode(tables, (q, indexes)))
        np.testing.assert_array_equal(decoder.decode(indexes), q)


def test_nothing_costs_nothing():
    assert encode(TABLES) == b""
    assert encode(TABLES, ([], [])) == b""
    likely = encode(TABLES, (np.zeros(10_000), np.zeros(10_000)))
    assert len(likely) <= 1
    assert not PassDecoder(TABLES, likely).decode(np.zeros(10_000, int)).any()


def test_streams_are_as_short_as_the_code_lengths_promise():
    rng = np.random.default_rng(4)
    for size in [*range(40), 1000, 20_000]:
        q, indexes = random_pass(rng, size, spread=1.2)
        excess_bytes = len(encode(TABLES, (q, indexes))) - TABLES.code_lengths(q, indexes).sum() / 8
        assert -4 < excess_bytes < 2 + 1e-5 * size


@pytest.mark.parametrize("num_streams", [500, pytest.param(2500, marks=pytest.mark.slow)])
def test_the_stream_end_survives_every_state_of_the_coder(num_streams):
    """Many short streams: carries, held-back words and every length of the last word."""
    rng = np.random.default_rng(5)
    lengths = set()
    for _ in range(num_streams):
        q, indexes = random_pass(rng, rng.integers(0, 16), rng.choice([0.2, 1, 30]))
        data = encode(TABLES, (q, indexes))
        lengths.add(len(data) % 4)
        assert not data.endswith(b"\0")
        decoder = PassDecoder(TABLES, data)
        np.testing.assert_array_equal(decoder.decode(indexes), q)
    assert lengths == {0, 1, 2, 3}


def test_carries_across_many_words_survive():
    """A symbol of probability nearly one keeps the interval around a word boundary for long."""
    f = np.array([[(1 << 23) - 1, 2, (1 << 23) - 2, 1]])
    tables = Tables(f, np.array([1]))
    rng = np.random.default_rng(6)
    for _ in range(300):
        q = np.concatenate((np.zeros(rng.integers(1, 12)), rng.integers(-1, 2, 3))).astype(int)
        data = encode(tables, (q, np.zeros_like(q)))
        assert SpecDecoder(data).decode_pass(tables, [0] * q.size) == q.tolist()
        assert PassDecoder(tables, data).decode(np.zeros_like(q)).tolist() == q.tolist()


def test_encoding_may_go_on_after_the_bytes_were_asked_for():
    rng = np.random.default_rng(7)
    first, second = random_pass(rng, 100), random_pass(rng, 100)
    encoder = PassEncoder(TABLES)
    encoder.encode(*first)
    assert encoder.to_bytes() == encode(TABLES, first)
    encoder.encode(*second)
    assert encoder.to_bytes() == encode(TABLES, first, second)


@pytest.mark.parametrize(
    ("q", "indexes"),
    [
        ([1, 2], [0]),
        ([1.0], [0]),
        ([1], [0.0]),
        ([MAX_MAGNITUDE + 1], [0]),
        ([-(2**31)], [0]),
        ([1], [-1]),
        ([1], [len(SCALES)]),
        ([1], [65536]),
    ],
)
def test_wrong_arguments_are_refused(q, indexes):
    with pytest.raises(ValueError, match=r"shape|integer|indexes"):
        PassEncoder(TABLES).encode(np.array(q), np.array(indexes))


def test_random_bytes_decode_to_bounded_integers_or_raise_corrupt():
    rng = np.random.default_rng(8)
    indexes = rng.integers(0, len(SCALES), 300)
    outcomes = set()
    for _ in range(1500):
        data = rng.bytes(rng.integers(0, 80))
        if rng.random() < 0.3:  # near the top of the interval, where no symbol lies
            data = b"\xff" * rng.integers(3, 16) + data
        try:
            decoder = PassDecoder(TABLES, data)
            q = decoder.decode(indexes)
        except CorruptStreamError:
            outcomes.add("corrupt")
        else:
            outcomes.add("integers")
            assert q.shape == indexes.shape
            assert np.abs(q).max() <= MAX_MAGNITUDE
    assert outcomes == {"corrupt", "integers"}


def test_escapes_beyond_the_largest_magnitude_are_corrupt():
    narrow = Tables(np.array([[1, 1, 1, TOTAL - 3]]), np.array([1]))
    wide = Tables(np.array([[1, TOTAL - 1, 0, 0]]), np.array([0]))
    data = encode(wide, ([MAX_MAGNITUDE], [0]))  # m = 2**15 over h = 0 is one too many over h = 1
    with pytest.raises(CorruptStreamError, match="range"):
        PassDecoder(narrow, data).decode(np.zeros(1, int))


def test_a_superfluous_zero_byte_is_corrupt():
    rng = np.random.default_rng(9)
    q, indexes = random_pass(rng, 200)
    data = encode(TABLES, (q, indexes))
    with pytest.raises(CorruptStreamError, match="zero byte"):
        PassDecoder(TABLES, data + b"\0")


@pytest.mark.parametrize("num_streams", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_a_prefix_settles_exactly_the_symbols_that_no_continuation_changes(num_streams):
    """At every cut: what is decoded is true, and what is not has a continuation that differs.

    Or that is invalid in the same pass, which may cost a few symbols before.
    """
    rng = np.random.default_rng(10)
    counts = []
    for _ in range(num_streams):
        coded = [random_pass(rng, rng.integers(0, 20), rng.choice([0.3, 1, 5])) for _ in range(5)]
        data = encode(TABLES, *coded)
        for cut in range(len(data) + 1):
            missing = len(data) - cut
            decoder = PrefixDecoder(TABLES, data[:cut], missing)
            found = [decoder.decode(indexes) for _, indexes in coded]
            is_whole = [part is not None and not np.any(part == MISSING) for part in found]
            counts.append(sum(is_whole))
            assert is_whole == sorted(is_whole, reverse=True)
            assert missing or all(is_whole)
            last = counts[-1]
            assert not any(part is not None and part.size for part in found[last + 1 :])
            randoms = [data[:cut] + rng.bytes(missing) for _ in range(3)]
            for end in (data, *randoms):  # no continuation changes what is settled
                for part, told in zip(found, _told(end, coded), strict=True):
                    if part is not None:
                        known = part != MISSING
                        assert [v for v, k in zip(told, known, strict=True) if k] == [*part[known]]
            if last < len(coded):
                q, indexes = coded[last]
                part = found[last] if found[last] is not None else np.full(q.size, MISSING)
                order = np.argsort(-indexes, kind="stable")
                first = next(k for k in order if part[k] == MISSING)
                if abs(q[first]) <= TABLES.half_widths[indexes[first]]:
                    ends = (data, *(data[:cut] + fill * missing for fill in (b"\0", b"\xff")))
                    told = [_told(end, coded)[last] for end in ends]
                    assert len({end[first] for end in told}) > 1 or any(None in end for end in told)
    assert set(counts) == set(range(6))


def _told(data, coded):
    """Return what the decoder of the specification makes of some bytes, as far as they go."""
    decoder = SpecDecoder(data)
    told = [[None] * q.size for q, _ in coded]
    for (_, indexes), into in zip(coded, told, strict=True):
        try:
            decoder.decode_pass(TABLES, indexes.tolist(), into)
        except AssertionError:
            break
    return told


def test_a_prefix_looks_at_no_more_than_eight_missing_bytes():
    rng = np.random.default_rng(11)
    q, indexes = random_pass(rng, 50)
    data = encode(TABLES, (q, indexes))
    for cut in range(len(data)):
        decoder = PrefixDecoder(TABLES, data[:cut], 1 << 40)  # a length that someone made up
        found = decoder.decode(indexes)
        assert found is None or ((found == q) | (found == MISSING)).all()


def test_empty_data_for_many_symbols_end_quickly():
    start_s = time.perf_counter()
    PassDecoder(TABLES, b"").decode(np.tile(np.arange(len(SCALES)), 100_000))
    assert time.perf_counter() - start_s < 10


@pytest.mark.parametrize("num_threads", [1, 4])
def test_coders_are_independent(num_threads):
    def round_trip(seed):
        q, indexes = random_pass(np.random.default_rng(seed), 3000)
        return np.array_equal(PassDecoder(TABLES, encode(TABLES, (q, indexes))).decode(indexes), q)

    with ThreadPoolExecutor(num_threads) as pool:
        assert all(pool.map(round_trip, range(16)))
