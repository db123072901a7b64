"""Attention within windows: against a plain implementation, and what does not see what."""

from __future__ import annotations

import math

import pytest
import torch

from imgcodec.codec.nets.attention import WindowAttention


@pytest.fixture
def layer() -> WindowAttention:
    torch.manual_seed(0)
    layer = WindowAttention(channels=12, window=4, num_heads=3)
    with torch.no_grad():
        layer.bias.normal_()
        layer.out.weight.normal_(0, 0.3)
    return layer.requires_grad_(False)


def _plain(layer: WindowAttention, x: torch.Tensor) -> torch.Tensor:
    """Attention of one picture (C, h, w) that is a single window, or a part of one."""
    channels, height, width = x.shape
    depth = channels // layer.num_heads
    mean = x.mean(dim=0)
    deviation = (x.var(dim=0, correction=0) + 1e-5).sqrt()
    mixed = layer.queries_keys_values(((x - mean) / deviation)[None])[0]
    result = torch.zeros_like(x)
    places = [(i, j) for i in range(height) for j in range(width)]
    for head in range(layer.num_heads):
        queries, keys, values = (
            mixed[part * channels + head * depth :][:depth] for part in range(3)
        )
        for i, j in places:
            scores = []
            for k, m in places:
                offset = (i - k + 3) * 7 + (j - m + 3)
                dot = float(queries[:, i, j] @ keys[:, k, m])
                scores.append(dot / math.sqrt(depth) + float(layer.bias[head, offset]))
            shares = torch.tensor(scores).softmax(dim=0)
            seen = torch.stack([values[:, k, m] for k, m in places])
            result[head * depth : (head + 1) * depth, i, j] = shares @ seen
    return x + layer.out(result[None])[0]


@pytest.mark.parametrize("size", [(4, 4), (2, 3), (1, 1)])
def test_agrees_with_a_plain_implementation(layer, size):
    x = torch.randn(2, 12, *size)
    found = layer(x)
    for picture, expected in zip(found, x, strict=True):
        assert torch.allclose(picture, _plain(layer, expected), atol=1e-5)


def test_windows_do_not_see_each_other(layer):
    x = torch.randn(1, 12, 6, 9)
    whole = layer(x)
    for top in (0, 4):
        for left in (0, 4, 8):
            part = x[:, :, top : top + 4, left : left + 4]
            assert torch.allclose(
                layer(part), whole[:, :, top : top + 4, left : left + 4], atol=1e-5
            )


def test_starts_as_the_identity():
    x = torch.randn(1, 8, 5, 4)
    assert torch.equal(WindowAttention(channels=8, window=4, num_heads=2)(x), x)
