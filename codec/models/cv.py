"""The cv family in torch; see `families.cv`."""

from __future__ import annotations

import torch
from torch import Tensor

from imgcodec.codec.families.cv import CvConfig, CvFamily, CvTerms
from imgcodec.codec.models.discrete import DiscreteModel
from imgcodec.codec.nets.capsules import Capsules
from imgcodec.codec.nets.codebook import Quantised


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
                cfg.error_bits,
                terms.assignment,
                terms.straight_through,
            )
            for _ in range(cfg.stages)
        ]
        self.add_modules(capsules, terms)

    def quantise(self, stage: int, residual: Tensor, codes: Tensor, features: Tensor) -> Quantised:
        """Train capsules with what codes cost; see `DiscreteModel.quantise`."""
        with torch.no_grad():
            bits = self.prices(stage, features.permute(0, 2, 3, 1))
        return self.quantisers[stage](residual, codes, bits)

    def routing(self, stage: int, vectors: Tensor) -> Tensor:
        """Return the lengths of output capsules; see `CvFamily`."""
        return self.quantisers[stage].route(vectors.float())
