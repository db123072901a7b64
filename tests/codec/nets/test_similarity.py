"""SSIMULACRA2 and MS-SSIM as losses, against independent implementations."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from imgcodec.codec.nets.similarity import (
    ARTEFACT,
    FOURTH,
    LOST,
    MEAN,
    STRUCTURE,
    TERMS,
    B,
    X,
    Y,
    ms_ssim,
    ssimulacra2_score,
    ssimulacra2_sum,
)
from tests.codec.conftest import smooth_pictures

DATA = os.environ.get("IMGCODEC_DATA")
FORMATS = [(name, quality) for name in ("JPEG", "WEBP", "AVIF") for quality in (15, 60, 90)]


def _tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255.0


def _pairs(pictures):
    for picture in pictures:
        image = Image.fromarray(picture)
        for name, quality in FORMATS:
            stream = io.BytesIO()
            image.save(stream, name, quality=quality)
            yield image, Image.open(stream).convert("RGB")


def _photographs(root, step, height, width):
    files = sorted((root / "kodak").glob("*.png"))[::step]
    for number, file in enumerate(files):
        with Image.open(file) as image:  # odd sides too
            yield np.asarray(image.convert("RGB"))[number:height, : width - number]


@pytest.mark.skipif(not DATA, reason="IMGCODEC_DATA is not set")
@pytest.mark.parametrize(
    ("step", "size"), [(12, (303, 375)), pytest.param(7, (383, 500), marks=pytest.mark.slow)]
)
def test_scores_follow_the_package(tmp_path, step, size):
    package = pytest.importorskip("ssimulacra2")
    ours, theirs = [], []
    for image, coded in _pairs(_photographs(Path(DATA), step, *size)):
        paths = tmp_path / "a.png", tmp_path / "b.png"
        image.save(paths[0]), coded.save(paths[1])
        theirs.append(float(package.compute_ssimulacra2(*map(str, paths))))
        ours.append(float(ssimulacra2_score(ssimulacra2_sum(_tensor(image), _tensor(coded)))))
    assert len(ours) >= 18
    difference = np.abs(np.array(ours) - theirs)
    assert difference.mean() < 1.0
    assert difference.max() < 2.5
    ranks = np.corrcoef(np.argsort(np.argsort(ours)), np.argsort(np.argsort(theirs)))
    assert ranks[0, 1] > 0.998


def test_weights_are_those_of_the_package():
    package = pytest.importorskip("ssimulacra2.ssimulacra2")
    weights = package.weights.reshape(3, 6, 2, 3).copy()
    for scale, channel, kind, norm, weight in TERMS:
        assert weights[channel, scale, norm, kind] == weight
        weights[channel, scale, norm, kind] = 0
    assert weights.max() < 0.01
    assert {X, Y, B} == {STRUCTURE, ARTEFACT, LOST} == {0, 1, 2}
    assert {MEAN, FOURTH} == {0, 1}


def test_ms_ssim_is_that_of_the_package():
    package = pytest.importorskip("pytorch_msssim")
    for picture in smooth_pictures(2, 211):
        x = torch.from_numpy(picture).permute(2, 0, 1)[None, :, :177].float() / 255.0
        x_hat = (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
        expected = float(package.ms_ssim(x, x_hat, data_range=1.0))
        assert float(ms_ssim(x, x_hat)) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match="sides above 160"):
        ms_ssim(x[..., :160], x_hat[..., :160])


def test_gradients_are_finite_and_lead_to_the_picture():
    x = torch.from_numpy(smooth_pictures(1, 192)[0]).permute(2, 0, 1)[None].float() / 255.0
    flat = torch.cat([torch.zeros(1, 3, 192, 192), x])
    for start in (flat.clone(), (flat + 0.1 * torch.randn_like(flat)).clamp(0, 1)):
        x_hat = start.requires_grad_()
        loss = (ssimulacra2_sum(flat, x_hat) + 1 - ms_ssim(flat, x_hat)).sum()
        loss.backward()
        assert torch.isfinite(x_hat.grad).all()
    nearer = x_hat.detach() - 1e-3 * x_hat.grad / x_hat.grad.abs().max()
    closer = (ssimulacra2_sum(flat, nearer) + 1 - ms_ssim(flat, nearer)).sum()
    assert float(closer) < float(loss.detach())
