"""Wasserstein distortion as a loss: textures are compared by what they are made of."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from imgcodec.codec.training.squeezenet import BACKBONE_FILE, SqueezeTrunk
from imgcodec.codec.training.texture import SQUEEZE_DEVIATIONS, load_texture

DATA = os.environ.get("IMGCODEC_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="IMGCODEC_DATA is not set")


@pytest.fixture(scope="module")
def texture(tmp_path_factory):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("weights")
    save_file(SqueezeTrunk().state_dict(), folder / BACKBONE_FILE)
    return load_texture([folder]).eval()


def test_textures_of_equal_statistics_are_nearer_than_blurred_ones(texture):
    generator = torch.Generator().manual_seed(4)
    grass, other = torch.rand(2, 1, 3, 128, 128, generator=generator)
    blurred = functional.avg_pool2d(grass, 9, 1, 4, count_include_pad=False)
    assert float((grass - other).square().mean()) > 1.5 * float((grass - blurred).square().mean())
    assert float(texture(grass, other)) < 0.2 * float(texture(grass, blurred))
    assert texture(grass, grass.clone()).tolist() == [0.0]


def test_wasserstein_distortion_reaches_the_reconstruction_alone(texture):
    x, x_hat = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    x_hat.requires_grad_()
    texture(x, x_hat).sum().backward()
    assert not x.requires_grad
    assert torch.isfinite(x_hat.grad).all()
    assert x_hat.grad.abs().max() > 0


def test_flat_pictures_have_a_finite_gradient(texture):
    x_hat = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    texture(torch.zeros(1, 3, 64, 64), x_hat).sum().backward()
    assert torch.isfinite(x_hat.grad).all()


def test_textures_without_a_backbone_say_what_to_put_where(tmp_path):
    with pytest.raises(FileNotFoundError, match="squeezenet1_1_features"):
        load_texture([tmp_path])


@needs_data
def test_features_of_photographs_have_the_deviations_that_are_assumed():
    folder = Path(DATA)
    loss = load_texture([folder / "weights"])
    names = sorted((folder / "kodak").glob("*.png"))[::4]
    crops = [np.asarray(Image.open(name).convert("RGB"))[100:356, 100:356] for name in names]
    x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        features = loss.backbone(x * loss.gain + loss.offset, len(SQUEEZE_DEVIATIONS))
    for found, assumed in zip(features, SQUEEZE_DEVIATIONS, strict=True):
        assert 0.6 < float(found.var(dim=(0, 2, 3)).mean().sqrt()) / assumed < 1.6
