"""The interface of every model family: a walk over latents, with a coder that knows the integers.

    encoder: y = model.analysis(x)        decoder: y_hat = model.code(shape, quality, coder)
             model.code(shape, quality, coder, y)  x_hat = model.synthesis(y_hat)

`CodecModel.walk` is written once a family; training, effort, encoder and decoder differ in the
`Coder` that they hand to it, and in the arithmetic of its exact networks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor, nn

from imgcodec.codec.errors import OptionError
from imgcodec.codec.models.coders import Coder
from imgcodec.codec.nets import rate
from imgcodec.codec.nets.exact import EXACT, Arithmetic, snap_
from imgcodec.codec.nets.thumbnail import STRIDE as THUMBNAIL_STRIDE
from imgcodec.codec.stream.tables import Tables

ALLOCATION_UNIT = 0.25
"""Levels of the rate axis by which an integer of an allocation shifts the rate."""


@lru_cache(maxsize=4)
def normal_tables(max_half_width: int = 511) -> Tables:
    """Return a table of a zero-mean normal for every row of `nets.rate`."""
    scales = rate.SCALE_MIN * np.exp(np.arange(rate.NUM_ROWS) / rate.ROWS_PER_NEPER)
    return Tables.gaussian(scales, max_half_width=max_half_width)


@dataclass(frozen=True)
class TrainOutput:
    """What a model returns for a training batch of B crops.

    Attributes:
        x_hat: (B, 3, H, W) reconstructions of the integers that would be sent.
        bits: (B,) bits of these integers, differentiable where the rate shapes the latents.
        auxiliary: scalar to add to the loss as it is (commitment and the like).
        stats: scalars for the log.
    """

    x_hat: Tensor
    bits: Tensor
    auxiliary: Tensor
    stats: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class NoTerms:
    """Of families whose training is told everything by the loss."""


class CodecModel(nn.Module, ABC):
    """A trained transform with its entropy model, made of sizes and terms of its training."""

    family: str
    latent_channels: int
    stride_px: int
    """Pictures are padded to multiples of this; one latent position covers its square."""
    analysis_halo_px: int
    synthesis_halo_px: int
    max_level: float
    """Training samples the rate axis uniformly from [0, max_level]."""
    allocation_size: int = 0
    """Number of levels whose rates the encoder may choose: all but the finest, if any."""
    axis: rate.RateAxis | None = None
    """From qualities to rates, in families whose rate is continuous."""
    leading_channels = 0
    """Number of latents, from the first on, that have passes before all others, if any."""
    can_price_errors = False
    """Whether `lambdas` tells what errors are worth in bits: exact blocks are weighed by it."""
    is_gray_only = False
    """Whether colours are lost."""
    decoder_prefixes: tuple[str, ...]
    """Beginnings of the names that synthesis alone uses: what a second decoder replaces."""

    @property
    def quality_ladder(self) -> tuple[int, ...]:
        """Qualities that show the whole range of rates, each a step of its own."""
        return (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)

    def level_of(self, quality: int) -> float:
        """Return where a quality lies on the rate axis, up to the rounding of a family."""
        if self.axis is not None:
            return self.axis.position(quality) / rate.LEVEL_STEPS
        return (quality - 1) * self.max_level / 99

    @abstractmethod
    def __init__(self, cfg: Any, terms: Any) -> None:
        """Build an untrained model."""
        super().__init__()

    # ---- training ----------------------------------------------------------------------

    @abstractmethod
    def init_from_patches(self, patches: Tensor) -> None:
        """Start from the statistics of patches (N, 3 * stride^2), pixel-unshuffled x - 0.5."""

    def adopt(self, tensors: Mapping[str, Tensor], crops: Tensor) -> None:
        """Start from the parameters of a model of another family, and from crops.

        Raises:
            OptionError: this family has no use for them.
        """
        raise OptionError(f"a {self.family} model cannot start from another family")

    def upgrade(self, tensors: Mapping[str, Tensor], sizes: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return the tensors of this model that compute what smaller sizes of it computed.

        A run that continues another one may add parts that start without effect, and rates.

        Args:
            tensors: state of a model of this family.
            sizes: its sizes, the model section of its recipe.
        """
        return dict(tensors)

    @abstractmethod
    def lambdas(self, level: Tensor) -> Tensor:
        """Return lambda, the weight of the distortion against bpp, of levels (B,)."""

    @abstractmethod
    def forward(self, x: Tensor, level: Tensor) -> TrainOutput:
        """Run a training batch: x (B, 3, H, W) in [0, 1], level (B,) on the rate axis."""

    # ---- coding ------------------------------------------------------------------------

    @staticmethod
    @abstractmethod
    def default_tables() -> Tables:
        """Return the tables used until an export replaces them by measured ones."""

    @abstractmethod
    def passes(self, quality: int) -> tuple[tuple[str, ...], ...]:
        """Return the names of the passes of a quality, level by level, coarse to fine."""

    def prepare(self) -> CodecModel:
        """Freeze for coding: eval mode, exact tensors on their grids; return the model."""
        self.eval().requires_grad_(False)
        snap_(self)
        return self

    @abstractmethod
    def analysis(self, x: Tensor, quality: int) -> Tensor:
        """Map a picture (1, 3, H, W) in [0, 1], sides multiples of the stride, to y."""

    @abstractmethod
    def operating_point(self, quality: int) -> Any:
        """Return what `walk` needs to know of the rate of a quality."""

    @abstractmethod
    def walk(
        self,
        y: Tensor | None,
        shape: tuple[int, int],
        point: Any,
        coder: Coder,
        arithmetic: Arithmetic,
    ) -> Tensor:
        """Hand the integers of latents to a coder, block by block, and return y_hat.

        The rows of a block depend on integers of earlier blocks alone. Once the coder has no more
        the rest is filled with its means (a preview).

        Args:
            y: (B, M, h, w), None when decoding.
            shape: (h, w).
            point: as `operating_point` gives it, or for training that of each crop.
            coder: who answers for the integers.
            arithmetic: of the exact networks; `EXACT` after `prepare` and for B = 1 only.
        """

    def code(
        self,
        shape: tuple[int, int],
        quality: int,
        coder: Coder,
        y: Tensor | None = None,
        *,
        allocation: Sequence[int] = (),
        arithmetic: Arithmetic = EXACT,
    ) -> Tensor:
        """Walk through one tile at a quality and return y_hat (1, M, h, w).

        Args:
            shape: (h, w) of the latents.
            quality: 1 to 100.
            coder: who answers for the integers.
            y: (1, M, h, w) when encoding, None when decoding.
            allocation: for the encoder, `allocation_size` integers by which the levels, coarsest
                first, are coded at a higher rate than that of the quality, in units of
                `ALLOCATION_UNIT`; () for zeros. The decoder reads them.
            arithmetic: `FLOAT` for a differentiable copy of the model in single precision.
        """
        return self.walk(y, shape, self.operating_point(quality), coder, arithmetic)

    def code_leading(self, shape: tuple[int, int], quality: int, coder: Coder) -> Tensor:
        """Walk through the passes of the latents that lead; return them (1, M', h, w).

        Arguments as of `code`, for decoding. A family whose other passes can wait leaves them out.
        """
        return self.code(shape, quality, coder)[:, : self.leading_channels]

    def fine_latents(self, y_hat: Tensor) -> Tensor | None:
        """Return those latents (1, M', H/16, W/16) that thumbnails are made of, if any."""
        return y_hat if self.stride_px == THUMBNAIL_STRIDE else None

    @abstractmethod
    def synthesis(self, y_hat: Tensor, quality: int) -> Tensor:
        """Map y_hat (1, M, h, w) to a picture (1, 3, h * stride, w * stride), not clamped."""
