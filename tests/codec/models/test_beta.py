"""The beta model: one loop for both sides, and rows that depend on integers alone."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from imgcodec.codec.errors import UnknownModelError
from imgcodec.codec.families.base import normal_tables
from imgcodec.codec.families.coders import Count, thresholds_of
from imgcodec.codec.families.masked import pass_masks
from imgcodec.codec.families.rows import row_features, row_net
from imgcodec.codec.models.coding import as_codec
from imgcodec.codec.models.registry import build_model
from imgcodec.codec.models.relaxed import Relax
from imgcodec.codec.nets.exact import FLOAT, FloatArithmetic
from imgcodec.codec.numeric.exact import EXACT
from imgcodec.codec.numeric.rounding import round_by_cost, rounding_thresholds
from imgcodec.codec.session.tiling import analyse_whole
from imgcodec.codec.weights.installed import find_model, find_model_of_stream
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import TINY_SIZES, smooth_pictures
from tests.codec.doubles import Record, Repeat


class _Double(FloatArithmetic):
    dtype = "float64"


DOUBLE = _Double()


@pytest.mark.parametrize("num_passes", [2, 4])
def test_passes_partition_channels_and_positions(num_passes):
    masks = pass_masks(num_passes, 20)
    assert (masks.sum(axis=0) == 1).all()
    # Every pass codes an equal share of the channels at every position of the cell.
    assert (masks.sum(axis=1) == 20 // num_passes).all()


@pytest.mark.parametrize(
    ("shape", "rounding"), [((8, 8), 1.0), ((5, 3), 1.5), ((1, 1), 1.0), ((1, 9), 0.0)]
)
def test_decoder_follows_the_encoder(tiny, shape, rounding):
    model = tiny.model
    y = np.random.default_rng(0).normal(size=(1, model.latent_channels, *shape)).astype(np.float32)
    sent = Record(tiny.tables, rounding=rounding)
    y_hat = model.code(shape, 50, sent, y)
    assert sum(q.size for _, _, q in sent.sent[1:]) == y.size
    np.testing.assert_array_equal(model.code(shape, 50, Repeat(sent)), y_hat)
    assert y_hat.shape == y.shape


@torch.no_grad()
def test_exact_rows_agree_with_the_training_twin(tiny):
    model, twin = tiny.model, tiny.torch_model
    generator = np.random.default_rng(1)
    weights = model.operating_point(37)
    z = generator.integers(-3, 4, (1, model.cfg.hyper_channels, 2, 2)).astype(float)
    seen = np.floor(generator.random((1, model.latent_channels, 8, 8)) * 8) / 8
    features = row_features(model.exact["features"], z, weights, EXACT)
    about = row_features(
        twin.exact["features"], torch.from_numpy(z), torch.from_numpy(weights), DOUBLE
    )
    np.testing.assert_allclose(about.numpy(), features, atol=0.05)
    rows = row_net(model.exact["rows"][2], features, seen, EXACT)
    about = row_net(twin.exact["rows"][2], about, torch.from_numpy(seen), DOUBLE)
    np.testing.assert_allclose(about.numpy(), rows, atol=0.05)


def test_levels_are_dyadic_and_monotone(tiny):
    positions = np.arange(tiny.model.cfg.num_anchors)
    levels = []
    for quality in range(1, 101):
        weights = tiny.model.operating_point(quality)[0]
        assert np.array_equal(weights * 64, np.round(weights * 64))
        assert float(weights.sum()) == 1.0
        levels.append(float(weights @ positions))
    assert levels[0] == 0.0
    assert levels[-1] == tiny.model.cfg.num_anchors - 1
    assert (np.diff(levels) >= 0).all()


def test_klt_start_is_a_linear_codec():
    torch.manual_seed(0)
    model = build_model("beta", {"latent_channels": 768, "exact_width": 8, "context_width": 8})
    model.init_from_patches(torch.randn(2000, 768) @ torch.diag(torch.rand(768)))
    x = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        weights = torch.zeros(1, 8)
        weights[0, 3] = 1.0
        back = model.synthesise(model.analyse(x, weights), weights)
    assert torch.allclose(back, x, atol=1e-4)


def test_thresholds_scale_from_plain_rounding_to_small_integers():
    tables = normal_tables()
    plain, thresholds, stronger = (thresholds_of(tables, factor) for factor in (0.0, 1.0, 1.5))
    assert (plain == 0.5).all()
    assert (stronger >= thresholds).all() and stronger.max() <= 0.99
    x = np.random.default_rng(2).random(10000, np.float32) * 8 - 4
    rows = np.full(10000, 30)
    rounded = [round_by_cost(x, rows, t) for t in (thresholds, stronger)]
    assert 0 < np.abs(rounded[1]).sum() < np.abs(rounded[0]).sum()
    tensors = map(torch.from_numpy, (x, rows, thresholds))
    np.testing.assert_array_equal(round_by_cost(*tensors).numpy(), rounded[0])


def test_rounding_thresholds_grow_with_the_extra_bits():
    tables = normal_tables()
    thresholds = rounding_thresholds(tables.bits(), tables.half_widths, 1.0)
    plain = rounding_thresholds(tables.bits(), tables.half_widths, 0.0)
    assert (plain == 0.5).all()
    assert (thresholds >= 0.5).all()
    assert (thresholds < 1.0).all()
    assert (np.diff(thresholds[:40, 0]) <= 1e-6).all()  # wider rows, smaller dead zones


def test_unknown_names_say_what_is_known(tiny_weights):
    with pytest.raises(ValueError, match="known: beta"):
        build_model("gamma", {})
    with pytest.raises(ValueError, match="latent_channels"):
        build_model("beta", {"latent_chanels": 3})
    with pytest.raises(UnknownModelError, match="nosuch"):
        find_model("nosuch")
    with pytest.raises(UnknownModelError, match="00000000"):
        find_model_of_stream(bytes(4))


def test_damaged_weights_are_refused(tiny_weights, tmp_path):
    data = bytearray(tiny_weights.read_bytes())
    data[-100] ^= 1
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(data)
    with pytest.raises(UnknownModelError, match="hash"):
        load_model(find_model(damaged))
    damaged.write_bytes(b"not weights at all")
    with pytest.raises(UnknownModelError, match="cannot read"):
        find_model(damaged)


def test_widths_change_pixels_in_training_as_in_coding(tiny):
    """Training and coding scale error and reconstruction alike, and rows do not see it."""
    model = copy.deepcopy(tiny.torch_model)
    with torch.no_grad():
        torch.nn.init.normal_(model.widths.bias, std=0.5)
    y = analyse_whole(tiny.model, smooth_pictures(1)[0][:64, :128], 60)
    y_hat = as_codec(model).code((4, 8), 60, Count(tiny.tables), y)
    plain = tiny.model.code((4, 8), 60, Count(tiny.tables), y)
    with torch.no_grad():
        twin, latents = copy.deepcopy(model).float(), torch.from_numpy(y)
        relaxed = twin.code((4, 8), 60, Relax(tiny.tables), latents, arithmetic=FLOAT)
    assert not np.allclose(y_hat, plain, atol=1e-3)
    np.testing.assert_allclose(relaxed.numpy(), y_hat, atol=1e-4)


def test_a_larger_model_starts_as_what_it_grew_from():
    """Anchors, widths and blocks are added without effect on the rates that were there."""
    torch.manual_seed(0)
    sizes = {**TINY_SIZES["beta"], "learned_width": False, "num_anchors": 4}
    sizes |= {"lambda_min": 0.002, "lambda_max": 0.128}
    old = build_model("beta", sizes)
    old.init_from_patches(torch.randn(2000, 768) * 0.1)
    with torch.no_grad():
        for parameter in old.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    grown = {"learned_width": True, "num_anchors": 6, "lambda_min": 0.0005, "lambda_max": 0.512}
    grown |= {name: [count + 1 for count in sizes[name]] for name in sizes if "_blocks" in name}
    grown |= {"context_blocks": 2}
    new = build_model("beta", sizes | grown)
    new.load_state_dict(new.upgrade(old.state_dict(), sizes))
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        levels = torch.tensor([0.5, 3.0])
        assert torch.allclose(old.lambdas(levels), new.lambdas(levels + 1), rtol=1e-5)
        before, after = old(x, levels), new(x, levels + 1)
        torch.testing.assert_close(after.x_hat, before.x_hat, atol=1e-4, rtol=1e-4)
        beyond = new(x, torch.tensor([0.0, 5.0]))
    assert torch.isfinite(beyond.x_hat).all()
    steps = new.log_gain[:, 0]
    assert float(steps[5] - steps[4]) == pytest.approx(math.log(4) / 2, rel=1e-4)
    assert float(steps[1] - steps[0]) == pytest.approx(math.log(4) / 2, rel=1e-4)
