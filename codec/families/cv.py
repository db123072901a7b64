"""The cv family: capsules with routing by agreement in place of the codebook (see `discrete`).

Each stage chooses one of 2^pose_bits poses and one of 2^level_bits lengths per position of 16x16
pixels. Routing runs in the encoder only. Its logits may start, as those of the paper, from log
prior probabilities (Sabour et al. arXiv 1710.09829, section 2): those that the codes have in the
file, so that what costs fewer bits needs less agreement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from imgcodec.codec.families.discrete import CHUNK, DiscreteFamily, DiscreteTerms
from imgcodec.codec.numeric.arrays import Array, arange, cast, namespace, permute, pick


@dataclass(frozen=True)
class CvConfig:
    """Sizes of a cv model; every field is stored with the weights."""

    latent_channels: int = 32
    pose_bits: int = 7
    level_bits: int = 3
    stages: int = 4
    num_primary: int = 4
    primary_dims: int = 16
    output_dims: int = 4
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

    A float network in place of `codes`:

        routing(stage, vectors)     (N, D), N up to `CHUNK` -> logarithms of what the routing makes
                                    likely, and lengths of output capsules, both (N, K)
    """

    family = "cv"

    def __init__(self, cfg: CvConfig) -> None:
        super().__init__(cfg, cfg.pose_bits + cfg.level_bits)

    def table(self, stage: int) -> Array:
        """Return poses of every length; see `DiscreteFamily.table`."""
        return vectors_of_capsules(self.quantisers[stage].poses, self.cfg.level_bits)

    def choose(self, stage: int, residual: Array, features: Array) -> Array:
        """Return the codes that the capsules agree on; see `DiscreteFamily.choose`."""
        vectors = permute(residual, (0, 2, 3, 1)).reshape(-1, residual.shape[1])
        seen = features.reshape(-1, features.shape[-1])
        codes = []
        for start in range(0, len(vectors), CHUNK):
            part = slice(start, start + CHUNK)
            agreement, lengths = self.nets.routing(stage, vectors[part])
            each = codes_of_lengths(lengths, self.cfg.level_bits)
            likely = weigh_priors(agreement, each, self.prices(stage, seen[part]))
            codes.append(likeliest(likely, each))
        return namespace(vectors).hstack(codes).reshape(features.shape[:3])


def codes_of_lengths(lengths: Array, level_bits: int) -> Array:
    """Return the code (N, K) that each capsule would give, by its length in [0, 1)."""
    levels = namespace(lengths).clip(cast(lengths * 2**level_bits, "int64"), 0, 2**level_bits - 1)
    return (arange(lengths.shape[1], lengths) << level_bits) + levels


def weigh_priors(agreement: Array, codes: Array, bits: Array | None) -> Array:
    """Return the logits (N, K) of capsules: agreement, and the prior probability of their codes.

    Args:
        agreement: (N, K), logarithms of likelihoods.
        codes: (N, K) of each capsule.
        bits: (N, K * L) of all codes, None where all are alike.
    """
    return agreement if bits is None else agreement - math.log(2) * pick(bits, codes)


def likeliest(likely: Array, codes: Array) -> Array:
    """Return the code (N,) of the capsule with the largest logit, both being (N, K)."""
    return pick(codes, likely.argmax(-1)[:, None])[:, 0]


def vectors_of_capsules(poses: Array, level_bits: int) -> Array:
    """Return the vector of every code, float64 (K * L, D), of poses (K, D) and L lengths."""
    poses, unit = cast(poses, "float64"), 2.0**-level_bits
    vectors = [poses * ((level + 0.5) * unit) for level in range(2**level_bits)]
    return namespace(poses).stack(vectors, 1).reshape(-1, poses.shape[1])
