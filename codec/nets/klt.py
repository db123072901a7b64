"""The Karhunen-Loeve transform of image patches: the optimal linear start of a codec."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 4096
"""Patches whose covariance is taken at once."""


def klt_of_patches(patches: Tensor, num_components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, leading eigenvectors and standard deviations of patches.

    Args:
        patches: (num_patches, D) float tensor; D = 768 for RGB patches of 16x16.
        num_components: M, at most D.

    Returns:
        mean (D,), basis (M, D) with orthonormal rows by falling variance, deviations (M,).
    """
    mean = patches.mean(dim=0, dtype=torch.float64)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for chunk in patches.split(CHUNK):  # in float64 all of them would need twice their memory
        centred = chunk.double() - mean
        covariance += centred.T @ centred
    covariance /= len(patches) - 1
    values, vectors = torch.linalg.eigh(covariance)
    order = torch.argsort(values, descending=True)[:num_components]
    basis = vectors[:, order].T.contiguous()
    # The sign of an eigenvector is free: fix it, so that equal data give equal weights.
    signs = torch.sign(basis.gather(1, basis.abs().argmax(dim=1, keepdim=True)))
    return mean.float(), (basis * signs).float(), values[order].clamp_min(0).sqrt().float()
