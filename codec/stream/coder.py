"""Range coding of passes.

A stream carries the passes of one segment of one tile, in order, as a big-endian binary fraction
whose trailing zero bytes are left out. Within a pass the symbols are grouped by table row (rows
descending: wide distributions first, which matter most; raster order within a row), then come the
values of the escapes. What codes the symbols is a backend (`backends.py`). SPEC.md states the
format; `tests/codec/stream/test_coder.py` decodes it with a decoder written from SPEC.md alone.

Source: G. N. N. Martin, "Range encoding", 1979.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.stream.backends import Backend, Model, chosen
from imgcodec.codec.stream.tables import (
    MAX_MAGNITUDE,
    MAX_SUFFIX_BITS,
    MISSING,
    PRECISION_BITS,
    Tables,
)

_Group: TypeAlias = tuple[int, int, int, Model]  # first, last + 1, half width, model


@lru_cache(maxsize=16)
def _row_models(backend: Backend, tables: Tables) -> tuple[Model, ...]:
    return tuple(
        backend.categorical(row[: 2 * half + 2])
        for row, half in zip(tables.frequencies, tables.half_widths, strict=True)
    )


@lru_cache(maxsize=2)
def _escape_models(backend: Backend) -> tuple[Model, Model, tuple[Model, ...]]:
    """Return the models of an escape's suffix length, sign, and suffix of each length >= 1."""
    # P(length = k) = 2**-(k + 1): the unary prefix of an Exp-Golomb code; the last two are equal.
    lengths = np.minimum(np.arange(1, MAX_SUFFIX_BITS + 2), MAX_SUFFIX_BITS)
    suffixes = tuple(backend.uniform(1 << k) for k in range(1, MAX_SUFFIX_BITS + 1))
    return backend.categorical(1 << (PRECISION_BITS - lengths)), backend.uniform(2), suffixes


class PassEncoder:
    """Encodes passes into one stream."""

    def __init__(self, tables: Tables, backend: Backend | None = None) -> None:
        """Start a stream, by default with the backend that is `chosen`."""
        self._tables, self._backend = tables, backend or chosen()
        self._encoder = self._backend.encoder()

    def encode(self, q: NDArray, indexes: NDArray) -> None:
        """Append a pass.

        Args:
            q: Integers of any shape, |q| <= 2**15.
            indexes: Table row of each q, same shape, in [0, num_rows).

        Raises:
            ValueError: Shapes differ, the arrays are not integer, or a value is out of range.
        """
        q = np.asarray(q)
        if q.shape != np.shape(indexes) or q.dtype.kind not in "iu":
            raise ValueError("q must be an integer array of the same shape as indexes")
        if q.size == 0:
            return
        if int(q.max()) > MAX_MAGNITUDE or int(q.min()) < -MAX_MAGNITUDE:
            raise ValueError(f"the coder takes integers of magnitude up to {MAX_MAGNITUDE}")
        order, groups = _grouped(self._backend, self._tables, indexes)
        values = q.ravel().astype(np.int32)[order]
        escaped: list[NDArray[np.int32]] = []
        for first, stop, half, model in groups:
            group = values[first:stop]
            symbols = group + np.int32(half)
            outside = (symbols < 0) | (symbols > 2 * half)
            if outside.any():
                excess = np.abs(group[outside]) - half  # >= 1
                escaped.append(np.where(group[outside] < 0, -excess, excess))
                symbols[outside] = 2 * half + 1
            self._encoder.encode(symbols, model)
        if escaped:
            self._encode_escapes(np.concatenate(escaped))

    def _encode_escapes(self, signed_excess: NDArray[np.int32]) -> None:
        length_model, sign_model, suffix_models = _escape_models(self._backend)
        excess = np.abs(signed_excess).astype(np.int32)
        lengths = (np.frexp(excess.astype(np.float64))[1] - 1).astype(np.int32)
        self._encoder.encode(lengths, length_model)
        self._encoder.encode((signed_excess < 0).astype(np.int32), sign_model)
        for k, model in enumerate(suffix_models, 1):
            group = excess[lengths == k]
            if group.size:
                self._encoder.encode(group - np.int32(1 << k), model)

    def to_bytes(self) -> bytes:
        """Return the stream of all passes so far: the shortest bytes that decode to them."""
        # The decoder reads zeros past the end: take the point with the fewest bytes before them.
        head, lower, top = self._encoder.end()
        for num_bytes in range(9):
            unit = 64 - 8 * num_bytes
            point = -(-lower >> unit)
            if point << unit < top:
                break
        return (head + point.to_bytes(num_bytes, "big")).rstrip(b"\0")


class PassDecoder:
    """Decodes passes from one stream, in the order in which they were encoded.

    A stream that is damaged decodes to other integers or raises; only the container's CRC tells
    the two apart. Time and memory depend on the number of symbols asked for, not on the data.
    """

    def __init__(self, tables: Tables, data: bytes, backend: Backend | None = None) -> None:
        """Start decoding, by default with the backend that is `chosen`.

        Raises:
            CorruptStreamError: The data end in a zero byte, which no encoder writes.
        """
        if data.endswith(b"\0"):
            raise CorruptStreamError("entropy-coded data end in a superfluous zero byte")
        self._tables, self._backend = tables, backend or chosen()
        self._decoder = self._backend.decoder(data)

    def decode(self, indexes: NDArray) -> NDArray[np.int32]:
        """Decode a pass.

        Args:
            indexes: Table row of each integer, any shape, in [0, num_rows).

        Returns:
            int32 array of the same shape.

        Raises:
            CorruptStreamError: The data are invalid under these tables.
            ValueError: `indexes` is not an integer array or out of range.
        """
        indexes = np.asarray(indexes)
        order, groups = _grouped(self._backend, self._tables, indexes)
        values = np.empty(indexes.size, np.int32)
        escapes = _Escapes()
        for first, stop, half, model in groups:
            symbols = self.symbols(model, stop - first)
            values[first:stop] = escapes.sort_out(symbols, first, half)
        if escapes:
            values[escapes.places] = self.escapes(escapes.halves)
        result = np.empty_like(values)
        result[order] = values
        return result.reshape(indexes.shape)

    def symbols(self, model: Model, num: int) -> NDArray[np.int32]:
        """Return the next symbols, all of one model."""
        return self._decoder.decode(model, num)

    def escapes(self, halves: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the integers that follow as escapes, from the half widths of their rows."""
        length_model, sign_model, suffix_models = _escape_models(self._backend)
        lengths = self.symbols(length_model, halves.size)
        negative = self.symbols(sign_model, halves.size) == 1
        magnitudes = halves + (np.int32(1) << lengths)
        for k, model in enumerate(suffix_models, 1):
            group = lengths == k
            num = int(group.sum())
            if num:
                magnitudes[group] += self.symbols(model, num)
        if magnitudes.max() > MAX_MAGNITUDE:
            raise CorruptStreamError("an escaped integer is out of range")
        return np.where(negative, -magnitudes, magnitudes)


class _Escapes:
    """Which symbols of a pass are escapes."""

    def __init__(self) -> None:
        self._places: list[NDArray[np.intp]] = []
        self._halves: list[NDArray[np.int32]] = []

    def sort_out(self, symbols: NDArray[np.int32], first: int, half: int) -> NDArray[np.int32]:
        """Return the integers of symbols of one row, and remember which are escapes."""
        outside = np.flatnonzero(symbols > 2 * half)
        if outside.size:
            self._places.append(outside + first)
            self._halves.append(np.full(outside.size, half, np.int32))
        return symbols - np.int32(half)

    def __bool__(self) -> bool:
        return bool(self._places)

    @property
    def places(self) -> NDArray[np.intp]:
        """Where they are."""
        return np.concatenate(self._places)

    @property
    def halves(self) -> NDArray[np.int32]:
        """Half widths of their rows."""
        return np.concatenate(self._halves)


class PrefixDecoder:
    """Decodes what of a stream its first bytes settle.

    The whole stream lies between its beginning followed by zeros and its beginning followed by
    ones, and between two numbers that decode to the same symbols every number does. So symbols
    are settled as long as both ends of the range decode to the same.
    """

    def __init__(
        self, tables: Tables, data: bytes, missing_bytes: int, backend: Backend | None = None
    ) -> None:
        """Start decoding.

        Args:
            tables: as for `PassDecoder`.
            data: Beginning of the stream.
            missing_bytes: How many bytes of it follow that are not there.
            backend: as for `PassDecoder`.
        """
        self._tables, self._backend, self._is_over = tables, backend or chosen(), False
        # While both ends decode alike they differ by less than the range, which is refilled when
        # it falls below 2**32: no more than 8 bytes beyond the beginning are ever looked at.
        ends = (data, data + b"\xff" * min(missing_bytes, 8))
        self._decoders = [PassDecoder(tables, end.rstrip(b"\0"), self._backend) for end in ends]

    def decode(self, indexes: NDArray) -> NDArray[np.int32] | None:
        """Decode a pass as `PassDecoder.decode`, `MISSING` where it hangs on missing bytes.

        None where all of it does. After the first missing integer there are no more.
        """
        if self._is_over:
            return None
        order, groups = _grouped(self._backend, self._tables, indexes)
        values = np.full(np.size(indexes), MISSING, np.int32)
        escapes = _Escapes()
        for first, stop, half, model in groups:
            symbols = self._settled(partial(PassDecoder.symbols, model=model, num=stop - first))
            values[first : first + len(symbols)] = escapes.sort_out(symbols, first, half)
        if escapes:
            settled = self._settled(lambda decoder: decoder.escapes(escapes.halves))
            values[escapes.places] = settled if len(settled) == len(escapes.places) else MISSING
        if values.size and (values == MISSING).all():
            return None
        result = np.empty_like(values)
        result[order] = values
        return result.reshape(np.shape(indexes))

    def _settled(self, decode: Callable[[PassDecoder], NDArray[np.int32]]) -> NDArray[np.int32]:
        """Return the beginning in which both ends decode to the same."""
        if self._is_over:
            return np.empty(0, np.int32)
        try:
            one, other = (decode(decoder) for decoder in self._decoders)
        except CorruptStreamError:
            one, other = np.empty((2, 0), np.int32)
            self._is_over = True
        differences = np.flatnonzero(one != other)
        if differences.size:
            self._is_over = True
            return one[: differences[0]]
        return one


def _grouped(
    backend: Backend, tables: Tables, indexes: NDArray
) -> tuple[NDArray[np.intp], Iterator[_Group]]:
    """Return the stable order of `indexes`, largest first, and the groups of equal row in it."""
    indexes = np.asarray(indexes)
    if indexes.dtype.kind not in "iu":
        raise ValueError("indexes must be an integer array")
    if indexes.size and not (indexes.min() >= 0 and indexes.max() < tables.num_rows):
        raise ValueError(f"indexes must be in [0, {tables.num_rows})")
    last = tables.num_rows - 1
    reversed_rows = (last - indexes.ravel()).astype(np.uint16)  # numpy sorts these by radix
    stops = np.cumsum(np.bincount(reversed_rows, minlength=tables.num_rows))
    starts = stops - np.diff(stops, prepend=0)
    models = _row_models(backend, tables)
    groups = (
        (int(starts[k]), int(stops[k]), int(tables.half_widths[last - k]), models[last - k])
        for k in np.flatnonzero(stops > starts)
    )
    return np.argsort(reversed_rows, kind="stable"), groups
