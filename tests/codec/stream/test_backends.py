"""Constriction and plain Python: the same bytes, the same integers, the same errors."""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import imgcodec
from imgcodec.codec.errors import CodecError, CorruptStreamError
from imgcodec.codec.stream.backends import VARIABLE, backend_named, chosen
from imgcodec.codec.stream.coder import PassDecoder, PassEncoder, PrefixDecoder
from imgcodec.codec.stream.tables import MAX_MAGNITUDE, TOTAL, Tables
from tests.codec.golden import ENTRIES, GOLDEN_DIR

PYTHON = backend_named("python")


@pytest.fixture(scope="module")
def constricted():
    pytest.importorskip("constriction")
    return backend_named("constriction")


@st.composite
def rough_tables(draw):
    """Rows of frequencies of 1, of one giant anywhere, and of anything between."""
    halves = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    frequencies = np.zeros((len(halves), 2 * max(halves) + 2), np.int64)
    for row, half in zip(frequencies, halves, strict=True):
        num = 2 * half + 2
        weights = st.one_of(st.just(1), st.integers(1, TOTAL // num))
        row[:num] = draw(st.lists(weights, min_size=num, max_size=num))
        row[draw(st.integers(0, num - 1))] += TOTAL - row.sum()
    return Tables(frequencies, np.array(halves))


@st.composite
def coded_passes(draw, tables):
    """Small integers, escapes and extreme ones."""
    values = st.one_of(
        st.integers(-5, 5),
        st.integers(-MAX_MAGNITUDE, MAX_MAGNITUDE),
        st.sampled_from((-MAX_MAGNITUDE, MAX_MAGNITUDE)),
    )
    pairs = st.tuples(values, st.integers(0, tables.num_rows - 1))
    passes = draw(st.lists(st.lists(pairs, max_size=40), min_size=1, max_size=3))
    return [np.array(pairs, np.int64).reshape(-1, 2).T for pairs in passes]


def encode(backend, tables, passes):
    encoder = PassEncoder(tables, backend)
    pieces = []
    for q, indexes in passes:
        encoder.encode(q, indexes)
        pieces.append(encoder.to_bytes())
    return pieces


def outcome(decoder, passes):
    """Return the integers of passes, or the message of the error that ended them."""
    found = []
    try:
        for _, indexes in passes:
            decoded = decoder.decode(indexes)
            assert decoded is None or decoded.dtype == np.int32
            found.append(None if decoded is None else decoded.tolist())
    except CorruptStreamError as error:
        found.append(str(error))
    return found


@settings(deadline=None)
@given(st.data())
def test_both_write_the_same_bytes_and_read_them(constricted, data):
    tables = data.draw(rough_tables())
    passes = data.draw(coded_passes(tables))
    pieces = encode(PYTHON, tables, passes)
    assert pieces == encode(constricted, tables, passes)
    for backend in (PYTHON, constricted):
        found = outcome(PassDecoder(tables, pieces[-1], backend), passes)
        assert found == [q.tolist() for q, _ in passes]


@settings(deadline=None)
@given(st.data())
def test_both_read_the_same_of_a_beginning(constricted, data):
    tables = data.draw(rough_tables())
    passes = data.draw(coded_passes(tables))
    stream = encode(PYTHON, tables, passes)[-1]
    cut = data.draw(st.integers(0, len(stream)))
    found, other = (
        outcome(PrefixDecoder(tables, stream[:cut], len(stream) - cut, backend), passes)
        for backend in (PYTHON, constricted)
    )
    assert found == other


@settings(deadline=None)
@given(st.data(), st.binary(max_size=40), st.integers(0, 9))
def test_both_read_the_same_of_any_bytes(constricted, data, tail, num_ones):
    """Ones at the beginning lead beyond the last symbol, where data are invalid."""
    tables = data.draw(rough_tables())
    passes = data.draw(coded_passes(tables))
    stream = (b"\xff" * num_ones + tail).rstrip(b"\0")
    found, other = (
        outcome(PassDecoder(tables, stream, backend), passes) for backend in (PYTHON, constricted)
    )
    assert found == other


def test_invalid_data_are_corrupt_wherever_they_are_met(constricted):
    """In rows with a likeliest symbol and without, and in the escapes."""
    peaked = Tables(np.array([[1, TOTAL - 3, 1, 1]]), np.array([1]))
    flat = Tables(np.array([[TOTAL // 4] * 4]), np.array([1]))
    escapes = Tables(np.array([[1, TOTAL - 1]]), np.array([0]))
    for tables, backend in itertools.product((peaked, flat, escapes), (PYTHON, constricted)):
        with pytest.raises(CorruptStreamError, match=r"^entropy-coded data are invalid$"):
            PassDecoder(tables, b"\xff" * 20, backend).decode(np.zeros(9, np.int64))


def test_both_settle_carries_alike(constricted):
    """Symbols about the middle keep a word boundary within the range for many words.

    That the stream may end there, with a carry or without one, is what random symbols never try.
    """
    middle = 1 << 23
    tables = [
        Tables(np.array([[middle - left, left + right, middle - right - 1, 1]]), np.array([1]))
        for left, right in ((1, 1), (1, 0), (0, 1), (3, 90), (5000, 1))
    ]
    rng = np.random.default_rng(1)
    ends = set()
    for table in tables:
        for num in (*range(1, 12), 40):
            for tail in itertools.product((-1, 0, 1, 9), repeat=2):
                q = np.array([0] * num + list(tail[: rng.integers(0, 3)]))
                passes = [(q, np.zeros_like(q))]
                (stream,) = encode(PYTHON, table, passes)
                assert [stream] == encode(constricted, table, passes)
                assert outcome(PassDecoder(table, stream, PYTHON), passes) == [q.tolist()]
                ends.add(len(stream))
    assert len(ends) > 10


def test_the_variable_chooses(constricted, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert chosen().name == "constriction"
    monkeypatch.setenv(VARIABLE, "python")
    assert chosen() is PYTHON
    monkeypatch.setenv(VARIABLE, "rust")
    with pytest.raises(CodecError, match="IMGCODEC_CODER is 'rust'; it may be"):
        chosen()


WITHOUT_CONSTRICTION = f"""
import os, sys
sys.modules["constriction"] = None
import numpy, imgcodec
from imgcodec.codec.stream.backends import chosen
assert chosen().name == "python"
os.environ["{VARIABLE}"] = "constriction"
try:
    chosen()
except imgcodec.CodecError as error:
    assert "cannot be imported" in str(error)
else:
    raise AssertionError
os.environ["{VARIABLE}"] = "python"
golden, pixels = sys.argv[1:]
print(imgcodec.inspect(golden, verify=True).integers_sha256)
sys.stdout.flush()
sys.stdout.buffer.write(imgcodec.encode(numpy.load(pixels), quality=60))
"""


def test_files_are_the_same_without_constriction(constricted, root, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "constriction")
    golden = GOLDEN_DIR / "beta-base-5" / "waves-q100.cvb"
    pixels = np.random.default_rng(2).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_CONSTRICTION, golden, tmp_path / "pixels.npy"],
        cwd=root,
        env={**environment, "PYTHONPATH": str(root)},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    integers, _, data = result.stdout.partition(b"\n")
    entries = json.loads((golden.parent / ENTRIES).read_text())
    assert integers.decode() == entries[golden.name]["integers_sha256"]
    assert data == imgcodec.encode(pixels, quality=60)
