"""Vector quantisation with a codebook that follows its data (training) or stands still (coding).

Codewords are exponential moving averages of the vectors they are chosen for (van den Oord et al.
arXiv 1711.00937, appendix A.1; Razavi et al. arXiv 1906.00446); codes that nothing chooses any
more are moved onto vectors of the batch (Zeghidour et al. arXiv 2107.03312, section III-C).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from imgcodec.codec.nets.exact import BIASES

DECAY = 0.98
DEAD_SHARE = 0.05
"""A code used less than this share of its even share is moved."""
JITTER = 0.01


@dataclass(frozen=True)
class Quantised:
    """What a vector quantiser makes of residuals (B, D, h, w).

    Attributes:
        codes: int64 (B, h, w).
        vectors: (B, D, h, w), what the decoder will add.
        distance: (B,) squared distance, summed over D and averaged over positions, with its
            gradient in the residual only.
        auxiliary: scalar that the quantiser itself wants minimised.
    """

    codes: Tensor
    vectors: Tensor
    distance: Tensor
    auxiliary: Tensor


class Codebook(nn.Module):
    """K = 2^num_bits codewords of D dimensions; the nearest one is the code.

    Args:
        dims: D.
        num_bits: B.
    """

    exact_grids: ClassVar = {"codewords": BIASES}
    straight_through = True
    """The vectors have no gradient of their own: the encoder gets that of the decoder's input."""

    def __init__(self, dims: int, num_bits: int) -> None:
        super().__init__()
        self.register_buffer("codewords", torch.randn(2**num_bits, dims) * 0.01)
        self.register_buffer("usage", torch.ones(2**num_bits))

    @torch.no_grad()
    def init_from_vectors(self, vectors: Tensor) -> Tensor:
        """Start from k-means of vectors (N, D), in the order of a tree of principal axes.

        Returns their codes (N,).
        """
        means = k_means(vectors, len(self.codewords))
        self.codewords.copy_(means[tree_order(means)])
        self.usage.fill_(1.0)
        return self.encode(vectors)

    def forward(self, residual: Tensor, codes: Tensor | None = None) -> Quantised:
        """Quantise (B, D, h, w); in train mode the codebook follows.

        Args:
            residual: what to quantise.
            codes: (B, h, w), None for the nearest.
        """
        flat = residual.detach().permute(0, 2, 3, 1).reshape(-1, residual.shape[1]).float()
        chosen = self.encode(flat) if codes is None else codes.flatten()
        codes = chosen.reshape(residual.shape[0], *residual.shape[2:])
        vectors = self.codewords[codes].permute(0, 3, 1, 2)
        if self.training:  # afterwards: no crop is coded with what it taught
            self._follow(flat, chosen)
        distance = (residual.float() - vectors).square().sum(dim=1).mean(dim=(1, 2))
        return Quantised(codes, vectors, distance, distance.new_zeros(()))

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the codes (N,) of vectors (N, D)."""
        return nearest(vectors, self.codewords.float())

    @torch.no_grad()
    def _follow(self, vectors: Tensor, codes: Tensor) -> None:
        counts = count_codes(codes, len(self.usage))
        sums = torch.zeros_like(self.codewords).index_add_(0, codes, vectors)
        if dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        # usage and usage * codeword are moving averages; their ratio is the codeword.
        weighted = (self.codewords * self.usage[:, None]).lerp_(sums, 1 - DECAY)
        self.usage.lerp_(counts, 1 - DECAY)
        self.codewords.copy_(weighted / self.usage.clamp_min(1e-5)[:, None])
        even = self.usage.mean()
        dead = self.usage < DEAD_SHARE * even
        chosen = vectors[torch.randint(len(vectors), dead.shape, device=vectors.device)]
        chosen = chosen + JITTER * self.codewords.std() * torch.randn_like(chosen)
        if dist.is_initialized():
            dist.broadcast(chosen, 0)
        self.codewords.copy_(torch.where(dead[:, None], chosen, self.codewords))
        self.usage.copy_(torch.where(dead, even, self.usage))


def count_codes(codes: Tensor, num_codes: int) -> Tensor:
    """Return how often each code is in codes (N,), float32 (num_codes,).

    `bincount` would make a GPU wait for the host.
    """
    counts = torch.zeros(num_codes, device=codes.device)
    return counts.index_add_(0, codes, torch.ones_like(codes, dtype=torch.float32))


def perplexity(usage: Tensor) -> Tensor:
    """Return exp of the entropy of a usage vector (K,): K if all codes are used alike."""
    share = usage / usage.sum()
    return torch.exp(-(share * torch.log(share.clamp_min(1e-12))).sum())


def used_share(usage: Tensor) -> Tensor:
    """Return the share of codes used at least a tenth as often as on average."""
    return (usage > 0.1 * usage.mean()).float().mean()


def nearest(vectors: Tensor, codewords: Tensor) -> Tensor:
    """Return the index of the codeword nearest to each vector (N, D)."""
    scores = vectors @ codewords.T - 0.5 * codewords.square().sum(dim=1)
    return scores.argmax(dim=1)


def k_means(vectors: Tensor, count: int, rounds: int = 8) -> Tensor:
    """Return (count, D) means of vectors (N, D) after a few rounds from random ones."""
    means = vectors[torch.randperm(len(vectors))[:count]].clone()
    for _ in range(rounds):
        owner = nearest(vectors, means)
        sums = torch.zeros_like(means).index_add_(0, owner, vectors)
        members = torch.bincount(owner, minlength=count)
        means = sums / members.clamp_min(1)[:, None]
        empty = members == 0
        means[empty] = vectors[torch.randint(len(vectors), (int(empty.sum()),))]
    return means


def tree_order(vectors: Tensor) -> Tensor:
    """Return an order of 2^B vectors in which every aligned block of 2^b is a cluster.

    Codes that share leading bits are then near each other, which is what a prior that decides
    bit by bit wants. Each block is split at the median along its principal axis.
    """
    blocks = [torch.arange(len(vectors))]
    while len(blocks[0]) > 1:
        halves = []
        for block in blocks:
            part = vectors[block] - vectors[block].mean(dim=0)
            axis = torch.linalg.svd(part, full_matrices=False)[2][0]
            halves += list(block[torch.argsort(part @ axis)].chunk(2))
        blocks = halves
    return torch.cat(blocks)
