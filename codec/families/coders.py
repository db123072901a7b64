"""Who answers for the integers of a walk: training, effort, the encoder, the decoder.

A model walks through its latents once, block by block, and asks a coder for the integers of each.
The encoder's coder rounds what it is shown and sends it, the decoder's reads, that of the training
rounds in a way that has a gradient and counts bits; the model cannot tell them apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.numeric.arrays import Array, gather, scatter
from imgcodec.codec.numeric.rate import rows_to_indexes
from imgcodec.codec.numeric.rounding import (
    THRESHOLD_MAX,
    round_by_cost,
    rounding_thresholds,
    to_integers,
)
from imgcodec.codec.stream.tables import MISSING, Tables

ROUNDING_STRENGTH = 0.6
"""How far the encoder's rounding heeds the bits of the larger integer (0: plain rounding)."""


@lru_cache(maxsize=16)
def thresholds_of(tables: Tables, rounding: float = 1.0) -> NDArray[np.float32]:
    """Return the thresholds of an encoder under tables, for `round_by_cost`.

    Args:
        tables: of the model.
        rounding: factor of the strength that models are trained with, 0 for plain rounding.
    """
    plain = rounding_thresholds(tables.bits(), tables.half_widths, ROUNDING_STRENGTH)
    return np.minimum(0.5 + (plain - 0.5) * rounding, THRESHOLD_MAX)


@dataclass(frozen=True)
class Block:
    """Integers that are coded together, a pass over the latents or a part of one.

    Attributes:
        name: for listings, such as "z" or "y2"; blocks of one name are one pass.
        part: name of the latents to which they belong: those of a walk with the same part make
            up its array.
        mask: bool (C, h, w), where in the array they lie.
        is_choice: they are 0 or 1, under a row of `numeric.choices`.
        is_plain: rounded to the nearest integer, whatever its bits.
        is_partial: what there is of a block, in an observation.
    """

    name: str
    part: str
    mask: Array
    is_choice: bool = False
    is_plain: bool = False
    is_partial: bool = False

    def gather(self, x: Array) -> Array:
        """Return the values (B, n) of the block in an array (B, C, h, w)."""
        return gather(x, self.mask)

    def scatter(self, values: Array, shape: Sequence[int]) -> Array:
        """Return an array of a shape (B, C, h, w) with values (B, n), 0 outside of the block."""
        return scatter(values, self.mask, shape)

    def map(self, values: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return where values (n,) lie on a grid (H, W) over the same area; their sum stays."""
        array = np.zeros(self.mask.shape)
        array[self.mask] = values
        rows, columns = (_shares(*sides) for sides in zip(array.shape[1:], shape, strict=True))
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
    def code(self, block: Block, error: Array | None, rows: Array) -> Array | None:
        """Return the integers of a block, 0 outside of it; None when there are no more.

        Where the last of them belong to a part of a block, the others are 0 as well.

        Args:
            block: what to code.
            error: (B, C, h, w) in quantisation steps, what to round; None when decoding.
            rows: the same shape, real-valued table rows.
        """

    def context(self, q: Array) -> Array:
        """Return integers as the networks of later rows of their part see them."""
        return q


Observer = Callable[[Block, NDArray[np.int64], NDArray[np.int32]], None]
"""Called with a block, the table rows (n,) of its integers, and them."""


class IntegerCoder(Coder):
    """Integers one by one under integer rows, over NumPy: what files are made of.

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
        self._rounding = rounding
        self._instead = integers or {}
        self._observe = observe

    @abstractmethod
    def exchange(
        self, block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32] | None
    ) -> NDArray[np.int32] | None:
        """Return the integers (n,) that hold, some perhaps `MISSING`; None when there are no more.

        Args:
            block: whose they are.
            indexes: (n,) their table rows.
            q: (n,) those of the encoder, None when decoding.
        """

    def code(self, block: Block, error: Array | None, rows: Array) -> Array | None:
        """Round by cost and exchange; see `Coder.code`."""
        indexes = rows_to_indexes(block.gather(rows))[0]
        q = self._instead.get(block.name)
        if q is None and error is not None:
            x = block.gather(error)[0]
            if block.is_plain or block.is_choice:
                q = to_integers(np.rint(x))
            else:
                thresholds = thresholds_of(self.tables, self._rounding)
                q = to_integers(round_by_cost(x, indexes, thresholds))
        known_rows = indexes
        answer = self.exchange(block, known_rows, q)
        if answer is None:
            return None
        known = answer != MISSING
        if not known.all():
            mask = block.mask.copy()
            mask[block.mask] = known
            block = replace(block, mask=mask, is_partial=True)
            known_rows, answer = known_rows[known], answer[known]
        if block.is_choice and np.any((answer < 0) | (answer > 1)):
            raise CorruptStreamError("a binary choice has another value than 0 or 1")
        if self._observe is not None:
            self._observe(block, known_rows, answer)
        return block.scatter(answer.astype(np.float32)[None], rows.shape)


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
