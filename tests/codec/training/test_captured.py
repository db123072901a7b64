"""What a GPU needs of training, as far as a CPU can try it: batches, and steps without a host."""

from __future__ import annotations

import random
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from imgcodec.codec.models.registry import build_model
from imgcodec.codec.training import bank as bank_module
from imgcodec.codec.training import loop
from imgcodec.codec.training.bank import Augmentation, CropBank, DeviceBank
from imgcodec.codec.training.captured import CapturedStep, let_compile
from imgcodec.codec.training.loop import train
from imgcodec.codec.training.losses import Criterion, LossRecipe
from imgcodec.codec.training.optim import build_optimisers
from imgcodec.codec.training.squeezenet import SqueezeTrunk
from imgcodec.codec.training.texture import WassersteinLoss
from tests.codec.conftest import smooth_pictures, tiny_recipe_of

CPU = torch.device("cpu")
EYE = LossRecipe(mse=0.22, ssimulacra2=0.025, ms_ssim=5.0, limit=2.0)


@pytest.fixture
def bank():
    rng = np.random.default_rng(0)
    sizes = ((150, 180, 3), (200, 130, 3), (128, 400, 3))
    return DeviceBank([rng.integers(0, 256, size, dtype=np.uint8) for size in sizes], 96, CPU)


def test_squares_are_cut_and_reduced_as_interpolate_does(bank):
    squares = bank.draw(24, random.Random(1), Augmentation(0.5, 0.5, 0.5))
    crops = bank.cut(torch.from_numpy(squares))
    sides = {int(row[5]) for row in squares}
    assert 96 in sides and max(sides) > 120
    assert {int(row[6]) for row in squares} == {0, 1}
    for row, crop in zip(squares, crops, strict=True):
        start, _, _, top, left, side, is_mirrored = (int(value) for value in row)
        index = [bank._store.start(i) for i in range(len(bank))].index(start)
        expected = bank._store.cut(index, top, left, side).float()[None] / 255
        if side != 96:
            expected = F.interpolate(expected, size=(96, 96), mode="bicubic", antialias=True)
        expected = expected[0].clamp(0, 1)
        assert (crop - (expected.flip(2) if is_mirrored else expected)).abs().max() < 2e-6


def test_squares_lie_in_their_pictures(bank):
    for row in bank.draw(300, random.Random(2), Augmentation(0.3, 1.0, 0.5)):
        _, height, width, top, left, side, _ = row
        assert 96 <= side <= 192 and min(top, left) >= 0
        assert top + side <= height and left + side <= width


def test_drawings_have_their_share(monkeypatch):
    monkeypatch.setattr(bank_module, "DRAWINGS_OF_A_JOB", 3)
    monkeypatch.setattr(bank_module, "num_processors", lambda: 1)  # each would import torch
    bank = DeviceBank([np.zeros((80, 80, 3), np.uint8)], 64, CPU)
    bank.draw_all(6, seed=1)
    assert len(bank) == 1
    squares = bank.draw(400, random.Random(0), Augmentation(0.5, 0.5, 0.5, graphics_share=0.25))
    drawn = squares[:, 0] > 0
    assert 0.15 < drawn.mean() < 0.35
    assert len(set(squares[drawn, 0])) == 6
    crops = bank.sample(40, random.Random(0), Augmentation(0.5, 0.5, 0.5, graphics_share=0.5))
    assert crops.shape == (40, 3, 64, 64) and crops.amax() > 0.5
    assert set(squares[drawn, 5]) == {64.0}


def _step(bank, recipe, seed=0):
    torch.manual_seed(seed)
    model = build_model(recipe.family, recipe.model)
    criterion = Criterion(EYE, None, None)

    def losses(x, level):
        return criterion(x, model(x, level), model.lambdas(level), 0.0)

    parameters = list(model.parameters())
    optimisers = build_optimisers(model, 1e-3, dtype=torch.float32)
    step = CapturedStep(bank, 4, losses, parameters, optimisers, 1.0, lambda: None, [])
    return model, step


@pytest.fixture
def large_bank():
    return DeviceBank(smooth_pictures(3, side=256), 192, CPU)


def test_a_step_is_that_of_the_loop(tiny_recipe, large_bank):
    squares = large_bank.draw(4, random.Random(3), Augmentation(0.5, 0.5, 0.5))
    levels = torch.tensor([0.1, 0.8, 1.5, 2.0])
    model, step = _step(large_bank, tiny_recipe)
    torch.manual_seed(5)
    stats = step(squares, levels)
    torch.manual_seed(0)
    plain = build_model(tiny_recipe.family, tiny_recipe.model)
    optimisers = build_optimisers(plain, 1e-3, dtype=torch.float32)
    torch.manual_seed(5)
    x = large_bank.cut(torch.from_numpy(squares))
    loss, _ = Criterion(EYE, None, None)(x, plain(x, levels), plain.lambdas(levels), 0.0)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    for optimiser in optimisers:
        optimiser.step()
    assert float(stats["loss"]) == pytest.approx(float(loss), rel=1e-6)
    for (name, own), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(own, other, atol=1e-6), name


@pytest.mark.parametrize("factor", [float("nan"), 1e6])
def test_a_step_of_a_wild_gradient_changes_little(tiny_recipe, large_bank, factor):
    squares = large_bank.draw(4, random.Random(3), Augmentation(0.5, 0.5, 0.5))
    levels = torch.tensor([0.1, 0.8, 1.5, 2.0])
    model, step = _step(large_bank, tiny_recipe)
    own, before = step._losses, {n: p.detach().clone() for n, p in model.named_parameters()}
    step._losses = lambda x, level: (own(x, level)[0] * factor, own(x, level)[1])
    stats = step(squares, levels)
    assert float(stats["skipped"]) == 1.0
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name
    step._losses = own
    assert float(step(squares, levels)["skipped"]) == 0.0
    assert any(not torch.equal(p, before[name]) for name, p in model.named_parameters())


class _HostWatch(TorchDispatchMode):
    """Names of what would make a GPU wait: values that come back, constants that go there."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        if any(part in name for part in ("local_scalar", "nonzero", "lift_fresh", "masked_select")):
            self.waits.append(name)
        return function(*args, **(kwargs or {}))


def test_a_step_never_waits_for_the_device(tiny_recipe, large_bank):
    squares = large_bank.draw(4, random.Random(3), Augmentation(0.5, 0.5, 0.5))
    _, step = _step(large_bank, tiny_recipe)
    step(squares, torch.tensor([0.1, 0.8, 1.5, 2.0]))  # learns where blocks lie
    optimisers, step._optimisers = step._optimisers, []  # AdamW waits unless it is capturable
    with _HostWatch() as watch:
        step._update()
    assert optimisers and not watch.waits


@pytest.mark.parametrize("family", ["beta", "hier", "vq", "cv"])
def test_no_family_needs_the_host_in_a_step(family, monkeypatch):
    """On a device without values nothing can be read back, and nothing of the host mixes in."""
    recipe = tiny_recipe_of(family)
    torch.manual_seed(0)
    model = build_model(family, recipe.model, recipe.terms)
    assert model.is_capturable
    criterion = Criterion(replace(EYE, colours=6.0, l1=2.0), None, None)
    x, level = torch.rand(4, 3, 192, 192), torch.rand(4) * model.max_level
    criterion(x, model(x, level), model.lambdas(level), 0.0)[0].backward()  # learns constants
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no "meta"
    for kept in (model._places, getattr(model, "_groups", {})):
        kept.update({key: value.to("meta") for key, value in kept.items()})
    model.to("meta").zero_grad()
    x, level = x.to("meta"), level.to("meta")
    loss, _ = criterion(x, model(x, level), model.lambdas(level), 0.0)
    loss.backward()
    assert loss.device.type == "meta"


def test_textures_and_noise_do_not_need_the_host_either(tiny_recipe, monkeypatch):
    model = build_model("beta", tiny_recipe.model | {"noise_channels": 4})
    loss = WassersteinLoss(SqueezeTrunk()).train()
    x, level = torch.rand(4, 3, 192, 192), torch.rand(4)
    model(x, level)  # learns constants
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no "meta"
    model._places.update({key: value.to("meta") for key, value in model._places.items()})
    model.to("meta"), loss.to("meta")
    x, level = x.to("meta"), level.to("meta")
    texture = loss(x, model(x, level).x_hat.float())
    texture.sum().backward()
    assert texture.device.type == "meta"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch, "compiler"), reason="this torch cannot compile")
def test_model_and_losses_compile_into_one_graph_each(tiny_recipe, large_bank):
    """Breaks would be slow on a GPU; constants are computed beforehand."""
    model, _ = _step(large_bank, tiny_recipe)
    criterion = Criterion(EYE, None, None)
    x = large_bank.sample(2, random.Random(0), Augmentation(0.5, 0.5, 0.5))
    level = torch.tensor([0.3, 1.7])
    torch.manual_seed(1)
    plain = model(x, level)
    let_compile(model, criterion, x)
    options = {"fullgraph": True, "dynamic": False, "backend": "aot_eager"}
    torch.manual_seed(1)
    compiled = torch.compile(model, **options)(x, level)
    assert torch.allclose(compiled.x_hat, plain.x_hat, atol=1e-5)
    assert torch.allclose(compiled.bits, plain.bits, rtol=1e-4)
    lambdas = model.lambdas(level)
    expected, _ = criterion.reconstruction(x, plain.x_hat, lambdas)
    found, _ = torch.compile(criterion.reconstruction, **options)(x, plain.x_hat, lambdas)
    assert torch.allclose(found, expected, rtol=1e-5)


def _in_this_process(function, items, *_, **__):
    return [(item, function(item)) for item in items]


def test_a_run_in_the_memory_of_a_device_learns(tiny_recipe, tmp_path, monkeypatch):
    """The loop with captured steps, as far as a CPU can go: capture itself needs a GPU."""
    monkeypatch.setattr(loop, "PATCH_VALUES", 1_000_000)
    monkeypatch.setattr(loop, "HELD_OUT", 1)
    monkeypatch.setattr(loop, "DRAWINGS", 4)
    monkeypatch.setattr(bank_module, "run_in_processes", _in_this_process)
    monkeypatch.setattr(loop, "CropBank", DeviceBank)
    monkeypatch.setattr(loop, "make_capturable", lambda *_: None)
    recipe = replace(
        tiny_recipe, train=replace(tiny_recipe.train, steps=60, lr=3e-3, graphics_share=0.1)
    )
    lines = []
    pictures = [("smooth", picture) for picture in smooth_pictures(20)]
    train(recipe, pictures, tmp_path, report=lines.append)
    losses = [float(line.split("loss ")[1].split()[0]) for line in lines if "bpp_z" in line]
    assert losses[-1] < 0.97 * losses[0]
    assert any("skipped 0.0" in line for line in lines)


def test_a_diverged_run_goes_back_to_its_last_good_state(tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "PATCH_VALUES", 1_000_000)
    monkeypatch.setattr(loop, "HELD_OUT", 1)
    monkeypatch.setattr(loop, "LOG_STEPS", 1)
    original, seen = loop._Trainer._step, []

    def step(self, progress):
        stats = original(self, progress)
        if self.state.step == 16:
            with torch.no_grad():
                for parameter in self.parameters:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        seen.append(float(stats["loss"]))
        return stats

    monkeypatch.setattr(loop._Trainer, "_step", step)
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, steps=24, lr=1e-4))
    lines = []
    pictures = [("smooth", picture) for picture in smooth_pictures(20)]
    train(recipe, pictures, tmp_path, report=lines.append)
    assert any("back to the last good state" in line for line in lines)
    assert any("learning rate 5e-05" in line for line in lines)
    usual = float(np.median(seen[:16]))
    assert seen[16] > 1.5 * usual
    assert float(np.median(seen[18:])) < 1.2 * usual


def test_cpu_runs_keep_their_pictures_in_a_file():
    bank = CropBank(smooth_pictures(2), 64, CPU)
    assert isinstance(bank._store, bank_module._InFile)
