"""The range coder of constriction: the only module that knows that library.

Source: constriction's queue coder (R. Bamler, arXiv:2201.01741) with 32-bit words, 64-bit state and
24-bit probabilities.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import constriction
import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import CorruptStreamError

Model: TypeAlias = Any  # constriction carries no types: Categorical or Uniform


def categorical(frequencies: NDArray[np.int64]) -> Model:
    """Return a model with exactly these frequencies, which must sum to 2**24.

    constriction computes cdf_i = floor(sum_{j<i} p_j * (2**24 - n) / sum_j p_j) + i. With
    p = frequencies - 1 the factor is exactly 1, so its cdf is the running sum of `frequencies`.
    """
    probabilities = (frequencies - 1).astype(np.float64)
    return constriction.stream.model.Categorical(probabilities, lazy=False, perfect=False)


def uniform(num_symbols: int) -> Model:
    """Return a model of equally likely symbols, whose number is a power of two."""
    return constriction.stream.model.Uniform(num_symbols)


class Encoder:
    """Writes symbols."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols: NDArray[np.int32], model: Model) -> None:
        """Append symbols of one model, each in [0, number of its symbols)."""
        self._coder.encode(symbols, model)

    def end(self) -> tuple[bytes, int, int]:
        """Return how the stream may end, see `backends.Encoder`."""
        num_words, (lower, span) = self._coder.pos()
        # Sealing settles the carry into the first `num_words` words.
        head = self._coder.get_compressed()[:num_words].astype(">u4").tobytes()
        top = lower + span
        if lower + (1 << 32) > 1 << 64:  # sealing carried
            return head, 0, top - (1 << 64)
        return head, lower, min(top, 1 << 64)


class Decoder:
    """Reads symbols."""

    def __init__(self, data: bytes) -> None:
        """Start at the first byte; zeros follow the last."""
        words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").astype(np.uint32)
        self._coder = constriction.stream.queue.RangeDecoder(words)

    def decode(self, model: Model, num: int) -> NDArray[np.int32]:
        """Return the next symbols, all of one model.

        Raises:
            CorruptStreamError: The data are invalid.
        """
        try:
            return self._coder.decode(model, num)
        except AssertionError as error:  # constriction's InvalidData
            raise CorruptStreamError("entropy-coded data are invalid") from error
