"""Files that are cut off: the best picture that their bytes allow, or a clear error."""

from __future__ import annotations

import dataclasses
import logging
import re

import numpy as np
import pytest
import torch

import imgcodec
from imgcodec.codec.session.coding import decode_latents
from imgcodec.codec.stream.container import chunk_sizes, level_edges, read_stream, write_stream
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import smooth_pictures

QUALITY = 70
Found = tuple[tuple[int, int], str, bytes]  # corner of the tile, name of the pass, integers


def _encode(pixels, weights, **options) -> bytes:
    return imgcodec.encode(pixels, model=weights, quality=QUALITY, **options)


def _ends(data: bytes) -> list[int]:
    """Return where the levels of a file end."""
    return level_edges(read_stream(data))[1:]


@torch.inference_mode()
def _passes(loaded, data: bytes) -> list[Found]:
    """Return every block that is decoded as a whole, in order."""
    found: list[Found] = []

    def observe(tile, block, indexes, q):
        if not block.is_partial:
            found.append(((tile.top, tile.left), block.name, q.tobytes()))

    decode_latents(loaded, read_stream(data, allow_truncated=True), observe=observe)
    return found


@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.slow), 11])
def test_a_file_cut_at_any_byte_is_a_picture_or_an_error(family_weights, stride):
    pixels = np.dstack([smooth_pictures(1)[0][:40, :48], np.full((40, 48), 9, np.uint8)])
    data = _encode(pixels, family_weights)
    loaded = load_model(find_model(family_weights))
    whole = _passes(loaded, data)
    first_level = _ends(data)[0]
    counts = []
    # The last few bytes are always among them: there the end of the payload and its CRC lie.
    cuts = [*range(0, len(data) - 6, stride), *range(len(data) - 6, len(data))]
    for end in cuts:
        with pytest.raises(imgcodec.CorruptStreamError):
            imgcodec.decode(data[:end], model=family_weights)
        try:
            back = imgcodec.decode(data[:end], model=family_weights, allow_truncated=True)
        except imgcodec.CorruptStreamError:
            assert not counts, "more bytes show no less"
            continue
        assert (back.size, back.mode) == ((48, 40), "RGBA")
        assert (np.asarray(back)[..., 3] == 9).all()
        passes = _passes(loaded, data[:end])
        assert passes == whole[: len(passes)]
        counts.append(len(passes))
    assert len(counts) >= sum(end >= first_level for end in cuts)
    assert counts == sorted(counts)
    # All but the CRC of the last chunk are there.
    assert counts[-1] == len(whole)


def test_a_prefix_of_whole_levels_is_the_picture_of_these_levels(family_weights):
    pixels = smooth_pictures(1)[0][:70, :90]
    data = _encode(pixels, family_weights)
    pictures = []
    has_levels = len(load_model(find_model(family_weights)).model.passes(100)) > 1
    for number, end in enumerate(_ends(data), 1):
        levels = number if has_levels else None
        first = imgcodec.decode(data, model=family_weights, levels=levels)
        cut = imgcodec.decode(data[:end], model=family_weights, allow_truncated=True)
        assert first.tobytes() == cut.tobytes()
        pictures.append(cut.tobytes())
    assert len(set(pictures)) == len(pictures)
    whole = imgcodec.decode(data, model=family_weights).tobytes()
    assert pictures[-1] == whole
    text = f"has {len(pictures)} levels, not 9" if has_levels else "no levels to choose from"
    with pytest.raises(imgcodec.OptionError, match=text):
        imgcodec.decode(data, model=family_weights, levels=9)
    with pytest.raises(ValueError, match="negative"):
        imgcodec.decode(data, model=family_weights, levels=-1)


def test_more_passes_than_there_are_are_an_error_that_names_them(family_weights):
    data = _encode(smooth_pictures(1)[0][:70, :90], family_weights)
    names = [
        entry.name for entry in imgcodec.inspect(data, verify=True, model=family_weights).passes
    ]
    whole = imgcodec.decode(data, model=family_weights)
    most = imgcodec.decode(data, model=family_weights, max_passes=len(names))
    assert most.tobytes() == whole.tobytes()
    text = re.escape(f"has {len(names)} passes ({', '.join(names)}), not {len(names) + 1}")
    with pytest.raises(imgcodec.OptionError, match=text):
        imgcodec.decode(data, model=family_weights, max_passes=len(names) + 1)


def test_a_truncated_file_tells_what_is_there_and_used(family_weights, caplog):
    caplog.set_level(logging.INFO, "imgcodec")
    pixels = smooth_pictures(1)[0][:70, :90]
    data = _encode(pixels, family_weights)
    imgcodec.decode(data, model=family_weights, allow_truncated=True)
    assert not _told(caplog)
    cut = data[: len(data) - 3]
    imgcodec.decode(cut, model=family_weights, allow_truncated=True)
    names = [
        entry.name for entry in imgcodec.inspect(data, verify=True, model=family_weights).passes
    ]
    share = round(100 * len(cut) / len(data))
    assert _told(caplog) == [
        f"{len(cut)} of {len(data)} bytes are there ({share} %): used are the passes "
        + ", ".join(names)
    ]
    found = imgcodec.inspect(cut, model=family_weights, allow_truncated=True)
    assert (found.file_bytes, found.expected_bytes, found.is_size_known) == (
        *(len(cut), len(data), True),
    )


def _told(caplog) -> list[str]:
    return [message for message in caplog.messages if "bytes are there" in message]


def test_of_many_tiles_the_size_is_a_least_one_until_the_last(family_weights, caplog):
    caplog.set_level(logging.INFO, "imgcodec")
    pixels = np.tile(smooth_pictures(1)[0], (3, 3, 1))[:272, :288]
    data = _encode(pixels, family_weights, tile_px=256)
    cut = data[: len(data) // 2]
    found = imgcodec.inspect(cut, model=family_weights, allow_truncated=True)
    is_last = read_stream(data).header.num_segments == 1  # its length field tells
    assert len(cut) < found.expected_bytes <= len(data)
    assert found.is_size_known == is_last == (found.expected_bytes == len(data))
    imgcodec.decode(cut, model=family_weights, allow_truncated=True)
    (text,) = _told(caplog)
    least = "" if is_last else "at least "
    assert re.match(rf"{len(cut)} of {least}{found.expected_bytes} bytes .*: used", text)
    assert " of 4 tiles" in text
    whole = imgcodec.inspect(data[:-1], model=family_weights, allow_truncated=True)
    assert (whole.expected_bytes, whole.is_size_known) == (len(data), True)


def test_ends_of_data_are_told_from_damage(family_weights):
    data = _encode(smooth_pictures(1)[0][:40, :50], family_weights)
    for end in (0, 3, 12, len(data) - 5, len(data) - 1):
        with pytest.raises(imgcodec.TruncatedStreamError):
            imgcodec.decode(data[:end], model=family_weights)
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(imgcodec.CorruptStreamError) as caught:
        imgcodec.decode(damaged, model=family_weights)
    assert not isinstance(caught.value, imgcodec.TruncatedStreamError)


def test_tiles_show_what_they_have(family_weights):
    pixels = np.tile(smooth_pictures(1)[0], (3, 3, 1))[:272, :288]
    data = _encode(pixels, family_weights, tile_px=256)
    loaded = load_model(find_model(family_weights))
    assert read_stream(data).header.num_tiles == 4
    of_tile = _by_tile(_passes(loaded, data))
    ends = _ends(data)
    rng = np.random.default_rng(0)
    for end in sorted(rng.integers(ends[0] // 2, len(data), 4)):
        found = _by_tile(_passes(loaded, data[:end]))
        for tile, items in found.items():
            assert items == of_tile[tile][: len(items)]
        lengths = [len(found.get(tile, [])) for tile in of_tile]
        assert lengths == sorted(lengths, reverse=True)
        # Passes go over all tiles: none is further ahead than the pass in which the file ends.
        names = [{name for name, _ in found.get(tile, [])} for tile in of_tile]
        assert len(names[0] - names[-1]) <= 1
        back = imgcodec.decode(data[:end], model=family_weights, allow_truncated=True)
        assert back.size == (288, 272)


def _by_tile(passes: list[Found]) -> dict[tuple[int, int], list]:
    found: dict[tuple[int, int], list] = {}
    for tile, *rest in passes:
        found.setdefault(tile, []).append(rest)
    return found


def test_a_part_without_any_data_is_an_error(family_weights):
    pixels = np.tile(smooth_pictures(1)[0], (1, 5, 1))[:40, :600]
    data = _encode(pixels, family_weights, tile_px=256)
    stream = read_stream(data)
    first_pass = sum(size for _, size in chunk_sizes(stream)[:2])
    first_tile = first_pass - 4 - sum(map(len, stream.segments[0][1:]))
    options = {"model": family_weights, "allow_truncated": True}
    assert imgcodec.decode(data[:first_tile], **options).size == (600, 40)
    with pytest.raises(imgcodec.CorruptStreamError, match="before the first pass"):
        imgcodec.decode(data[:first_tile], crop=(580, 0, 9, 9), **options)


def test_damage_is_an_error_with_and_without_the_flag(family_weights):
    data = _encode(smooth_pictures(1)[0][:40, :48], family_weights)
    damaged = bytearray(data)
    damaged[-5] ^= 1
    for bad in (bytes(damaged), data + b"x", data[:-4] + b"\0\0\0\0", data[:-1], b"CVB"):
        with pytest.raises(imgcodec.CorruptStreamError):
            imgcodec.decode(bad, model=family_weights)
    for bad in (bytes(damaged), data + b"x", data[:-4] + b"\0\0\0\0", data[:17], b"CVB", b""):
        with pytest.raises(imgcodec.CorruptStreamError):
            imgcodec.decode(bad, model=family_weights, allow_truncated=True)


@pytest.mark.parametrize("num_cuts", [pytest.param(200, marks=pytest.mark.slow), 80])
def test_a_damaged_end_of_a_cut_file_is_a_picture_or_an_error(family_weights, num_cuts):
    """No CRC vouches for the last chunk of a cut file: anything may be in it."""
    data = _encode(smooth_pictures(1)[0][:40, :48], family_weights)
    rng = np.random.default_rng(5)
    for _ in range(num_cuts):
        cut = bytearray(data[: rng.integers(17, len(data))])
        for _ in range(rng.integers(1, 4)):
            cut[rng.integers(len(cut))] = rng.integers(256)
        try:
            back = imgcodec.decode(bytes(cut), model=family_weights, allow_truncated=True)
        except (imgcodec.CorruptStreamError, imgcodec.UnsupportedVersionError):
            continue
        assert back.size == (48, 40)


def test_a_promise_of_many_tiles_without_data_is_refused(family_weights):
    stream = read_stream(_encode(smooth_pictures(1)[0][:40, :48], family_weights))
    header = dataclasses.replace(stream.header, height=2**14, width=2**14, tile_px=256)
    empty = [[b""] * header.num_tiles] * header.num_segments
    data = write_stream(dataclasses.replace(stream, header=header, segments=empty))[:21]
    with pytest.raises(imgcodec.CorruptStreamError):
        imgcodec.decode(data, model=family_weights, allow_truncated=True)
