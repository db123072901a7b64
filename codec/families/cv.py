"""The cv family: capsules with routing by agreement in place of the codebook (see `discrete`).

Each stage chooses one of 2^pose_bits poses and one of 2^level_bits lengths per position of 16x16
pixels. Routing runs in the encoder only.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgcodec.codec.families.discrete import DiscreteFamily, DiscreteTerms
from imgcodec.codec.numeric.arrays import Array, cast, namespace


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


@dataclass(frozen=True)
class CvTerms(DiscreteTerms):
    """What the training of a cv model needs to know besides; see `nets.capsules`."""

    assignment: float = 0.25
    straight_through: bool = True


class CvFamily(DiscreteFamily):
    """Capsules whose agreement is the code."""

    family = "cv"

    def __init__(self, cfg: CvConfig) -> None:
        super().__init__(cfg, cfg.pose_bits + cfg.level_bits)

    def table(self, stage: int) -> Array:
        """Return poses of every length; see `DiscreteFamily.table`."""
        return vectors_of_capsules(self.quantisers[stage].poses, self.cfg.level_bits)


def vectors_of_capsules(poses: Array, level_bits: int) -> Array:
    """Return the vector of every code, float64 (K * L, D), of poses (K, D) and L lengths."""
    poses, unit = cast(poses, "float64"), 2.0**-level_bits
    vectors = [poses * ((level + 0.5) * unit) for level in range(2**level_bits)]
    return namespace(poses).stack(vectors, 1).reshape(-1, poses.shape[1])
