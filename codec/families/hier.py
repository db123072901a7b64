"""The hier family: a pyramid of latents at 1/64, 1/32 and 1/16, coded coarse to fine.

        x (3, H, W) in [0, 1]
        |---------- unshuffle 16 -- P3 ---------+
        +- unshuffle 8 - blocks 1/8 - 1/16 -----+--> w3 (M3, H/16, W/16)
                                        |       |
                                        v       +-- unshuffle 2 -- P2 --+
                                  features 1/32 ------------------------+--> w2 (M2, H/32, W/32)
                                        |                               |
                                        v                               +-- unshuffle 2 -- P1 -+
                                  features 1/64 -----------------------------------------------+
        w1 (M1, H/64, W/64) <------------------------------------------------------------------+

        level k = 1, 2, 3: prediction = P_(k-1)^T of the decoded level above (0 at level 1)
            passes lk.1..K: q = round((w_k - prediction - mean) * gain), under zero-mean tables;
            means see the levels above (float, attention at 1/64 and 1/32) and earlier passes,
            rows see their integers (exact)

        x_hat <- P3^T w3_hat + blocks(w3_hat, w2_hat, w1_hat)

P are KLTs, P2 and P1 of 2x2 neighbours of the finer level, so that the prediction is there from the
start. The loop is closed: a level corrects what the level above left, which may therefore be as
coarse as pays. A level is a segment of the file; without the finer ones their means take their
place. One set of weights codes all rates, and the coarse levels at other rates than the finest:
by how much, the first pass says (l0).
Sources: Laplacian pyramid, Burt and Adelson 1983; hierarchical VAE as a codec, Duan et al. arXiv
2208.13056; otherwise as beta.
"""

# Long because a family is one file: three levels, their sizes, terms and walk.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from imgcodec.codec.families.base import ALLOCATION_UNIT, CodecModel, halo_px
from imgcodec.codec.families.coders import Block, Coder
from imgcodec.codec.families.masked import MaskedLatent, pass_masks
from imgcodec.codec.families.rows import finer_row_features, first_row_features
from imgcodec.codec.numeric import rate
from imgcodec.codec.numeric.arrays import (
    Array,
    cast,
    concat,
    detach,
    expand,
    like,
    namespace,
    ones,
    pixel_shuffle,
    pixel_unshuffle,
    to_numpy,
    zeros,
)
from imgcodec.codec.numeric.exact import EXACT, Arithmetic

FINE_STRIDE = 16
NUM_LEVELS = 3
STRIDE = FINE_STRIDE << (NUM_LEVELS - 1)
ALLOCATION_ROW = 23
"""Table row of the allocation: the normal with deviation 1.95."""


@dataclass(frozen=True)
class HierConfig:
    """Sizes of a hier model, levels coarse to fine; every field is stored with the weights.

    Attributes:
        side_channels: the last of level 2, without a linear part; see `CoarserLatents`.
        context_windows: sides of the attention windows of the contexts at 1/64 and 1/32; 0 for
            residual blocks instead, which have no borders.
        context_blocks: residual blocks of the means of the finest level.
        learned_width: features widen or narrow the steps of all levels but the first, as beta's.
        noise_channels: of the noise at 1/8 that the decoder makes textures of, as beta's.
    """

    latent_channels: tuple[int, int, int] = (48, 112, 320)
    side_channels: int = 16
    encoder_channels: tuple[int, int] = (128, 192)
    encoder_blocks: tuple[int, int] = (2, 2)
    coarse_width: int = 128
    decoder_channels: tuple[int, int] = (128, 192)
    decoder_blocks: tuple[int, int] = (4, 3)
    context_widths: tuple[int, int, int] = (64, 96, 128)
    exact_widths: tuple[int, int, int] = (32, 64, 96)
    context_windows: tuple[int, int] = (4, 8)
    context_blocks: int = 1
    learned_width: bool = False
    num_passes: int = 4
    num_anchors: int = 8
    lambda_min: float = 0.0009
    lambda_max: float = 0.18
    noise_channels: int = 0


@dataclass(frozen=True)
class HierTerms:
    """What the training of a hier model needs to know.

    Attributes:
        preview_share: share of the crops of a batch that are also decoded from a prefix.
        preview_weight: weight of the squared error of these previews in grey levels.
        jitter: a quarter of the crops codes the coarse levels at rates up to this many anchors off.
    """

    preview_share: float = 0.125
    preview_weight: float = 0.0005
    jitter: float = 2.0


class HierFamily(CodecModel):
    """Levels with context from coarse to fine; see the module docstring.

    Float networks, weights (B, A) being those of the rate anchors of a level in float32:

        analyse(x, weights)                (B, 3, H, W) -> all levels at 1/64 (B, M, h, w)
        first_context(weights)             features (B, C) of the means of level 0
        context(k, hat, features, weights) from level k - 1, decoded, and its features: those of
                                           level k, its prediction, and what multiplies its gains,
                                           if any, twice as fine
        mean(k, i, features, decoded)      of pass i of level k
        synthesise(hat, ..., weights)      of all levels -> (B, 3, 64 h, 64 w); with noise also
                                           place (B, 2) at 1/16
    """

    family = "hier"
    stride_px = STRIDE
    can_price_errors = True
    calibrated_halves = (10, 16, 22, 28, 33)
    axis: rate.RateAxis
    levels: Any  # log_gain, log_scale and rows of each
    mean_context: Any
    row_context: Any
    allocation_size = NUM_LEVELS - 1
    decoder_prefixes = ("g_s.", "g_s_coarse.", "klt_synthesis.")

    def __init__(self, cfg: HierConfig) -> None:
        super().__init__(cfg)
        self.axis = rate.RateAxis(cfg.num_anchors, cfg.lambda_min, cfg.lambda_max)
        self.max_level = cfg.num_anchors - 1
        self.latent_channels = sum(m << 2 * k for k, m in enumerate(cfg.latent_channels))
        self.analysis_halo_px = halo_px(cfg.encoder_blocks, STRIDE)
        self.synthesis_halo_px = halo_px(cfg.decoder_blocks, STRIDE)

    def passes(self, quality: int) -> tuple[tuple[str, ...], ...]:
        """Return three levels, the first with the allocation."""
        of_levels = [
            tuple(f"l{level + 1}.{k + 1}" for k in range(self.cfg.num_passes))
            for level in range(NUM_LEVELS)
        ]
        return (("l0", *of_levels[0]), *of_levels[1:])

    def operating_point(self, quality: int, allocation: Sequence[int] = ()) -> list[Array]:
        """Return the weights (1, A) of each level; rates beyond the axis count as its ends."""
        position = self.axis.position(quality)
        shifts = allocation or (0,) * self.allocation_size
        unit = int(ALLOCATION_UNIT * rate.LEVEL_STEPS)
        positions = (*(position + unit * shift for shift in shifts), position)
        return [like(self.axis.weights(at)[None], self.row_context.level) for at in positions]

    def analysis(self, x: Array, quality: int) -> Array:
        """Map a picture (1, 3, H, W), sides multiples of 64, to all levels at 1/64."""
        return self.nets.analyse(x, cast(self.operating_point(quality)[-1], "float32"))

    def fine_latents(self, y_hat: Array) -> Array:
        """Return the finest level."""
        return self.unpack(y_hat)[-1]

    def synthesis(self, y_hat: Array, quality: int, place: tuple[int, int] = (0, 0)) -> Array:
        """Map all levels at 1/64 to a picture (1, 3, 64 h, 64 w), not clamped."""
        inputs = [*self.unpack(y_hat), cast(self.operating_point(quality)[-1], "float32")]
        if self.cfg.noise_channels:
            fine = STRIDE // FINE_STRIDE * np.array([place], np.float32)
            inputs.append(like(fine, y_hat))
        return self.nets.synthesise(*inputs)

    def code(
        self,
        shape: tuple[int, int],
        quality: int,
        coder: Coder,
        y: Array | None = None,
        *,
        allocation: Sequence[int] = (),
        arithmetic: Arithmetic = EXACT,
    ) -> Array:
        """Code the allocation, then walk at its rates; see `CodecModel.code`."""
        kind = self.row_context.level
        wanted = None
        if y is not None:
            values = np.array(allocation or (0,) * self.allocation_size, np.float32)
            wanted = like(values[None, :, None, None], kind)
        rows = np.full((1, self.allocation_size, 1, 1), ALLOCATION_ROW, np.float32)
        everywhere = ones(rows.shape[1:], "bool", kind)
        block = Block("l0", "l0", everywhere, is_plain=True)
        sent = coder.code(block, wanted, like(rows, kind))
        chosen = [0] * self.allocation_size
        if sent is not None:
            chosen = [int(value) for value in to_numpy(sent).ravel()]
        point = self.operating_point(quality, chosen)
        return self.walk(y, shape, point, coder, arithmetic, is_over=sent is None)

    def walk(
        self,
        y: Array | None,
        shape: tuple[int, int],
        point: list[Array],
        coder: Coder,
        arithmetic: Arithmetic,
        *,
        is_over: bool = False,
        fixed_rates: Array | None = None,
    ) -> Array:
        """Code level by level and return all levels at 1/64; see `CodecModel.walk`.

        Args:
            y: all levels at 1/64 (B, M, h, w), None when decoding.
            shape: (h, w).
            point: anchor weights (B, A) of each level, coarsest first.
            coder: who answers for the integers.
            arithmetic: of the exact networks.
            is_over: the coder had no more already.
            fixed_rates: bool (B,), of whose gains nothing is to be learned.
        """
        latents = None if y is None else self.unpack(y)
        exact = [cast(weights, arithmetic.dtype) for weights in point]
        own = [cast(weights, "float32") for weights in point]
        hats: list[Array] = []
        q = features = exact_features = widening = None
        for k in range(NUM_LEVELS):
            size = (shape[0] << k, shape[1] << k)
            if k == 0:
                features = self.nets.first_context(own[0])[:, :, None, None]
                features = expand(features, (*features.shape[:2], *size))
                prediction = zeros(
                    (len(features), self.cfg.latent_channels[0], *size), "float32", features
                )
            else:
                features, prediction, widening = self.nets.context(
                    k, hats[-1], features, own[k - 1]
                )
            if not is_over:
                exact_features = self._row_features(k, q, exact_features, exact, size, arithmetic)
            gain = self.nets.gain(k, own[k])
            if widening is not None:
                gain = gain * widening
            if fixed_rates is not None:
                fixed = fixed_rates[:, None, None, None]
                gain = namespace(gain).where(fixed, detach(gain), gain)
            delta, q = self._latent(k).walk(
                None if latents is None else latents[k] - prediction,
                features,
                exact_features,
                gain,
                exact[k],
                coder,
                arithmetic,
                is_over=is_over,
            )
            hats.append(prediction + delta)
            is_over = q is None
        return pack(hats)

    def gain(self, k: int, weights: Array) -> Array:
        """Return by what latents of level k are multiplied, (B, M, 1, 1)."""
        return namespace(weights).exp(weights @ self.levels[k].log_gain)[:, :, None, None]

    def first_context(self, weights: Array) -> Array:
        """Return the features of the means of level 0, of the rate alone."""
        return weights @ self.mean_context.level

    def masks_of_level(self, k: int) -> Array:
        """Return what is coded in each pass of level k."""
        return pass_masks(self.cfg.num_passes, self.cfg.latent_channels[k])

    def _latent(self, k: int) -> MaskedLatent:
        level = self.levels[k]
        return MaskedLatent(
            f"l{k + 1}.",
            self.masks_of_level(k),
            partial(self.nets.mean, k),
            level.rows,
            level.log_scale,
        )

    def _row_features(
        self,
        k: int,
        q: Array | None,
        features: Array | None,
        weights: list[Array],
        size: tuple[int, int],
        arithmetic: Arithmetic,
    ) -> Array:
        """Return the features of the rows of level k from the integers of the level above."""
        if k == 0:
            return first_row_features(self.row_context, weights[0], size, arithmetic)
        both = concat(weights[k - 1 : k + 1], 1)
        stage = self.row_context.stages[k - 1]
        return finer_row_features(stage, q, features, both, arithmetic)

    def unpack(self, y: Array) -> list[Array]:
        """Return the levels of (B, M, h, w) at 1/64."""
        levels, start = [], 0
        for k, channels in enumerate(self.cfg.latent_channels):
            stop = start + (channels << 2 * k)
            levels.append(pixel_shuffle(y[:, start:stop], 1 << k))
            start = stop
        return levels


def pack(latents: list[Array]) -> Array:
    """Return levels as one tensor (B, M, h, w) at 1/64."""
    return concat([pixel_unshuffle(part, 1 << k) for k, part in enumerate(latents)], 1)
