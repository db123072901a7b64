"""The vq family: residual vector quantisation with learned codebooks (see `discrete`).

`stages` codebooks of 2^num_bits codewords; quality chooses how many are used, 10 bits a position
of 16x16 pixels each before entropy coding (0.039 bpp).
"""

from __future__ import annotations

from dataclasses import dataclass

from imgcodec.codec.families.discrete import DiscreteFamily
from imgcodec.codec.numeric.arrays import Array, cast, permute


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
    context_mean: bool = False
    short_nodes: bool = False
    error_bits: float = 0.0
    """Bits that a squared distance of 1 is worth to the encoder, 0 for the nearest codeword."""


class VqFamily(DiscreteFamily):
    """Codebooks; the nearest codeword is the code, or the one that is cheapest with its bits.

    Entropy-constrained vector quantisation: Chou, Lookabaugh and Gray, IEEE TASSP 37(1), 1989.
    """

    family = "vq"

    def __init__(self, cfg: VqConfig) -> None:
        super().__init__(cfg, cfg.num_bits)

    def table(self, stage: int) -> Array:
        """Return the codewords; see `DiscreteFamily.table`."""
        return cast(self.quantisers[stage].codewords, "float64")

    def choose(self, stage: int, residual: Array, features: Array) -> Array:
        """Return the codes that cost least; see `DiscreteFamily.choose`."""
        words = cast(self.quantisers[stage].codewords, "float32")
        costs = (words * words).sum(1) - 2 * (permute(residual, (0, 2, 3, 1)) @ words.T)
        bits = self.prices(stage, features)
        return (costs if bits is None else costs + bits / self.cfg.error_bits).argmin(-1)
