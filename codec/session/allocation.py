"""Which levels of a file get the bits: the encoder's choice, which the first pass carries."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.base import ALLOCATION_UNIT, CodecModel
from imgcodec.codec.families.coders import Count
from imgcodec.codec.options import AUTO, EQUAL, PRESETS, LevelBits, parse_level_bits
from imgcodec.codec.session.tiling import to_pixels
from imgcodec.codec.weights.store import LoadedModel

MAX_TRIALS = 10
STEPS = (2, 1)


def allocation_of(model: CodecModel, level_bits: LevelBits) -> tuple[int, ...] | None:
    """Return the integers that `CodecModel.code` takes, None where each tile has to find them.

    Raises:
        OptionError: the model has no levels, or another number of them.
    """
    bits, size = parse_level_bits(level_bits), model.allocation_size
    if bits == EQUAL:
        return ()
    if not size:
        raise OptionError(f"{model.family} has no levels to allocate bits to: level bits are equal")
    if bits == AUTO:
        return None
    if isinstance(bits, str):
        bits = (PRESETS[bits],) * size
    if len(bits) != size:
        raise OptionError(f"{model.family} takes {size} level bits, not {len(bits)}")
    # Squared steps are as lambda is, so half its logarithm is bits per sample.
    lower, upper = model.lambdas(np.array([0.0, ALLOCATION_UNIT]))
    unit_bits = math.log2(upper / lower) / 2
    limit = math.ceil(model.max_level / ALLOCATION_UNIT)  # further is the end of the axis as well
    return tuple(max(-limit, min(limit, round(b / unit_bits))) for b in bits)


def find_allocation(
    loaded: LoadedModel,
    y: NDArray[np.float32],
    pixels: NDArray[np.uint8],
    quality: int,
    *,
    rounding: float = 1.0,
) -> tuple[int, ...]:
    """Return the cheapest allocation that a short search finds for a tile; zeros are tried first.

    The search goes up and down one level at a time, in large steps, then in small ones.

    Args:
        loaded: model and tables.
        y: (1, M, h, w) latents of the tile.
        pixels: (H, W, 3) what of the tile lies inside the picture.
        quality: 1 to 100.
        rounding: as in `thresholds_of`.
    """
    best = (0,) * loaded.model.allocation_size
    costs: dict[tuple[int, ...], float] = {}

    def cost(allocation: tuple[int, ...]) -> float:
        if allocation not in costs:
            if len(costs) == MAX_TRIALS:
                return math.inf
            costs[allocation] = tile_cost(loaded, y, pixels, quality, allocation, rounding=rounding)
        return costs[allocation]

    for step in STEPS:
        start = None
        while start != best:
            start = best
            for level in range(len(best)):
                for change in (step, -step):
                    trial = (*best[:level], best[level] + change, *best[level + 1 :])
                    best = min(best, trial, key=cost)
    return best


def tile_cost(
    loaded: LoadedModel,
    y: NDArray[np.float32],
    pixels: NDArray[np.uint8],
    quality: int,
    allocation: Sequence[int] = (),
    *,
    rounding: float = 1.0,
) -> float:
    """Return bits + lambda * squared error of a tile, what training minimises, in bits.

    The bits are code lengths of the integers that would be sent; the error is that of the pixels
    that a decoder would show if the tile were all of the picture. Arguments as in
    `find_allocation`.
    """
    model = loaded.model
    shape = (y.shape[2], y.shape[3])
    coder = Count(loaded.tables, rounding=rounding)
    y_hat = model.code(shape, quality, coder, y, allocation=allocation)
    x_hat = model.synthesis(y_hat, quality)[:, :, : pixels.shape[0], : pixels.shape[1]]
    error = to_pixels(x_hat).astype(np.float64) - pixels
    # lambda weighs the mean over the three channels of the squared error in grey levels.
    squared = float(np.square(error).sum()) / error.shape[2]
    return coder.bits + rate_weight(model, quality) * squared


def rate_weight(model: CodecModel, quality: int) -> float:
    """Return lambda of a quality, the bits that a squared grey level is worth."""
    return float(model.lambdas(np.array([model.level_of(quality)], np.float32))[0])
