"""The walk of every family: what training counts is what the codec sends."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from imgcodec.codec.families.coders import Count, thresholds_of
from imgcodec.codec.families.registry import FAMILIES
from imgcodec.codec.models.coding import as_codec
from imgcodec.codec.models.relaxed import Given, Prefix, Relax, Train
from imgcodec.codec.nets.exact import FLOAT, exact_tensors
from imgcodec.codec.numeric.exact import EXACT
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import LoadedModel, load_model
from tests.codec.conftest import make_tiny_weights, smooth_pictures
from tests.codec.doubles import Record, Repeat

CODED_IN_TRAINING = sorted(set(FAMILIES) - {"convvae"})
"""convvae samples a posterior in training, and rounds in the codec alone."""
QUALITY = 60


@pytest.fixture(scope="module")
def by_family(tmp_path_factory) -> dict[str, LoadedModel]:
    folder = tmp_path_factory.mktemp("walks")
    return {name: load_model(find_model(make_tiny_weights(name, folder))) for name in FAMILIES}


def _latents(loaded: LoadedModel, count: int = 1) -> np.ndarray:
    pictures = np.stack(smooth_pictures(count)) / np.float32(255)
    return loaded.model.analysis(pictures.transpose(0, 3, 1, 2), QUALITY)


@torch.no_grad()
@pytest.mark.parametrize("family", CODED_IN_TRAINING)
def test_bits_counted_in_training_are_those_of_coding(by_family, family):
    """The same integers; their bits differ as real-valued rows do from tables."""
    loaded = by_family[family]
    tables = loaded.model.default_tables()
    y = _latents(loaded)
    shape = tuple(y.shape[2:])
    sent = Record(tables)
    decoded = loaded.model.code(shape, QUALITY, sent, y)
    twin, y = copy.deepcopy(loaded.torch_model).float(), torch.from_numpy(y)
    counted = Relax(tables)
    y_hat = twin.code(shape, QUALITY, counted, y, arithmetic=FLOAT)
    for block, _, q in sent.sent:
        if not block.is_choice:
            np.testing.assert_array_equal(counted.sent[block.name], q)
    np.testing.assert_allclose(y_hat.numpy(), decoded, atol=1e-3)  # means are sums, too
    assert float(counted.total_bits) == pytest.approx(sent.bits, rel=0.03)
    noisy = Train(torch.from_numpy(thresholds_of(tables)))
    twin.code(shape, QUALITY, noisy, y, arithmetic=FLOAT)
    assert float(noisy.total_bits) == pytest.approx(float(counted.total_bits), rel=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_block_is_asked_for_once_and_covers_its_part(by_family, family):
    loaded = by_family[family]
    y = _latents(loaded)
    sent = Record(loaded.tables)
    loaded.model.code(tuple(y.shape[2:]), QUALITY, sent, y)
    covered: dict[str, np.ndarray] = {}
    for block, indexes, _ in sent.sent:
        assert indexes.min() >= 0 and indexes.max() < loaded.tables.num_rows
        if not block.is_choice:
            covered[block.part] = covered.get(block.part, 0) + block.mask.astype(int)
    if loaded.model.leading_channels:
        covered["y"][: loaded.model.leading_channels] += covered.pop("lead")
    assert all((times == 1).all() for times in covered.values())
    names = list(dict.fromkeys(block.name for block, _, _ in sent.sent))
    assert names == [name for level in loaded.model.passes(QUALITY) for name in level]


@torch.no_grad()
@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_any_beginning_is_filled(by_family, family, share):
    loaded = by_family[family]
    y = _latents(loaded)
    shape = tuple(y.shape[2:])
    sent = Record(loaded.tables)
    whole = loaded.model.code(shape, QUALITY, sent, y)
    num_blocks = int(share * len(sent.sent))
    part = loaded.model.code(shape, QUALITY, Repeat(sent, num_blocks))
    assert part.shape == whole.shape and np.isfinite(part).all()
    assert not np.array_equal(part, whole)


@torch.no_grad()
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_rows_depend_on_exact_tensors_alone(by_family, family):
    """Whatever else there is may be off: a decoder asks for the same integers in the same rows."""
    loaded = by_family[family]
    y = _latents(loaded)
    shape = tuple(y.shape[2:])
    sent = Record(loaded.tables)
    decoded = loaded.model.code(shape, QUALITY, sent, y)
    twin = copy.deepcopy(loaded.torch_model)
    exact = {name for name, *_ in exact_tensors(twin)}
    assert exact
    torch.manual_seed(7)
    for name, tensor in twin.state_dict().items():
        if name not in exact:
            tensor.add_(torch.randn_like(tensor) * (0.1 + 0.1 * tensor.abs()))
    repeat = Repeat(sent)
    off = as_codec(twin).code(shape, QUALITY, repeat)
    assert not repeat.left
    # Vectors of codes are exact, and the sum of them is all that the discrete families decode to.
    assert np.array_equal(off, decoded) is (family in ("vq", "cv"))


@torch.no_grad()
@pytest.mark.parametrize("family", ["beta", "hier"])
def test_crops_of_a_batch_do_not_see_each_other(by_family, family):
    twin = copy.deepcopy(by_family[family].torch_model).float()
    tables = twin.default_tables()
    y = torch.from_numpy(_latents(by_family[family], 3))
    shape = tuple(y.shape[2:])

    def walk(latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        point = twin.operating_point(QUALITY)
        coder = Train(torch.from_numpy(thresholds_of(tables)))
        return twin.walk(latents, shape, point, coder, FLOAT), coder.total_bits

    together, bits = walk(y)
    for k in range(3):
        alone, own_bits = walk(y[k : k + 1])
        assert torch.allclose(together[k : k + 1], alone, atol=1e-4)
        assert float(bits[k]) == pytest.approx(float(own_bits[0]), rel=1e-4)


@pytest.mark.parametrize("family", ["beta", "hier"])
def test_given_integers_have_the_bits_that_were_counted(by_family, family):
    twin = copy.deepcopy(by_family[family].torch_model).float()
    tables = twin.default_tables()
    with torch.no_grad():
        y = torch.from_numpy(_latents(by_family[family]))
        shape = tuple(y.shape[2:])
        found = Relax(tables)
        y_hat = twin.code(shape, QUALITY, found, y, arithmetic=FLOAT)
    finest = list(found.integers)[-1]
    q = found.integers[finest].clone().requires_grad_()
    given = Given(tables, found.integers | {finest: q})
    again = twin.code(shape, QUALITY, given, y, arithmetic=FLOAT)
    assert torch.allclose(again, y_hat, atol=1e-5)
    assert float(given.total_bits) == pytest.approx(float(found.total_bits), rel=1e-5)
    (slope,) = torch.autograd.grad(again.sum() + given.total_bits.sum(), q)
    assert slope.isfinite().all() and slope.any()
    assert all(np.array_equal(given.sent[name], found.sent[name]) for name in found.sent)


@torch.no_grad()
def test_a_prefix_asks_for_its_passes_only(by_family):
    loaded = by_family["hier"]
    y = _latents(loaded)
    shape = tuple(y.shape[2:])
    sent = Record(loaded.tables)
    first = loaded.model.passes(QUALITY)[0]
    loaded.model.code(shape, QUALITY, Prefix(sent, first), y)
    assert tuple(block.name for block, _, _ in sent.sent) == first


@torch.no_grad()
def test_what_is_observed_is_what_is_coded(by_family):
    loaded = by_family["beta"]
    y = _latents(loaded)
    shape, seen = tuple(y.shape[2:]), []
    coder = Count(loaded.tables, observe=lambda *found: seen.append(found))
    loaded.model.code(shape, QUALITY, coder, y, arithmetic=EXACT)
    lengths = [loaded.tables.code_lengths(q, indexes) for _, indexes, q in seen]
    assert sum(map(float, map(np.sum, lengths))) == pytest.approx(coder.bits)
    grid = sum(block.map(bits, shape) for (block, _, _), bits in zip(seen, lengths, strict=True))
    assert grid.shape == shape and grid.sum() == pytest.approx(coder.bits)
