"""The integers of a file are the same on every machine, whatever floats do there."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import imgcodec
from imgcodec.codec.coding import decode_latents
from imgcodec.codec.container import read_stream
from imgcodec.codec.models.weights import LoadedModel
from imgcodec.codec.nets.exact import ExactDepthwise, ExactPointwise
from tests.codec.conftest import smooth_pictures
from tests.codec.golden import GOLDEN_DIR, GOLDEN_FILE

QUALITIES = (5, 60, 100)


@pytest.fixture(scope="module")
def streams() -> list[bytes]:
    generator = np.random.default_rng(1)
    picture = smooth_pictures(2, side=200)[1].astype(float)
    picture[60:140, 60:140] += generator.normal(0, 40, (80, 80, 3))
    pixels = picture.clip(0, 255).astype(np.uint8)
    return [imgcodec.encode(pixels, quality=quality) for quality in QUALITIES]


@torch.inference_mode()
def _integers(loaded: LoadedModel, data: bytes) -> list[np.ndarray]:
    passes = []
    decode_latents(loaded, read_stream(data), observe=lambda tile, request, q: passes.append(q))
    return passes


def _assert_same(loaded: LoadedModel, streams: list[bytes], expected: list[list[np.ndarray]]):
    for data, passes in zip(streams, expected, strict=True):
        found = _integers(loaded, data)
        assert len(found) == len(passes)
        for a, b in zip(found, passes, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def expected(shipped, streams) -> list[list[np.ndarray]]:
    result = [_integers(shipped, data) for data in streams]
    # The test means something only if there is something to desynchronise.
    assert all(np.abs(q).max() > 0 for passes in result for q in passes[1:])
    return result


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads(shipped, streams, expected, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        _assert_same(shipped, streams, expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("enabled", [True, False])
def test_with_and_without_onednn(shipped, streams, expected, enabled):
    with torch.backends.mkldnn.flags(enabled=enabled):
        _assert_same(shipped, streams, expected)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_any_memory_format(shipped, streams, expected, layout):
    model = copy.deepcopy(shipped.model).to(memory_format=layout)
    _assert_same(replace(shipped, model=model), streams, expected)


def test_noise_on_every_mean(shipped, streams, expected):
    model = copy.deepcopy(shipped.model)
    original = model._means

    def noisy(*args):
        means = original(*args)
        return means + 1e-3 * torch.randn_like(means)

    model._means = noisy
    _assert_same(replace(shipped, model=model), streams, expected)


def test_exact_networks_with_their_channels_permuted(shipped, streams, expected):
    """Permute hidden channels and the weights alike: every sum runs in another order."""
    model = copy.deepcopy(shipped.model)
    generator = torch.Generator().manual_seed(4)

    def shuffle(producers, consumers, depthwise=(), extra=()):
        width = producers[0].weight.shape[0]
        order = torch.randperm(width, generator=generator)
        for layer in (*producers, *depthwise):
            layer.weight.data = layer.weight.data[order]
            layer.bias.data = layer.bias.data[order]
        for layer in consumers:
            layer.weight.data = layer.weight.data[:, order]
        for parameter in extra:
            parameter.data = parameter.data[order]

    for net in model.exact["rows"]:
        inputs = [net.features] + ([net.decoded] if net.decoded is not None else [])
        assert all(isinstance(layer, ExactPointwise) for layer in inputs)
        assert isinstance(net.depthwise, ExactDepthwise)
        shuffle(inputs, [net.mix], [net.depthwise], [net.phase])
        shuffle([net.mix], [net.out])
    features = model.exact["features"]
    order = torch.randperm(features.first.weight.shape[0], generator=generator)
    for layer in (features.first, features.depthwise):
        layer.weight.data = layer.weight.data[order]
        layer.bias.data = layer.bias.data[order]
    features.level.data = features.level.data[:, order]
    features.up1.weight.data = features.up1.weight.data[:, order]
    _assert_same(replace(shipped, model=model), streams, expected)


def test_golden_files_decode_to_their_committed_integers():
    """Files written once; regenerate with `python -m tests.codec.golden` when weights change."""
    golden = json.loads(GOLDEN_FILE.read_text())
    assert golden
    for name, entry in golden.items():
        data = (GOLDEN_DIR / name).read_bytes()
        found = imgcodec.inspect(data, verify=True)
        assert found.integers_sha256 == entry["integers_sha256"], name
        assert found.model == entry["model"]
        back = np.asarray(imgcodec.decode(data).convert("RGB"))
        means = back.reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(means, entry["mean_rgb"], atol=0.05, err_msg=name)
    assert {path.name for path in Path(GOLDEN_DIR).glob("*.cvb")} == set(golden)
