"""The KLT and the differentiable rate, against numpy and the normal distribution."""

from __future__ import annotations

import math

import numpy as np
import torch

from imgcodec.codec.nets import rate
from imgcodec.codec.nets.klt import klt_of_patches


def test_klt_diagonalises_the_covariance():
    generator = np.random.default_rng(0)
    mixing = generator.normal(size=(12, 12))
    patches = generator.normal(size=(4000, 12)) @ mixing + 3.0
    mean, basis, deviations = klt_of_patches(torch.from_numpy(patches), 8)
    basis64 = basis.double().numpy()
    np.testing.assert_allclose(basis64 @ basis64.T, np.eye(8), atol=1e-5)
    coefficients = (patches - mean.double().numpy()) @ basis64.T
    covariance = np.cov(coefficients.T)
    np.testing.assert_allclose(
        covariance, np.diag(deviations.double().numpy() ** 2), atol=1e-2 * covariance.max()
    )
    assert (np.diff(deviations.numpy()) <= 0).all()


def test_bits_equal_the_mass_of_the_normal_distribution():
    rows = torch.tensor([0.0, 10.0, 20.0, 40.0])
    for value in (0.0, 1.0, -2.0, 0.3):
        bits = rate.bits_of_residual(torch.full((4,), value), rows)
        for row, measured in zip(rows.tolist(), bits.tolist(), strict=True):
            scale = rate.SCALE_MIN * math.exp(row / rate.ROWS_PER_NEPER)
            upper = math.erf((value + 0.5) / scale / math.sqrt(2))
            lower = math.erf((value - 0.5) / scale / math.sqrt(2))
            mass = (upper - lower) / 2
            if mass > 1e-6:
                assert abs(measured + math.log2(mass)) < 1e-3


def test_clamped_rows_learn_their_way_back():
    rows = torch.tensor([-5.0, 200.0], requires_grad=True)
    # A residual of 3 wants a larger scale than row 0, one of 0 a smaller scale than the last.
    rate.bits_of_residual(torch.tensor([3.0, 0.0]), rows).sum().backward()
    assert rows.grad[1] > 0
    assert torch.isfinite(rows.grad).all()
