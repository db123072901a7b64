"""Capsules with routing by agreement as a quantiser: which pose, and how long.

From the residual come I primary capsules; a matrix per (primary, output) pair, shared by all
positions, predicts each of K output capsules; three rounds of routing (Sabour et al. arXiv
1710.09829, procedure 1) find which output capsule the primaries agree on. Its number k and its
length in [0, 1), in L levels, are the code k * L + level: shape and gain. The decoder never
routes: it adds level * pose_k, a learned vector.

Both decisions are straight-through: hard forwards, and backwards the gradient of the (sharpened)
routing coefficients and of the length, so that capsule matrices learn from the picture (the capsule
layer of CVGAN has no codebook loss). `assignment` may add one that pulls the routing towards the
nearest code, or, where codes have prices, towards the one that is cheapest with its bits; the
coefficients are then weighed with the probability of each code (`families.cv`).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.families.cv import (
    codes_of_lengths,
    likeliest,
    vectors_of_capsules,
    weigh_priors,
)
from imgcodec.codec.nets.blocks import pointwise
from imgcodec.codec.nets.codebook import Quantised, count_codes, k_means, tree_order
from imgcodec.codec.nets.exact import Grid
from imgcodec.codec.numeric.exact import BIAS_BITS

ROUTING_ROUNDS = 3
POSES = Grid(BIAS_BITS - 4)
"""Lengths are odd multiples of 2**-4 or coarser: every product lies on the grid of biases."""
CHUNK = 4096
ROUNDS = 12
"""In which poses and codes settle at the start."""
FIT_STEPS, FIT_BATCH, FIT_LR = 2000, 512, 4e-2
COST_WEIGHT, LOG_WEIGHT, LENGTH_WEIGHT = 6.0, 0.25, 20.0
"""In the assignment loss: of the expected cost of poses over the least one, relative to that; of
the logarithmic loss of the best pose, without which nothing is learned far from it; and of the
squared error of its length."""
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
        error_bits: what a squared distance of 1 is worth in bits, where codes have a price.
        assignment: weight of the loss that pulls routing and length towards the nearest code.
        straight_through: hand the gradient of the decoder's input to the encoder, and not that of
            the routing.
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
        error_bits: float,
        assignment: float,
        straight_through: bool,
    ) -> None:
        super().__init__()
        self.level_bits = level_bits
        self.num_primary = num_primary
        self.error_bits = error_bits
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
    def init_from_vectors(self, vectors: Tensor) -> Tensor:
        """Start the poses from clusters of vectors (N, D), fit the routing, return the codes (N,).

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
        bits = self._refine(vectors)
        with torch.enable_grad():
            self._fit_routing(vectors, bits)
        return self.encode(vectors, bits)

    def _refine(self, vectors: Tensor) -> Tensor | None:
        """Move poses to where codes are cheapest, in turn with the codes; return bits (K * L,)."""
        bits = torch.zeros(len(self.usage)) if self.error_bits else None
        for _ in range(ROUNDS):
            codes = torch.cat([self._costs(p, bits).argmin(dim=1) for p in vectors.split(CHUNK)])
            pose, gain = codes >> self.level_bits, self._value(codes)
            sums = torch.zeros_like(self.poses).index_add_(0, pose, vectors * gain[:, None])
            power = torch.zeros(len(self.poses)).index_add_(0, pose, gain.square())
            found = sums / power.clamp_min(1e-6)[:, None]
            self.poses.copy_(torch.where(power[:, None] > 0, found, self.poses))
            if bits is not None:
                counts = count_codes(codes, len(self.usage)) + 0.5
                bits = -torch.log2(counts / counts.sum())
        return bits

    def _fit_routing(self, vectors: Tensor, bits: Tensor | None) -> None:
        """Teach routing and lengths the best codes of vectors (N, D); bits are (K * L,)."""
        optimiser = torch.optim.Adam([self.transforms, *self.primary.parameters()], FIT_LR)
        for step in range(FIT_STEPS):
            optimiser.param_groups[0]["lr"] = FIT_LR * (1 - step / FIT_STEPS)
            batch = vectors[torch.randint(len(vectors), (FIT_BATCH,))].float()
            likely, lengths, _ = self._weigh(batch, bits)
            optimiser.zero_grad()
            self._assignment_loss(likely, lengths, self._costs(batch, bits)).backward()
            optimiser.step()
        optimiser.zero_grad()

    def forward(
        self, residual: Tensor, codes: Tensor | None = None, bits: Tensor | None = None
    ) -> Quantised:
        """Quantise (B, D, h, w).

        Args:
            residual: what to quantise.
            codes: (B, h, w), None for those of the routing.
            bits: (B, h, w, K * L), what each code costs, None where all cost the same.
        """
        batch, dims, height, width = residual.shape
        flat = residual.permute(0, 2, 3, 1).reshape(-1, dims)
        bits = None if bits is None else bits.flatten(0, 2)
        # Through the choice of capsules the encoder would get gradients of jumps.
        likely, lengths, each = self._weigh(flat.detach() if self.straight_through else flat, bits)
        if codes is None:
            codes = likeliest(likely, each)
        codes = codes.flatten()
        chosen = codes >> self.level_bits
        length = lengths.gather(1, chosen[:, None])[:, 0]
        soft = likely.softmax(dim=1)
        hard = F.one_hot(chosen, len(self.poses)).to(soft.dtype) + soft - soft.detach()
        gain = self._value(codes) + length - length.detach()
        vectors = (hard @ self.poses) * gain[:, None]
        distance = (flat - vectors.detach()).square().sum(dim=1).reshape(batch, -1).mean(dim=1)
        auxiliary = distance.new_zeros(())
        if self.assignment:
            costs = self._costs(flat.detach(), bits)
            auxiliary = self.assignment * self._assignment_loss(likely, lengths, costs)
        if self.training:
            with torch.no_grad():
                self.usage.lerp_(count_codes(codes, len(self.usage)), 0.02)
        return Quantised(
            codes.reshape(batch, height, width),
            vectors.reshape(batch, height, width, dims).permute(0, 3, 1, 2),
            distance,
            auxiliary,
        )

    def encode(self, vectors: Tensor, bits: Tensor | None = None) -> Tensor:
        """Return the codes (N,) of vectors (N, D) where codes cost (K * L,) bits."""
        parts = []
        for part in vectors.float().split(CHUNK):
            likely, _, each = self._weigh(part, bits)
            parts.append(likeliest(likely, each))
        return torch.cat(parts)

    def table(self) -> Tensor:
        """Return the vector of every code, (K * L, D) float64, on the grid once snapped."""
        return vectors_of_capsules(self.poses, self.level_bits)

    def route(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return what capsules agree on for vectors (N, D): (N, K), and their lengths (N, K).

        The first are logarithms of probabilities: routing coefficients, averaged over primaries
        and sharpened.
        """
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
        sharp = SHARPNESS * torch.log(coupling.mean(dim=0) + 1e-9)
        return sharp.log_softmax(dim=1), output.square().sum(dim=1).add(1e-9).sqrt()

    def _weigh(self, flat: Tensor, bits: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, lengths and codes of all capsules, each (N, K), for vectors (N, D)."""
        agreement, lengths = self.route(flat)
        each = codes_of_lengths(lengths.detach(), self.level_bits)
        if bits is not None:
            bits = bits.expand(len(flat), -1)
        return weigh_priors(agreement, each, bits), lengths, each

    @torch.no_grad()
    def _costs(self, flat: Tensor, bits: Tensor | None) -> Tensor:
        """Return what codes cost vectors (N, D): squared distances (N, K * L), with their bits."""
        table = self.table().float()
        squares = flat.square().sum(dim=1, keepdim=True) + table.square().sum(dim=1)
        distances = squares - 2 * flat @ table.T
        return distances if bits is None else distances + bits / self.error_bits

    def _assignment_loss(self, likely: Tensor, lengths: Tensor, costs: Tensor) -> Tensor:
        """Return how far logits and lengths (N, K) are from the codes that cost least.

        Where a pose is not the best one, it matters how much more it costs.
        """
        least, codes = costs.min(dim=1)
        pose = codes >> self.level_bits
        more = costs.unflatten(1, (len(self.poses), -1)).amin(dim=2) - least[:, None]
        wrong = (likely.softmax(dim=1) * more).sum(dim=1).mean() / least.mean().clamp_min(1e-9)
        logarithmic = F.cross_entropy(likely, pose)
        error = (lengths.gather(1, pose[:, None])[:, 0] - self._value(codes)).square().mean()
        return COST_WEIGHT * wrong + LOG_WEIGHT * logarithmic + LENGTH_WEIGHT * error

    def _value(self, codes: Tensor) -> Tensor:
        """Return the lengths that codes stand for."""
        return ((codes & (2**self.level_bits - 1)) + 0.5) * 2.0**-self.level_bits


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
