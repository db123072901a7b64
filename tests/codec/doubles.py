"""Coders that remember what was coded and send it again, and sums in another order."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from imgcodec.codec.families.coders import Block, Count, IntegerCoder
from imgcodec.codec.numeric.exact import ExactArithmetic


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
        self._generator = np.random.default_rng(4)

    def pointwise(self, x, layer, onto=None):
        self.calls += 1
        order = self._generator.permutation(x.shape[1])
        permuted = SimpleNamespace(weight=layer.weight[:, order], bias=layer.bias)
        return super().pointwise(x[:, order], permuted, onto)

    def depthwise(self, x, layer):
        self.calls += 1
        flipped = SimpleNamespace(weight=layer.weight[:, :, ::-1, ::-1], bias=layer.bias)
        return super().depthwise(x[:, :, ::-1, ::-1], flipped)[:, :, ::-1, ::-1]
