"""The cv family in torch; see `families.cv`."""

from __future__ import annotations

from imgcodec.codec.families.cv import CvConfig, CvFamily, CvTerms
from imgcodec.codec.models.discrete import DiscreteModel
from imgcodec.codec.nets.capsules import Capsules


class CvModel(CvFamily, DiscreteModel):
    """Capsules whose agreement is the code."""

    def __init__(self, cfg: CvConfig, terms: CvTerms) -> None:
        super().__init__(cfg)
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
        self.add_modules(capsules, terms)
