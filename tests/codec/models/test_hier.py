"""The hier model: a pyramid that starts linear, codes exactly, and decodes from any prefix."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import imgcodec
from imgcodec.codec.families.hier import HierFamily
from imgcodec.codec.families.rows import finer_row_features, first_row_features
from imgcodec.codec.models.coding import as_codec
from imgcodec.codec.models.registry import build_model
from imgcodec.codec.nets.exact import FLOAT
from imgcodec.codec.numeric.exact import EXACT
from imgcodec.codec.session.coding import decode_latents
from imgcodec.codec.session.tiling import analyse_tile, analyse_whole, synthesise
from imgcodec.codec.stream.container import read_stream
from imgcodec.codec.stream.tiles import Tile, tile_grid
from imgcodec.codec.training.checkpoint import read_weights
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import LoadedModel, load_model
from tests.codec.conftest import TINY_SIZES, make_tiny_weights, smooth_pictures
from tests.codec.doubles import Record, Repeat, Shuffled

SHAPES = [(4, 4), (1, 1), (3, 5), (1, 2)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_tiny_weights("hier", tmp_path_factory.mktemp("hier"))


@pytest.fixture(scope="module")
def loaded(weights) -> LoadedModel:
    return load_model(find_model(weights))


@pytest.fixture(scope="module")
def linear() -> HierFamily:
    """A model as it starts, before any training."""
    torch.manual_seed(0)
    model = build_model("hier", TINY_SIZES["hier"] | {"latent_channels": [16, 24, 48]})
    patches = [
        F.pixel_unshuffle(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255.0 - 0.5, 64)
        for picture in smooth_pictures(60)
    ]
    model.init_from_patches(torch.cat([p[0].flatten(1).T for p in patches]))
    return as_codec(model.prepare())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("allocation", [(), (-6, 4)])
def test_decoder_follows_the_encoder(loaded, shape, allocation):
    model = loaded.model
    y = np.random.default_rng(0).normal(size=(1, model.latent_channels, *shape)).astype(np.float32)
    recorded = Record(loaded.tables)
    y_hat = model.code(shape, 50, recorded, y, allocation=allocation)
    assert y_hat.shape == y.shape
    blocks = [block for block, _, _ in recorded.sent]
    names = model.passes(50)
    assert tuple(block.name for block in blocks) == sum(names, ())
    assert names[0][:2] == ("l0", "l1.1") and names[1][0] == "l2.1"
    assert recorded.sent[0][2].tolist() == list(allocation or (0, 0))
    for k, share in enumerate(model.cfg.latent_channels):
        own = [block for block in blocks[1:] if block.name in names[k]]
        masks = [block.mask for block in own]
        assert (np.stack(masks).sum(axis=0) == 1).all()
        found = sum(block.map(np.ones(int(block.mask.sum())), shape) for block in own)
        np.testing.assert_allclose(found, share << 2 * k)
    np.testing.assert_array_equal(model.code(shape, 50, Repeat(recorded)), y_hat)


def test_more_bits_for_a_coarse_level_on_request(linear):
    y = analyse_whole(linear, smooth_pictures(1)[0], 50)
    tables = linear.default_tables()
    costs = []
    for units in (-4, 0, 4):
        coder = Record(tables)
        linear.code((2, 2), 50, coder, y, allocation=(units, 0))
        bits = [0.0, 0.0, 0.0]
        for block, indexes, q in coder.sent:
            level = next(k for k, names in enumerate(linear.passes(50)) if block.name in names)
            bits[level] += float(tables.code_lengths(q, indexes).sum())
        costs.append(bits)
    assert costs[0][0] < costs[1][0] < costs[2][0]


def test_prefixes_are_pictures_that_improve(linear):
    picture = smooth_pictures(3)[2]
    y = analyse_whole(linear, picture, 90)
    x = picture.transpose(2, 0, 1)[None] / 255.0
    errors = []
    recorded = Record(linear.default_tables())
    linear.code((2, 2), 90, recorded, y)
    for num_passes in (1, 3, 5, 7, 9, 11, 13):
        y_hat = linear.code((2, 2), 90, Repeat(recorded, num_passes))
        errors.append(float(np.square(linear.synthesis(y_hat, 90) - x).mean()))
    assert (np.diff(errors[::2]) < 0).all()  # level by level
    assert errors[2] < 0.25 * errors[0]
    assert errors[-1] < 0.01 * errors[0]


@torch.no_grad()
def test_prediction_of_the_linear_start_is_a_projection(linear):
    latents = torch.randn(1, 48, 4, 4)
    step = linear.nets.model.klt_steps[1]
    predicted = step.up(step.down(latents))
    assert not torch.allclose(predicted, latents, atol=1e-2)
    assert torch.allclose(step.up(step.down(predicted)), predicted, atol=1e-4)
    mean = step.up(step.down(torch.zeros_like(latents)))
    inner = (predicted - mean).flatten() @ (latents - predicted).flatten()
    assert abs(float(inner)) < 1e-3 * float(latents.square().sum())


@torch.no_grad()
def test_exact_rows_agree_with_the_training_twin(loaded):
    context, twin = loaded.model.row_context, copy.deepcopy(loaded.torch_model.row_context).float()
    axis = loaded.model.axis
    weights = [axis.weights(position)[None] for position in (200, 230)]
    q = np.random.default_rng(1).integers(-90, 91, (1, 8, 3, 2)).astype(float)
    exact = first_row_features(context, weights[0], (3, 2), EXACT)
    about = first_row_features(twin, torch.from_numpy(weights[0]).float(), (3, 2), FLOAT)
    np.testing.assert_allclose(about.numpy(), exact, atol=0.05)
    both = np.concatenate(weights, axis=1)
    found = finer_row_features(context.stages[0], q, exact, both, EXACT)
    assert found.shape == (1, 16, 6, 4)
    assert np.array_equal(found * 256, np.round(found * 256))
    tensors = torch.from_numpy(q), about, torch.from_numpy(both).float()
    about = finer_row_features(twin.stages[0], *tensors, FLOAT)
    np.testing.assert_allclose(about.numpy(), found, atol=0.05)


def test_exact_stage_gives_the_same_in_any_order_of_summation(loaded):
    stage = loaded.model.row_context.stages[1]
    generator = np.random.default_rng(2)
    q = generator.integers(-90, 91, (1, 12, 4, 6)).astype(float)
    features = np.floor(generator.random((1, 16, 4, 6)) * 256) / 256
    weights = np.concatenate([loaded.model.axis.weights(p) for p in (100, 130)])[None]
    shuffled = Shuffled()
    before = finer_row_features(stage, q, features, weights, EXACT)
    after = finer_row_features(stage, q, features, weights, shuffled)
    np.testing.assert_array_equal(after, before)
    assert shuffled.calls == 4


@pytest.fixture(scope="module")
def streams(loaded) -> list[bytes]:
    noise = np.random.default_rng(1).normal(0, 30, (150, 200, 3))
    pixels = (smooth_pictures(2, side=200)[1][:150] + noise).clip(0, 255).astype(np.uint8)
    path = loaded.info.path
    return [imgcodec.encode(pixels, model=path, quality=quality) for quality in (5, 60, 100)]


def _integers(loaded: LoadedModel, data: bytes) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    decode_latents(loaded, read_stream(data), observe=lambda *seen: found.append(seen[-1]))
    return found


def _assert_same(loaded: LoadedModel, other: LoadedModel, streams: list[bytes]) -> None:
    for data in streams:
        expected = _integers(loaded, data)
        assert len(expected) == 13
        assert all(np.abs(q).max() > 0 for q in expected[1::4])
        for a, b in zip(_integers(other, data), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_integers_survive_noise_on_everything_float(loaded, streams):
    model = copy.deepcopy(loaded.torch_model)
    calls = []

    def add_noise(module, inputs, output):
        calls.append(module)
        return output + 1e-3 * torch.randn_like(output)

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add_noise)
    _assert_same(loaded, replace(loaded, model=as_codec(model)), streams)
    assert calls


@pytest.mark.parametrize("threads", [1, 2])
def test_integers_survive_other_libraries_and_threads(loaded, streams, threads):
    before = torch.get_num_threads()
    expected = [_integers(loaded, data) for data in streams]
    torch.set_num_threads(threads)
    try:
        with torch.backends.mkldnn.flags(enabled=False):
            found = [_integers(loaded, data) for data in streams]
    finally:
        torch.set_num_threads(before)
    for a, b in zip(found, expected, strict=True):
        for left, right in zip(a, b, strict=True):
            np.testing.assert_array_equal(left, right)


def test_transforms_of_tiles_equal_those_of_the_whole(loaded):
    model = loaded.model
    picture = smooth_pictures(1, side=560)[0][:, :430]
    whole = analyse_tile(model, picture, Tile(0, 0, 576, 448), 60)
    for tile in tile_grid(560, 430, 256, 64):
        part = analyse_tile(model, picture, tile, 60)
        top, left = tile.top // 64, tile.left // 64
        same = whole[:, :, top : top + part.shape[2], left : left + part.shape[3]]
        np.testing.assert_allclose(part, same, atol=1e-3)
    everything = Tile(0, 0, 560, 430)
    ((_, expected),) = synthesise(model, whole, 60, everything, 560, 430, 1024)
    for tile, part in synthesise(model, whole, 60, everything, 560, 430, 256):
        rows, columns = part.shape[:2]
        same = expected[tile.top : tile.top + rows, tile.left : tile.left + columns]
        assert np.abs(part.astype(int) - same).max() <= 1


def test_training_step_reaches_every_parameter():
    torch.manual_seed(0)
    model = build_model("hier", TINY_SIZES["hier"])
    with torch.no_grad():  # not at the zeros where networks start
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        for own in model.levels:
            own.log_gain.fill_(3.0)
    x = torch.rand(4, 3, 128, 64)
    level = torch.tensor([0.0, 2.0, 4.5, 7.0])
    for _ in range(8):  # one preview keeps one level, another two
        output = model(x, level)
        assert output.x_hat.shape == x.shape
        assert output.bits.shape == (4,)
        loss = output.bits.sum() / x.numel() + output.x_hat.square().mean() + output.auxiliary
        loss.backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_transforms_can_come_from_beta(tiny_weights, weights):
    torch.manual_seed(0)
    tensors = read_weights(tiny_weights)
    crops = torch.stack([torch.from_numpy(p).permute(2, 0, 1) / 255.0 for p in smooth_pictures(20)])
    model = build_model("hier", TINY_SIZES["hier"])
    model.adopt(tensors, crops)
    beta = load_model(find_model(tiny_weights)).torch_model
    model.prepare()
    with torch.no_grad():
        finest = model.unpack(model.analysis(crops[:1], 50))[-1]
        assert torch.allclose(finest, beta.analysis(crops[:1], 50), atol=1e-4)
        rate = torch.from_numpy(model.axis.weights(200)).float()[None]
        shown = model.synthesise(torch.zeros(1, 8, 2, 2), torch.zeros(1, 12, 4, 4), finest, rate)
        assert torch.allclose(shown, beta.synthesise(finest, rate), atol=1e-4)
    with pytest.raises(ValueError, match="without klt_analysis"):
        model.adopt(read_weights(weights) | {"klt_analysis.weight": torch.zeros(3, 4)}, crops)
