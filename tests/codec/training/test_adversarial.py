"""Adversarial training: losses, weights, schedules, isolation, round trips, processes."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys

import pytest
import torch

from imgcodec.codec.strict import build
from imgcodec.codec.training.adversarial import (
    AdversarialRecipe,
    Adversary,
    feature_matching,
    hinge,
    hinge_generator,
    logistic,
    logistic_generator,
)

CPU = torch.device("cpu")
SMALL = {"channels": 8, "num_layers": 2, "start": 0.0, "ramp": 0.0}


def _adversary(**changes) -> Adversary:
    torch.manual_seed(11)
    return Adversary(AdversarialRecipe(**{**SMALL, **changes}), CPU)


def _batch(side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(4, 3, side, side, generator=generator)
    noise = 0.1 * torch.randn(x.shape, generator=generator)
    return x, (x + noise).requires_grad_()


def _mse(x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
    return (x - x_hat).square().mean()


def _separate(adversary: Adversary, steps: int = 60) -> dict[str, torch.Tensor]:
    """Train on boards of 8 px, which every scale can see, against flat grey."""
    squares = torch.arange(32) // 8
    board = (squares[:, None] + squares) % 2 * 0.5 + 0.25
    real = board.expand(4, 3, 32, 32) + 0.02 * torch.randn(4, 3, 32, 32)
    fake = 0.5 + 0.02 * torch.randn(4, 3, 32, 32)
    return [adversary.discriminator_step(real, fake, 1.0) for _ in range(steps)][-1]


def test_losses_are_those_computed_by_hand():
    logits = torch.tensor([[-2.0, 0.5], [0.0, 3.0]])
    assert float(hinge(logits, is_real=True)) == pytest.approx((3 + 0.5 + 1 + 0) / 4)
    assert float(hinge(logits, is_real=False)) == pytest.approx((0 + 1.5 + 1 + 4) / 4)
    assert float(hinge_generator(logits)) == pytest.approx(-0.375)
    softplus = [math.log1p(math.exp(v)) for v in (-2.0, 0.5, 0.0, 3.0)]
    mirrored = [math.log1p(math.exp(-v)) for v in (-2.0, 0.5, 0.0, 3.0)]
    assert float(logistic(logits, is_real=False)) == pytest.approx(sum(softplus) / 4)
    assert float(logistic(logits, is_real=True)) == pytest.approx(sum(mirrored) / 4)
    assert float(logistic_generator(logits)) == pytest.approx(sum(mirrored) / 4)


def test_feature_matching_is_the_mean_distance_over_layers():
    references = [torch.zeros(1, 2, 2, 2), torch.ones(1, 1, 1, 1)]
    features = [torch.full((1, 2, 2, 2), 0.5), torch.full((1, 1, 1, 1), 3.0)]
    assert float(feature_matching(references, features)) == pytest.approx((0.5 + 2.0) / 2)


@pytest.mark.parametrize("loss", ["hinge", "nonsaturating"])
@pytest.mark.parametrize("discriminator", ["patch", "multiscale"])
def test_step_reports_the_loss_of_the_discriminator_before_it(loss, discriminator):
    adversary = _adversary(loss=loss, discriminator=discriminator)
    x, x_hat = _batch()
    frozen = copy.deepcopy(adversary.discriminator).train()
    with torch.no_grad():
        logits, _ = frozen(torch.cat([x, x_hat]))
    stats = adversary.discriminator_step(x, x_hat, 1.0)
    one = hinge if loss == "hinge" else logistic
    expected = [(one(v[:4], is_real=True) + one(v[4:], is_real=False)) / 2 for v in logits]
    assert float(stats["gan_d"]) == pytest.approx(float(sum(expected)) / len(expected), abs=1e-5)
    real = sum(float(v[:4].mean()) for v in logits) / len(logits)
    assert float(stats["logits_real"]) == pytest.approx(real, abs=1e-5)
    assert x_hat.grad is None


@pytest.mark.parametrize("loss", ["hinge", "nonsaturating"])
@pytest.mark.parametrize("discriminator", ["patch", "multiscale"])
def test_discriminator_learns_to_separate(loss, discriminator):
    adversary = _adversary(loss=loss, discriminator=discriminator, lr=2e-3)
    stats = _separate(adversary)
    assert stats["logits_real"] > 0.5
    assert stats["logits_fake"] < -0.5
    assert stats["gan_d"] < 0.3


def test_generator_is_pushed_towards_what_the_discriminator_calls_real():
    adversary = _adversary(lr=2e-3, weight=1.0, adaptive=False)
    _separate(adversary)
    x_hat = (0.5 + 0.02 * torch.randn(4, 3, 32, 32)).requires_grad_()
    first = adversary.generator_terms(x_hat, x_hat, x_hat.mean(), 1.0)[1]["gan_g"]
    for _ in range(20):
        term, stats = adversary.generator_terms(x_hat, x_hat, x_hat.mean(), 1.0)
        (gradient,) = torch.autograd.grad(term, x_hat)
        x_hat = (x_hat - 0.01 * gradient.sign()).detach().requires_grad_()
    assert stats["gan_g"] < first - 0.2


def test_weight_sets_in_at_the_start_and_grows_over_the_ramp():
    adversary = _adversary(start=0.5, ramp=0.2, weight=0.8, adaptive=False)
    x, x_hat = _batch()
    weights = {}
    for progress in (0.0, 0.49, 0.55, 0.6, 0.7, 1.0):
        term, stats = adversary.generator_terms(x, x_hat, _mse(x, x_hat), progress)
        weights[progress] = float(stats["gan_weight"])
        assert float(term.detach()) == pytest.approx(
            weights[progress] * float(stats["gan_g"]), abs=1e-6
        )
    expected = {0.0: 0.0, 0.49: 0.0, 0.55: 0.2, 0.6: 0.4, 0.7: 0.8, 1.0: 0.8}
    assert weights == pytest.approx(expected, abs=1e-6)


def test_discriminator_does_not_run_before_the_start_unless_features_are_matched():
    x, x_hat = _batch()
    calls = []
    for matching in (0.0, 2.0):
        adversary = _adversary(start=0.5, feature_matching=matching)
        adversary.discriminator.register_forward_hook(lambda *_: calls.append(1))
        term, stats = adversary.generator_terms(x, x_hat, _mse(x, x_hat), 0.1)
        assert set(stats) == {"gan_g", "gan_weight", "feature_matching"}
        assert float(term.detach()) == pytest.approx(2.0 * float(stats["feature_matching"]))
        assert bool(calls) == (matching > 0)
    assert float(term.detach()) > 0


def test_adaptive_weight_makes_the_gradient_a_share_of_that_of_the_reconstruction():
    adversary = _adversary(weight=0.25)
    x, x_hat = _batch()
    reconstruction = 700 * _mse(x, x_hat)
    term, stats = adversary.generator_terms(x, x_hat, reconstruction, 1.0)
    (ours,) = torch.autograd.grad(term, x_hat, retain_graph=True)
    (theirs,) = torch.autograd.grad(reconstruction, x_hat)
    assert float(ours.norm() / theirs.norm()) == pytest.approx(0.25, rel=1e-3)
    assert not stats["gan_weight"].requires_grad


def test_adaptive_weight_is_clamped():
    adversary = _adversary(weight=0.25, max_adaptive=3.0)
    x, x_hat = _batch()
    _, stats = adversary.generator_terms(x, x_hat, 1e9 * _mse(x, x_hat), 1.0)
    assert float(stats["gan_weight"]) == pytest.approx(0.75)
    _, stats = adversary.generator_terms(x, x_hat, 0.0 * x_hat.mean(), 1.0)
    assert float(stats["gan_weight"]) == 0.0


def test_graph_of_the_reconstruction_survives_for_the_generators_own_step():
    model = torch.nn.Conv2d(3, 3, 3, padding=1)
    x, _ = _batch()
    adversary = _adversary(feature_matching=1.0)
    x_hat = model(x)
    reconstruction = _mse(x, x_hat)
    term, _ = adversary.generator_terms(x, x_hat, reconstruction, 1.0)
    (reconstruction + term).backward()
    with_gan = model.weight.grad.clone()
    model.zero_grad()
    _mse(x, model(x)).backward()
    assert torch.isfinite(with_gan).all()
    assert not torch.allclose(with_gan, model.weight.grad)


def test_nothing_leaks_into_the_discriminator_from_the_generators_terms():
    adversary = _adversary(feature_matching=1.0)
    x, x_hat = _batch()
    before = copy.deepcopy(adversary.discriminator.state_dict())
    term, _ = adversary.generator_terms(x, x_hat, _mse(x, x_hat), 1.0)
    term.backward()
    assert x_hat.grad.norm() > 0
    assert all(parameter.grad is None for parameter in adversary.discriminator.parameters())
    for name, tensor in adversary.discriminator.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_step_without_finite_gradient_is_skipped():
    adversary = _adversary()
    x, x_hat = _batch()
    adversary.discriminator_step(x, x_hat, 1.0)
    before = [p.clone() for p in adversary.discriminator.parameters()]
    stats = adversary.discriminator_step(x, x_hat * float("nan"), 1.0)
    assert math.isnan(stats["gan_d"])
    for old, new in zip(before, adversary.discriminator.parameters(), strict=True):
        assert torch.equal(old, new)
    assert torch.isfinite(adversary.discriminator_step(x, x_hat, 1.0)["gan_d"])


def test_learning_rate_follows_the_schedule_of_the_loop():
    adversary = _adversary(lr=1e-3)
    x, x_hat = _batch()
    before = [p.clone() for p in adversary.discriminator.parameters()]
    adversary.discriminator_step(x, x_hat, 1.0, lr_scale=0.0)
    for old, new in zip(before, adversary.discriminator.parameters(), strict=True):
        assert torch.equal(old, new)
    adversary.discriminator_step(x, x_hat, 1.0, lr_scale=0.5)
    assert adversary.optimiser.param_groups[0]["lr"] == pytest.approx(5e-4)


@pytest.mark.parametrize("discriminator", ["patch", "multiscale"])
def test_restored_adversary_goes_on_as_if_never_stopped(discriminator, tmp_path):
    changes = {"discriminator": discriminator, "augment": "color,translation,cutout"}
    straight = _adversary(**changes)
    x, x_hat = _batch()
    for _ in range(3):
        straight.discriminator_step(x, x_hat, 1.0)
    torch.save(straight.state_dict(), tmp_path / "adversary.pt")
    restored = Adversary(straight.recipe, CPU)
    restored.load_state_dict(torch.load(tmp_path / "adversary.pt", weights_only=True))
    losses = []
    for adversary in (straight, restored):
        torch.manual_seed(9)
        losses.append(
            [float(adversary.discriminator_step(x, x_hat, 1.0)["gan_d"]) for _ in range(2)]
        )
    assert losses[0] == losses[1]
    for name, tensor in straight.discriminator.state_dict().items():
        assert torch.equal(tensor, restored.discriminator.state_dict()[name]), name


def test_reconstructions_may_be_bfloat16_as_autocast_leaves_them():
    adversary = _adversary(augment="translation", feature_matching=1.0)
    x, x_hat = _batch()
    rounded = x_hat.bfloat16()
    term, _ = adversary.generator_terms(x, rounded, _mse(x, rounded), 1.0)
    term.backward()
    assert x_hat.grad.norm() > 0
    assert torch.isfinite(adversary.discriminator_step(x, rounded, 1.0)["gan_d"])


def test_bfloat16_changes_the_terms_little():
    x, x_hat = _batch()
    values = []
    for bfloat16 in (False, True):
        torch.manual_seed(11)
        recipe = AdversarialRecipe(**SMALL, feature_matching=1.0)
        adversary = Adversary(recipe, CPU, bfloat16=bfloat16)
        term, _ = adversary.generator_terms(x, x_hat, _mse(x, x_hat), 1.0)
        stats = adversary.discriminator_step(x, x_hat, 1.0)
        assert term.dtype == stats["gan_d"].dtype == torch.float32
        values.append([float(term), float(stats["gan_d"])])
    assert values[1] == pytest.approx(values[0], rel=0.05)
    assert values[1] != values[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discriminator": "patchy"}, "discriminator is 'patchy': use patch, multiscale"),
        ({"loss": "wasserstein"}, "loss is 'wasserstein': use hinge, nonsaturating"),
        ({"channels": 0}, "channels is 0: must be at least 1"),
        ({"num_layers": -1}, "num_layers is -1"),
        ({"start": 1.5}, r"start is 1.5: must lie in \[0, 1\]"),
        ({"ramp": -0.1}, "ramp is -0.1"),
        ({"beta2": 1.0}, r"beta2 is 1.0: must lie in \[0, 1\)"),
        ({"weight": float("nan")}, "weight is nan: must not be negative"),
        ({"feature_matching": -1.0}, "feature_matching is -1.0"),
        ({"max_adaptive": 0.0}, "max_adaptive is 0.0: must be positive"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"augment": "color,rotation"}, "unknown augmentation 'rotation': use color, translation"),
    ],
)
def test_recipe_refuses_what_it_cannot_do(changes, message):
    with pytest.raises(ValueError, match=message):
        AdversarialRecipe(**changes)


def test_recipe_is_read_from_yaml_values():
    values = {"loss": "nonsaturating", "weight": "1e-1", "adaptive": False, "augment": "color"}
    recipe = build(AdversarialRecipe, values, "test")
    assert (recipe.loss, recipe.weight, recipe.adaptive) == ("nonsaturating", 0.1, False)


TWO_PROCESSES = """
import os
import torch
import torch._dynamo  # which optimisers import, and which takes longest
from torch import distributed as dist
from imgcodec.codec.training.adversarial import AdversarialRecipe, Adversary

child = os.fork()  # before torch has threads; importing it twice would take most of the time
rank = int(child == 0)
dist.init_process_group("gloo", init_method="file://" + os.path.abspath("store"),
                        rank=rank, world_size=2)
torch.manual_seed(rank)
recipe = AdversarialRecipe(channels=4, num_layers=2)
adversary = Adversary(recipe, torch.device("cpu"))
for step in range(4):
    x, x_hat = torch.rand(2, 2, 3, 16, 16)
    if (step, rank) == (1, 1):
        x_hat[0, 0, 0, 0] = float("nan")
    bias = adversary.discriminator.layers[0].bias
    before = bias.clone()
    adversary.discriminator_step(x, x_hat, 1.0)
    moved = not torch.equal(before, bias)
    assert moved == (step != 1), step
for name, tensor in adversary.discriminator.state_dict().items():
    copies = [torch.empty_like(tensor) for _ in range(2)]
    dist.all_gather(copies, tensor.contiguous())
    assert torch.equal(*copies), name
print("same", flush=True)
dist.destroy_process_group()
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_processes_with_other_pictures_keep_one_discriminator(tmp_path, root):
    script = tmp_path / "script.py"
    script.write_text(TWO_PROCESSES)
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"".join(done.stdout.split()) == b"samesame"  # lines of two processes may run together


def test_the_discriminator_waits_for_its_start():
    adversary = Adversary(AdversarialRecipe(channels=4, discriminator_start=0.5), CPU)
    before = {name: t.clone() for name, t in adversary.discriminator.state_dict().items()}
    x = torch.rand(2, 3, 64, 64)
    early = adversary.discriminator_step(x, x.flip(0), 0.4)
    assert float(early["gan_d"]) == 0.0
    after = adversary.discriminator.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    late = adversary.discriminator_step(x, x.flip(0), 0.5)
    assert late.keys() == early.keys()
    assert float(late["gan_d"]) > 0.0
