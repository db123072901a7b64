"""Exact layers: sums that cannot round, whatever their order."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from imgcodec.codec.nets.exact import (
    BIASES,
    FLOAT,
    WEIGHT_MAX,
    WEIGHTS,
    ExactDepthwise,
    ExactPointwise,
    Grid,
    exact_tensors,
    snap_,
)
from imgcodec.codec.numeric.exact import (
    ACTIVATION_BITS,
    BIAS_BITS,
    EXACT,
    WEIGHT_BITS,
    compand,
    on_grid,
)
from imgcodec.codec.numeric.parameters import Node


def _integers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 16 << ACTIVATION_BITS, shape) / (1 << ACTIVATION_BITS)


def _arrays(layer: nn.Module) -> Node:
    return Node(weight=layer.weight.numpy(), bias=layer.bias.numpy())


def _snapped(layer: nn.Module) -> nn.Module:
    layer.requires_grad_(False)
    snap_(layer)
    return layer


class _Net(nn.Module):
    """An exact layer, a parameter and a buffer of its own, and what is not exact."""

    exact_grids: ClassVar = {"phase": BIASES, "poses": Grid(3, 2.0)}

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(ExactPointwise(4, 4), ExactDepthwise(4))
        self.mean = nn.Conv2d(4, 4, 1)
        self.phase = nn.Parameter(torch.randn(4))
        self.register_buffer("poses", torch.randn(50) * 2)
        self.register_buffer("usage", torch.randn(4))


def test_pointwise_equals_python_integers():
    torch.manual_seed(0)
    layer = _snapped(ExactPointwise(40, 7))
    x = _integers((40, 3, 5), 1)
    weight = (layer.weight[:, :, 0, 0].numpy() * 2**WEIGHT_BITS).astype(np.int64).astype(object)
    bias = (layer.bias.numpy() * 2**BIAS_BITS).astype(np.int64).astype(object)
    pixels = (x.reshape(40, -1) * 2**ACTIVATION_BITS).astype(np.int64).astype(object)
    expected = weight @ pixels + bias[:, None]
    got = EXACT.pointwise(x[None], _arrays(layer)).reshape(7, -1) * 2**BIAS_BITS
    assert (got.astype(np.int64).astype(object) == expected).all()
    assert (got == np.round(got)).all()


def test_depthwise_equals_python_integers():
    torch.manual_seed(0)
    layer = _snapped(ExactDepthwise(3))
    x = _integers((3, 4, 5), 2)
    got = EXACT.depthwise(x[None], _arrays(layer))[0] * 2**BIAS_BITS
    padded = np.pad((x * 2**ACTIVATION_BITS).astype(np.int64), ((0, 0), (1, 1), (1, 1)))
    weight = (layer.weight[:, 0].numpy() * 2**WEIGHT_BITS).astype(np.int64)
    bias = (layer.bias.numpy() * 2**BIAS_BITS).astype(np.int64)
    for c, i, j in np.ndindex(3, 4, 5):
        window = padded[c, i : i + 3, j : j + 3]
        assert got[c, i, j] == int((window * weight[c]).sum()) + int(bias[c])


def test_order_of_channels_changes_no_bit():
    torch.manual_seed(1)
    layer = _snapped(ExactPointwise(96, 32))
    x = _integers((96, 6, 6), 3)
    order = np.random.default_rng(1).permutation(96)
    arrays = _arrays(layer)
    permuted = Node(weight=arrays.weight[:, order], bias=arrays.bias)
    np.testing.assert_array_equal(
        EXACT.pointwise(x[None], arrays), EXACT.pointwise(x[None, order], permuted)
    )


def test_float_arithmetic_is_about_the_exact_one():
    torch.manual_seed(2)
    for layer, kind in ((ExactPointwise(8, 8), "pointwise"), (ExactDepthwise(8), "depthwise")):
        _snapped(layer)
        x = _integers((1, 8, 4, 4), 4)
        about = getattr(FLOAT, kind)(torch.from_numpy(x), layer)
        exact = getattr(EXACT, kind)(x, _arrays(layer))
        np.testing.assert_allclose(about.numpy(), exact, atol=1e-9)


def test_activation_lies_on_its_grid_and_in_range():
    x = np.array([-1.0, 0.001, 0.002, 3.14159, 99.0])
    y = EXACT.activate(x) * 2**ACTIVATION_BITS
    assert y.tolist() == [0, 0, 1, 804, 16 * 256 - 1]


def test_compand_is_monotone_and_dyadic():
    q = np.arange(-70.0, 71.0)
    squeezed = compand(q)
    assert np.array_equal(squeezed * 32, np.round(squeezed * 32))
    assert np.array_equal(squeezed, squeezed[::-1])
    assert (np.diff(squeezed[70:]) >= 0).all()
    assert np.array_equal(compand(torch.from_numpy(q)).numpy(), squeezed)


def test_modules_say_what_is_exact():
    net = nn.ModuleDict({"net": _Net()})
    assert {name: grid for name, _, grid in exact_tensors(net)} == {
        "net.phase": BIASES,
        "net.poses": Grid(3, 2.0),
        "net.first.0.weight": WEIGHTS,
        "net.first.0.bias": BIASES,
        "net.first.1.weight": WEIGHTS,
        "net.first.1.bias": BIASES,
    }
    assert [name for name, *_ in exact_tensors(ExactDepthwise(2))] == ["weight", "bias"]


def test_snapping_moves_exact_tensors_alone():
    torch.manual_seed(4)
    net = _Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert before["poses"].abs().max() > 2.0
    snap_(net)
    grids = {name: grid for name, _, grid in exact_tensors(net)}
    assert net.state_dict().keys() == before.keys()
    for name, tensor in net.state_dict().items():
        if name not in grids:
            assert tensor.dtype is torch.float32 and torch.equal(tensor, before[name])
            continue
        grid = grids[name]
        assert tensor.dtype is torch.float64
        assert np.array_equal(tensor.numpy(), on_grid(tensor.numpy(), grid.bits))
        assert tensor.abs().max() <= grid.limit
        error = (tensor - before[name].clamp(-grid.limit, grid.limit)).abs().max()
        assert 0 < error <= 2.0 ** -(grid.bits + 1) or not before[name].any()


def test_weights_stay_below_their_limit():
    layer = ExactPointwise(3, 1)
    layer.weight.data[0, :, 0, 0] = torch.tensor([9.0, -9.0, 1.0])
    edge = WEIGHT_MAX - 2.0**-WEIGHT_BITS
    assert _snapped(layer).weight.flatten().tolist() == [edge, -edge, 1.0]


def test_snapping_twice_changes_nothing():
    torch.manual_seed(3)
    layer = _snapped(ExactPointwise(16, 16))
    before = layer.weight.clone()
    snap_(layer)
    assert torch.equal(before, layer.weight)
    assert np.array_equal(on_grid(before.numpy(), WEIGHT_BITS), before.numpy())


def test_too_large_sums_are_refused():
    layer = ExactPointwise(2**13, 1)
    layer.weight.data.fill_(7.9)
    with pytest.raises(ValueError, match="53 bits"):
        snap_(layer)
