"""Integer frequency tables: the only probabilities that the entropy coder knows.

A table row gives every integer q in [-h, h] a frequency and keeps one more, the escape, for
everything beyond. All frequencies of a row sum to 2**24, the precision of the range coder. Floats
appear only where tables are made (`gaussian`, `from_histograms`) or measured (`bits`); the integers
travel in the weights file, so encoder and decoder never compute a probability.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRECISION_BITS = 24
TOTAL = 1 << PRECISION_BITS
MAX_MAGNITUDE = 1 << 15  # largest |q| that can be coded
MISSING = -(1 << 31)  # in place of an integer that the beginning of a stream does not tell
MAX_SUFFIX_BITS = 15  # an escape's excess + 1 is at most 2**15
MAX_HALF_WIDTH = MAX_MAGNITUDE - 2  # fits int16, and every escape has a value left to name
MAX_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class Tables:
    """Frequencies of the symbols of every table row.

    Row r codes q in [-h_r, h_r] as symbol q + h_r; symbol 2 * h_r + 1 is the escape.

    Attributes:
        frequencies: int64 (num_rows, num_symbols). The first 2 * h_r + 2 entries of row r are at
            least 1 and sum to 2**24; the others are 0.
        half_widths: int64 (num_rows,), each in [0, (num_symbols - 2) // 2].

    Raises:
        ValueError: The arrays break one of these rules.
    """

    frequencies: NDArray[np.int64]
    half_widths: NDArray[np.int64]

    def __post_init__(self) -> None:
        frequencies = _frozen_integers(self.frequencies, "frequencies", 2)
        half_widths = _frozen_integers(self.half_widths, "half_widths", 1)
        object.__setattr__(self, "frequencies", frequencies)
        object.__setattr__(self, "half_widths", half_widths)
        num_rows, num_symbols = frequencies.shape
        if not 1 <= num_rows <= MAX_ROWS or half_widths.shape != (num_rows,):
            raise ValueError(
                f"tables need 1 to {MAX_ROWS} rows with one half width each, "
                f"got {num_rows} rows and {half_widths.shape} half widths"
            )
        widest = min((num_symbols - 2) // 2, MAX_HALF_WIDTH)
        if half_widths.min() < 0 or half_widths.max() > widest:
            raise ValueError(f"half widths must be in [0, {widest}] for {num_symbols} symbols")
        used = self._used()
        if np.any(frequencies[used] < 1) or np.any(frequencies[~used] != 0):
            raise ValueError("used frequencies must be at least 1 and unused ones 0")
        if np.any(frequencies > TOTAL) or np.any(frequencies.sum(axis=1) != TOTAL):
            raise ValueError(f"the frequencies of every row must sum to {TOTAL}")

    @property
    def num_rows(self) -> int:
        """Number of rows R; `indexes` are in [0, R)."""
        return self.frequencies.shape[0]

    @property
    def num_symbols(self) -> int:
        """Width S of the arrays: symbols of the widest row, its escape included."""
        return self.frequencies.shape[1]

    @classmethod
    def gaussian(
        cls, scales: ArrayLike, *, tail_mass: float = 2.0**-16, max_half_width: int = 511
    ) -> Tables:
        """Make a row for each zero-mean normal distribution, integrated over unit bins.

        Uses float maths: call it when a model is exported, never when a stream is coded.

        Args:
            scales: (R,) positive standard deviations.
            tail_mass: Probability that a row leaves to its escape at most, where
                `max_half_width` allows it.
            max_half_width: Largest half width; the smallest is 1.

        Raises:
            ValueError: A scale, `tail_mass` or `max_half_width` is out of range.
        """
        scales = np.atleast_1d(np.asarray(scales, np.float64))
        if scales.ndim != 1 or not np.all(np.isfinite(scales) & (scales > 0)):
            raise ValueError("scales must be a vector of positive finite numbers")
        if not 0 < tail_mass < 1 or not 1 <= max_half_width <= MAX_HALF_WIDTH:
            raise ValueError("tail_mass must be in (0, 1), max_half_width in [1, 32766]")
        edges = np.arange(max_half_width + 1) + 0.5
        # tails[r, k] = P(|q| > k)
        tails = np.vectorize(math.erfc)(edges / (scales[:, None] * math.sqrt(2)))
        half_widths = np.clip((tails > tail_mass).sum(axis=1), 1, max_half_width)
        probabilities = np.zeros((len(scales), 2 * int(half_widths.max()) + 2))
        for row, (half, tail) in enumerate(zip(half_widths, tails, strict=True)):
            one_side = (tail[:half] - tail[1 : half + 1]) / 2
            probabilities[row, : 2 * half + 2] = np.concatenate(
                (one_side[::-1], [1 - tail[0]], one_side, [tail[half]])
            )
        return cls(_quantise(probabilities, half_widths), half_widths)

    @classmethod
    def from_histograms(cls, counts: ArrayLike, prior: Tables, strength: float) -> Tables:
        """Make measured tables: counts smoothed with `strength` pseudo-counts drawn from `prior`.

        Rows that were never seen keep the prior's frequencies exactly.

        Args:
            counts: (R, S) non-negative counts of symbols, as `prior.count` returns them.
            prior: Tables of the same shape; gives the half widths.
            strength: Weight of the prior in symbols, positive.

        Raises:
            ValueError: Shapes differ, a count is negative or in an unused entry, or
                `strength` is not positive.
        """
        counts = np.asarray(counts, np.float64)
        if counts.shape != prior.frequencies.shape:
            raise ValueError(f"counts {counts.shape} do not match {prior.frequencies.shape}")
        if not np.all(np.isfinite(counts) & (counts >= 0)) or np.any(counts[~prior._used()] != 0):
            raise ValueError("counts must be finite, not negative, and 0 in unused entries")
        if not (math.isfinite(strength) and strength > 0):
            raise ValueError("strength must be positive")
        totals = counts.sum(axis=1, keepdims=True)
        mixed = (counts + prior.frequencies * (strength / TOTAL)) / (totals + strength)
        measured = _quantise(mixed, prior.half_widths)
        return cls(np.where(totals > 0, measured, prior.frequencies), prior.half_widths)

    def symbols(self, q: ArrayLike, indexes: ArrayLike) -> NDArray[np.int64]:
        """Return the symbol of each q in its row, the escape symbol where |q| exceeds h.

        Args:
            q: Integers of any shape.
            indexes: Row of each q, same shape.
        """
        q = np.asarray(q, np.int64)
        half = self.half_widths[np.asarray(indexes)]
        return np.where(np.abs(q) <= half, q + half, 2 * half + 1)

    def count(self, q: ArrayLike, indexes: ArrayLike) -> NDArray[np.int64]:
        """Return the histogram (R, S) of the symbols of q, for `from_histograms`."""
        flat = np.asarray(indexes, np.int64) * self.num_symbols + self.symbols(q, indexes)
        counts = np.bincount(flat.ravel(), minlength=self.frequencies.size)
        return counts.reshape(self.frequencies.shape)

    def bits(self) -> NDArray[np.float64]:
        """Return the code length (R, S) of every symbol in bits; infinite where it is unused.

        The length of an escape does not include the suffix that names its value.
        """
        with np.errstate(divide="ignore"):
            return PRECISION_BITS - np.log2(self.frequencies)

    def code_lengths(self, q: ArrayLike, indexes: ArrayLike) -> NDArray[np.float64]:
        """Return the ideal length in bits of every q, escape suffixes included.

        An estimate: the range coder adds some 1e-5 bits a symbol and under two bytes a stream.

        Args:
            q: Integers of any shape, |q| <= 2**15.
            indexes: Row of each q, same shape.
        """
        q = np.asarray(q, np.int64)
        indexes = np.asarray(indexes, np.int64)
        lengths = self.bits()[indexes, self.symbols(q, indexes)]
        excess = np.abs(q) - self.half_widths[indexes]  # >= 1 where it escapes
        suffix_bits = np.frexp(np.maximum(excess, 1).astype(np.float64))[1] - 1
        prefix_bits = np.minimum(suffix_bits + 1, MAX_SUFFIX_BITS)
        return lengths + np.where(excess > 0, prefix_bits + 1 + suffix_bits, 0)

    def to_arrays(self) -> dict[str, NDArray]:
        """Return the tables as {"frequencies": uint32 (R, S), "half_widths": int16 (R,)}."""
        return {
            "frequencies": self.frequencies.astype(np.uint32),
            "half_widths": self.half_widths.astype(np.int16),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, ArrayLike]) -> Tables:
        """Rebuild tables from `to_arrays` output; other keys are ignored.

        Raises:
            ValueError: An array is missing or not integer, or the tables are inconsistent.
        """
        missing = {"frequencies", "half_widths"} - set(arrays)
        if missing:
            raise ValueError(f"tables lack the arrays {sorted(missing)}")
        return cls(np.asarray(arrays["frequencies"]), np.asarray(arrays["half_widths"]))

    def _used(self) -> NDArray[np.bool_]:
        return np.arange(self.num_symbols) < 2 * self.half_widths[:, None] + 2


def _frozen_integers(array: ArrayLike, name: str, ndim: int) -> NDArray[np.int64]:
    array = np.asarray(array)
    if array.dtype.kind not in "iu" or array.ndim != ndim:
        raise ValueError(f"{name} must be a {ndim}-dimensional integer array")
    array = array.astype(np.int64)
    array.flags.writeable = False
    return array


def _quantise(probabilities: NDArray[np.float64], half_widths: NDArray) -> NDArray[np.int64]:
    """Round rows of probabilities (R, S) to frequencies >= 1 that sum to 2**24."""
    num_used = 2 * np.asarray(half_widths, np.int64)[:, None] + 2
    used = np.arange(probabilities.shape[1]) < num_used
    shares = probabilities * used / (probabilities * used).sum(axis=1, keepdims=True)
    frequencies = np.where(used, 1 + np.floor(shares * (TOTAL - num_used)), 0).astype(np.int64)
    # What flooring left over (fewer than S of 2**24) goes to the likeliest symbol.
    likeliest = frequencies.argmax(axis=1)
    rows = np.arange(len(frequencies))
    frequencies[rows, likeliest] += TOTAL - frequencies.sum(axis=1)
    return frequencies
