"""Capsules with routing by agreement as a quantiser: which pose, and how long.

From the residual come I primary capsules; a matrix per (primary, output) pair, shared by all
positions, makes each vote for K output capsules; three rounds of routing (Sabour et al. arXiv
1710.09829, procedure 1) weigh the votes by how much they agree. The length of an output capsule
says how much of its pose there is, and with it what each of L gains of this pose would leave; the
code k * L + level is the one that leaves least, or, where codes have prices, is cheapest with its
bits: shape and gain. The decoder never routes: it adds gain * pose_k, a learned vector.

Unlike those of the paper, output capsules do not share a fixed sum of coefficients: each of 256
would get next to nothing, and its length would tell of all others. Coefficients are compared
between primaries instead, and an output is the mean of its votes by these weights. Nor are lengths
squashed, which are gains here, not probabilities.

At the start all primaries vote for what a projection on the pose would give, so that the routing
finds the cheapest codes. Then matrices learn from the expected cost of what they make likely
(`assignment`), and, straight-through, from the picture.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imgcodec.codec.families.cv import CHUNK, costs_of_capsules, gains, vectors_of_capsules
from imgcodec.codec.nets.blocks import pointwise
from imgcodec.codec.nets.codebook import Quantised, count_codes, k_means, tree_order
from imgcodec.codec.nets.exact import Grid
from imgcodec.codec.numeric.exact import BIAS_BITS

ROUTING_ROUNDS = 3
POSES = Grid(BIAS_BITS - 4)
"""Lengths are odd multiples of 2**-4 or coarser: every product lies on the grid of biases."""
ROUNDS = 12
"""In which poses and codes settle at the start."""
COST_WEIGHT, LOG_WEIGHT = 6.0, 0.25
"""In the assignment loss: of the expected cost of codes over the least one, relative to that, and
of the logarithmic loss of the best code."""
SHARPNESS = 100.0
"""Nats that a squared distance of 1 is worth where codes have no price."""
ABSENT = 0.5
"""Length of an output capsule that has nothing of its pose: votes against it make it shorter."""
SQUARE_MIN = 0.01
"""Of a pose, where votes are for projections on it."""
NOISE = 0.003
"""In matrices at the start, where they are for nothing."""


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
        assignment: weight of the loss that pulls the routing towards the cheapest code.
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
        self.sharpness = math.log(2) * error_bits or SHARPNESS
        self.assignment = assignment
        self.straight_through = straight_through
        num_poses = 2**pose_bits
        self.primary = pointwise(dims, num_primary * primary_dims)
        # One (output_dims x primary_dims) matrix per pair; poses last, where sums vectorise. A vote
        # is divided by primary_dims: with matrices as small as that makes them, the steps of the
        # optimiser alone would cost a tenth of what stage 1 leaves.
        shape = (num_primary, primary_dims, output_dims, num_poses)
        self.transforms = nn.Parameter(torch.randn(shape) * NOISE)
        nn.init.normal_(self.primary.weight, std=dims**-0.5)
        nn.init.normal_(self.primary.bias)
        self.poses = nn.Parameter(torch.randn(num_poses, dims) * 0.01)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("usage", torch.ones(num_poses << level_bits))

    @torch.no_grad()
    def init_from_vectors(self, vectors: Tensor) -> Tensor:
        """Start the poses from clusters of vectors (N, D), and the routing; return codes (N,).

        A routing that chooses at random would make the encoder shrink its latents to nothing
        before the capsules have learned what to agree on.
        """
        lengths = vectors.norm(dim=1, keepdim=True).clamp_min(1e-6)
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
        self.scale.copy_(lengths.square().mean().sqrt())
        self.start_routing()
        return self.encode(vectors, bits)

    @torch.no_grad()
    def start_routing(self) -> None:
        """Let every primary capsule vote, as well as it can, for projections on the poses."""
        squares = self.poses.square().sum(dim=1).clamp_min(SQUARE_MIN)
        wanted = torch.cat((self.poses.T / squares, torch.full_like(squares, ABSENT)[None]))
        weight = self.primary.weight[:, :, 0, 0] / self.scale
        affine = torch.cat((weight, self.primary.bias[:, None]), dim=1)  # of residuals and 1
        affine = affine.reshape(self.num_primary, -1, affine.shape[1])
        votes = torch.linalg.pinv(affine.transpose(1, 2)) @ wanted
        self.transforms[:, :, 0] = votes * affine.shape[1]

    def _refine(self, vectors: Tensor) -> Tensor | None:
        """Move poses to where codes are cheapest, in turn with the codes; return bits (K * L,)."""
        bits = torch.zeros(len(self.usage)) if self.error_bits else None
        levels = gains(self.level_bits, self.poses)
        for _ in range(ROUNDS):
            parts = vectors.split(CHUNK)
            codes = torch.cat([self.true_costs(part, bits).argmin(dim=1) for part in parts])
            pose, gain = codes >> self.level_bits, levels[codes & (len(levels) - 1)]
            sums = torch.zeros_like(self.poses).index_add_(0, pose, vectors * gain[:, None])
            power = torch.zeros(len(self.poses)).index_add_(0, pose, gain.square())
            found = sums / power.clamp_min(1e-6)[:, None]
            self.poses.copy_(torch.where(power[:, None] > 0, found, self.poses))
            if bits is not None:
                counts = count_codes(codes, len(self.usage)) + 0.5
                bits = -torch.log2(counts / counts.sum())
        return bits

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
        routed = self.costs(flat.detach() if self.straight_through else flat, bits)
        if codes is None:
            codes = routed.argmin(dim=1)
        codes = codes.flatten()
        likely = (-self.sharpness * routed).log_softmax(dim=1)
        soft = likely.exp()
        hard = F.one_hot(codes, soft.shape[1]).to(soft.dtype) + soft - soft.detach()
        vectors = hard @ self.table().float()
        distance = (flat - vectors.detach()).square().sum(dim=1).reshape(batch, -1).mean(dim=1)
        auxiliary = distance.new_zeros(())
        if self.assignment:
            auxiliary = self.assignment * self._assignment_loss(likely, flat.detach(), bits)
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
        parts = vectors.float().split(CHUNK)
        return torch.cat([self.costs(part, bits).argmin(dim=1) for part in parts])

    def table(self) -> Tensor:
        """Return the vector of every code, (K * L, D) float64, on the grid once snapped."""
        return vectors_of_capsules(self.poses, self.level_bits)

    def route(self, flat: Tensor) -> Tensor:
        """Return how much of each pose the capsules find in vectors (N, D): (N, K), about [0, 1].

        Early rounds only say which votes to trust: the gradient flows through the last one.
        """
        primary = self.primary((flat / self.scale)[:, :, None, None])
        primary = primary.float().reshape(flat.shape[0], self.num_primary, -1)
        votes = torch.bmm(primary.transpose(0, 1), self.transforms.flatten(2)) / primary.shape[2]
        votes = votes.reshape(self.num_primary, flat.shape[0], -1, len(self.poses))
        with torch.no_grad():
            agreement = torch.zeros_like(votes[:, :, 0])
            for _ in range(ROUTING_ROUNDS - 1):
                output = _combine(agreement, votes)
                agreement = agreement + (votes * output).sum(dim=2)
        output = _combine(agreement, votes)
        return output.square().sum(dim=1).add(1e-9).sqrt() - ABSENT

    def costs(self, flat: Tensor, bits: Tensor | None) -> Tensor:
        """Return what codes cost by the routing, (N, K * L), for vectors (N, D)."""
        lengths, poses = self.route(flat), self.poses.detach()
        return costs_of_capsules(lengths, poses, self.level_bits, bits, self.error_bits)

    @torch.no_grad()
    def true_costs(self, flat: Tensor, bits: Tensor | None) -> Tensor:
        """Return what codes cost vectors (N, D): squared distances (N, K * L), with their bits."""
        table = self.table().float()
        squares = flat.square().sum(dim=1, keepdim=True) + table.square().sum(dim=1)
        distances = squares - 2 * flat @ table.T
        return distances if bits is None else distances + bits / self.error_bits

    def _assignment_loss(self, likely: Tensor, flat: Tensor, bits: Tensor | None) -> Tensor:
        """Return how far from the cheapest codes of vectors (N, D) those are that seem likely.

        Args:
            likely: (N, K * L), logarithms of probabilities.
            flat: the vectors.
            bits: of the codes, None where all cost the same.
        """
        costs = self.true_costs(flat, bits)
        least, codes = costs.min(dim=1, keepdim=True)
        wrong = (likely.exp() * (costs - least)).sum(dim=1).mean()
        logarithmic = F.nll_loss(likely, codes[:, 0])
        return COST_WEIGHT * wrong / least.mean().clamp_min(1e-9) + LOG_WEIGHT * logarithmic


def _combine(agreement: Tensor, votes: Tensor) -> Tensor:
    """Return output capsules (N, e, K): means of votes (I, N, e, K), weighed by (I, N, K)."""
    coefficients = agreement.log_softmax(dim=2)
    weights = coefficients.softmax(dim=0)
    return (weights[:, :, None] * votes).sum(dim=0)
