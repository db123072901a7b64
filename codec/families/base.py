"""The interface of every model family: a walk over latents, with a coder that knows the integers.

    encoder: y = model.analysis(x)        decoder: y_hat = model.code(shape, quality, coder)
             model.code(shape, quality, coder, y)  x_hat = model.synthesis(y_hat)

`CodecModel.walk` is written once a family; training, effort, encoder and decoder differ in the
`Coder` that they hand to it, in the arithmetic of its exact networks, and in whose `nets` compute
its float networks. In the codec parameters are NumPy arrays (`CodecModel.take`) and the nets those
of a backend; in training (`models`) parameters and nets are those of a module of torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from imgcodec.codec.families.coders import Coder
from imgcodec.codec.numeric import rate
from imgcodec.codec.numeric.arrays import Array
from imgcodec.codec.numeric.exact import EXACT, Arithmetic
from imgcodec.codec.numeric.parameters import Node
from imgcodec.codec.numeric.thumbnail import STRIDE as THUMBNAIL_STRIDE
from imgcodec.codec.stream.tables import Tables

ALLOCATION_UNIT = 0.25
"""Levels of the rate axis by which an integer of an allocation shifts the rate."""
UNCALIBRATED_HALVES = (1, 10, 19, 27, 35)
"""As `CodecModel.calibrated_halves`, of weights whose qualities are equal steps of the axis."""


@lru_cache(maxsize=4)
def normal_tables(max_half_width: int = 511) -> Tables:
    """Return a table of a zero-mean normal for every row of `numeric.rate`."""
    scales = rate.SCALE_MIN * np.exp(np.arange(rate.NUM_ROWS) / rate.ROWS_PER_NEPER)
    return Tables.gaussian(scales, max_half_width=max_half_width)


class CodecModel(ABC):
    """A trained transform with its entropy model, made of the sizes of its family.

    Attributes:
        cfg: the sizes.
        nets: float networks by name, those that the class of the family lists.
    """

    family: str
    cfg: Any
    nets: Any
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
    calibrated_halves: tuple[int, ...] = ()
    """Of weights whose qualities are calibrated: which ones, of the picture at half its size, take
    the place of qualities 1, 2, ..., because they look better."""
    can_price_errors = False
    """Whether `lambdas` tells what errors are worth in bits: exact blocks are weighed by it."""
    is_gray_only = False
    """Whether colours are lost."""
    decoder_prefixes: ClassVar[tuple[str, ...]]
    """Beginnings of the names that synthesis alone uses: what a second decoder replaces."""
    decoder_sizes: ClassVar[tuple[str, ...]] = ("noise_channels",)
    """Sizes that a second decoder may have of its own: no integer depends on them."""

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.cfg = cfg

    def take(self, parameters: Node, nets: Any) -> None:
        """Become a model of the codec: NumPy parameters, float networks of a backend."""
        vars(self).update(vars(parameters))
        self.nets = nets

    @property
    def quality_ladder(self) -> tuple[int, ...]:
        """Qualities that show the whole range of rates, each a step of its own."""
        return (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)

    def level_of(self, quality: int) -> float:
        """Return where a quality lies on the rate axis, up to the rounding of a family."""
        if self.axis is not None:
            return self.axis.position(quality) / rate.LEVEL_STEPS
        return (quality - 1) * self.max_level / 99

    @property
    def half_size_qualities(self) -> tuple[int, ...]:
        """Qualities 1, 2, ... are these of the picture at half its size; () if none is."""
        if self.axis is None:
            return ()
        return self.calibrated_halves if self.axis.positions else UNCALIBRATED_HALVES

    def lambdas(self, level: Array) -> Array:
        """Return lambda, the weight of the distortion against bpp, of levels (B,).

        That of 255^2 * MSE on the axis; families without one have it in training alone.
        """
        assert self.axis is not None
        return self.axis.lambdas(level)

    @staticmethod
    def default_tables() -> Tables:
        """Return the tables used until an export replaces them by measured ones: normal ones."""
        return normal_tables()

    @abstractmethod
    def passes(self, quality: int) -> tuple[tuple[str, ...], ...]:
        """Return the names of the passes of a quality, level by level, coarse to fine."""

    @abstractmethod
    def analysis(self, x: Array, quality: int) -> Array:
        """Map a picture (1, 3, H, W) in [0, 1], sides multiples of the stride, to y."""

    @abstractmethod
    def operating_point(self, quality: int) -> Any:
        """Return what `walk` needs to know of the rate of a quality."""

    @abstractmethod
    def walk(
        self,
        y: Array | None,
        shape: tuple[int, int],
        point: Any,
        coder: Coder,
        arithmetic: Arithmetic,
    ) -> Array:
        """Hand the integers of latents to a coder, block by block, and return y_hat.

        The rows of a block depend on integers of earlier blocks alone. Once the coder has no more
        the rest is filled with its means (a preview).

        Args:
            y: (B, M, h, w), None when decoding.
            shape: (h, w).
            point: as `operating_point` gives it, or for training that of each crop.
            coder: who answers for the integers.
            arithmetic: of the exact networks; `EXACT` over NumPy and for B = 1 only.
        """

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

    def code_leading(self, shape: tuple[int, int], quality: int, coder: Coder) -> Array:
        """Walk through the passes of the latents that lead; return them (1, M', h, w).

        Arguments as of `code`, for decoding. A family whose other passes can wait leaves them out.
        """
        return self.code(shape, quality, coder)[:, : self.leading_channels]

    def fine_latents(self, y_hat: Array) -> Array | None:
        """Return those latents (1, M', H/16, W/16) that thumbnails are made of, if any."""
        return y_hat if self.stride_px == THUMBNAIL_STRIDE else None

    @abstractmethod
    def synthesis(self, y_hat: Array, quality: int, place: tuple[int, int] = (0, 0)) -> Array:
        """Map y_hat (1, M, h, w) to a picture (1, 3, h * stride, w * stride), not clamped.

        Row and column of the first latent in the whole picture choose the noise of decoders that
        have some, so that tiles and crops fit together.
        """


def halo_px(blocks: tuple[int, int], stride_px: int) -> int:
    """Return the receptive field of blocks at 1/8 and 1/16 in whole positions of a grid."""
    return -(-(8 * blocks[0] + 16 * blocks[1]) // stride_px) * stride_px
