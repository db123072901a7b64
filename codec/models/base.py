"""The interface of every model family: a picture becomes an ordered list of integer passes.

Encoder and decoder drive the same generator, `CodecModel.passes`; the only difference is who
knows the integers. The encoder reads them from each yielded `Pass`, the decoder from the stream:

    passes = model.passes(shape, quality, y)         passes = model.passes(shape, quality)
    request = next(passes)                           request = next(passes)
    coder.encode(request.q, request.indexes)         q = coder.decode(request.indexes)
    request = passes.send(request.q)                 request = passes.send(q)

`drive` is that loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from imgcodec.codec.entropy.tables import Tables
from imgcodec.codec.errors import OptionError
from imgcodec.codec.nets import rate
from imgcodec.codec.nets.rounding import Rounding

PassGenerator = Generator["Pass", np.ndarray, Tensor]

ALLOCATION_UNIT = 0.25
"""Levels of the rate axis by which an integer of an allocation shifts the rate."""


def normal_tables(max_half_width: int = 511) -> Tables:
    """Return a table of a zero-mean normal for every row of `nets.rate`."""
    scales = rate.SCALE_MIN * np.exp(np.arange(rate.NUM_ROWS) / rate.ROWS_PER_NEPER)
    return Tables.gaussian(scales, max_half_width=max_half_width)


@dataclass(frozen=True)
class Pass:
    """Integers to code together.

    Attributes:
        name: short name for listings, such as "z" or "y2".
        segment: number of the container segment that carries this pass.
        indexes: int array, table row of every symbol; depends on earlier passes' integers only.
        q: int array of the same shape when encoding, None when decoding.
        positions: int array of the same shape, flat position of each symbol on the tile's
            latent grid, for maps of where the bits went.
    """

    name: str
    segment: int
    indexes: np.ndarray
    q: np.ndarray | None
    positions: np.ndarray


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
class Coded:
    """Latents as a decoder would see them, differentiable as the rounding makes them.

    Attributes:
        y_hat: (B, M, h, w) decoded latents.
        integers: of each part of the latents, coarse to fine, (B, C, h', w').
        bits_of_parts: (B,) of each part.
    """

    y_hat: Tensor
    integers: tuple[Tensor, ...]
    bits_of_parts: tuple[Tensor, ...]

    @property
    def bits(self) -> Tensor:
        """Bits (B,) of all parts."""
        return torch.stack(self.bits_of_parts).sum(dim=0)


def drive(passes: PassGenerator, respond: Callable[[Pass], np.ndarray | None]) -> Tensor:
    """Run a pass generator, answering every pass with `respond(pass)`, and return y_hat."""
    try:
        request = next(passes)
        while True:
            request = passes.send(respond(request))
    except StopIteration as stop:
        return stop.value


def drive_counting(
    passes: PassGenerator, tables: Tables, integers: Mapping[str, np.ndarray] | None = None
) -> tuple[Tensor, float]:
    """Run the passes of an encoder; return y_hat and the code length of all integers in bits.

    Args:
        passes: of `CodecModel.passes`.
        tables: the tables that the indexes name.
        integers: what to code instead of the integers of the passes, by their names.
    """
    bits = 0.0

    def respond(request: Pass) -> np.ndarray:
        nonlocal bits
        q = request.q if integers is None else integers[request.name]
        bits += float(tables.code_lengths(q, request.indexes).sum())
        return q

    return drive(passes, respond), bits


class CodecModel(nn.Module, ABC):
    """A trained transform with its entropy model."""

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
    float32_parameters: frozenset[str] = frozenset()
    """Names of parameters and buffers that float16 would harm."""
    axis: rate.RateAxis | None = None
    """From qualities to rates, in families whose rate is continuous."""
    can_price_errors = False
    """Whether `lambdas` tells what errors are worth in bits: exact blocks are weighed by it."""
    can_refine = False
    is_gray_only = False
    """Whether `relax` and `integers_by_pass` are there."""
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
    def num_segments(self, quality: int) -> int:
        """Return the number of container segments that the passes of a quality fill."""

    @abstractmethod
    def prepare(self, code_lengths: np.ndarray, half_widths: np.ndarray) -> CodecModel:
        """Freeze for coding under tables of the given code lengths (R, S) in bits."""

    @abstractmethod
    def exact_parameters(self) -> set[str]:
        """Return the names of the parameters that table rows depend on: stored as integers."""

    @abstractmethod
    def analysis(self, x: Tensor, quality: int) -> Tensor:
        """Map a picture (1, 3, H, W) in [0, 1], sides multiples of the stride, to y."""

    @abstractmethod
    def passes(
        self,
        shape: tuple[int, int],
        quality: int,
        y: Tensor | None = None,
        *,
        rounding: float = 1.0,
        allocation: Sequence[int] = (),
    ) -> PassGenerator:
        """Generate the passes of a tile of latent shape (height, width); return y_hat.

        Sending None instead of integers ends the loop early: the rest is filled with its
        prior mean (a preview).

        Args:
            shape: of the latents.
            quality: 1 to 100.
            y: (1, M, height, width) when encoding, None when decoding.
            rounding: how strongly the encoder's rounding favours small files, 1 for what the
                model was trained with, 0 for the nearest integers. Families that do not weigh
                bits when they round ignore it, and so does the decoder.
            allocation: for the encoder, `allocation_size` integers by which the levels, coarsest
                first, are coded at a higher rate than that of the quality, in units of
                `ALLOCATION_UNIT`; () for zeros. The decoder reads them from the first pass.
        """

    def relax(self, y: Tensor, quality: int, rounding: Rounding) -> Coded:
        """Code the latents of one tile differentiably, as `passes` does but for its last bits.

        For families that `can_refine`, with the model in single precision; see `codec.refinement`.

        Args:
            y: (1, M, h, w) latents.
            quality: 1 to 100.
            rounding: what makes integers of them.
        """
        raise NotImplementedError

    def integers_by_pass(self, integers: Sequence[Tensor]) -> dict[str, np.ndarray]:
        """Return, by the name of its pass, the array of integers of each pass.

        Args:
            integers: those of `Coded`.
        """
        raise NotImplementedError

    @abstractmethod
    def synthesis(self, y_hat: Tensor, quality: int) -> Tensor:
        """Map y_hat (1, M, h, w) to a picture (1, 3, h * stride, w * stride), not clamped."""
