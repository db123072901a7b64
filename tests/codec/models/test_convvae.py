"""The convvae model: an honest ELBO, rows by construction, digits of every size as files."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import distributions

import imgcodec
from imgcodec.codec.families.coders import Count
from imgcodec.codec.families.convvae import ConvVaeConfig, ConvVaeTerms
from imgcodec.codec.models import convvae
from imgcodec.codec.models.coding import as_codec
from imgcodec.codec.models.convvae import ConvVaeModel, _from_blocks, _to_blocks, kl_nats
from imgcodec.codec.stream.container import read_stream
from imgcodec.codec.training.losses import Criterion, LossRecipe
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from tests.codec.conftest import make_tiny_weights
from tests.codec.doubles import Record

SIZES = {"latent_channels": 6, "channels": 4}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_tiny_weights("convvae", tmp_path_factory.mktemp("convvae"))


@pytest.fixture(scope="module")
def loaded(weights):
    return load_model(find_model(weights))


@pytest.fixture(scope="module")
def pictures():
    generator = np.random.default_rng(0)
    waves = np.sin(np.arange(96)[:, None] / 7) + np.cos(np.arange(96) / generator.uniform(3, 9))
    return (127 + 60 * waves[..., None] + generator.normal(0, 30, 3)).clip(0, 255).astype(np.uint8)


def _model(**terms):
    torch.manual_seed(0)
    return ConvVaeModel(ConvVaeConfig(**SIZES), ConvVaeTerms(**terms)).eval()


def test_divergence_is_that_of_torch():
    torch.manual_seed(1)
    mean, log_variance = torch.randn(2, 50, dtype=torch.float64).unbind()
    posterior = distributions.Normal(mean, (0.5 * log_variance).exp())
    reference = distributions.kl_divergence(posterior, distributions.Normal(0.0, 1.0))
    assert torch.allclose(kl_nats(mean, log_variance), reference.double())


@torch.no_grad()
def test_bernoulli_elbo_of_an_undecided_decoder_is_one_bit_a_pixel():
    model = _model()
    for parameter in model.parameters():
        parameter.zero_()
    output = model(torch.rand(3, 3, 32, 64), torch.zeros(3))
    assert float(output.auxiliary) == pytest.approx(1.0)
    assert output.bits.tolist() == [0.0] * 3
    assert torch.equal(output.x_hat, torch.full((3, 3, 32, 64), 0.5))
    # The padding of a digit, 4 of 32 pixels each way, is no part of the figures in nats.
    assert float(output.stats["recon_nats"]) == pytest.approx(784 * math.log(2))
    assert float(output.stats["elbo_nats"]) == pytest.approx(-784 * math.log(2))


@torch.no_grad()
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_likelihood_is_that_of_torch(likelihood):
    model = _model(likelihood=likelihood, deviation=0.3)
    x = torch.rand(2, 1, 32, 32).round() if likelihood == "bernoulli" else torch.rand(2, 1, 32, 32)
    output = model(x.expand(-1, 3, -1, -1), torch.zeros(2))
    means = output.x_hat[:, :1]
    if likelihood == "bernoulli":
        reference = distributions.Bernoulli(means).log_prob(x)
    else:
        reference = distributions.Normal(means, 0.3).log_prob(x)
    assert float(output.auxiliary) == pytest.approx(-float(reference.mean()) / math.log(2), 1e-4)
    inner = reference[:, :, :28, :28].sum(dim=(1, 2, 3)).mean()
    assert float(output.stats["recon_nats"]) == pytest.approx(-float(inner), rel=1e-4)


@torch.no_grad()
def test_recipe_without_squared_error_minimises_the_negative_elbo():
    model = _model()
    x = torch.rand(4, 3, 32, 32)
    output = model(x, torch.zeros(4))
    for beta in (1.0, 4.0):
        recipe = LossRecipe(rate=beta, mse=0.0, lambda_weight_power=0.0)
        criterion = Criterion(recipe, None, None)
        loss, _ = criterion(x, output, model.lambdas(torch.zeros(4)), 0.0)
        kl_bits = float(output.bits.mean())
        assert kl_bits * math.log(2) == pytest.approx(float(output.stats["kl_nats"]), rel=1e-5)
        nll_bits = 32 * 32 * float(output.auxiliary)
        assert 32 * 32 * float(loss) == pytest.approx(beta * kl_bits + nll_bits, rel=1e-5)


def test_blocks_are_row_major_and_come_back():
    x = torch.arange(2 * 3 * 64 * 96).reshape(2, 3, 64, 96)
    blocks = _to_blocks(x, 32)
    assert torch.equal(blocks[4], x[0, :, 32:64, 32:64])
    assert torch.equal(blocks[7], x[1, :, :32, 32:64])
    assert torch.equal(_from_blocks(blocks, (2, 2, 3)), x)


def test_statistics_follow_training_batches_only(monkeypatch):
    monkeypatch.setattr(convvae, "STATISTICS_DECAY", 0.9)
    model = _model()
    before = model.scale_row.clone(), model.log_gain.clone()
    x = torch.rand(8, 3, 32, 32)
    model(x, torch.zeros(8))
    assert torch.equal(model.scale_row, before[0])
    model.train()
    x = x[:2]
    with torch.no_grad():
        model.g_a[-1].bias[model.latent_channels :] = 2 * math.log(0.1)
        for _ in range(150):
            model(x, torch.zeros(2))
    step = 1 / model.log_gain.exp()
    assert torch.allclose(step, torch.full_like(step, 0.1 * math.sqrt(12)), rtol=1e-3)


def test_rows_move_by_a_quarter_per_quality_and_gains_with_them(loaded):
    model = loaded.model
    y = np.ones((1, model.latent_channels, 1, 1), np.float32)
    rows = []
    for quality in (64, 68, 72, 96):
        coder = Record(loaded.tables)
        model.code((1, 1), quality, coder, y)
        rows.append(coder.sent[0][1])
        exact = model.scale_row + (quality - 30) / 4
        np.testing.assert_array_equal(rows[-1], np.floor(exact + 0.5).clip(0, 63))
    np.testing.assert_array_equal(rows[1], (rows[0] + 1).clip(0, 63))
    np.testing.assert_array_equal(rows[3], (rows[0] + 8).clip(0, 63))


def test_finer_steps_lose_less(loaded):
    model = loaded.model
    y = np.random.default_rng(2).normal(size=(1, model.latent_channels, 3, 2)).astype(np.float32)
    errors = []
    for quality in (1, 30, 60, 100):
        y_hat = model.code((3, 2), quality, Count(loaded.tables), y)
        errors.append(float(np.square(y_hat - y).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


def test_collapsed_channels_cost_nothing():
    model = _model()
    model.scale_row.fill_(-40.0)
    coder = Count(model.prepare().default_tables())
    y = np.zeros((1, model.latent_channels, 4, 4), np.float32)
    as_codec(model).code((4, 4), 60, coder, y)
    assert coder.bits < 0.01


def test_bytes_grow_with_quality(weights, pictures):
    sizes = []
    for quality in (1, 25, 50, 75, 100):
        stream = read_stream(imgcodec.encode(pictures, model=weights, quality=quality))
        sizes.append(sum(len(payload) for payload in stream.segments[0]))
    assert all(low <= high for low, high in pairwise(sizes))
    assert sizes[0] < sizes[-1]


@pytest.mark.parametrize("size", [(28, 28), (1, 1), (33, 31), (70, 96)])
def test_odd_sizes_come_back_grey(weights, pictures, size):
    data = imgcodec.encode(pictures[: size[0], : size[1]], model=weights)
    decoded = np.asarray(imgcodec.decode(data, model=weights))
    assert decoded.shape == (*size, 3)
    assert np.array_equal(decoded[..., 0], decoded[..., 1])
    assert np.array_equal(decoded[..., 0], decoded[..., 2])
    grey = imgcodec.encode(pictures[: size[0], : size[1], 0], model=weights)
    assert imgcodec.decode(grey, model=weights).mode == "L"


@torch.no_grad()
def test_start_is_the_mean_picture():
    model = _model()
    torch.manual_seed(3)
    patches = torch.rand(50, 3, 32, 32) * 0.5
    model.init_from_patches(patches.flatten(1) - 0.5)
    for parameter in model.g_s.parameters():
        parameter.zero_()
    mean = patches.mean(dim=(0, 1))
    assert torch.allclose(model.synthesis(torch.zeros(1, 6, 1, 1), 60)[0, 0], mean, atol=1e-5)


def test_wrong_likelihood_is_refused():
    with pytest.raises(ValueError, match="bernoulli, gaussian"):
        ConvVaeTerms(likelihood="laplace")
    with pytest.raises(ValueError, match="positive"):
        ConvVaeTerms(deviation=0.0)
