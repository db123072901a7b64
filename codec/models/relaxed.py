"""Coders whose answers have a gradient: for training, and for effort."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imgcodec.codec.families.coders import Block, Coder, thresholds_of
from imgcodec.codec.nets.rate import bits_of_choices, bits_of_integers, bits_of_residual
from imgcodec.codec.numeric.rate import rows_to_indexes
from imgcodec.codec.numeric.rounding import round_by_cost, to_integers
from imgcodec.codec.stream.tables import Tables


class Train(Coder):
    """Integers that would be sent, straight through, and their bits.

    The bits are those of the integers, but their gradient in the latents is that of noisy ones:
    table rows learn from true integers, transforms from a smooth rate.

    Args:
        thresholds: of the encoder whose rounding is to be followed, for `round_by_cost`.
        places: where blocks lie, by name and shape, found by earlier walks and kept by a model
            whose blocks have names of their own: with them no step waits for the device.

    Attributes:
        bits: (B,) by part, of what was coded so far.
    """

    def __init__(self, thresholds: Tensor, places: dict[Any, Tensor] | None = None) -> None:
        self._thresholds = thresholds
        self._places = places
        self.bits: dict[str, Tensor] = {}

    @property
    def total_bits(self) -> Tensor:
        """Bits (B,) of all parts."""
        return torch.stack(list(self.bits.values())).sum(dim=0)

    def code(self, block: Block, error: Tensor | None, rows: Tensor) -> Tensor | None:
        """Round by cost and count; see `Coder.code`."""
        assert error is not None
        if block.is_choice:
            bits = bits_of_choices(error, rows.expand_as(error))
            self._add(block, torch.where(block.mask, bits, 0.0).flatten(1))
            return error
        where = self._where(block)
        x = error.flatten(1).index_select(1, where)
        own_rows = rows.expand_as(error).flatten(1).index_select(1, where)
        q = self._integers(block, x, own_rows)
        self._add(block, self._bits(q, x, own_rows))
        return q.new_zeros(error.shape).flatten(1).index_copy(1, where, q).view(error.shape)

    def _add(self, block: Block, bits: Tensor) -> None:
        """Count bits (B, n) of a block."""
        self.bits[block.part] = self.bits.get(block.part, 0) + bits.sum(dim=1)

    def _where(self, block: Block) -> Tensor:
        """Return where the values of a block lie in flattened latents, (n,)."""
        if self._places is None:
            return block.mask.flatten().nonzero()[:, 0]
        key = (block.name, *block.mask.shape)
        if key not in self._places:
            self._places[key] = block.mask.flatten().nonzero()[:, 0]
        return self._places[key]

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

    Args:
        tables: of the encoder whose rounding is to be followed.
        rounding: as in `thresholds_of`.

    Attributes:
        integers: (1, C, h, w) by part.
        sent: int32 (n,) by the name of a block, what an encoder would send.
    """

    def __init__(self, tables: Tables, rounding: float = 1.0) -> None:
        super().__init__(torch.from_numpy(thresholds_of(tables, rounding)))
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
    """What another coder says of some passes, and no more.

    Args:
        coder: who is asked.
        names: of these passes.
    """

    def __init__(self, coder: Coder, names: Collection[str]) -> None:
        self._coder, self._names = coder, names

    def code(self, block: Block, error: Tensor | None, rows: Tensor) -> Tensor | None:
        """Ask, or say that there are no more; see `Coder.code`."""
        if block.name not in self._names:
            return None
        return self._coder.code(block, error, rows)

    def context(self, q: Tensor) -> Tensor:
        """Ask; see `Coder.context`."""
        return self._coder.context(q)
