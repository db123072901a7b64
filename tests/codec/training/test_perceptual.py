"""LPIPS as a loss: equal to the lpips package, differentiable, clear about missing weights."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from imgcodec.codec.training import perceptual
from imgcodec.codec.training.perceptual import SqueezeLpips, load_perceptual
from imgcodec.codec.training.squeezenet import SqueezeTrunk

DATA = os.environ.get("IMGCODEC_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="IMGCODEC_DATA is not set")
needs_lpips = pytest.mark.skipif(not find_spec("lpips"), reason="lpips is not installed")


def _pictures(side: int = 64, count: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(count, 3, side, side, generator=generator)
    return x, (x + 0.1 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


@pytest.fixture(scope="module")
def random_folder(tmp_path_factory) -> Path:
    """Weights of the right shapes: float16 backbone with float32 biases, heads as safetensors."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("weights")
    trunk = SqueezeTrunk()
    backbone = {
        name: tensor.half() if name.endswith("weight") else tensor
        for name, tensor in trunk.state_dict().items()
    }
    save_file(backbone, folder / "squeezenet1_1_features.safetensors")
    widths = (64, 128, 256, 384, 384, 512, 512)
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(widths)}
    save_file(heads, folder / "lpips_squeeze_heads.safetensors")
    torch.save(heads, folder / "squeeze.pth")
    return folder


@pytest.fixture
def loss(random_folder) -> SqueezeLpips:
    return SqueezeLpips.from_folders([random_folder])


def test_equal_pictures_have_distance_zero(loss):
    x, x_hat = _pictures()
    assert loss(x, x.clone()).tolist() == [0.0, 0.0]
    assert loss(x, x_hat).shape == (2,)
    assert (loss(x, x_hat) > 0).all()


def test_gradient_reaches_the_reconstruction_and_nothing_else(loss):
    x, x_hat = _pictures()
    x.requires_grad_()
    x_hat.requires_grad_()
    loss.eval()(x, x_hat).sum().backward()
    assert x.grad is None
    assert all(parameter.grad is None for parameter in loss.parameters())
    assert torch.isfinite(x_hat.grad).all()
    assert (x_hat.grad.flatten(1).norm(dim=1) > 0).all()


def test_gradient_is_the_slope_of_the_distance(random_folder):
    loss = SqueezeLpips.from_folders([random_folder]).eval().double()
    x, x_hat = (t.double() for t in _pictures(32, 1))
    direction = torch.randn(
        x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    x_hat.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x, x_hat).sum(), x_hat)
    step = 1e-3 * direction
    with torch.no_grad():
        slope = (loss(x, x_hat + step) - loss(x, x_hat - step)).double() / 2e-3
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=0.01)


def test_positions_without_any_activation_have_a_finite_gradient(loss):
    with torch.no_grad():
        loss.backbone.features[0].bias.fill_(-100.0)
    x, x_hat = _pictures()
    x_hat.requires_grad_()
    loss(x, x_hat).sum().backward()
    assert torch.isfinite(x_hat.grad).all()


def test_random_shift_moves_both_pictures_by_one_offset_to_one_size(loss, monkeypatch):
    seen = []
    monkeypatch.setattr(SqueezeLpips, "_features", lambda self, x: seen.append(x) or [x] * 7)
    monkeypatch.setattr(perceptual, "layer_distance", lambda head, a, b: (a - b).sum((1, 2, 3)))
    x, _ = _pictures(48)
    for _ in range(100):
        assert loss(x, x.clone()).tolist() == [0.0, 0.0]
    assert {tuple(crop.shape) for crop in seen} == {(2, 3, 41, 41)}
    corners = {float(crop[0, 0, 0, 0]) for crop in seen}
    assert corners <= set(x[0, 0, :8, :8].flatten().tolist())
    assert len(corners) > 32
    seen.clear()
    loss.eval()(x, x)
    assert torch.equal(seen[0], x)


def test_pictures_of_the_smallest_size_are_not_cropped(loss):
    x, x_hat = _pictures(32)
    trained = loss(x, x_hat)
    torch.testing.assert_close(trained, loss.eval()(x, x_hat))
    with pytest.raises(ValueError, match="at least 32 px"):
        loss(x[:, :, :31], x_hat[:, :, :31])


def test_bfloat16_and_channels_last_change_little(random_folder):
    loss = load_perceptual("squeeze", [random_folder], torch.device("cpu")).eval()
    x, x_hat = _pictures()
    expected = loss(x, x_hat)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = loss(x.to(memory_format=torch.channels_last), x_hat)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, expected, rtol=0.05, atol=0)


def test_heads_of_the_package_file_are_read_too(random_folder, tmp_path):
    for name in ("squeezenet1_1_features.safetensors", "squeeze.pth"):
        (tmp_path / name).write_bytes((random_folder / name).read_bytes())
    x, x_hat = _pictures()
    values = [SqueezeLpips.from_folders([f]).eval()(x, x_hat) for f in (random_folder, tmp_path)]
    assert torch.equal(*values)


def test_missing_weights_say_what_to_put_where(random_folder, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"squeezenet1_1_features\.safetensors in .*empty"):
        SqueezeLpips.from_folders([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="no folder of weights is given"):
        SqueezeLpips.from_folders([])
    name = "squeezenet1_1_features.safetensors"
    (tmp_path / name).write_bytes((random_folder / name).read_bytes())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"squeeze\.pth in .* lpips is not installed"):
        SqueezeLpips.from_folders([tmp_path])


def test_other_networks_are_named_as_someone_elses(random_folder):
    with pytest.raises(ValueError, match=r"'vgg' cannot be loaded here: use 'squeeze'"):
        load_perceptual("vgg", [random_folder], torch.device("cpu"))


@needs_data
@needs_lpips
@pytest.mark.parametrize("quality", [5, 40])
def test_value_is_that_of_the_lpips_package(quality, tmp_path):
    from imgcodec.eval.metrics import MetricOptions, create_metrics
    from imgcodec.eval.metrics.lpips_metric import differentiable_lpips

    picture = Image.open(Path(DATA) / "kodak" / "kodim23.png").convert("RGB")
    picture = picture.crop((100, 60, 100 + 250, 60 + 187))
    picture.save(tmp_path / "coded.jpg", quality=quality)
    reference = np.asarray(picture)
    coded = np.asarray(Image.open(tmp_path / "coded.jpg"))
    options = MetricOptions(data_root=Path(DATA))
    (metric,) = create_metrics(["lpips-squeeze"], options)
    expected = metric.measure(metric.prepare(reference), coded)["lpips"]
    x, x_hat = (
        torch.from_numpy(array.copy()).permute(2, 0, 1)[None] / 255.0
        for array in (reference, coded)
    )
    device = torch.device("cpu")
    for loss in (
        load_perceptual("squeeze", [Path(DATA) / "weights"], device),
        differentiable_lpips("squeeze", options),
    ):
        assert float(loss.eval()(x, x_hat)) == pytest.approx(expected, abs=1e-5)
    assert expected > 0.05


@needs_lpips
def test_the_lpips_package_trains_with_other_backbones(tmp_path):
    from imgcodec.eval.metrics import MetricOptions
    from imgcodec.eval.metrics.backbones import torchvision_module
    from imgcodec.eval.metrics.lpips_metric import differentiable_lpips

    torch.manual_seed(4)
    state = torchvision_module("a test").models.alexnet(weights=None).features.state_dict()
    save_file(
        {f"features.{name}": tensor for name, tensor in state.items()},
        tmp_path / "alexnet_features.safetensors",
    )
    loss = differentiable_lpips("alex", MetricOptions(weights_dir=tmp_path))
    x, x_hat = _pictures()
    x_hat.requires_grad_()
    distance = loss(x, x_hat)
    assert distance.shape == (2,)
    distance.sum().backward()
    assert (x_hat.grad.flatten(1).norm(dim=1) > 0).all()
    assert loss(x, x).tolist() == [0.0, 0.0]
