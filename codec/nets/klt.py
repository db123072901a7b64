"""The Karhunen-Loeve transform of image patches: the optimal linear start of a codec."""

from __future__ import annotations

import torch
from torch import Tensor


def klt_of_patches(patches: Tensor, num_components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, leading eigenvectors and standard deviations of patches.

    Args:
        patches: (num_patches, D) float tensor; D = 768 for RGB patches of 16x16.
        num_components: M, at most D.

    Returns:
        mean (D,), basis (M, D) with orthonormal rows by falling variance, deviations (M,).
    """
    patches = patches.double()
    mean = patches.mean(dim=0)
    centred = patches - mean
    covariance = centred.T @ centred / (len(patches) - 1)
    values, vectors = torch.linalg.eigh(covariance)
    order = torch.argsort(values, descending=True)[:num_components]
    basis = vectors[:, order].T.contiguous()
    # The sign of an eigenvector is free: fix it, so that equal data give equal weights.
    signs = torch.sign(basis.gather(1, basis.abs().argmax(dim=1, keepdim=True)))
    return mean.float(), (basis * signs).float(), values[order].clamp_min(0).sqrt().float()
