"""Where the bits go: carried by the file, chosen by the encoder."""

from __future__ import annotations

import contextlib
import math
from itertools import pairwise

import numpy as np
import pytest

import imgcodec
from imgcodec.codec.families.base import ALLOCATION_UNIT
from imgcodec.codec.options import parse_level_bits
from imgcodec.codec.session import allocation as module
from imgcodec.codec.session.allocation import (
    MAX_TRIALS,
    allocation_of,
    find_allocation,
    rate_weight,
    tile_cost,
)
from imgcodec.codec.session.coding import decode_latents
from imgcodec.codec.session.targets import psnr_db
from imgcodec.codec.session.tiling import analyse_tile
from imgcodec.codec.stream.coder import PassEncoder
from imgcodec.codec.stream.container import Stream, level_edges, read_stream, write_stream
from imgcodec.codec.stream.tiles import tile_grid
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import LoadedModel, load_model
from tests.codec.conftest import LEVELLED, make_tiny_weights, smooth_pictures
from tests.codec.doubles import Record, Repeat

QUALITY = 60


@pytest.fixture(scope="module", params=LEVELLED)
def loaded(request, tmp_path_factory) -> LoadedModel:
    """A small model of each family with levels."""
    weights = make_tiny_weights(request.param, tmp_path_factory.mktemp(request.param))
    return load_model(find_model(weights))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A picture of two tiles: waves, and next to nothing."""
    noise = np.random.default_rng(2).normal(0, 20, (100, 256, 3))
    busy = np.tile(smooth_pictures(1)[0], (1, 2, 1))[:100] + noise
    return np.concatenate([busy, np.full((100, 150, 3), 90.0)], axis=1).clip(0, 255).astype("uint8")


def _encode(loaded: LoadedModel, pixels: np.ndarray, level_bits=None, **options) -> bytes:
    options = {"quality": QUALITY, "tile_px": 256} | options
    return imgcodec.encode(pixels, model=loaded.info.path, level_bits=level_bits, **options)


def _sent(loaded: LoadedModel, data: bytes) -> list[list[int]]:
    """Return the allocation of each tile."""
    found = []

    def observe(tile, block, indexes, q):
        if not any(tile is seen for seen, _ in found):
            found.append((tile, q.tolist()))

    decode_latents(loaded, read_stream(data), observe=observe)
    return [q for _, q in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "equal"),
        ("equal", "equal"),
        ("preview", "preview"),
        ("auto", "auto"),
        ("0.5,-1", (0.5, -1.0)),
        ([1, 2.5], (1.0, 2.5)),
    ],
)
def test_level_bits_are_names_or_numbers(text, expected):
    assert parse_level_bits(text) == expected


@pytest.mark.parametrize("text", ["", "best", "1,", "1;2", "nan,0", "inf,0", [], [None], 3])
def test_other_level_bits_are_refused(text):
    with pytest.raises(ValueError, match="level bits"):
        parse_level_bits(text)


def test_one_bit_is_a_step_half_as_wide(loaded):
    model = loaded.model
    assert allocation_of(model, None) == allocation_of(model, "equal") == ()
    (units,) = set(allocation_of(model, (1.0,) * model.allocation_size))
    lower, upper = model.lambdas(np.array([0.0, units * ALLOCATION_UNIT]))
    assert upper / lower == pytest.approx(4.0, rel=0.15)  # to the nearest unit
    far = allocation_of(model, (1e9,) * model.allocation_size)
    assert set(far) == {math.ceil(model.max_level / ALLOCATION_UNIT)}
    with pytest.raises(ValueError, match="takes"):
        allocation_of(model, (1.0,) * (model.allocation_size + 1))


@pytest.mark.parametrize("level_bits", [None, "preview", "fine", "1.1,-0.3"])
def test_the_file_carries_the_allocation(loaded, picture, level_bits):
    data = _encode(loaded, picture, level_bits)
    expected = allocation_of(loaded.model, level_bits) or (0,) * loaded.model.allocation_size
    assert _sent(loaded, data) == [list(expected)] * 2
    back = np.asarray(imgcodec.decode(data, model=loaded.info.path))
    assert psnr_db(picture, back) > 20


def test_bits_go_where_they_are_sent(loaded, picture):
    def sizes(level_bits):
        edges = level_edges(read_stream(_encode(loaded, picture, level_bits)))
        return [end - start for start, end in pairwise(edges)]

    fine, equal, preview = sizes("fine"), sizes(None), sizes("preview")
    assert fine[0] < equal[0] < preview[0]
    assert fine[1] < equal[1] < preview[1]


@pytest.mark.parametrize("quality", [5, 50, 95])
def test_auto_is_never_worse_than_equal(loaded, picture, quality, monkeypatch):
    costs = {}

    def spy(*args, **options):
        costs[tuple(args[4])] = tile_cost(*args, **options)
        return costs[tuple(args[4])]

    monkeypatch.setattr(module, "tile_cost", spy)
    for tile in tile_grid(*picture.shape[:2], 256, loaded.model.stride_px):
        costs.clear()
        y = analyse_tile(loaded.model, picture, tile, quality)
        shown = picture[:, tile.left :][:, : tile.width]
        best = find_allocation(loaded, y, shown, quality)
        assert next(iter(costs)) == (0,) * loaded.model.allocation_size
        assert 4 < len(costs) <= MAX_TRIALS
        assert costs[best] == min(costs.values())


def test_auto_files_hold_what_was_found(loaded, picture, monkeypatch):
    monkeypatch.setattr(module, "MAX_TRIALS", 7)
    data = _encode(loaded, picture, "auto")
    stride = loaded.model.stride_px
    expected = []
    for tile in tile_grid(*picture.shape[:2], 256, stride):
        y = analyse_tile(loaded.model, picture, tile, QUALITY)
        shown = picture[:, tile.left :][:, : tile.width]
        expected.append(list(find_allocation(loaded, y, shown, QUALITY)))
    assert _sent(loaded, data) == expected


def test_auto_goes_with_a_target(loaded, picture, monkeypatch):
    monkeypatch.setattr(module, "MAX_TRIALS", 3)
    small = picture[:64, :96]
    data = imgcodec.encode(small, model=loaded.info.path, target_bpp=1, level_bits="auto")
    assert 0.5 < 8 * len(data) / (64 * 96) <= 1


def test_costs_are_those_of_the_file(loaded):
    """In a picture of one tile the cost is that of the decoded picture and, nearly, the file."""
    picture = smooth_pictures(1)[0][:100, :120]
    (tile,) = tile_grid(100, 120, 1024, loaded.model.stride_px)
    y = analyse_tile(loaded.model, picture, tile, QUALITY)
    data = _encode(loaded, picture, "1,-0.5")
    allocation = allocation_of(loaded.model, "1,-0.5")
    payload_bits = 8 * sum(len(part) for tiles in read_stream(data).segments for part in tiles)
    back = np.asarray(imgcodec.decode(data, model=loaded.info.path)).astype(float)
    weight = rate_weight(loaded.model, QUALITY)
    expected = payload_bits + weight * np.square(back - picture).mean() * 100 * 120
    cost = tile_cost(loaded, y, picture, QUALITY, allocation)
    assert cost == pytest.approx(expected, abs=3 * 16)  # bytes are whole: two a segment at most


@pytest.mark.parametrize("value", [-(2**15), -40, 40, 2**15])
def test_absurd_allocations_in_a_file_are_those_at_the_ends_of_the_axis(loaded, value):
    model = loaded.model
    recorded = Record(loaded.tables)
    model.code((1, 1), QUALITY, recorded, np.zeros((1, model.latent_channels, 1, 1), np.float32))
    _, indexes, sent = recorded.sent[0]
    streams = []
    for q in (value, math.copysign(100, value)):
        encoder = PassEncoder(loaded.tables)
        encoder.encode(np.full_like(sent, int(q)), indexes)
        streams.append(encoder.to_bytes())
    stream = read_stream(_encode(loaded, smooth_pictures(1)[0][:40, :48]))
    first_passes, wholes = set(), []
    for payload in streams:
        forged = write_stream(Stream(stream.header, [[payload], *stream.segments[1:]]))
        back = imgcodec.decode(forged, model=loaded.info.path, max_passes=1)
        first_passes.add(back.tobytes())
        with contextlib.suppress(imgcodec.CorruptStreamError):
            wholes.append(imgcodec.decode(forged, model=loaded.info.path))
    assert len(first_passes) == 1
    assert all(back.size == (48, 40) for back in wholes)


def test_without_the_allocation_everything_is_filled(loaded):
    model = loaded.model
    y_hat = model.code((2, 3), QUALITY, Repeat(Record(loaded.tables)))
    assert y_hat.shape == (1, model.latent_channels, 2, 3)
    assert np.isfinite(y_hat).all()


def test_families_without_levels_take_equal_only(family_weights):
    picture = smooth_pictures(1)[0][:40, :48]
    plain = imgcodec.encode(picture, model=family_weights)
    assert imgcodec.encode(picture, model=family_weights, level_bits="equal") == plain
    model = load_model(find_model(family_weights)).model
    for level_bits in ("auto", "preview", (0.5,) * 9):
        if level_bits in ("auto", "preview") and model.allocation_size:
            assert imgcodec.encode(picture, model=family_weights, level_bits=level_bits)
            continue
        with pytest.raises(ValueError, match=r"has no levels|takes 2 level bits"):
            imgcodec.encode(picture, model=family_weights, level_bits=level_bits)
