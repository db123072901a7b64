"""Capsules with routing by agreement as a quantiser: which pose, and how long.

From the residual come I primary capsules; a matrix per (primary, output) pair, shared by all
positions, predicts each of K output capsules; three rounds of routing (Sabour et al. arXiv
1710.09829, procedure 1) find which output capsule the primaries agree on. Its number k and its
length in [0, 1), in L levels, are the code k * L + level: shape and gain. The decoder never
routes: it adds level * pose_k, a learned vector.

Both decisions are straight-through: hard forwards, and backwards the gradient of the (sharpened)
routing coefficients and of the length, so that capsule matrices learn from the picture (the capsule
layer of CVGAN has no codebook loss). `assignment` may add one that pulls the routing towards the
nearest code.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.families.cv import vectors_of_capsules
from imgcodec.codec.nets.blocks import pointwise
from imgcodec.codec.nets.codebook import Quantised, count_codes, k_means, nearest, tree_order
from imgcodec.codec.nets.exact import Grid
from imgcodec.codec.numeric.exact import BIAS_BITS

ROUTING_ROUNDS = 3
POSES = Grid(BIAS_BITS - 4)
"""Lengths are odd multiples of 2**-4 or coarser: every product lies on the grid of biases."""
CHUNK = 4096
FIT_STEPS, FIT_BATCH, FIT_LR = 500, 512, 4e-2
LENGTH_WEIGHT = 20.0
"""Of the squared error of a length against the logarithmic loss of the choice of a pose."""
SHARPNESS = 16.0
"""Power of the routing coefficients in what training makes of them. Lengths need several small
ones, so that among 256 capsules the largest is some .016: as it is, training would ask for larger
ones rather than for the right one to be the largest."""
PRIMARY_BIAS, TRANSFORM_SCALE = 0.5, 4.0
"""At the start: without bias a vector and its opposite agree alike; of small predictions the
routing makes nothing."""


class Capsules(nn.Module):
    """Quantiser with 2^pose_bits output capsules and 2^level_bits lengths.

    Args:
        dims: D, length of residuals and poses.
        pose_bits: log2 of K.
        level_bits: log2 of L.
        num_primary: I.
        primary_dims: length of a primary capsule.
        output_dims: length of an output capsule.
        assignment: weight of the loss that pulls routing and length towards the nearest code.
        straight_through: also hand the gradient of the decoder's input to the encoder.
    """

    exact_grids: ClassVar = {"poses": POSES}

    def __init__(
        self,
        dims: int,
        pose_bits: int,
        level_bits: int,
        num_primary: int,
        primary_dims: int,
        output_dims: int,
        assignment: float,
        straight_through: bool,
    ) -> None:
        super().__init__()
        self.level_bits = level_bits
        self.num_primary = num_primary
        self.assignment = assignment
        self.straight_through = straight_through
        num_poses = 2**pose_bits
        self.primary = pointwise(dims, num_primary * primary_dims)
        # One (output_dims x primary_dims) matrix per pair; poses last, where sums vectorise.
        shape = (num_primary, primary_dims, output_dims, num_poses)
        self.transforms = nn.Parameter(torch.randn(shape) * TRANSFORM_SCALE * primary_dims**-0.5)
        nn.init.normal_(self.primary.bias, std=PRIMARY_BIAS)
        self.poses = nn.Parameter(torch.randn(num_poses, dims) * 0.01)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("usage", torch.ones(num_poses << level_bits))

    @torch.no_grad()
    def init_from_vectors(self, vectors: Tensor) -> None:
        """Start the poses from k-means of the directions of vectors (N, D), and fit the routing.

        A routing that chooses at random would make the encoder shrink its latents to nothing
        before the capsules have learned what to agree on.
        """
        lengths = vectors.norm(dim=1, keepdim=True).clamp_min(1e-6)
        self.scale.copy_(lengths.square().mean().sqrt())
        # Long vectors matter more: draw them more often.
        drawn = torch.multinomial(lengths[:, 0], min(len(vectors), 1 << 16), replacement=True)
        directions = F.normalize(k_means((vectors / lengths)[drawn], len(self.poses)), dim=1)
        directions = directions[tree_order(directions)]
        owner = (vectors @ directions.T).argmax(dim=1)
        along = (vectors * directions[owner]).sum(dim=1)
        longest = torch.zeros(len(directions)).scatter_reduce(0, owner, along, "amax")
        longest = longest.clamp_min(float(along.median()))
        self.poses.copy_(directions * longest[:, None])
        with torch.enable_grad():
            self._fit_routing(vectors)

    def _fit_routing(self, vectors: Tensor) -> None:
        """Teach routing and lengths the nearest codes of vectors (N, D)."""
        optimiser = torch.optim.Adam([self.transforms, *self.primary.parameters()], FIT_LR)
        table = self.table().float().detach()
        for step in range(FIT_STEPS):
            optimiser.param_groups[0]["lr"] = FIT_LR * (1 - step / FIT_STEPS)
            batch = vectors[torch.randint(len(vectors), (FIT_BATCH,))].float()
            routing, lengths = self._route(batch)
            optimiser.zero_grad()
            self._assignment_loss(routing, lengths, nearest(batch, table)).backward()
            optimiser.step()
        optimiser.zero_grad()

    def forward(self, residual: Tensor, codes: Tensor | None = None) -> Quantised:
        """Quantise (B, D, h, w); codes are those of the routing, which is found anew."""
        batch, dims, height, width = residual.shape
        flat = residual.permute(0, 2, 3, 1).reshape(-1, dims)
        routing, lengths = self._route(flat)
        chosen = routing.argmax(dim=1)
        length = lengths.gather(1, chosen[:, None])[:, 0]
        level = self._level(length)
        soft = _sharpened(routing).exp()
        hard = F.one_hot(chosen, len(self.poses)).to(routing.dtype) + soft - soft.detach()
        gain = self._value(level) + length - length.detach()
        vectors = (hard @ self.poses) * gain[:, None]
        codes = (chosen << self.level_bits) | level
        distance = (flat - vectors.detach()).square().sum(dim=1).reshape(batch, -1).mean(dim=1)
        auxiliary = distance.new_zeros(())
        if self.assignment:
            best = nearest(flat.detach(), self.table().float().detach())
            auxiliary = self.assignment * self._assignment_loss(routing, lengths, best)
        if self.training:
            with torch.no_grad():
                self.usage.lerp_(count_codes(codes, len(self.usage)), 0.02)
        return Quantised(
            codes.reshape(batch, height, width),
            vectors.reshape(batch, height, width, dims).permute(0, 3, 1, 2),
            distance,
            auxiliary,
        )

    def codes(self, vectors: Tensor) -> Tensor:
        """Return the codes (N,) of vectors (N, D)."""
        routing, lengths = self._route(vectors.float())
        chosen = routing.argmax(dim=1)
        level = self._level(lengths.gather(1, chosen[:, None])[:, 0])
        return chosen * 2**self.level_bits + level

    def encode(self, vectors: Tensor) -> Tensor:
        """Return the codes (N,) of any number of vectors (N, D)."""
        return torch.cat([self.codes(part) for part in vectors.split(CHUNK)])

    def table(self) -> Tensor:
        """Return the vector of every code, (K * L, D) float64, on the grid once snapped."""
        return vectors_of_capsules(self.poses, self.level_bits)

    def _route(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return routing coefficients (N, K), averaged over primaries, and lengths (N, K)."""
        primary = self.primary((flat / self.scale)[:, :, None, None])
        primary = squash(primary.float().reshape(flat.shape[0], self.num_primary, -1), dim=2)
        predictions = torch.bmm(primary.transpose(0, 1), self.transforms.flatten(2))
        predictions = predictions.reshape(self.num_primary, flat.shape[0], -1, len(self.poses))
        # Early rounds only say where to look: agreement with their outputs, summed up, gives the
        # coefficients of the last round, and the gradient flows through that.
        with torch.no_grad():
            direction = torch.zeros_like(predictions[0])
            for _ in range(ROUTING_ROUNDS - 1):
                direction += _combine(_couple(predictions, direction), predictions)
        coupling = _couple(predictions, direction)
        output = _combine(coupling, predictions)
        return coupling.mean(dim=0), output.square().sum(dim=1).add(1e-9).sqrt()

    def _assignment_loss(self, routing: Tensor, lengths: Tensor, codes: Tensor) -> Tensor:
        """Return how far routing and lengths (N, K) are from given codes (N,)."""
        pose, value = codes >> self.level_bits, self._value(codes & (2**self.level_bits - 1))
        wrong = F.nll_loss(_sharpened(routing), pose)
        error = (lengths.gather(1, pose[:, None])[:, 0] - value).square().mean()
        return wrong + LENGTH_WEIGHT * error

    def _level(self, length: Tensor) -> Tensor:
        return (length * 2**self.level_bits).long().clamp(0, 2**self.level_bits - 1)

    def _value(self, level: Tensor) -> Tensor:
        return (level + 0.5) * 2.0**-self.level_bits


def _sharpened(routing: Tensor) -> Tensor:
    """Return logarithms of the probabilities (N, K) that training makes of coefficients (N, K)."""
    return (SHARPNESS * torch.log(routing + 1e-9)).log_softmax(dim=1)


def _couple(predictions: Tensor, direction: Tensor) -> Tensor:
    """Return routing coefficients (I, N, K) of predictions (I, N, e, K) along (N, e, K)."""
    return (predictions * direction).sum(dim=2).softmax(dim=2)


def _combine(coupling: Tensor, predictions: Tensor) -> Tensor:
    """Return output capsules (N, e, K)."""
    return squash((coupling[:, :, None] * predictions).sum(dim=0), dim=1)


def squash(v: Tensor, dim: int) -> Tensor:
    """Return |v|^2 / (1 + |v|^2) * v / |v| along an axis: lengths in [0, 1)."""
    square = v.square().sum(dim=dim, keepdim=True)
    return v * (square / (1 + square) * torch.rsqrt(square + 1e-9))
