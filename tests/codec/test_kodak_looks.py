"""The natural decoder and discrete models on Kodak photographs (needs IMGCODEC_DATA)."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import imgcodec
from imgcodec.codec.nets.similarity import ssimulacra2_score, ssimulacra2_sum
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model
from imgcodec.eval.metrics.base import MetricOptions
from imgcodec.eval.metrics.distribution import VggFeatures, patches_of

DATA = os.environ.get("IMGCODEC_DATA")
pytestmark = pytest.mark.skipif(not DATA, reason="IMGCODEC_DATA is not set")
NAMES = ("kodim07.png", "kodim14.png")
HALF = (192, 0, 576, 512)
QUARTER = (256, 128, 512, 384)


def _load(name: str, box: tuple[int, int, int, int] | None = HALF) -> Image.Image:
    return Image.open(Path(DATA) / "kodak" / name).convert("RGB").crop(box)


def _score(image: Image.Image, decoded: Image.Image) -> float:
    """Return SSIMULACRA2, as the loss has it."""
    x, x_hat = (
        torch.from_numpy(np.array(p)).permute(2, 0, 1)[None] / 255 for p in (image, decoded)
    )
    return float(ssimulacra2_score(ssimulacra2_sum(x, x_hat)))


@pytest.fixture(scope="module")
def features():
    """Deep features of the patches of a PIL image, of a network that no loss uses."""
    extract = VggFeatures(MetricOptions(data_root=Path(DATA)))
    return lambda image: extract(patches_of(np.asarray(image)))


@pytest.mark.parametrize(
    ("quality", "box"),
    [(20, HALF), *(pytest.param(q, None, marks=pytest.mark.slow) for q in (20, 40, 60))],
)
def test_the_natural_decoder_has_the_textures_of_the_original(features, quality, box):
    distances, scores = {}, {}
    for decoder in ("fidelity", "natural"):
        found = []
        for name in NAMES:
            image = _load(name, box)
            decoded = imgcodec.decode(imgcodec.encode(image, quality=quality), decoder=decoder)
            distance = np.square(features(image) - features(decoded)).sum()
            found.append((distance, _score(image, decoded)))
        distances[decoder], scores[decoder] = np.mean(found, axis=0)
    assert distances["natural"] < 0.5 * distances["fidelity"]
    assert scores["natural"] > scores["fidelity"] - 4


@pytest.mark.parametrize("family", ["vq", "cv"])
def test_discrete_models_offer_low_rates_and_code_below_fixed_length(family):
    image = _load(NAMES[0], QUARTER)
    model = load_model(find_model(family)).model
    rates = []
    for stage, quality in enumerate(model.stage_qualities, 1):
        data = imgcodec.encode(image, model=family, quality=quality)
        rates.append(8 * len(data) / (image.width * image.height))
        found = imgcodec.inspect(data, verify=True)
        symbols = sum(item.symbols for item in found.passes)
        assert symbols == stage * model.num_bits * (image.width // 16) * (image.height // 16)
        assert found.estimated_bytes * 8 < symbols
    assert found.estimated_bytes * 8 < 0.92 * symbols  # first codes vary most
    assert sum(0.02 <= rate <= 0.15 for rate in rates) >= 3
    assert rates == sorted(rates)


def _avif(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "AVIF", quality=quality, subsampling="4:4:4", speed=6)
    return buffer.getvalue()


def test_vq_looks_closer_than_avif_in_the_same_bytes():
    vq, avif = [], []
    for name in NAMES:
        image = _load(name, QUARTER)
        data = imgcodec.encode(image, model="vq", quality=100)
        vq.append(_score(image, imgcodec.decode(data)))
        above = bisect_right(range(100), len(data), key=lambda q: len(_avif(image, q)), lo=1)
        avif.append(_score(image, Image.open(io.BytesIO(_avif(image, above - 1))).convert("RGB")))
    assert np.mean(vq) > np.mean(avif)
