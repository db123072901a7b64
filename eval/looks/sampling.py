"""New pictures from a model: drawn from its tables, or moved through its latents.

Nothing here knows a family. Drawing walks as the decoder does, with integers from a
generator of random numbers in place of a stream; what is moved through the latents is rounded and
synthesised as if it had been sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from imgcodec.codec.errors import OptionError
from imgcodec.codec.families.coders import Block, Count, IntegerCoder
from imgcodec.codec.session.tiling import analyse_whole, synthesise
from imgcodec.codec.stream.tables import Tables
from imgcodec.codec.stream.tiles import Tile
from imgcodec.codec.weights.store import LoadedModel

Pixels = NDArray[np.uint8]
Latents = NDArray[np.floating]
PARALLEL = 1e-4
"""Latents with a smaller angle in radians are blended along a line."""


def draw_symbols(
    tables: Tables, indexes: NDArray, rng: np.random.Generator, *, uniform: bool = False
) -> NDArray[np.int32]:
    """Return integers drawn from table rows, never an escape or a value of frequency 1.

    Frequency 1 is the least a table can give: it stands for values that do not occur.

    Args:
        tables: of the model.
        indexes: table row of every symbol, any shape.
        rng: source of randomness.
        uniform: draw each value of a row that may occur with the same probability.
    """
    q = np.empty(indexes.shape, np.int32)
    for row in np.unique(indexes):
        half = int(tables.half_widths[row])
        weights = tables.frequencies[row, : 2 * half + 1] - 1
        if uniform:
            weights = (weights > 0).astype(np.int64)
        places = indexes == row
        values = rng.choice(2 * half + 1, size=int(places.sum()), p=weights / weights.sum())
        q[places] = values - half
    return q


class Draw(IntegerCoder):
    """Integers from a generator of random numbers in place of a stream; see `draw_symbols`."""

    def __init__(self, tables: Tables, rng: np.random.Generator, *, uniform: bool = False) -> None:
        super().__init__(tables)
        self._rng, self._uniform = rng, uniform

    def exchange(
        self, block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32] | None
    ) -> NDArray[np.int32] | None:
        """Return random integers."""
        return draw_symbols(self.tables, indexes, self._rng, uniform=self._uniform)


def draw_picture(
    loaded: LoadedModel,
    size: tuple[int, int],
    quality: int,
    rng: np.random.Generator,
    *,
    uniform: bool = False,
) -> Pixels:
    """Return a new picture (H, W, 3) of integers drawn as `draw_symbols` does.

    Args:
        loaded: model and tables.
        size: (height, width) in pixels.
        quality: 1 to 100: which tables and how many passes.
        rng: source of randomness.
        uniform: see `draw_symbols`.
    """

    stride = loaded.model.stride_px
    shape = (-(-size[0] // stride), -(-size[1] // stride))
    coder = Draw(loaded.tables, rng, uniform=uniform)
    return _synthesise(loaded, loaded.model.code(shape, quality, coder), quality, size)


def latents_of(loaded: LoadedModel, pixels: Pixels, quality: int) -> Latents:
    """Return y (1, M, h, w) of a picture (H, W, 3), before rounding."""
    return analyse_whole(loaded.model, pixels, quality)


def picture_of(loaded: LoadedModel, y: Latents, quality: int, size: tuple[int, int]) -> Pixels:
    """Return the picture (H, W, 3) that a decoder makes of latents (1, M, h, w)."""
    coder = Count(loaded.tables)
    y_hat = loaded.model.code((y.shape[2], y.shape[3]), quality, coder, y)
    return _synthesise(loaded, y_hat, quality, size)


def blend(first: Latents, second: Latents, share: float, *, spherical: bool = False) -> Latents:
    """Return latents between two of equal shape; `share` 0 is the first, 1 the second.

    Spherical: along the great circle through both, as a whole vector, which keeps the length
    typical of a normal prior (White, arXiv 1609.04468).
    """
    linear = (1 - share) * first + share * second
    if not spherical:
        return linear
    a, b = (latents.ravel().astype(np.float64) for latents in (first, second))
    cosine = float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
    angle = math.acos(min(1.0, max(-1.0, cosine)))
    if not PARALLEL < angle < math.pi - PARALLEL:
        return linear
    start, end = math.sin((1 - share) * angle), math.sin(share * angle)
    return (start * first + end * second) / math.sin(angle)


def attribute_vector(
    loaded: LoadedModel, pictures: Iterable[Pixels], has_attribute: Iterable[bool], quality: int
) -> Latents:
    """Return the mean y of pictures with an attribute minus that of pictures without.

    Args:
        loaded: model and tables.
        pictures: (H, W, 3), all of one size.
        has_attribute: one entry for each picture.
        quality: 1 to 100.

    Raises:
        OptionError: the sizes differ, or all pictures have the attribute, or none.
    """
    sums: dict[bool, Latents] = {}
    counts = {True: 0, False: 0}
    for pixels, has in zip(pictures, has_attribute, strict=True):
        y = latents_of(loaded, pixels, quality)
        if any(y.shape != other.shape for other in sums.values()):
            raise OptionError("an attribute needs pictures of one size")
        sums[has] = sums[has] + y if has in sums else y
        counts[has] += 1
    if len(sums) < 2:
        raise OptionError("an attribute needs pictures with it and pictures without it")
    return sums[True] / counts[True] - sums[False] / counts[False]


def training_size(loaded: LoadedModel) -> tuple[int, int]:
    """Return (height, width) of the crops that a model was trained on."""
    with safe_open(loaded.info.path, "numpy") as file:
        recipe = json.loads(file.metadata()["recipe"])
    return recipe["train"]["crop_px"], recipe["train"]["crop_px"]


def _synthesise(loaded: LoadedModel, y_hat: Latents, quality: int, size: tuple[int, int]) -> Pixels:
    height, width = size
    whole = Tile(0, 0, height, width)
    windows = synthesise(loaded.model, y_hat, quality, whole, height, width, max(size))
    return next(windows)[1]
