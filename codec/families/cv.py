"""The cv family: capsules with routing by agreement in place of the codebook (see `discrete`).

Each stage chooses one of 2^pose_bits poses and one of 2^level_bits lengths per position of 16x16
pixels. Routing runs in the encoder only. What it finds is weighed with log prior probabilities, as
the paper allows (Sabour et al. arXiv 1710.09829, section 2): those that the codes have in the file,
so that what costs fewer bits needs less agreement.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgcodec.codec.families.discrete import DiscreteFamily, DiscreteTerms
from imgcodec.codec.numeric.arrays import Array, arange, cast, namespace, permute

CHUNK = 4096
"""Positions that are routed at once."""


@dataclass(frozen=True)
class CvConfig:
    """Sizes of a cv model; every field is stored with the weights."""

    latent_channels: int = 32
    pose_bits: int = 7
    level_bits: int = 3
    stages: int = 4
    num_primary: int = 4
    primary_dims: int = 36
    output_dims: int = 2
    encoder_channels: tuple[int, int] = (128, 192)
    encoder_blocks: tuple[int, int] = (2, 2)
    decoder_channels: tuple[int, int] = (128, 192)
    decoder_blocks: tuple[int, int] = (4, 3)
    prior_width: int = 64
    context_mean: bool = False
    short_nodes: bool = False
    error_bits: float = 0.0
    """Bits that a squared distance of 1 is worth to the encoder; 0 for a routing without priors."""


@dataclass(frozen=True)
class CvTerms(DiscreteTerms):
    """What the training of a cv model needs to know besides; see `nets.capsules`."""

    assignment: float = 0.25
    straight_through: bool = True


class CvFamily(DiscreteFamily):
    """Capsules whose agreement is the code.

    One more float network:

        routing(stage, vectors)     (N, D), N up to `CHUNK` -> lengths of output capsules (N, K)
    """

    family = "cv"

    def __init__(self, cfg: CvConfig) -> None:
        super().__init__(cfg, cfg.pose_bits + cfg.level_bits)

    def table(self, stage: int) -> Array:
        """Return poses of every length; see `DiscreteFamily.table`."""
        return vectors_of_capsules(self.quantisers[stage].poses, self.cfg.level_bits)

    def choose(self, stage: int, residual: Array, features: Array) -> Array:
        """Return the codes that cost least by the routing; see `DiscreteFamily.choose`."""
        vectors = permute(residual, (0, 2, 3, 1)).reshape(-1, residual.shape[1])
        seen = features.reshape(-1, features.shape[-1])
        cfg, poses = self.cfg, cast(self.quantisers[stage].poses, "float32")
        codes = []
        for start in range(0, len(vectors), CHUNK):
            part = slice(start, start + CHUNK)
            lengths = self.nets.routing(stage, vectors[part])
            bits = self.prices(stage, seen[part])
            costs = costs_of_capsules(lengths, poses, cfg.level_bits, bits, cfg.error_bits)
            codes.append(costs.argmin(-1))
        return namespace(vectors).hstack(codes).reshape(features.shape[:3])


def costs_of_capsules(
    lengths: Array, poses: Array, level_bits: int, bits: Array | None, error_bits: float
) -> Array:
    """Return what codes cost, less the squared length of what they stand for: (N, K * L).

    Args:
        lengths: (N, K), how much there is of each pose.
        poses: (K, D).
        level_bits: log2 of L.
        bits: (N, K * L) or (K * L,), None where all codes cost the same.
        error_bits: what a squared distance of 1 is worth in bits.
    """
    squares, gain = (poses * poses).sum(1), gains(level_bits, poses)
    costs = squares[:, None] * (gain * gain - 2 * gain * lengths[..., None])
    costs = costs.reshape(len(lengths), -1)
    return costs if bits is None else costs + bits / error_bits


def gains(level_bits: int, kind: Array) -> Array:
    """Return what poses are multiplied by, float32 (L,), as an array like `kind`."""
    return (cast(arange(2**level_bits, kind), "float32") + 0.5) * 2.0**-level_bits


def vectors_of_capsules(poses: Array, level_bits: int) -> Array:
    """Return the vector of every code, float64 (K * L, D), of poses (K, D) and L lengths."""
    gain = cast(gains(level_bits, poses), "float64")
    return (cast(poses, "float64")[:, None] * gain[:, None]).reshape(-1, poses.shape[1])
