"""The integers of a file are the same on every machine, whatever floats do there."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

import imgcodec
from imgcodec.codec.families import discrete
from imgcodec.codec.models.coding import as_codec
from imgcodec.codec.nets.exact import ExactPointwise, exact_tensors
from imgcodec.codec.numeric.parameters import Node
from imgcodec.codec.session.coding import decode_latents
from imgcodec.codec.stream.container import read_header, read_stream
from imgcodec.codec.weights.installed import read_ids
from imgcodec.codec.weights.store import LoadedModel
from tests.codec.conftest import smooth_pictures
from tests.codec.doubles import Shuffled
from tests.codec.golden import ENTRIES, GOLDEN_DIR

QUALITIES = (5, 60, 100)


@pytest.fixture(scope="module")
def streams(installed) -> list[bytes]:
    generator = np.random.default_rng(1)
    picture = smooth_pictures(2, side=104)[1].astype(float)
    picture[30:80, 30:80] += generator.normal(0, 40, (50, 50, 3))
    pixels = picture.clip(0, 255).astype(np.uint8)
    model = installed.info.id
    return [imgcodec.encode(pixels, model=model, quality=quality) for quality in QUALITIES]


def _integers(loaded: LoadedModel, data: bytes) -> list[np.ndarray]:
    passes = []
    decode_latents(loaded, read_stream(data), observe=lambda *seen: passes.append(seen[-1]))
    return passes


def _assert_same(loaded: LoadedModel, streams: list[bytes], expected: list[list[np.ndarray]]):
    for data, passes in zip(streams, expected, strict=True):
        found = _integers(loaded, data)
        assert len(found) == len(passes)
        for a, b in zip(found, passes, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def expected(installed, streams) -> list[list[np.ndarray]]:
    result = [_integers(installed, data) for data in streams]
    # The test means something only if there is something to desynchronise.
    for passes in result:
        assert np.mean([np.abs(q).max() > 0 for q in passes]) > 0.5
    return result


def _by_torch(loaded: LoadedModel, model: nn.Module | None = None) -> LoadedModel:
    """Return it with its float networks computed by torch, whatever computes them as a rule."""
    return replace(loaded, model=as_codec(model or loaded.torch_model))


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads(installed, streams, expected, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        _assert_same(_by_torch(installed), streams, expected)
    finally:
        torch.set_num_threads(before)


def test_without_onednn(installed, streams, expected):
    with torch.backends.mkldnn.flags(enabled=False):
        _assert_same(_by_torch(installed), streams, expected)


def test_any_memory_format(installed, streams, expected):
    model = copy.deepcopy(installed.torch_model).to(memory_format=torch.channels_last)
    _assert_same(_by_torch(installed, model), streams, expected)


def test_noise_on_everything_float(installed, streams, expected):
    """Means, and all else that floating-point convolutions compute, may differ elsewhere."""
    model = copy.deepcopy(installed.torch_model)
    calls = []

    def add_noise(module, inputs, output):
        calls.append(module)
        return output + 1e-3 * torch.randn_like(output)

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add_noise)
    coded = as_codec(model)
    _assert_same(replace(installed, model=coded), streams, expected)
    data, quality = read_stream(streams[0]), QUALITIES[0]
    y_hat = decode_latents(replace(installed, model=coded), data)
    clean = installed.model.synthesis(y_hat, quality)
    assert not np.array_equal(coded.synthesis(y_hat, quality), clean)
    assert calls


def test_exact_networks_with_their_channels_permuted(installed, streams, expected, monkeypatch):
    """Permute inputs and weights alike: every sum of the exact path runs in another order."""
    model = copy.copy(installed.model)
    shuffled, walk, calls = Shuffled(), installed.model.walk, []

    def permuted_walk(y, shape, point, coder, arithmetic, **options):
        return walk(y, shape, point, coder, shuffled, **options)

    def permuted_logits(prior, features, nodes):
        calls.append(prior)
        order = np.random.default_rng(0).permutation(features.shape[-1])
        permuted = Node(nodes=prior.nodes[:, order], node_bias=prior.node_bias)
        return logits(permuted, features[..., order], nodes)

    logits = discrete.prior_logits
    monkeypatch.setattr(discrete, "prior_logits", permuted_logits)
    model.walk = permuted_walk
    _assert_same(replace(installed, model=model), streams, expected)
    layers = [m for m in installed.torch_model.modules() if isinstance(m, ExactPointwise)]
    assert bool(shuffled.calls) == bool(layers)
    assert bool(calls) == hasattr(installed.model, "priors")


def test_files_hold_integers_for_exact_tensors_alone(installed):
    with safe_open(installed.info.path, "numpy") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in installed.arrays}
    exact = {name for name, *_ in exact_tensors(installed.torch_model)}
    assert {name for name, kind in kinds.items() if kind in ("I16", "I32")} == exact
    assert {kinds[name] for name in kinds.keys() - exact} <= {"F16", "F32"}


def test_ids_are_pinned_to_their_hashes():
    """The hash in the header of a golden file is that of the weights that wrote it."""
    ids = read_ids()
    for info in imgcodec.list_models():
        assert info.hash == ids[info.id]["hash"], f"{info.id} is other weights than it was"
    for name, pinned in ids.items():
        files = sorted((GOLDEN_DIR / name).glob("*.cvb"))
        if "withdrawn" in pinned:
            assert pinned["withdrawn"], f"{name}: say why it was withdrawn"
            continue
        assert len(files) >= 5, f"{name} has no golden files"
        for file in files:
            assert read_header(file.read_bytes()).model_hash.hex() == pinned["hash"][:8]


def test_golden_files_decode_to_their_committed_integers():
    installed_ids = {info.id for info in imgcodec.list_models()}
    for folder in sorted(GOLDEN_DIR.iterdir()):
        assert folder.name in read_ids()
        entries = json.loads((folder / ENTRIES).read_text())
        assert {path.name for path in folder.glob("*.cvb")} == set(entries)
        if folder.name not in installed_ids:
            continue
        for name, entry in entries.items():
            data = (folder / name).read_bytes()
            found = imgcodec.inspect(data, verify=True)
            assert found.integers_sha256 == entry["integers_sha256"], name
            assert found.model == folder.name
            back = np.asarray(imgcodec.decode(data).convert("RGB"))
            means = back.reshape(-1, 3).mean(axis=0)
            np.testing.assert_allclose(means, entry["mean_rgb"], atol=0.05, err_msg=name)
