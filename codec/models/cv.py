"""The cv family: capsules with routing by agreement in place of the codebook (see `discrete`).

Each stage chooses one of 2^pose_bits poses and one of 2^level_bits lengths per position of 16x16
pixels. Routing runs in the encoder only.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgcodec.codec.models.discrete import DiscreteModel, DiscreteTerms
from imgcodec.codec.nets.capsules import Capsules


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


@dataclass(frozen=True)
class CvTerms(DiscreteTerms):
    """What the training of a cv model needs to know besides; see `nets.capsules`."""

    assignment: float = 0.25
    straight_through: bool = True


class CvModel(DiscreteModel):
    """Capsules whose agreement is the code."""

    family = "cv"

    def __init__(self, cfg: CvConfig, terms: CvTerms) -> None:
        capsules = [
            Capsules(
                cfg.latent_channels,
                cfg.pose_bits,
                cfg.level_bits,
                cfg.num_primary,
                cfg.primary_dims,
                cfg.output_dims,
                terms.assignment,
                terms.straight_through,
            )
            for _ in range(cfg.stages)
        ]
        super().__init__(
            cfg,
            terms,
            capsules,
            num_bits=cfg.pose_bits + cfg.level_bits,
            dims=cfg.latent_channels,
            encoder_channels=cfg.encoder_channels,
            encoder_blocks=cfg.encoder_blocks,
            decoder_channels=cfg.decoder_channels,
            decoder_blocks=cfg.decoder_blocks,
            prior_width=cfg.prior_width,
        )
