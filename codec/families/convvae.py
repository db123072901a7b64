"""The convvae family: a convolutional VAE on digits, one latent vector for each block.

    x (3, 32, 32) -- mean of the channels --> grey (1, 32, 32)
        |  g_a: three convolutions 4x4 of stride 2, one matrix
        v
    posterior N(mu, sigma^2) of the latent vector (M), prior N(0, 1)
        |
        |  training: z = mu + sigma * noise          coding: q = round(mu * gain), z = q / gain
        v
    g_s: one matrix, three transposed convolutions --> logits (1, 32, 32) + pixel bias
        |
        v
    x_hat = sigmoid(logits), the same in all channels: colour is lost

A block of 32x32 pixels has a latent vector of its own, so a larger picture is a grid of blocks. A
digit of 28x28 is one block, continued to the right and below as the codec pads every picture.

Coding rounds the mean. The step of a channel follows its posterior's deviation, and quality moves
all steps together by 1/32 neper, which moves the table rows by exactly a quarter. A channel that
collapsed onto the prior has a narrow row and costs next to nothing.

Sources: Kingma and Welling, arXiv 1312.6114; beta-VAE, Higgins et al. ICLR 2017; rounding the mean
of a VAE with a step from its posterior, Yang et al. arXiv 2002.08158. The default sizes have
262,000 parameters and take 2.5 kMAC/px to encode, 2.4 to decode.
"""

from __future__ import annotations

from dataclasses import dataclass

from imgcodec.codec.families.base import CodecModel, normal_tables
from imgcodec.codec.families.coders import Block, Coder
from imgcodec.codec.numeric import rate
from imgcodec.codec.numeric.arrays import Array, cast, expand, namespace, ones, zeros
from imgcodec.codec.numeric.exact import Arithmetic
from imgcodec.codec.stream.tables import Tables

BLOCK_PX = 32
POSTERIOR_QUALITY = 30
"""At this quality rounding errs as much as the noise that the decoder was trained with."""
QUALITIES_PER_NEPER = 32
LIKELIHOODS = ("bernoulli", "gaussian")


@dataclass(frozen=True)
class ConvVaeConfig:
    """Sizes of a convvae model; every field is stored with the weights.

    Attributes:
        latent_channels: M.
        channels: of the features at 1/2; twice and four times as many at 1/4 and 1/8.
    """

    latent_channels: int = 16
    channels: int = 24


@dataclass(frozen=True)
class ConvVaeTerms:
    """What the training of a convvae model needs to know.

    Attributes:
        likelihood: of a pixel, "bernoulli" (cross entropy of grey values in [0, 1]) or "gaussian".
        deviation: standard deviation of the Gaussian likelihood.

    Raises:
        ValueError: unknown likelihood, or a deviation that is not positive.
    """

    likelihood: str = "bernoulli"
    deviation: float = 0.2

    def __post_init__(self) -> None:
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood is {self.likelihood!r}: use {', '.join(LIKELIHOODS)}")
        if not self.deviation > 0.0:
            raise ValueError(f"deviation is {self.deviation}: must be positive")


class ConvVaeFamily(CodecModel):
    """Rates of the convvae family; see the module docstring.

    Float networks:

        analyse(x)          (B, 3, H, W) -> posterior means (B, M, H/32, W/32)
        synthesise(y_hat)   -> means of pixels (B, 3, 32 h, 32 w) in [0, 1]
    """

    family = "convvae"
    is_gray_only = True
    stride_px = BLOCK_PX
    analysis_halo_px = 0
    synthesis_halo_px = 0
    max_level = 0.0
    log_gain: Array
    scale_row: Array
    decoder_prefixes = ("g_s.", "pixel_bias")

    def __init__(self, cfg: ConvVaeConfig) -> None:
        super().__init__(cfg)
        self.latent_channels = cfg.latent_channels

    @staticmethod
    def default_tables() -> Tables:
        """Return normal tables."""
        return normal_tables(max_half_width=127)

    def passes(self, quality: int) -> tuple[tuple[str, ...], ...]:
        """Return the one pass."""
        return (("z",),)

    def operating_point(self, quality: int) -> int:
        """Return the quality."""
        return quality

    def analysis(self, x: Array, quality: int) -> Array:
        """Map pictures (B, 3, H, W) to posterior means (B, M, H/32, W/32), at every quality."""
        return self.nets.analyse(x)

    def synthesis(self, y_hat: Array, quality: int, place: tuple[int, int] = (0, 0)) -> Array:
        """Map y_hat (B, M, h, w) to the means of pixels (B, 3, 32 h, 32 w) in [0, 1]."""
        return self.nets.synthesise(y_hat)

    def walk(
        self,
        y: Array | None,
        shape: tuple[int, int],
        point: int,
        coder: Coder,
        arithmetic: Arithmetic,
    ) -> Array:
        """Code z, the only block; see `CodecModel.walk`.

        Args:
            y: (B, M, h, w) posterior means, None when decoding.
            shape: (h, w).
            point: the quality.
            coder: who answers for the integers.
            arithmetic: without effect, there are no networks.
        """
        gain, finer = self.nets.gain(point), point - POSTERIOR_QUALITY
        # Sums of dyadic numbers in float64: exact, as long as a quality is a dyadic part of a row.
        rows = cast(self.scale_row, "float64") + finer * (rate.ROWS_PER_NEPER / QUALITIES_PER_NEPER)
        rows = expand(rows[None, :, None, None], (1, len(rows), *shape))
        error = None if y is None else y * gain
        everywhere = ones(rows.shape[1:], "bool", rows)
        q = coder.code(Block("z", "z", everywhere, is_plain=True), error, rows)
        if q is None:
            return zeros((1, self.latent_channels, *shape), "float32", gain)
        return q / gain

    def gain(self, quality: int) -> Array:
        """Return by what latents are multiplied, (M, 1, 1)."""
        finer = quality - POSTERIOR_QUALITY
        log_gain = cast(self.log_gain, "float32") + finer / QUALITIES_PER_NEPER
        return namespace(log_gain).exp(log_gain)[:, None, None]
