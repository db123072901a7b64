"""Who answers for the integers of a walk: training, effort, the encoder, the decoder.

A model walks through its latents once, block by block, and asks a coder for the integers of each.
The encoder's coder rounds what it is shown and sends it, the decoder's reads, that of the training
rounds in a way that has a gradient and counts bits; the model cannot tell them apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.nets.choices import bits_of_choices
from imgcodec.codec.nets.rate import bits_of_integers, bits_of_residual, rows_to_indexes
from imgcodec.codec.nets.rounding import (
    THRESHOLD_MAX,
    round_by_cost,
    rounding_thresholds,
    to_integers,
)
from imgcodec.codec.stream.tables import Tables

ROUNDING_STRENGTH = 0.6
"""How far the encoder's rounding heeds the bits of the larger integer (0: plain rounding)."""


@lru_cache(maxsize=16)
def thresholds_of(tables: Tables, rounding: float = 1.0) -> Tensor:
    """Return the thresholds of an encoder under tables, for `round_by_cost`.

    Args:
        tables: of the model.
        rounding: factor of the strength that models are trained with, 0 for plain rounding.
    """
    with torch.inference_mode(False):
        plain = rounding_thresholds(tables.bits(), tables.half_widths, ROUNDING_STRENGTH)
        scaled = 0.5 + (torch.from_numpy(plain) - 0.5) * rounding
        return scaled.clamp(max=THRESHOLD_MAX)


@dataclass(frozen=True)
class Block:
    """Integers that are coded together, a pass over the latents or a part of one.

    Attributes:
        name: for listings, such as "z" or "y2"; blocks of one name are one pass.
        part: name of the latents to which they belong: those of a walk with the same part make
            up its array.
        mask: bool (C, h, w), where in the array they lie.
        segment: number of the container segment that carries them.
        is_choice: they are 0 or 1, under a row of `nets.choices`.
        is_plain: rounded to the nearest integer, whatever its bits.
    """

    name: str
    part: str
    mask: Tensor
    segment: int = 0
    is_choice: bool = False
    is_plain: bool = False

    def gather(self, x: Tensor) -> Tensor:
        """Return the values (B, n) of the block in an array (B, C, h, w)."""
        return x[:, self.mask]

    def scatter(self, values: Tensor, shape: torch.Size) -> Tensor:
        """Return an array of a shape (B, C, h, w) with values (B, n), 0 outside of the block."""
        return values.new_zeros(shape).masked_scatter(self.mask, values)

    def map(self, values: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return where values (n,) lie on a grid (H, W) over the same area; their sum stays."""
        mask = self.mask.cpu().numpy()
        array = np.zeros(mask.shape)
        array[mask] = values
        rows, columns = (_shares(*sides) for sides in zip(mask.shape[1:], shape, strict=True))
        return rows @ array.sum(axis=0) @ columns.T


def _shares(source: int, target: int) -> NDArray[np.float64]:
    """Return (target, source): which share of each of `source` cells lies in which of `target`."""
    finest = max(source, target)
    shares = np.zeros((target, source))
    cells = np.arange(finest)
    shares[cells * target // finest, cells * source // finest] = 1.0
    return shares / shares.sum(axis=0)


class Coder(ABC):
    """Answers for the integers of a walk."""

    @abstractmethod
    def code(self, block: Block, error: Tensor | None, rows: Tensor) -> Tensor | None:
        """Return the integers of a block, 0 outside of it; None when there are no more.

        Args:
            block: what to code.
            error: (B, C, h, w) in quantisation steps, what to round; None when decoding.
            rows: the same shape, real-valued table rows.
        """

    def context(self, q: Tensor) -> Tensor:
        """Return integers as the networks of later rows of their part see them."""
        return q


# ---- training and effort ---------------------------------------------------------------


class Train(Coder):
    """Integers that would be sent, straight through, and their bits.

    The bits are those of the integers, but their gradient in the latents is that of noisy ones:
    table rows learn from true integers, transforms from a smooth rate.

    Args:
        tables: of the encoder whose rounding is to be followed.
        rounding: as in `thresholds_of`.

    Attributes:
        bits: (B,) by part, of what was coded so far.
    """

    def __init__(self, tables: Tables, rounding: float = 1.0) -> None:
        self._thresholds = thresholds_of(tables, rounding)
        self.bits: dict[str, Tensor] = {}

    @property
    def total_bits(self) -> Tensor:
        """Bits (B,) of all parts."""
        return torch.stack(list(self.bits.values())).sum(dim=0)

    def code(self, block: Block, error: Tensor | None, rows: Tensor) -> Tensor | None:
        """Round by cost and count; see `Coder.code`."""
        assert error is not None
        rows = rows.expand_as(error)
        x, own_rows = block.gather(error), block.gather(rows)
        q = self._integers(block, x, own_rows)
        count = bits_of_choices(q, own_rows) if block.is_choice else self._bits(q, x, own_rows)
        self.bits[block.part] = self.bits.get(block.part, 0) + count.sum(dim=1)
        return block.scatter(q, error.shape)

    def context(self, q: Tensor) -> Tensor:
        """Return the integers without their gradient."""
        return q.detach()

    def _integers(self, block: Block, x: Tensor, rows: Tensor) -> Tensor:
        """Return the integers of values (B, n), with the gradient of these."""
        values = x.detach()
        if block.is_plain:
            q = torch.round(values)
        else:
            thresholds = self._thresholds.to(x.device)
            q = round_by_cost(values, rows_to_indexes(rows.detach()), thresholds)
        return x + (q - values)

    def _bits(self, q: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        """Return the bits of integers (B, n) that were made of `x`, under normals."""
        return bits_of_integers(q.detach(), x, rows)


class Relax(Train):
    """The same without the noise, for the latents of one picture: the gradient is its mean.

    Attributes:
        integers: (1, C, h, w) by part.
        sent: int32 (n,) by the name of a block, what an encoder would send.
    """

    def __init__(self, tables: Tables, rounding: float = 1.0) -> None:
        super().__init__(tables, rounding)
        self.integers: dict[str, Tensor] = {}
        self.sent: dict[str, NDArray[np.int32]] = {}

    def code(self, block: Block, error: Tensor | None, rows: Tensor) -> Tensor | None:
        """Round by cost, count and remember; see `Coder.code`."""
        q = super().code(block, error, rows)
        assert q is not None
        known = q.detach()
        self.integers[block.part] = self.integers.get(block.part, 0) + known
        self.sent[block.name] = to_integers(block.gather(known)[0])
        return q

    def _bits(self, q: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        upper, lower = (bits_of_residual(x.detach() + half, rows.detach()) for half in (0.5, -0.5))
        smooth = (upper - lower) * x
        return bits_of_residual(q.detach(), rows) + smooth - smooth.detach()


class Given(Relax):
    """Integers that are known, and what they do to everything after them.

    Args:
        tables: as in `Train`.
        given: (1, C, h, w) by part.

    Attributes:
        rows: the real-valued table rows by part.
    """

    def __init__(self, tables: Tables, given: Mapping[str, Tensor]) -> None:
        super().__init__(tables)
        self._given = given
        self.rows: dict[str, Tensor] = {}

    def code(self, block: Block, error: Tensor | None, rows: Tensor) -> Tensor | None:
        """Return what is given and count its bits; see `Coder.code`."""
        given = self._given[block.part]
        rows = rows.expand_as(given)
        own = block.scatter(block.gather(rows.detach()), given.shape)
        self.rows[block.part] = self.rows.get(block.part, 0) + own
        return super().code(block, given, rows)

    def context(self, q: Tensor) -> Tensor:
        """Return the integers."""
        return q

    def _integers(self, block: Block, x: Tensor, rows: Tensor) -> Tensor:
        return x

    def _bits(self, q: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        return bits_of_residual(q.detach(), rows)


class Prefix(Coder):
    """What another coder says of the first segments, and no more.

    Args:
        coder: who is asked.
        num_segments: how many segments there are.
    """

    def __init__(self, coder: Coder, num_segments: int) -> None:
        self._coder, self._num_segments = coder, num_segments

    def code(self, block: Block, error: Tensor | None, rows: Tensor) -> Tensor | None:
        """Ask, or say that there are no more; see `Coder.code`."""
        if block.segment >= self._num_segments:
            return None
        return self._coder.code(block, error, rows)

    def context(self, q: Tensor) -> Tensor:
        """Ask; see `Coder.context`."""
        return self._coder.context(q)


# ---- coding ----------------------------------------------------------------------------

Observer = Callable[[Block, NDArray[np.int64], NDArray[np.int32]], None]
"""Called with a block, the table rows (n,) of its integers, and them."""


class IntegerCoder(Coder):
    """Integers one by one under integer rows: what files are made of.

    Args:
        tables: of the model.
        rounding: as in `thresholds_of`.
        integers: what to code instead of rounded errors, by the name of a block.
        observe: called with everything that was coded.
    """

    def __init__(
        self,
        tables: Tables,
        *,
        rounding: float = 1.0,
        integers: Mapping[str, NDArray[np.int32]] | None = None,
        observe: Observer | None = None,
    ) -> None:
        self.tables = tables
        self._thresholds = thresholds_of(tables, rounding)
        self._instead = integers or {}
        self._observe = observe

    @abstractmethod
    def exchange(
        self, block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32] | None
    ) -> NDArray[np.int32] | None:
        """Return the integers (n,) that hold, None when there are no more.

        Args:
            block: whose they are.
            indexes: (n,) their table rows.
            q: (n,) those of the encoder, None when decoding.
        """

    def code(self, block: Block, error: Tensor | None, rows: Tensor) -> Tensor | None:
        """Round by cost and exchange; see `Coder.code`."""
        indexes = rows_to_indexes(block.gather(rows))[0]
        q = self._instead.get(block.name)
        if q is None and error is not None:
            x = block.gather(error)[0]
            plain = block.is_plain or block.is_choice
            q = to_integers(
                torch.round(x) if plain else round_by_cost(x, indexes, self._thresholds)
            )
        known_rows = indexes.cpu().numpy()
        answer = self.exchange(block, known_rows, q)
        if answer is None:
            return None
        if block.is_choice and np.any((answer < 0) | (answer > 1)):
            raise CorruptStreamError("a binary choice has another value than 0 or 1")
        if self._observe is not None:
            self._observe(block, known_rows, answer)
        values = torch.from_numpy(answer).to(rows.device).float()[None]
        return block.scatter(values, rows.shape)


class Count(IntegerCoder):
    """The encoder's integers, whose code lengths are summed up.

    Attributes:
        bits: of everything so far.
    """

    bits = 0.0

    def exchange(
        self, block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32] | None
    ) -> NDArray[np.int32] | None:
        """Count and return the encoder's integers."""
        assert q is not None
        self.bits += float(self.tables.code_lengths(q, indexes).sum())
        return q
