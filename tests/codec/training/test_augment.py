"""DiffAugment: what it changes, by how much, and that gradients pass."""

from __future__ import annotations

import pytest
import torch

from imgcodec.codec.training.augment import diff_augment, parse_policy


def test_policy_is_a_list_of_names():
    assert parse_policy("") == ()
    assert parse_policy("color, cutout") == ("color", "cutout")


@pytest.mark.parametrize("policy", ["color", "translation", "cutout", "color,translation,cutout"])
def test_augmentation_changes_all_batches_alike_and_lets_gradients_through(policy):
    torch.manual_seed(1)
    x = torch.rand(3, 3, 32, 48, requires_grad=True)
    first, second = diff_augment([x, x], policy)
    assert first.shape == x.shape
    assert torch.equal(first, second)
    assert not torch.allclose(first, x)
    assert not torch.allclose(first[0] - x[0], first[1] - x[1])
    first.square().sum().backward()
    assert (x.grad.flatten(1).norm(dim=1) > 0).all()


def test_no_policy_changes_nothing():
    x = torch.rand(2, 3, 8, 8)
    assert diff_augment([x], "")[0] is x


def test_translation_moves_by_at_most_an_eighth_and_fills_with_grey():
    torch.manual_seed(2)
    x = torch.zeros(64, 1, 32, 32)
    x[:, :, 16, 16] = 1.0
    (moved,) = diff_augment([x], "translation")
    positions = (moved == 1.0).nonzero()[:, 2:]
    assert positions.shape == (64, 2)
    assert positions.min() == 12
    assert positions.max() == 20
    assert set(moved.unique().tolist()) == {0.0, 0.5, 1.0}


def test_cutout_covers_at_most_a_quarter_with_grey():
    torch.manual_seed(2)
    (cut,) = diff_augment([torch.zeros(64, 1, 32, 32)], "cutout")
    covered = (cut == 0.5).sum(dim=(1, 2, 3))
    assert int(covered.max()) == 16 * 16
    assert int(covered.min()) >= 8 * 8


def test_color_keeps_shapes_and_bounds_the_change_of_brightness():
    torch.manual_seed(2)
    x = torch.rand(64, 3, 8, 8)
    (changed,) = diff_augment([x], "color")
    means = (changed.mean(dim=(1, 2, 3)) - x.mean(dim=(1, 2, 3))).abs()
    assert 0.2 < float(means.max()) <= 0.25 + 1e-6
