"""The beta family: KLT-initialised transform codec with a hyperprior and masked passes.

              x (3, H, W) in [0, 1]
              |---------------- unshuffle 16 -- P ----------+
              +- unshuffle 8 - blocks 1/8 - blocks 1/16 ----+--> y (M, H/16, W/16)
                                                            |
        z (Nz, H/64, W/64) <-- round * gain <-- h_a <-------+
        |       |                                           |
        |       +-- exact net --> table rows                |
        +-- h_s --> features --> means of each pass         |
                                                            v
        passes 1..K: q = round(y * gain - mean), coded under zero-mean tables;
        means see y_hat of earlier passes, rows see the integers of earlier passes.
                                                            |
              x_hat <- P^T y_hat + shuffle(blocks(y_hat)) <-+

y is multiplied before rounding and divided afterwards by gain vectors that are interpolated
between `num_anchors` rates: one set of weights for all qualities. With `learned_width` the hyper
features, which are floats, also widen or narrow the step of every latent: rows and integers do not
see the width, so files stay exact. Sources: scale hyperprior,
Balle et al. arXiv 1802.01436; mean and context, Minnen et al. arXiv 1809.02736; checkerboard and
quadtree passes, He et al. arXiv 2103.15306, Li et al. arXiv 2302.14402 (section 3.3); gain
vectors, Cui et al. arXiv 2003.02012; integer networks, Balle et al. ICLR 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from imgcodec.codec.families.base import CodecModel, halo_px
from imgcodec.codec.families.coders import Block, Coder
from imgcodec.codec.families.masked import MaskedLatent, pass_masks
from imgcodec.codec.families.rows import row_features
from imgcodec.codec.numeric import rate
from imgcodec.codec.numeric.arrays import Array, cast, expand, like, namespace, ones, pad, zeros
from imgcodec.codec.numeric.exact import EXACT, Arithmetic

STRIDE = 16
HYPER_STRIDE = 4


@dataclass(frozen=True)
class BetaConfig:
    """Sizes of a beta model; every field is stored with the weights."""

    latent_channels: int = 320
    hyper_channels: int = 64
    encoder_channels: tuple[int, int] = (128, 192)
    encoder_blocks: tuple[int, int] = (2, 2)
    decoder_channels: tuple[int, int] = (128, 192)
    decoder_blocks: tuple[int, int] = (4, 3)
    hyper_width: int = 128
    context_width: int = 128
    context_blocks: int = 1
    exact_width: int = 96
    num_passes: int = 4
    num_anchors: int = 8
    lambda_min: float = 0.0009
    lambda_max: float = 0.18
    learned_width: bool = False
    lead_channels: int = 0
    """Of the latents, those of the largest variance, that have passes before all others."""
    noise_channels: int = 0
    """Of the noise at 1/8 that the decoder makes textures of."""


class BetaFamily(CodecModel):
    """Hyperprior and masked passes of the beta family; see the module docstring.

    Float networks, weights (B, A) being those of the rate anchors in float32:

        analyse(x, weights)                (B, 3, H, W) -> y (B, M, H/16, W/16)
        hyper_analysis(y)                  sides multiples of 4 -> (B, Nz, h/4, w/4)
        features(z_hat)                    -> (B, C, h, w), and what multiplies gains there, if any
        mean(k, features, decoded)         of pass k, (B, M, h, w)
        lead_mean(k, features, decoded)    the same of the channels that lead
        synthesise(y_hat, weights)         -> (B, 3, 16 h, 16 w); with noise also place (B, 2)
    """

    family = "beta"
    stride_px = STRIDE
    can_price_errors = True
    calibrated_halves = (14, 22, 29, 35, 39)
    axis: rate.RateAxis
    exact: Any  # features of the rows, rows and lead_rows
    log_gain: Array
    z_log_gain: Array
    y_log_scale: Array
    z_log_scale: Array
    decoder_prefixes = ("g_s.", "klt_synthesis.")

    def __init__(self, cfg: BetaConfig) -> None:
        super().__init__(cfg)
        self.axis = rate.RateAxis(cfg.num_anchors, cfg.lambda_min, cfg.lambda_max)
        self.latent_channels, self.leading_channels = cfg.latent_channels, cfg.lead_channels
        self.max_level = cfg.num_anchors - 1
        self.analysis_halo_px = halo_px(cfg.encoder_blocks, STRIDE)
        self.synthesis_halo_px = halo_px(cfg.decoder_blocks, STRIDE)

    def passes(self, quality: int) -> tuple[tuple[str, ...], ...]:
        """Return one level: z, and the latents."""
        names = ("lead", "y") if self.cfg.lead_channels else ("y",)
        passes = [f"{name}{k + 1}" for name in names for k in range(self.cfg.num_passes)]
        return (("z", *passes),)

    def operating_point(self, quality: int) -> Array:
        """Return the float64 (1, A) weights of the rate anchors, multiples of 1/64."""
        weights = self.axis.weights(self.axis.position(quality))[None]
        return like(weights, self.log_gain)

    def analysis(self, x: Array, quality: int) -> Array:
        """Map a picture (1, 3, H, W) in [0, 1], sides multiples of 16, to y (1, M, H/16, W/16)."""
        return self.nets.analyse(x, cast(self.operating_point(quality), "float32"))

    def synthesis(self, y_hat: Array, quality: int, place: tuple[int, int] = (0, 0)) -> Array:
        """Map y_hat (1, M, h, w) to a picture (1, 3, 16 h, 16 w), not clamped."""
        point = cast(self.operating_point(quality), "float32")
        if not self.cfg.noise_channels:
            return self.nets.synthesise(y_hat, point)
        return self.nets.synthesise(y_hat, point, like(np.array([place], np.float32), y_hat))

    def walk(
        self,
        y: Array | None,
        shape: tuple[int, int],
        point: Array,
        coder: Coder,
        arithmetic: Arithmetic,
        *,
        leading_alone: bool = False,
    ) -> Array:
        """Code z, then y in masked passes, and return y_hat; see `CodecModel.walk`.

        The operating point is that of anchor weights (B, A). The latents that lead may be asked
        for alone.
        """
        height, width = shape
        below, right = -height % HYPER_STRIDE, -width % HYPER_STRIDE
        z_shape = ((height + below) // HYPER_STRIDE, (width + right) // HYPER_STRIDE)
        own, exact = cast(point, "float32"), cast(point, arithmetic.dtype)
        z_gain, gain = self.nets.gains(own)
        error = None
        if y is not None:
            y = pad(y, below, right, repeat=True)
            error = self.nets.hyper_analysis(y) * z_gain
        z_rows = (exact @ self.z_log_scale)[:, :, None, None] * rate.ROWS_PER_NEPER
        z_rows = expand(z_rows, (*z_rows.shape[:2], *z_shape))
        everywhere = ones(z_rows.shape[1:], "bool", z_rows)
        z = coder.code(Block("z", "z", everywhere, is_plain=True), error, z_rows)
        is_over = z is None
        if z is None:
            z = zeros(z_rows.shape, "float32", z_rows)
        features, widening = self.nets.features(z / z_gain)
        exact_features = row_features(self.exact["features"], z, exact, arithmetic)
        known: Any = None
        for latent in self._latents()[: 1 if leading_alone else None]:
            count = latent.channels
            local = gain[:, :count] if widening is None else gain[:, :count] * widening[:, :count]
            known = latent.walk(
                None if y is None else y[:, :count],
                features,
                exact_features,
                local,
                exact,
                coder,
                arithmetic,
                known=known,
                is_over=is_over,
                size=shape,
            )
        return known[0][:, :, :height, :width]

    def gains(self, weights: Array) -> tuple[Array, Array]:
        """Return by what z and y are multiplied, (B, Nz, 1, 1) and (B, M, 1, 1)."""
        exp = namespace(weights).exp
        z_gain, gain = exp(weights @ self.z_log_gain), exp(weights @ self.log_gain)
        return z_gain[:, :, None, None], gain[:, :, None, None]

    def _latents(self) -> list[MaskedLatent]:
        """Return the latents in the order of their passes: those that lead, and the others."""
        lead = self.cfg.lead_channels
        masks, lead_masks = self.masks_of_passes()
        latents = [MaskedLatent("y", masks, self.nets.mean, self.exact["rows"], self.y_log_scale)]
        if lead:
            scale = self.y_log_scale[:, :lead]
            rows = self.exact["lead_rows"]
            latents.insert(0, MaskedLatent("lead", lead_masks, self.nets.lead_mean, rows, scale))
        return latents

    def masks_of_passes(self) -> tuple[Array, Array]:
        """Return what is coded in each pass of all channels, and of those that lead."""
        masks = pass_masks(self.cfg.num_passes, self.cfg.latent_channels)
        lead_masks = masks[:, : self.cfg.lead_channels]
        masks = masks.copy()
        masks[:, : self.cfg.lead_channels] = False
        return masks, lead_masks

    def code_leading(self, shape: tuple[int, int], quality: int, coder: Coder) -> Array:
        """Walk through z and the latents that lead; see `CodecModel.code_leading`."""
        point = self.operating_point(quality)
        return self.walk(None, shape, point, coder, EXACT, leading_alone=True)
