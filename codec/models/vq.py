"""The vq family: residual vector quantisation with learned codebooks (see `discrete`).

`stages` codebooks of 2^num_bits codewords; quality chooses how many are used, 10 bits a position
of 16x16 pixels each before entropy coding (0.039 bpp).
"""

from __future__ import annotations

from dataclasses import dataclass

from imgcodec.codec.models.discrete import DiscreteModel, DiscreteTerms
from imgcodec.codec.nets.codebook import Codebook


@dataclass(frozen=True)
class VqConfig:
    """Sizes of a vq model; every field is stored with the weights."""

    latent_channels: int = 32
    num_bits: int = 10
    stages: int = 4
    encoder_channels: tuple[int, int] = (128, 192)
    encoder_blocks: tuple[int, int] = (2, 2)
    decoder_channels: tuple[int, int] = (128, 192)
    decoder_blocks: tuple[int, int] = (4, 3)
    prior_width: int = 64


class VqModel(DiscreteModel):
    """Codebooks that follow the encoder; the nearest codeword is the code."""

    family = "vq"

    def __init__(self, cfg: VqConfig, terms: DiscreteTerms) -> None:
        quantisers = [Codebook(cfg.latent_channels, cfg.num_bits) for _ in range(cfg.stages)]
        super().__init__(
            cfg,
            terms,
            quantisers,
            num_bits=cfg.num_bits,
            dims=cfg.latent_channels,
            encoder_channels=cfg.encoder_channels,
            encoder_blocks=cfg.encoder_blocks,
            decoder_channels=cfg.decoder_channels,
            decoder_blocks=cfg.decoder_blocks,
            prior_width=cfg.prior_width,
        )
