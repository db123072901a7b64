"""Discriminators: shapes, spectral norm, cost, small pictures."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from imgcodec.codec.nets.discriminators import (
    MultiScaleDiscriminator,
    PatchDiscriminator,
    build_discriminator,
)


def _pictures(side: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(1))


def test_patch_discriminator_returns_a_map_of_logits_and_every_hidden_layer():
    logits, features = PatchDiscriminator(3, 8, 3)(_pictures(64))
    assert [tuple(values.shape) for values in logits] == [(2, 1, 8, 8)]
    widths = [tuple(values.shape[1:]) for values in features]
    assert widths == [(8, 32, 32), (16, 16, 16), (32, 8, 8), (32, 8, 8)]


def test_multi_scale_discriminator_has_one_head_per_scale():
    logits, features = MultiScaleDiscriminator(3, 8, 2)(_pictures(64))
    assert [tuple(values.shape) for values in logits] == [
        (2, 1, 16, 16),
        (2, 1, 8, 8),
        (2, 1, 4, 4),
    ]
    assert len(features) == 3 * 3


def test_coarse_heads_see_the_reduced_picture():
    discriminator = MultiScaleDiscriminator(3, 8, 2).eval()
    x = _pictures(64)
    noise = torch.rand(2, 3, 32, 32) - 0.5
    # Equal and opposite in every pair of columns: gone after averaging.
    stripes = torch.stack([noise, -noise], dim=-1).flatten(3).repeat_interleave(2, dim=2)
    before, after = discriminator(x)[0], discriminator(x + stripes)[0]
    assert not torch.allclose(before[0], after[0], atol=1e-3)
    for fine, coarse in zip(before[1:], after[1:], strict=True):
        torch.testing.assert_close(fine, coarse, atol=1e-5, rtol=1e-4)


def test_every_convolution_has_spectral_norm_one():
    discriminator = PatchDiscriminator(3, 8, 3)
    with torch.no_grad():
        for layer in (*discriminator.layers, discriminator.head):
            layer.parametrizations.weight.original.mul_(37.0)
        for _ in range(50):
            discriminator(_pictures(32))
    for layer in (*discriminator.eval().layers, discriminator.head):
        norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(norm) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("kind", "limit"), [("patch", 6.9), ("multiscale", 9.0)])
def test_the_default_costs_at_most_ten_kmac_per_pixel(kind, limit):
    discriminator = build_discriminator(kind)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        discriminator(torch.rand(1, 3, 128, 128))
    assert counter.get_total_flops() / 2000 / 128**2 < limit


@pytest.mark.parametrize(
    ("kind", "channels", "num_layers"),
    [("patch", 3, 3), ("multiscale", 1, 2), ("multiscale", 3, 3)],
)
def test_digits_padded_to_32_px_are_large_enough(kind, channels, num_layers):
    discriminator = build_discriminator(kind, channels, 8, num_layers)
    logits, _ = discriminator(_pictures(32, channels))
    assert all(values.shape[2] >= 1 and torch.isfinite(values).all() for values in logits)


@pytest.mark.parametrize(("kind", "num_layers"), [("patch", 5), ("multiscale", 3)])
def test_pictures_that_would_vanish_are_refused(kind, num_layers):
    discriminator = build_discriminator(kind, 3, 4, num_layers)
    discriminator(torch.rand(1, 3, 32, 40))
    with pytest.raises(ValueError, match=r"31x40 px vanishes .* 32 px"):
        discriminator(torch.rand(1, 3, 31, 40))


def test_unknown_kinds_and_sizes_are_refused():
    with pytest.raises(ValueError, match="unknown discriminator 'patchy': use patch, multiscale"):
        build_discriminator("patchy")
    with pytest.raises(ValueError, match="at least 1"):
        build_discriminator("patch", num_layers=0)


def test_runs_in_bfloat16_with_weights_normalised_in_float32():
    discriminator = PatchDiscriminator(3, 8, 2).eval()
    x = _pictures(32)
    expected = discriminator(x)[0][0]
    norms = []
    discriminator.head.parametrizations.weight[0].register_forward_hook(
        lambda *call: norms.append((torch.is_autocast_enabled("cpu"), call[2].dtype))
    )
    with torch.autocast("cpu", torch.bfloat16):
        logits = discriminator(x)[0][0]
    assert logits.dtype == torch.bfloat16
    assert norms == [(False, torch.float32)]
    torch.testing.assert_close(logits.float(), expected, atol=0.02, rtol=0.05)
