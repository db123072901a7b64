"""The container: round trips, overhead, every kind of damage, refusal before allocation."""

import dataclasses
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgcodec.codec.errors import CodecError, CorruptStreamError, UnsupportedVersionError
from imgcodec.codec.stream.container import (
    Header,
    Stream,
    chunk_sizes,
    level_edges,
    read_header,
    read_stream,
    write_stream,
)
from tests.memory import allocating_less_than

HEADER = Header(
    model_hash=b"\x01\x02\x03\x04",
    height=512,
    width=768,
    quality=60,
    is_gray=False,
    has_alpha=False,
    tile_px=1024,
    num_segments=1,
)


def make_stream(payload=b"payload", **changes) -> Stream:
    header = dataclasses.replace(HEADER, **changes)
    tiles = [[payload + bytes([s, t]) for t in range(header.num_tiles)] for s in range(9)]
    alpha = b"alpha" if header.has_alpha else None
    exact = b"exact" if header.has_exact else None
    return Stream(header, tiles[: header.num_segments], alpha, exact=exact)


RICH = dataclasses.replace(
    make_stream(height=500, width=300, tile_px=256, num_segments=4, has_alpha=True, is_gray=True),
    metadata={"icc": b"profile" * 30, "exif": b"II*\0", "xmp": b"<x/>"},
    levels=(1, 2, 1),
)


@st.composite
def streams(draw) -> Stream:
    header = Header(
        model_hash=draw(st.binary(min_size=4, max_size=4)),
        height=draw(st.one_of(st.integers(1, 700), st.just(2**24 - 1))),
        width=draw(st.integers(1, 9)),
        quality=draw(st.integers(1, 100)),
        is_gray=draw(st.booleans()),
        has_alpha=draw(st.booleans()),
        tile_px=draw(st.sampled_from([256, 512, 1024, 2048, 4096])),
        num_segments=draw(st.integers(1, 16)),
        has_exact=draw(st.booleans()),
        reduction=draw(st.sampled_from([1, 2])),
    )
    if header.num_tiles > 3:
        header = dataclasses.replace(header, height=300)
    payloads = st.binary(max_size=200)
    tiles = st.lists(payloads, min_size=header.num_tiles, max_size=header.num_tiles)
    edges = draw(st.sets(st.integers(1, 15))) | {0, header.num_segments}
    ends = sorted(edge for edge in edges if edge <= header.num_segments)
    return Stream(
        header,
        draw(st.lists(tiles, min_size=header.num_segments, max_size=header.num_segments)),
        draw(payloads) if header.has_alpha else None,
        draw(st.dictionaries(st.sampled_from(["icc", "exif", "xmp"]), payloads)),
        exact=draw(payloads) if header.has_exact else None,
        levels=tuple(end - start for start, end in pairwise(ends)),
    )


def frame(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Split a valid file into its header without CRC and (type, payload), by SPEC.md alone."""
    position = 8
    for _ in range(2):
        while data[position] & 0x80:
            position += 1
        position += 1
    header, position = data[: position + 3], position + 7
    chunks = []
    while position < len(data):
        kind, length, shift = data[position : position + 1], 0, 0
        while True:
            position += 1
            length |= (data[position] & 0x7F) << shift
            shift += 7
            if data[position] < 0x80:
                break
        chunks.append((kind, data[position + 1 : position + 1 + length]))
        position += 1 + length + 4
    return header, chunks


def varint(value: int) -> bytes:
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value % 128 + 128])
        value //= 128
    return encoded + bytes([value])


def assemble(header: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Build a file with correct CRCs, by SPEC.md alone: any header bytes, any chunks."""
    data = header + zlib.crc32(header).to_bytes(4, "big")
    critical = header
    for kind, payload in chunks:
        body = kind + varint(len(payload)) + payload
        if kind.isupper():
            critical += body
        crc = zlib.crc32(critical if kind.isupper() else header + body)
        data += body + crc.to_bytes(4, "big")
    return data


@settings(deadline=None)
@given(streams())
def test_streams_round_trip(stream):
    data = write_stream(stream)
    assert read_stream(data) == stream
    assert read_stream(data, allow_truncated=True) == stream
    assert read_header(data) == stream.header
    assert sum(size for _, size in chunk_sizes(stream)) == len(data)


def test_chunk_sizes_are_those_of_the_file_in_its_order():
    names, sizes = zip(*chunk_sizes(RICH), strict=True)
    assert names[:6] == ("header", "icc", "exif", "xmp", "alpha", "segment 1")
    assert names[-1] == "segment 4"
    data, start = write_stream(RICH), 0
    letters = []
    for size in sizes:
        letters.append(chr(data[start]))
        start += size
    assert "".join(letters) == "CiexADDCD"
    assert start == len(data)


@settings(deadline=None)
@given(streams())
def test_the_bytes_are_those_of_the_specification(stream):
    data = write_stream(stream)
    assert assemble(*frame(data)) == data


def test_level_edges_are_where_a_file_can_be_cut():
    data, edges = write_stream(RICH), level_edges(RICH)
    assert edges[-1] == len(data)
    for number, edge in zip((0, 1, 3, 4), edges, strict=True):
        stream = read_stream(data[:edge], allow_truncated=True)
        assert stream.segments == RICH.segments[:number]
        assert stream.cut is None


def test_a_segment_holds_lengths_and_streams_of_all_tiles():
    """Of several tiles; one needs no length, and without any data there is nothing."""
    header = dataclasses.replace(HEADER, height=600, width=200, tile_px=256, num_segments=2)
    streams = [b"a" * 130, b"", b"xy"]
    data = write_stream(Stream(header, [streams, [b""] * 3], levels=(2,)))
    assert frame(data)[1] == [(b"D", b"\x82\x01\x00" + b"a" * 130 + b"xy"), (b"C", b"")]
    assert read_stream(data).segments == [streams, [b""] * 3]


@pytest.mark.parametrize(
    "payload", [b"\x82", b"\x01", b"\x02\x00a", b"\x80\x00\x00ab", b"\x00\x00"]
)
def test_a_segment_that_contradicts_its_lengths_is_corrupt(payload):
    header = dataclasses.replace(HEADER, height=600, width=200, tile_px=256)
    valid = frame(write_stream(Stream(header, [[b"a", b"b", b"c"]])))
    with pytest.raises(CorruptStreamError, match=r"shorter|not empty|shortest"):
        read_stream(assemble(valid[0], [(b"D", payload)]))


def test_the_first_segment_begins_a_level():
    header, chunks = frame(write_stream(make_stream()))
    with pytest.raises(CorruptStreamError, match="no level begins"):
        read_stream(assemble(header, [(b"C", chunks[0][1])]))


def test_golden_bytes():
    stream = Stream(dataclasses.replace(HEADER, width=300), [[b"\xaa\xbb"]], None, {"icc": b"p"})
    assert write_stream(stream).hex(" ") == (
        "43 56 42 02 01 02 03 04 80 04 ac 02 3c 00 02 55 ec 7a 55 "
        "69 01 70 e7 42 ba e1 "
        "44 02 aa bb 72 92 f1 f2"
    )


def test_overhead_of_a_one_tile_picture_is_at_most_32_bytes():
    for payload_bytes in (0, 100, 16_000, 2_000_000):
        stream = Stream(HEADER, [[bytes(payload_bytes)]])
        assert len(write_stream(stream)) - payload_bytes <= 28


@pytest.mark.parametrize("size", [(1, 1), (256, 256), (257, 256), (1, 70_000), (9000, 600)])
@pytest.mark.parametrize("tile_px", [256, 4096])
def test_num_tiles_counts_the_grid(size, tile_px):
    header = dataclasses.replace(HEADER, height=size[0], width=size[1], tile_px=tile_px)
    corners = [(y, x) for y in range(0, size[0], tile_px) for x in range(0, size[1], tile_px)]
    assert header.num_tiles == len(corners)


@pytest.mark.parametrize("stream", [make_stream(), RICH], ids=["plain", "rich"])
def test_every_truncation_raises_corrupt(stream):
    data = write_stream(stream)
    for end in range(len(data)):
        with pytest.raises(CorruptStreamError):
            read_stream(data[:end])


def test_every_truncation_is_a_prefix_when_allowed():
    data = write_stream(RICH)
    alpha_end = sum(size for _, size in chunk_sizes(RICH)[:5])
    assert chunk_sizes(RICH)[4][0] == "alpha"
    seen = []
    for end in range(alpha_end, len(data)):
        stream = read_stream(data[:end], allow_truncated=True)
        count = len(stream.segments)
        assert stream.segments == RICH.segments[:count]
        assert (stream.metadata, stream.alpha) == (RICH.metadata, RICH.alpha)
        assert not stream.is_complete
        there = 0
        if stream.cut is not None:
            streams = RICH.segments[count]
            whole = len(stream.cut.streams)
            assert stream.cut.streams == streams[:whole]
            if whole < len(streams):
                assert streams[whole].startswith(stream.cut.beginning)
            there = sum(map(len, stream.cut.streams)) + len(stream.cut.beginning)
            if there and whole < len(streams):
                missing = len(streams[whole]) - len(stream.cut.beginning)
                assert stream.cut.missing_bytes == missing
            assert stream.cut.num_bytes == RICH.header.num_tiles - 1 + sum(map(len, streams))
        seen.append((count, there))
    assert seen == sorted(seen)
    num_bytes = sum(map(len, RICH.segments[0]))
    assert set(seen) == {(s, b) for s in range(4) for b in range(num_bytes + 1)}
    assert read_stream(data).is_complete
    for end in range(alpha_end):  # without its alpha the picture is another
        with pytest.raises(CorruptStreamError):
            read_stream(data[:end], allow_truncated=True)


def test_damage_is_an_error_also_when_truncation_is_allowed():
    data = bytearray(write_stream(RICH))
    data[-10] ^= 1
    with pytest.raises(CorruptStreamError, match="CRC"):
        read_stream(bytes(data), allow_truncated=True)


def test_every_single_bit_flip_is_found():
    data = write_stream(RICH)
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            with pytest.raises((CorruptStreamError, UnsupportedVersionError)):
                read_stream(bytes(flipped))


def test_random_splices_raise_or_leave_the_stream_as_it_was():
    rng = np.random.default_rng(0)
    donors = [write_stream(RICH), write_stream(make_stream()), rng.bytes(400)]
    for _ in range(5000):
        data, donor = donors[0], donors[rng.integers(3)]
        a, b = sorted(rng.integers(0, len(data) + 1, 2))
        c, d = sorted(rng.integers(0, len(donor) + 1, 2))
        spliced = data[:a] + donor[c:d] + data[b:]
        try:
            stream = read_stream(spliced)
        except (CorruptStreamError, UnsupportedVersionError):
            continue
        assert spliced in donors
        assert stream in (RICH, make_stream())


def test_random_damage_with_repaired_crcs_raises_or_parses():
    rng = np.random.default_rng(1)
    outcomes = set()
    for source in (write_stream(RICH), write_stream(make_stream(num_segments=4))):
        header, chunks = frame(source)
        for _ in range(4000):
            damaged_header, damaged = bytearray(header), list(chunks)
            action = rng.integers(4)
            pick = rng.integers(len(damaged))
            if action == 0:
                damaged_header[rng.integers(len(header))] = rng.integers(256)
            elif action == 1:
                damaged[pick] = (bytes([rng.integers(256)]), damaged[pick][1])
            elif action == 2:
                damaged[pick] = damaged[rng.integers(len(damaged))]
            else:
                damaged.pop(pick)
            data = assemble(bytes(damaged_header), damaged)
            try:
                stream = read_stream(data)
            except (CorruptStreamError, UnsupportedVersionError) as error:
                outcomes.add(type(error).__name__)
            else:
                outcomes.add("stream")
                known = [c for c in damaged if c[0] in {b"i", b"e", b"x", b"A", b"D", b"C"}]
                known.sort(key=lambda chunk: b"iexADD".index(chunk[0].replace(b"C", b"D")))
                assert frame(write_stream(stream))[1] == known
    assert {"stream", "UnsupportedVersionError"} < outcomes


@settings(deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_parse_or_raise_corrupt(tail, with_magic):
    data = (b"CVB\x02" if with_magic else b"") + tail
    for call in (read_stream, read_header):
        with pytest.raises(CodecError):
            call(data)


def test_critical_chunks_of_one_file_cannot_change_places():
    data = write_stream(make_stream(num_segments=2))
    size = chunk_sizes(make_stream(num_segments=2))[-1][1]
    first, second = data[-2 * size : -size], data[-size:]
    with pytest.raises(CorruptStreamError, match="CRC"):
        read_stream(data[: -2 * size] + second + first)


def test_unknown_ancillary_chunks_are_skipped_and_unknown_critical_ones_refused():
    header, chunks = frame(write_stream(RICH))
    for position in range(len(chunks)):
        data = assemble(header, [*chunks[:position], (b"z", b"later"), *chunks[position:]])
        assert read_stream(data) == RICH
        data = assemble(header, [*chunks[:position], (b"Z", b"later"), *chunks[position:]])
        with pytest.raises(UnsupportedVersionError, match="'Z'"):
            read_stream(data)


@pytest.mark.parametrize("move", ["drop", "repeat", "last"])
def test_misplaced_alpha_and_metadata_are_corrupt(move):
    header, chunks = frame(write_stream(RICH))
    for kind in (b"A", b"i") if move != "drop" else (b"A",):
        chunk = next(c for c in chunks if c[0] == kind)
        others = [c for c in chunks if c is not chunk]
        moved = {
            "drop": others,
            "repeat": [chunk, *chunks],
            "last": [*others[:-1], chunk, others[-1]],
        }[move]
        with pytest.raises(CorruptStreamError, match=r"out of place|missing"):
            read_stream(assemble(header, moved))


def test_bytes_after_the_end_are_corrupt():
    data = write_stream(RICH)
    for extra in (b"\0", b"D\0", data):
        with pytest.raises(CorruptStreamError, match="follow"):
            read_stream(data + extra)
        with pytest.raises(CorruptStreamError, match="follow"):
            read_stream(data + extra, allow_truncated=True)


def test_other_versions_and_flags_are_unsupported():
    header, chunks = frame(write_stream(make_stream()))
    for version in (0, 1, 255):
        with pytest.raises(UnsupportedVersionError, match=str(version)):
            read_stream(assemble(header[:3] + bytes([version]) + header[4:], chunks))
    with pytest.raises(UnsupportedVersionError, match="flags"):
        read_stream(assemble(header[:-2] + b"\x10" + header[-1:], chunks))


def absurd_headers():
    start = b"CVB\x02hash"
    for height, width in ((2**24 - 1, 2**24 - 1), (2**24 - 1, 16), (1, 2**24 - 1), (2**14, 2**14)):
        yield start + varint(height) + varint(width) + b"\x3c\x00\xf0"
    yield start + varint(0) + varint(5) + b"\x3c\x00\x02"
    yield start + varint(2**24) + varint(1) + b"\x3c\x00\x02"
    yield start + b"\xff\xff\xff\xff\x7f" * 2 + b"\x3c\x00\x02"
    yield start + b"\xff" * 12
    yield start + b"\x85\x00\x05\x3c\x00\x02"  # 5 in two bytes
    yield start + b"\x05\x05\x3c\x00\x05"  # tiles of 8192
    yield start + b"\x05\x05\x00\x00\x02"  # quality 0
    yield start + b"\x05\x05\x65\x00\x02"  # quality 101


@pytest.mark.parametrize("header", list(absurd_headers()))
@pytest.mark.parametrize("max_pixels", [2**28, 2**60])
def test_absurd_sizes_are_refused_before_anything_is_allocated(header, max_pixels):
    data = assemble(header, [(b"D", bytes(100))] * 3)
    with allocating_less_than(100_000), pytest.raises(CorruptStreamError):
        read_stream(data, max_pixels=max_pixels)


def test_an_absurd_chunk_length_is_refused_before_anything_is_allocated():
    data = write_stream(make_stream())
    start = chunk_sizes(make_stream())[0][1]
    for length in (2**20, 2**34):
        with allocating_less_than(100_000), pytest.raises(CorruptStreamError, match="cut short"):
            read_stream(data[: start + 1] + varint(length) + data[start + 2 :])


def test_max_pixels_is_a_limit_the_caller_sets():
    data = write_stream(make_stream())
    assert read_stream(data, max_pixels=512 * 768).header == HEADER
    with pytest.raises(CorruptStreamError, match="max_pixels"):
        read_stream(data, max_pixels=512 * 768 - 1)


@pytest.mark.parametrize(
    "change",
    [
        {"model_hash": b"abc"},
        {"height": 0},
        {"width": 2**24},
        {"quality": 0},
        {"quality": 101},
        {"tile_px": 300},
        {"tile_px": 8192},
        {"num_segments": 0},
        {"num_segments": 17},
    ],
)
def test_headers_out_of_range_cannot_be_made(change):
    with pytest.raises(ValueError, match=r"must be|out of range|not"):
        dataclasses.replace(HEADER, **change)


@pytest.mark.parametrize(
    "change",
    [{"segments": []}, {"segments": [[b"", b""]]}, {"alpha": b"1"}, {"metadata": {"gps": b""}}],
)
def test_streams_that_contradict_their_header_cannot_be_written(change):
    with pytest.raises(ValueError, match=r"expected|disagree|metadata"):
        write_stream(dataclasses.replace(make_stream(), **change))
