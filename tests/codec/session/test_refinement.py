"""Effort: refined files are better, decode like all others, and depend on their input alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import imgcodec
from imgcodec.codec.nets.similarity import ssimulacra2_sum
from imgcodec.codec.options import MAX_EFFORT
from imgcodec.codec.session.allocation import rate_weight
from imgcodec.codec.session.refinement import STEPS_OF_EFFORT, objective_of, refine
from imgcodec.codec.session.tiling import analyse_tile, to_pixels
from imgcodec.codec.stream.tiles import tile_grid
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import make_tiny_weights
from tests.codec.doubles import Record
from tests.codec.pictures import photograph

QUALITY = 40
MODEL = "beta-base-2"
"""Trained for squared error; the last test is about the other objective."""


def test_every_effort_has_its_steps():
    assert list(STEPS_OF_EFFORT) == list(range(1, MAX_EFFORT + 1))


def _cost(data: bytes, picture: np.ndarray, model: str = MODEL) -> float:
    """Return the bits of a file and what its errors are worth to those who trained the weights."""
    loaded = load_model(find_model(model))
    x, x_hat = (
        torch.tensor(np.asarray(pixels)).permute(2, 0, 1)[None] / 255.0
        for pixels in (picture, imgcodec.decode(data))
    )
    worth = objective_of(loaded).bits_per_pixel(x, x_hat, rate_weight(loaded.model, QUALITY))
    return 8 * len(data) + float(worth) * picture[..., 0].size


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return photograph(45, 61)


@pytest.fixture(scope="module")
def files(picture) -> dict[int, bytes]:
    return {
        effort: imgcodec.encode(picture, model=MODEL, quality=QUALITY, effort=effort)
        for effort in (1, 3, 6)
    }


def test_more_effort_costs_less(files, picture):
    costs = [_cost(data, picture) for _, data in sorted(files.items())]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.98 * costs[0]


@pytest.mark.slow
def test_the_highest_effort_costs_least():
    picture = photograph(61, 75)  # in smaller ones both may find the same integers
    high, highest = (
        imgcodec.encode(picture, model=MODEL, quality=QUALITY, effort=effort)
        for effort in (6, MAX_EFFORT)
    )
    assert _cost(highest, picture) < _cost(high, picture)


@pytest.mark.parametrize(
    ("size", "efforts"),
    [((64, 128), (1, 3)), pytest.param((128, 192), (1, 3, 6), marks=pytest.mark.slow)],
)
def test_levels_are_refined_as_well(size, efforts):
    wide = photograph(*size)
    files = [
        imgcodec.encode(wide, model="hier", quality=QUALITY, effort=effort) for effort in efforts
    ]
    costs = [_cost(data, wide, "hier") for data in files]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.99 * costs[0]
    assert [len(imgcodec.inspect(data).levels) for data in files] == [3] * len(files)


def test_refined_files_have_the_header_of_others_and_verify(files):
    plain, refined = (imgcodec.inspect(files[effort], verify=True) for effort in (1, 6))
    assert refined.header == plain.header
    assert refined.estimated_bytes == pytest.approx(len(files[6]), rel=0.01, abs=48)


def test_files_depend_on_their_input_alone(files, picture):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert imgcodec.encode(picture, model=MODEL, quality=QUALITY, effort=3) == files[3]
    assert torch.equal(torch.get_rng_state(), before)


def test_the_integers_chosen_are_the_integers_sent(files, picture):
    """Chosen once more, so that they depend on the input alone where decisions draw, too."""
    torch.manual_seed(2)
    loaded = load_model(find_model(MODEL))
    (tile,) = tile_grid(*picture.shape[:2], 1024, loaded.model.stride_px)
    y = analyse_tile(loaded.model, picture, tile, QUALITY)
    integers = refine(loaded, picture, tile, y, QUALITY, 6)
    shape = (y.shape[2], y.shape[3])
    sent = Record(loaded.tables, integers=integers)
    y_hat = loaded.model.code(shape, QUALITY, sent, y)
    received = {block.name: q for block, _, q in sent.sent}
    assert set(received) == set(integers)
    assert all(np.array_equal(received[name], integers[name]) for name in integers)
    decoded = to_pixels(loaded.model.synthesis(y_hat, QUALITY))
    decoded = decoded[: picture.shape[0], : picture.shape[1]]
    np.testing.assert_array_equal(np.asarray(imgcodec.decode(files[6])), decoded)


def test_refinement_never_costs_more_than_plain_coding():
    noise = np.random.default_rng(0).integers(0, 256, (40, 33, 3), dtype=np.uint8)
    plain, refined = (
        imgcodec.encode(noise, model=MODEL, quality=QUALITY, effort=effort) for effort in (1, 2)
    )
    assert _cost(refined, noise) <= _cost(plain, noise) + 16


def test_tiles_are_refined_without_seams():
    wide = photograph(32, 288)
    whole, tiled = (
        imgcodec.encode(wide, quality=QUALITY, effort=3, tile_px=side) for side in (512, 256)
    )
    errors = []
    for data in (whole, tiled):
        decoded = np.asarray(imgcodec.decode(data)).astype(float)
        errors.append(np.square(decoded - wide)[:, 246:266].mean())
    assert errors[1] < 1.15 * errors[0]


def test_progress_rises_to_one(picture, monkeypatch):
    monkeypatch.setitem(STEPS_OF_EFFORT, 6, (3, 2))
    shares: list[float] = []
    imgcodec.encode(picture[:32, :32], model=MODEL, effort=6, progress=shares.append)
    assert len(shares) == 6  # of two rounds, and of the tile
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("effort", [0, 10, 2.5])
def test_other_efforts_are_refused(picture, effort):
    with pytest.raises(ValueError, match="effort must be an integer from 1 to 9"):
        imgcodec.encode(picture, effort=effort)


def test_families_without_refinement_say_so(picture, tmp_path):
    weights = make_tiny_weights("vq", tmp_path)
    with pytest.raises(ValueError, match="its only effort is 1"):
        imgcodec.encode(picture, model=weights, effort=2)


def test_effort_works_for_what_the_weights_were_trained_for():
    """More SSIMULACRA2 in the same bytes, by descent alone."""
    assert not objective_of(load_model(find_model("beta"))).is_squared_error
    picture = photograph(168, 176)
    x = torch.tensor(picture).permute(2, 0, 1)[None] / 255.0

    def cost(data: bytes) -> tuple[float, float]:
        decoded = np.asarray(imgcodec.decode(data))
        x_hat = torch.tensor(decoded).permute(2, 0, 1)[None] / 255.0
        error = float(ssimulacra2_sum(x, x_hat))
        return _cost(data, picture, "beta"), error * len(data)

    files = [
        imgcodec.encode(picture, quality=QUALITY, effort=effort, exact="none") for effort in (1, 3)
    ]
    plain, refined = map(cost, files)
    assert refined[0] < 0.99 * plain[0]
    assert refined[1] < plain[1]
    assert imgcodec.inspect(files[1], verify=True).header == imgcodec.inspect(files[0]).header
