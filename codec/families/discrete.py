"""What the discrete families share: residual codes on a grid at 1/16 under an exact prior.

              x (3, H, W) in [0, 1]
              |------ unshuffle 16 -- P ------+
              +- blocks 1/8 - blocks 1/16 ----+--> y (D, H/16, W/16)
                                              |
        stage 1: code = quantiser(y - mean)            -> mean + vector
        stage s: code = quantiser(y - vectors - mean)  -> mean + vector    (s <= stages of quality)
                                              |
        x_hat <- P^T y_hat + blocks(y_hat) <--+  y_hat = sum of vectors

A stage is a segment of the file, coded in four groups of positions, each code as the choices on
its way down a binary tree; the exact prior (`families.prior`) sees the vectors of earlier stages
and groups, and predicts the mean (0 in models without `context_mean`). Families differ in their
quantisers only. Residual stages: Zeghidour et al. arXiv 2107.03312; discrete latents under a
learned prior: van den Oord et al. arXiv 1711.00937.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from imgcodec.codec.families.base import CodecModel, halo_px
from imgcodec.codec.families.coders import Block, Coder
from imgcodec.codec.families.prior import (
    GROUPS,
    bits_of_codes,
    context_of,
    group_of_positions,
    prior_features,
    prior_logits,
    prior_mean,
)
from imgcodec.codec.numeric.arrays import Array, cast, detach, like, namespace, ones, permute, zeros
from imgcodec.codec.numeric.choices import CENTRE, NUM_ROWS, ROWS_PER_LOGIT, rows_of_logits
from imgcodec.codec.numeric.exact import Arithmetic
from imgcodec.codec.stream.tables import TOTAL, Tables

STRIDE = 16
Quantise: TypeAlias = Callable[[int, Array, Array | None, Array], Array]
"""From a stage, what it is to stand for (B, D, h, w), its mean, if any, and the features of its
prior there (B, h, w, E), to codes (B, h, w)."""


def choice_tables() -> Tables:
    """Return a row for every logit: choices 0 and 1, everything else at frequency 1."""
    logits = (np.arange(NUM_ROWS) - CENTRE) / ROWS_PER_LOGIT
    ones = np.round(TOTAL / (1 + np.exp(-logits))).astype(np.int64).clip(1, TOTAL - 3)
    frequencies = np.ones((NUM_ROWS, 4), np.int64)  # of -1, 0, 1 and the escape
    frequencies[:, 2] = ones
    frequencies[:, 1] = TOTAL - 2 - ones
    return Tables(frequencies, np.ones(NUM_ROWS, np.int64))


@dataclass(frozen=True)
class DiscreteTerms:
    """What the training of a discrete model needs to know.

    Attributes:
        commitment: weight of the distance of y to its codes.
        lmbda: weight of the distortion against the bits.
    """

    commitment: float = 0.25
    lmbda: float = 0.01


class DiscreteFamily(CodecModel):
    """Stages of codes under their priors; see the module docstring.

    Float networks:

        analyse(x)                  (B, 3, H, W) -> y (B, D, H/16, W/16)
        synthesise(y_hat, stages)   stages (B, S), one-hot, float32 -> (B, 3, 16 h, 16 w)

    Args:
        cfg: of the family, with `latent_channels` (D), `stages`, `error_bits` (what a squared
            distance of 1 is worth to the encoder in bits, 0 where it does not weigh bits) and the
            blocks of the transforms.
        num_bits: bits of a code, the same in all stages.
    """

    stride_px = STRIDE
    priors: Any
    quantisers: Any
    decoder_prefixes = ("g_s.", "klt_synthesis.")

    def __init__(self, cfg: Any, num_bits: int) -> None:
        super().__init__(cfg)
        self.num_stages, self.num_bits = cfg.stages, num_bits
        self.latent_channels = cfg.latent_channels
        self.max_level = float(cfg.stages)
        self.analysis_halo_px = halo_px(cfg.encoder_blocks, STRIDE)
        self.synthesis_halo_px = halo_px(cfg.decoder_blocks, STRIDE)

    @abstractmethod
    def table(self, stage: int) -> Array:
        """Return the vector of every code of a stage, float64 (2^num_bits, D), on the grid."""

    def groups_of_positions(self, shape: tuple[int, int]) -> Array:
        """Return the number of the group that codes each position of (h, w)."""
        return group_of_positions(*shape)

    @property
    def quality_ladder(self) -> tuple[int, ...]:
        """Those of the picture at half its size, and one of each number of stages."""
        return (*range(1, self.num_stages), *self.stage_qualities)

    @property
    def half_size_qualities(self) -> tuple[int, ...]:
        """Below one stage: two stages or more of a quarter of the positions."""
        return self.stage_qualities[1:]

    @property
    def stage_qualities(self) -> tuple[int, ...]:
        """The middle of the qualities of each number of stages."""
        return tuple((2 * stage + 1) * 50 // self.num_stages for stage in range(self.num_stages))

    @staticmethod
    def default_tables() -> Tables:
        """Return tables of binary choices."""
        return choice_tables()

    def passes(self, quality: int) -> tuple[tuple[str, ...], ...]:
        """Return a level for each stage: their number grows in equal steps of quality."""
        num_stages = 1 + (quality - 1) * self.num_stages // 100
        return tuple((f"code{stage + 1}",) for stage in range(num_stages))

    def operating_point(self, quality: int) -> int:
        """Return the number of stages."""
        return len(self.passes(quality))

    def analysis(self, x: Array, quality: int) -> Array:
        """Map a picture (1, 3, H, W) to y (1, D, H/16, W/16), the same at every quality."""
        return self.nets.analyse(x)

    def synthesis(self, y_hat: Array, quality: int, place: tuple[int, int] = (0, 0)) -> Array:
        """Map y_hat (1, D, h, w) to a picture (1, 3, 16 h, 16 w), not clamped."""
        stage = np.eye(self.num_stages, dtype=np.float32)[[self.operating_point(quality) - 1]]
        return self.nets.synthesise(y_hat, like(stage, y_hat))

    def walk(
        self,
        y: Array | None,
        shape: tuple[int, int],
        point: int,
        coder: Coder,
        arithmetic: Arithmetic,
        quantise: Quantise | None = None,
    ) -> Array:
        """Code stage by stage and group by group, and return y_hat; see `CodecModel.walk`.

        Args:
            y: (B, D, h, w), None when decoding.
            shape: (h, w).
            point: number of stages.
            coder: who answers for the choices.
            arithmetic: of the priors.
            quantise: who finds codes, None for the quantisers of the codec.
        """
        quantise = quantise or self.encode
        kind = self.table(0)
        groups = self.groups_of_positions(shape)
        batch = 1 if y is None else len(y)
        size = (batch, self.latent_channels, *shape)
        before = zeros(size, arithmetic.dtype, kind)
        for stage in range(point):
            prior = self.priors[stage]
            target = None if y is None else y - cast(before, "float32")
            table = cast(detach(self.table(stage)), arithmetic.dtype)  # training moves codes
            own = zeros(size, arithmetic.dtype, kind)
            for number, (row, column) in enumerate(GROUPS):
                cell = (..., slice(row, None, 2), slice(column, None, 2))
                if 0 in groups[cell].shape:
                    continue
                mask, known = groups == number, groups < number
                seen = prior_features(prior, context_of(before, own, known), arithmetic)
                mean = prior_mean(prior, seen, arithmetic)
                features = permute(seen[cell], (0, 2, 3, 1))
                codes = None
                if target is not None:
                    own_mean = None if mean is None else cast(mean[cell], "float32")
                    codes = quantise(stage, target[cell], own_mean, features)
                name = f"code{stage + 1}"
                block = Block(name, name, mask[None], is_choice=True)
                nodes = ones(features.shape[:3], "int64", kind)
                for bit in reversed(range(self.num_bits)):
                    rows = zeros((batch, 1, *shape), arithmetic.dtype, kind)
                    rows[cell] = rows_of_logits(prior_logits(prior, features, nodes))[:, None]
                    choice = None
                    if codes is not None:
                        choice = zeros(rows.shape, "float32", kind)
                        choice[cell] = cast((codes >> bit) & 1, "float32")[:, None]
                    chosen = coder.code(block, choice, rows)
                    if chosen is None:
                        if mean is not None:
                            own = namespace(own).where(known, own, detach(mean))
                        return cast(before + own, "float32")
                    nodes = 2 * nodes + cast(chosen[cell][:, 0], "int64")
                vectors = permute(table[nodes - (1 << self.num_bits)], (0, 3, 1, 2))
                own[cell] = vectors if mean is None else vectors + detach(mean[cell])
            before = before + own
        return cast(before, "float32")

    def encode(self, stage: int, target: Array, mean: Array | None, features: Array) -> Array:
        """Return codes where nothing is trained; see `Quantise`."""
        return self.choose(stage, target if mean is None else target - mean, features)

    @abstractmethod
    def choose(self, stage: int, residual: Array, features: Array) -> Array:
        """Return the codes (B, h, w) of residuals (B, D, h, w), features being (B, h, w, E)."""

    def prices(self, stage: int, features: Array) -> Array | None:
        """Return the bits (..., 2^num_bits) of every code for features (..., E), if they count."""
        if not self.cfg.error_bits:
            return None
        return bits_of_codes(self.priors[stage], cast(features, "float32"))
