"""Coders that remember what was coded and send it again, and sums in another order."""

from __future__ import annotations

import numpy as np
import torch

from imgcodec.codec.models.coders import Block, Count, IntegerCoder
from imgcodec.codec.nets.exact import ExactArithmetic


class Record(Count):
    """The encoder's integers, remembered.

    Attributes:
        sent: block, table rows and integers, in order.
    """

    def __init__(self, tables, **options) -> None:
        super().__init__(tables, **options)
        self.sent: list[tuple[Block, np.ndarray, np.ndarray]] = []

    def exchange(self, block, indexes, q):
        assert q.shape == indexes.shape == (int(block.mask.sum()),)
        self.sent.append((block, indexes, q))
        return super().exchange(block, indexes, q)


class Repeat(IntegerCoder):
    """What was remembered, to a decoder that has to ask for it in the same way."""

    def __init__(self, recorded: Record, num_blocks: int | None = None) -> None:
        super().__init__(recorded.tables)
        self.left = list(recorded.sent[:num_blocks])

    def exchange(self, block, indexes, q):
        assert q is None
        if not self.left:
            return None
        expected, rows, values = self.left.pop(0)
        assert block.name == expected.name
        np.testing.assert_array_equal(indexes, rows)
        return values


class Shuffled(ExactArithmetic):
    """Exact arithmetic whose sums run in another order.

    Attributes:
        calls: number of layers so far.
    """

    def __init__(self) -> None:
        self.calls = 0
        self._generator = torch.Generator().manual_seed(4)

    def pointwise(self, x, weight, bias):
        self.calls += 1
        order = torch.randperm(x.shape[1], generator=self._generator)
        return super().pointwise(x[:, order], weight[:, order], bias)

    def depthwise(self, x, weight, bias):
        self.calls += 1
        return super().depthwise(x.flip(2, 3), weight.flip(2, 3), bias).flip(2, 3)
