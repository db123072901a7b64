"""Perceptual decoders and discrete models on Kodak photographs (needs IMGCODEC_DATA)."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import imgcodec
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model

DATA = os.environ.get("IMGCODEC_DATA")
pytestmark = [
    pytest.mark.skipif(not DATA, reason="IMGCODEC_DATA is not set"),
    pytest.mark.skipif(not find_spec("lpips"), reason="LPIPS's heads come with the package lpips"),
]
NAMES = ("kodim07.png", "kodim14.png")
HALF = (192, 0, 576, 512)
QUARTER = (256, 128, 512, 384)


def _load(name: str, box: tuple[int, int, int, int] | None = HALF) -> Image.Image:
    return Image.open(Path(DATA) / "kodak" / name).convert("RGB").crop(box)


@pytest.fixture(scope="module")
def lpips():
    """LPIPS of two PIL images."""
    from imgcodec.codec.training.perceptual import SqueezeLpips

    loss = SqueezeLpips.from_folders([Path(DATA) / "weights"]).eval()

    def to_tensor(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255.0

    def measure(a: Image.Image, b: Image.Image) -> float:
        with torch.inference_mode():
            return float(loss(to_tensor(a), to_tensor(b)))

    return measure


@pytest.mark.parametrize(
    ("quality", "box"),
    [(10, HALF), *(pytest.param(q, None, marks=pytest.mark.slow) for q in (10, 30, 50))],
)
def test_the_perceptual_decoder_looks_closer_on_the_same_file(lpips, quality, box):
    values = {"fidelity": [], "perceptual": []}
    for name in NAMES:
        image = _load(name, box)
        data = imgcodec.encode(image, quality=quality, tune="psnr")
        for decoder, found in values.items():
            found.append(lpips(image, imgcodec.decode(data, decoder=decoder)))
    assert np.mean(values["perceptual"]) < 0.85 * np.mean(values["fidelity"])


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


def test_vq_looks_closer_than_avif_in_the_same_bytes(lpips):
    vq, avif = [], []
    for name in NAMES:
        image = _load(name, QUARTER)
        data = imgcodec.encode(image, model="vq", quality=100)
        vq.append(lpips(image, imgcodec.decode(data)))
        above = bisect_right(range(100), len(data), key=lambda q: len(_avif(image, q)), lo=1)
        avif.append(lpips(image, Image.open(io.BytesIO(_avif(image, above - 1))).convert("RGB")))
    assert np.mean(vq) < np.mean(avif)
