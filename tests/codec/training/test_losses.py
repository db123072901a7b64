"""The loss: hand-computed terms, and errors that repeat from block to block."""

from __future__ import annotations

import pytest
import torch

from imgcodec.codec.models.base import TrainOutput
from imgcodec.codec.training.losses import (
    Criterion,
    LossRecipe,
    colour_error,
    edge_error,
    periodic_error,
    weave_error,
)


def _output(x_hat: torch.Tensor, bits: float, auxiliary: float = 0.0) -> TrainOutput:
    return TrainOutput(x_hat, torch.full((len(x_hat),), bits), torch.tensor(auxiliary))


def test_terms_add_up():
    x = torch.full((2, 3, 32, 32), 0.5)
    output = _output(x + 2 / 255, bits=512.0, auxiliary=0.25)
    lambdas = torch.tensor([0.013, 0.013])
    recipe = LossRecipe(rate=2.0, mse=3.0, l1=5.0)
    loss, stats = Criterion(recipe, None, None)(x, output, lambdas, 0.0)
    assert float(loss) == pytest.approx(2 * 0.5 + 0.013 * (3 * 4 + 5 * 2) + 0.25, rel=1e-4)
    assert float(stats["bpp"]) == 0.5
    assert 10 ** float(stats["log10_mse"]) == pytest.approx(4, rel=1e-4)


def test_low_and_high_rates_are_weighed_alike():
    x = torch.zeros(1, 3, 16, 16)
    criterion = Criterion(LossRecipe(lambda_weight_power=0.5), None, None)
    loss, _ = criterion(x, _output(x, bits=256.0), torch.tensor([0.052]), 0.0)
    assert float(loss) == pytest.approx(0.5, rel=1e-3)


def test_crops_above_the_limit_count_as_if_they_were_at_it():
    x = torch.full((2, 3, 32, 32), 0.5)
    x_hat = x + torch.tensor([2 / 255, 40 / 255])[:, None, None, None]
    lambdas = torch.tensor([0.013, 0.013])
    gradients = []
    for limit in (0.0, 2.0):
        leaf = x_hat.clone().requires_grad_()
        criterion = Criterion(LossRecipe(limit=limit), None, None)
        loss, _ = criterion(x, _output(leaf, bits=1024.0), lambdas, 0.0)
        loss.backward()
        gradients.append(leaf.grad)
    assert float(loss.detach()) == pytest.approx((1 + 0.013 * 4 + 2.0) / 2, rel=1e-4)
    unlimited = 1 + 0.013 * 1600
    assert torch.allclose(gradients[1][0], gradients[0][0])
    assert torch.allclose(gradients[1][1], gradients[0][1] * 2.0 / unlimited, rtol=1e-4)


def test_a_weave_counts_and_other_textures_do_not():
    torch.manual_seed(0)
    x, texture = 0.5 + 0.02 * torch.randn(2, 1, 3, 192, 192)
    of_place = 1 + 0.3 * torch.cos(torch.arange(192) * (torch.pi / 4))
    woven = 0.5 + (texture - 0.5) * of_place
    assert float(weave_error(x, texture)) < 0.002 < 0.02 < float(weave_error(x, woven))
    assert float(weave_error(woven, woven)) < 1e-9
    weaker = float(weave_error(x, 0.5 + 0.5 * (woven - 0.5)))
    assert weaker == pytest.approx(0.25 * float(weave_error(x, woven)), rel=0.1)
    leaf = torch.full_like(x, 0.5).requires_grad_()
    weave_error(x, leaf).sum().backward()
    assert torch.isfinite(leaf.grad).all()


def test_a_pattern_of_blocks_counts_and_noise_hardly_does():
    torch.manual_seed(0)
    pattern = torch.randn(1, 3, 8, 8)
    pattern = (pattern - pattern.mean(dim=(2, 3), keepdim=True)).repeat(1, 1, 24, 24)
    assert float(periodic_error(pattern)) == pytest.approx(float(pattern.square().mean()), rel=1e-4)
    noise = torch.randn(1, 3, 192, 192)
    assert float(periodic_error(noise)) < 0.02
    constant = torch.ones(1, 3, 192, 192)
    assert float(periodic_error(constant)) < 1e-9
    half = torch.zeros(1, 3, 192, 192)
    half[..., :96] = pattern[..., :96]
    assert float(periodic_error(half)) > 0.3 * float(periodic_error(pattern))


def test_steps_between_blocks_count_and_steps_inside_do_not():
    error = torch.zeros(1, 3, 32, 32)
    error[..., 16:] = 2.0  # one of three borders between columns
    assert float(edge_error(error)) == pytest.approx(0.5 * 4.0 / 3)
    assert float(edge_error(error.mT)) == pytest.approx(0.5 * 4.0 / 3)
    assert float(edge_error(error.roll(4, dims=3))) == pytest.approx(0.0)


def test_colour_error_sees_blotches_and_no_texture():
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    texture = (((rows + columns) % 2) * 2.0 - 1.0).expand(1, 3, 64, 64) * 0.1
    assert float(colour_error(texture)) < 1e-6
    blotch = torch.zeros(2, 3, 64, 64)
    blotch[0, 0, :32, :32] = 0.1
    found = colour_error(blotch)
    assert float(found[0]) == pytest.approx(3 * 0.1 / 4 / 3, rel=1e-5)
    assert float(found[1]) == 0.0
