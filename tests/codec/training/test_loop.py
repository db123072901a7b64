"""Training: it learns, resumes with the same loss, survives bad gradients."""

from __future__ import annotations

import csv
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from imgcodec.codec.models.registry import build_model
from imgcodec.codec.training import bank as bank_module
from imgcodec.codec.training import loop
from imgcodec.codec.training.bank import Augmentation, CropBank
from imgcodec.codec.training.checkpoint import load_initial_weights, runs_of_weights
from imgcodec.codec.training.loop import train
from imgcodec.codec.training.optim import build_optimisers, orthogonalise
from tests.codec.conftest import smooth_pictures, tiny_recipe_of
from tests.memory import peak_mib


def _with(recipe, **changes):
    return replace(recipe, train=replace(recipe.train, **changes))


def _quiet(_: str) -> None:
    pass


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch):
    """Starting from patches, and validation, would take longer than the steps of these runs."""
    monkeypatch.setattr(loop, "PATCH_VALUES", 1_000_000)
    monkeypatch.setattr(loop, "HELD_OUT", 1)


@pytest.fixture(scope="module")
def pictures():
    return [("smooth", picture) for picture in smooth_pictures(20, side=96)]


def _losses(folder):
    with (folder / "log.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_training_lowers_the_loss(tiny_recipe, pictures, tmp_path):
    lines = []
    recipe = _with(tiny_recipe, steps=60, lr=3e-3)
    weights = train(recipe, pictures, tmp_path, report=lines.append)
    losses = _losses(tmp_path)
    assert losses[-1] < 0.97 * losses[0]
    assert weights == tmp_path / "ema.safetensors"
    assert any(line.startswith("validation") for line in lines)
    assert list((tmp_path / "samples").glob("*.png"))
    with safe_open(weights, "numpy") as file:
        assert '"latent_channels": 24' in file.metadata()["recipe"]


def test_resumed_run_equals_one_that_was_never_stopped(tiny_recipe, pictures, tmp_path):
    straight = train(_with(tiny_recipe, steps=4), pictures, tmp_path / "a", report=_quiet)
    stopped = _with(tiny_recipe, steps=4)
    _stop_after(2, stopped, pictures, tmp_path / "b")
    resumed = train(stopped, pictures, tmp_path / "b", resume=True, report=_quiet)
    with safe_open(straight, "numpy") as a, safe_open(resumed, "numpy") as b:
        for name in a.keys():  # noqa: SIM118
            np.testing.assert_array_equal(a.get_tensor(name), b.get_tensor(name), err_msg=name)


def _stop_after(steps, recipe, pictures, folder, **options):
    """Run as a process does that receives SIGTERM in the middle: it saves and returns."""
    from imgcodec.codec.training import loop

    original = loop._Trainer._step

    def step(self, progress):
        values = original(self, progress)
        self.stopped = self.state.step >= steps
        return values

    loop._Trainer._step = step
    try:
        train(recipe, pictures, folder, report=_quiet, **options)
    finally:
        loop._Trainer._step = original


def test_resume_without_a_checkpoint_says_so(tiny_recipe, pictures, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train(tiny_recipe, pictures, tmp_path, resume=True, report=_quiet)


def test_steps_without_finite_gradient_are_skipped_and_reported(
    tiny_recipe, pictures, tmp_path, monkeypatch
):
    from imgcodec.codec.models.beta import BetaModel

    original, calls = BetaModel.forward, []

    def forward(self, x, level):
        calls.append(1)
        output = original(self, x, level)
        return replace(output, x_hat=output.x_hat * (float("nan") if len(calls) == 2 else 1.0))

    monkeypatch.setattr(BetaModel, "forward", forward)
    lines = []
    weights = train(_with(tiny_recipe, steps=5), pictures, tmp_path, report=lines.append)
    assert any("step 1" in line and "skipped" in line for line in lines)
    with safe_open(weights, "pt") as file:
        assert all(torch.isfinite(file.get_tensor(name)).all() for name in file.keys())  # noqa: SIM118


def test_warm_start_takes_averaged_and_shipped_weights(
    tiny_weights, tiny_recipe, pictures, tmp_path
):
    averaged = tiny_weights.parent / "ema.safetensors"
    models = []
    for source in (averaged, tiny_weights):
        model = build_model(tiny_recipe.family, tiny_recipe.model)
        load_initial_weights(model, source)
        models.append(model.state_dict())
    for name, tensor in models[0].items():
        assert torch.allclose(tensor, models[1][name], atol=2e-3), name
    recipe = _with(tiny_recipe, steps=2)
    found = train(recipe, pictures, tmp_path, init=tiny_weights, report=_quiet)
    first, second = runs_of_weights(found)  # every run that made the weights is told
    assert first["recipe"] == "beta-tiny-1" and first["steps"] == 0
    assert second == {"recipe": recipe.name, "steps": 2, "batch_size": 2, "crop_px": 64}


def test_warm_start_from_another_size_is_refused(tiny_weights):
    model = build_model("beta", {})
    with pytest.raises(ValueError, match="is"):
        load_initial_weights(model, tiny_weights)


def test_orthogonalise_evens_out_singular_values():
    torch.manual_seed(0)
    for rows, columns in ((16, 40), (40, 16), (64, 64)):
        for decay in (0.0, 1.0):
            u, s, v = torch.linalg.svd(torch.randn(30, rows, columns), full_matrices=False)
            s = torch.arange(1, s.shape[1] + 1) ** -decay
            values = torch.linalg.svdvals(orthogonalise(u * s @ v).float())
            assert values.max() < 1.8
            assert values.min() > 0.3


def test_every_parameter_has_one_optimiser(tiny_recipe):
    model = build_model(tiny_recipe.family, tiny_recipe.model)
    held = [
        id(p) for o in build_optimisers(model, 1e-3) for g in o.param_groups for p in g["params"]
    ]
    assert sorted(held) == sorted(id(p) for p in model.parameters())


def test_bank_samples_crops_of_its_pictures():
    import random

    flat = [np.full((80, 90, 3), value, np.uint8) for value in (0, 255)]
    bank = CropBank([*flat, np.zeros((20, 200, 3), np.uint8)], 64, torch.device("cpu"))
    assert len(bank) == 2
    crops = bank.sample(40, random.Random(0), Augmentation(0.5, 0.5, 0.5))
    assert crops.shape == (40, 3, 64, 64)
    assert {round(float(c.mean()), 3) for c in crops} == {0.0, 1.0}
    with pytest.raises(ValueError, match="no picture"):
        CropBank([], 64, torch.device("cpu"))


def test_adversary_and_perceptual_loss_take_part(tiny_recipe, pictures, tmp_path):
    """Every loss is logged, the best weights are kept, a killed run goes on with its adversary."""
    from imgcodec.codec.training.adversarial import AdversarialRecipe
    from imgcodec.codec.training.losses import LossRecipe

    class Blur(torch.nn.Module):
        """A perceptual distance that needs no weights."""

        def __init__(self):
            super().__init__()
            self.size = torch.nn.Parameter(torch.tensor(4.0))

        def forward(self, x, x_hat):
            def pool(z):
                return torch.nn.functional.avg_pool2d(z.float(), 4)

            return (pool(x) - pool(x_hat)).square().mean(dim=(1, 2, 3))

    recipe = replace(
        _with(tiny_recipe, steps=6, validate_steps=3),
        loss=LossRecipe(lpips=100.0),
        adversarial=AdversarialRecipe(
            channels=8, start=0.4, ramp=0.0, discriminator_start=0.2, feature_matching=1.0
        ),
    )
    _stop_after(4, recipe, pictures, tmp_path, perceptual=Blur())
    train(recipe, pictures, tmp_path, resume=True, perceptual=Blur(), report=_quiet)
    with (tmp_path / "log.csv").open() as file:
        row = list(csv.DictReader(file))[-1]
    for name in ("lpips", "gan_g", "gan_d", "gan_weight", "feature_matching", "logits_fake"):
        assert np.isfinite(float(row[name])), name
    assert float(row["gan_weight"]) > 0
    with (tmp_path / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {int(row["step"]) for row in rows} == {3, 4, 6}
    assert all(float(row["lpips"]) >= 0 for row in rows)
    assert (tmp_path / "best.safetensors").exists()


def test_a_run_may_leave_validation_out(tiny_recipe, tiny_weights, pictures, tmp_path):
    lines = []
    recipe = _with(tiny_recipe, steps=3, validate_minutes=0.0)
    init = tiny_weights.parent / "ema.safetensors"
    train(recipe, pictures, tmp_path, init=init, report=lines.append)
    assert (tmp_path / "ema.safetensors").exists()
    assert not any(line.startswith("validation") for line in lines)


def test_lpips_without_a_backbone_is_refused(tiny_recipe, pictures, tmp_path):
    from imgcodec.codec.training.losses import LossRecipe

    recipe = replace(tiny_recipe, loss=LossRecipe(lpips=1.0))
    with pytest.raises(ValueError, match="backbone"):
        train(recipe, pictures, tmp_path, report=_quiet)


def test_codes_start_from_the_transforms_of_beta(tiny_weights, pictures, tmp_path):
    recipe = tiny_recipe_of("vq")
    weights = train(recipe, pictures, tmp_path, init=tiny_weights, report=_quiet)
    with safe_open(weights, "pt") as new, safe_open(tiny_weights, "pt") as old:
        name = "g_a.blocks8.0.spatial_in.weight"
        assert torch.allclose(new.get_tensor(name), old.get_tensor(name).float(), atol=0.05)
        analysis = new.get_tensor("klt_analysis.weight")
        lent = old.get_tensor("klt_analysis.weight").float()[: len(analysis)] / 4
        assert torch.allclose(analysis, lent, atol=0.02)
    with pytest.raises(ValueError, match="cannot start from another family"):
        train(tiny_recipe_of("beta"), pictures, tmp_path / "b", init=weights, report=_quiet)


def test_a_crop_is_the_part_of_the_picture_that_was_asked_for():
    """Whether pictures lie in memory or in a file."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, size, dtype=np.uint8) for size in ((70, 90, 3), (64, 80, 3))]
    for store in (bank_module._InFile(), bank_module._OnDevice(torch.device("cpu"))):
        for picture in pictures:
            store.add(picture)
        assert store.sizes == [(70, 90), (64, 80)]
        for index, picture in enumerate(pictures):
            for top, left in ((0, 0), (3, 5), (6, 16)):
                cut = store.cut(index, top, left, 58)
                expected = picture[top : top + 58, left : left + 58]
                np.testing.assert_array_equal(cut.permute(1, 2, 0).numpy(), expected)


def test_minutes_are_those_that_someone_waits(
    tiny_recipe, tiny_weights, pictures, tmp_path, monkeypatch
):
    """Loading and validation count, and a short run validates on fewer pictures."""
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, minutes=0.1))
    counts = []

    def slow_validation(ema, held_out, criterion):
        counts.append(len(held_out))
        time.sleep(0.5 * len(held_out))
        return [{"quality": 10, "kind": kind, "bpp": 1.0} for kind, _ in held_out], []

    def slow_pictures():
        for picture in pictures:
            time.sleep(0.05)
            yield picture

    monkeypatch.setattr(loop, "HELD_OUT", 8)
    monkeypatch.setattr(loop, "validate", slow_validation)
    monkeypatch.setattr(loop, "save_grid", lambda *_: None)
    started = time.monotonic()
    init = tiny_weights.parent / "ema.safetensors"
    train(recipe, slow_pictures(), tmp_path, init=init, report=_quiet)
    elapsed_s = time.monotonic() - started
    assert 5.0 < elapsed_s < 6.0 + 3.0  # loading takes 1 s, all of the validation would take 4
    assert counts == [1, 2]


@pytest.mark.slow
def test_the_memory_of_a_run_does_not_grow_with_its_pictures(tmp_path):
    """A thousand photographs of 512 px are 800 MB; the default recipe needs 1.5 GB at the most."""
    code = f"""
from pathlib import Path
import numpy as np
from imgcodec.codec.training.loop import train
from imgcodec.codec.training.recipe import load_recipe
import imgcodec.configs
recipe = load_recipe(
    Path(imgcodec.configs.__path__[0]) / "beta_eye.yaml",
    ["train.steps=2", "train.graphics_share=0.5"],
)
rng = np.random.default_rng(0)
block = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
pictures = (("noise", np.tile(block, (8, 8, 1))) for _ in range(1000))
train(recipe, pictures, Path({str(tmp_path)!r}))
"""
    assert peak_mib(code) < 1500
