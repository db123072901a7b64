"""The range coder in plain Python, for platforms without constriction: same bytes, same integers.

Every symbol needs what the one before it left behind, so arrays do not help: symbols go through one
loop over integers of 64 bits. SPEC.md 2.2 and 2.3 state what it does.

It encodes 5 and decodes 3.5 million symbols a second where constriction encodes 27 and decodes 21
(``python -m tests.codec.stream.speed``, one core, CPython 3.11). A picture of 768 x 512 pixels in
beta-base-5 has half a million symbols.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.stream.tables import PRECISION_BITS, TOTAL

_WORD_BITS = 32
_WORD = 1 << _WORD_BITS
_STATE = 1 << 2 * _WORD_BITS


@dataclass(frozen=True)
class Model:
    """Frequencies that sum to 2**24, as lists since indexing those is faster than arrays.

    Attributes:
        starts: Where each symbol begins among the 2**24.
        sizes: Frequency of each symbol.
        stops: Where each symbol ends.
        likeliest: A symbol of the largest frequency.
    """

    starts: Sequence[int]
    sizes: Sequence[int]
    stops: Sequence[int]
    likeliest: int


def categorical(frequencies: NDArray[np.int64]) -> Model:
    """Return a model with exactly these frequencies, which must sum to 2**24."""
    stops = np.cumsum(frequencies)
    starts = stops - frequencies
    likeliest = int(frequencies.argmax())
    return Model(starts.tolist(), frequencies.tolist(), stops.tolist(), likeliest)


def uniform(num_symbols: int) -> Model:
    """Return a model of equally likely symbols, whose number is a power of two."""
    size = TOTAL // num_symbols
    stops = range(size, TOTAL + 1, size)
    return Model(range(0, TOTAL, size), [size] * num_symbols, stops, 0)


class Encoder:
    """Writes symbols.

    The stream so far is the words, read as digits of base 2**32, and `lower` in the two places that
    follow them. Carries wait: a word may reach 2**32, `lower` may reach 2**64, but no more than
    once, since the range that is left lies within every earlier one.
    """

    def __init__(self) -> None:
        self._words: list[int] = []
        self._lower, self._span = 0, _STATE - 1

    def encode(self, symbols: NDArray[np.int32], model: Model) -> None:
        """Append symbols of one model, each in [0, number of its symbols)."""
        precision, word_bits, word, last = PRECISION_BITS, _WORD_BITS, _WORD, _WORD - 1
        starts, sizes, write = model.starts, model.sizes, self._words.append
        lower, span = self._lower, self._span
        for symbol in symbols.tolist():
            scale = span >> precision
            lower += scale * starts[symbol]
            span = scale * sizes[symbol]
            if span < word:
                write(lower >> word_bits)
                lower = (lower & last) << word_bits
                span <<= word_bits
        self._lower, self._span = lower, span

    def end(self) -> tuple[bytes, int, int]:
        """Return how the stream may end, see `backends.Encoder`."""
        carry, lower = divmod(self._lower, _STATE)
        top = lower + self._span
        if lower + _WORD > _STATE:
            carry, lower, top = carry + 1, 0, top - _STATE
        settled = np.empty(len(self._words), ">u4")
        for place in range(len(self._words) - 1, -1, -1):
            carry, settled[place] = divmod(self._words[place] + carry, _WORD)
        return settled.tobytes(), lower, min(top, _STATE)


class Decoder:
    """Reads symbols."""

    def __init__(self, data: bytes) -> None:
        """Start at the first byte; zeros follow the last."""
        padded = data + bytes(-len(data) % 4)
        self._words = iter(np.frombuffer(padded, ">u4").tolist())
        self._point = next(self._words, 0) << _WORD_BITS | next(self._words, 0)
        self._span = _STATE - 1

    def decode(self, model: Model, num: int) -> NDArray[np.int32]:
        """Return the next symbols, all of one model.

        Raises:
            CorruptStreamError: The data are invalid.
        """
        search = self._search if model.sizes[model.likeliest] < TOTAL // 2 else self._try_likeliest
        try:
            return np.array(search(model, num), np.int32)
        except IndexError as error:  # no symbol lies there: `bisect_right` gave one too many
            raise CorruptStreamError("entropy-coded data are invalid") from error

    def _search(self, model: Model, num: int) -> list[int]:
        precision, word_bits, word = PRECISION_BITS, _WORD_BITS, _WORD
        starts, sizes, stops, words = model.starts, model.sizes, model.stops, self._words
        point, span = self._point, self._span
        symbols = []
        for _ in range(num):
            scale = span >> precision
            symbol = bisect_right(stops, point // scale)
            point -= scale * starts[symbol]
            span = scale * sizes[symbol]
            symbols.append(symbol)
            if span < word:
                span <<= word_bits
                point = point << word_bits | next(words, 0)
        self._point, self._span = point, span
        return symbols

    def _try_likeliest(self, model: Model, num: int) -> list[int]:
        """Do as `_search`, without division and search where the likeliest symbol comes."""
        precision, word_bits, word = PRECISION_BITS, _WORD_BITS, _WORD
        starts, sizes, stops, words = model.starts, model.sizes, model.stops, self._words
        point, span = self._point, self._span
        start, size = starts[model.likeliest], sizes[model.likeliest]
        symbols = [model.likeliest] * num
        for place in range(num):
            scale = span >> precision
            beyond = point - scale * start
            span = scale * size
            if 0 <= beyond < span:
                point = beyond
            else:
                symbol = bisect_right(stops, point // scale)
                point -= scale * starts[symbol]
                span = scale * sizes[symbol]
                symbols[place] = symbol
            if span < word:
                span <<= word_bits
                point = point << word_bits | next(words, 0)
        self._point, self._span = point, span
        return symbols
