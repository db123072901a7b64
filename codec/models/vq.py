"""The vq family in torch; see `families.vq`."""

from __future__ import annotations

from imgcodec.codec.families.discrete import DiscreteTerms
from imgcodec.codec.families.vq import VqConfig, VqFamily
from imgcodec.codec.models.discrete import DiscreteModel
from imgcodec.codec.nets.codebook import Codebook


class VqModel(VqFamily, DiscreteModel):
    """Codebooks that follow the encoder."""

    def __init__(self, cfg: VqConfig, terms: DiscreteTerms) -> None:
        super().__init__(cfg)
        quantisers = [Codebook(cfg.latent_channels, cfg.num_bits) for _ in range(cfg.stages)]
        self.add_modules(quantisers, terms)
