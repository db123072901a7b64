"""Which blocks the encoder stores exactly (no part of the format).

A block is a candidate where it looks drawn rather than taken: most of its samples equal a
neighbour, and among the blocks around it are some of high contrast on a ground of one colour. For
candidates both prices are measured, in bits: what lossless coding takes, and what the model takes
plus lambda times the squared error that it leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcodec.codec.errors import OptionError
from imgcodec.codec.options import EXACT_ALL, EXACT_AUTO, EXACT_CHOICES
from imgcodec.codec.picture.exact import (
    BLOCK_PX,
    ExactBlocks,
    block_grid,
    encode_exact,
    lossless_webp,
)
from imgcodec.codec.session.measure import measure_tile
from imgcodec.codec.stream.tiles import Tile, tile_grid
from imgcodec.codec.weights.store import LoadedModel

FLAT_SHARE = 0.5
"""Share of the samples of a candidate that equal the one above or to the left."""
GROUND_SHARE, SURE_CONTRAST = 0.5, 128
"""What is drawn for sure: so much of the block has one colour, and the rest contrasts with it."""
MIN_SURE_BLOCKS = 4
"""Fewer connected blocks of sure graphics are a bright window in a photograph."""
PALETTE_COLOURS = 64
"""A picture of so few colours is drawn, or a scan of one bit."""
PRICE_MARGIN = 0.8
"""Exact blocks must be cheaper by this factor: the model pays for the edges of what they leave."""
WEBP_OVERHEAD_BYTES = 26
"""Of a lossless WebP file of one block of one colour."""
BEST_TO_FAST = 0.5
"""Lossless coding at its best makes files at least this large, relative to those it makes fast."""


class ExactChooser:
    """Chooses the exact blocks of one picture at any quality.

    Args:
        pixels: uint8 (H, W, 3).
        choice: "auto", "none" or "all".
        is_best: code photographs without loss as well as possible too, slowly.

    Raises:
        OptionError: an unknown choice.
    """

    def __init__(self, pixels: NDArray[np.uint8], choice: str, *, is_best: bool = False) -> None:
        if choice not in EXACT_CHOICES:
            raise OptionError(f"exact must be one of {', '.join(EXACT_CHOICES)}, not {choice!r}")
        self._pixels, self._choice, self._is_best = pixels, choice, is_best
        self._grid = block_grid(*pixels.shape[:2])
        self._payloads: dict[bytes, bytes] = {}

    @property
    def everything(self) -> bytes:
        """The payload of an exact chunk that holds the whole picture."""
        return self.encode(np.ones(self._grid, np.bool_))

    def choose(
        self, loaded: LoadedModel, quality: int, tile_px: int
    ) -> tuple[NDArray[np.bool_], bytes] | None:
        """Return the mask of the exact blocks and the payload of their chunk, or None.

        Args:
            loaded: model and tables.
            quality: 1 to 100.
            tile_px: side of the tiles of the file.
        """
        if self._choice == EXACT_ALL:
            return np.ones(self._grid, np.bool_), self.everything
        is_auto = self._choice == EXACT_AUTO and loaded.model.can_price_errors
        if not is_auto or not self._candidates.any():
            return None
        model_prices = self._model_prices(loaded, quality, tile_px)
        mask = self._candidates & (self._exact_bits <= PRICE_MARGIN * model_prices)
        if not mask.any():
            return None
        fast = encode_exact(ExactBlocks(mask, self._pixels))
        if 8 * len(fast) > PRICE_MARGIN * model_prices[mask].sum():
            return None
        return mask, self.encode(mask)

    def rank(
        self, decoded: NDArray[np.uint8], mask: NDArray[np.bool_] | None
    ) -> list[tuple[int, int]]:
        """Return the row and column of blocks that are not exact yet, the most rewarding first.

        They are those with the largest squared error for each byte that lossless coding takes.

        Args:
            decoded: the picture of a file, uint8 (H, W, 3).
            mask: its exact blocks, None where it has none.
        """
        rest = np.ones(self._grid, np.bool_) if mask is None else ~mask
        error = np.square(decoded.astype(np.int32) - self._pixels).mean(axis=2)
        gains = _mean_of_blocks(error) / np.maximum(self._bytes_alone(rest), 1)
        places = [(int(row), int(column)) for row, column in np.argwhere(rest)]
        return sorted(places, key=lambda place: -gains[place])

    def encode(self, mask: NDArray[np.bool_]) -> bytes:
        """Return the payload of the chunk of the exact blocks of a mask.

        Of pictures with graphics it is as small as can be: there it pays most.
        """
        key = np.packbits(mask).tobytes()
        if key not in self._payloads:
            is_best = self._is_best or bool(self._candidates.any())
            self._payloads[key] = encode_exact(ExactBlocks(mask, self._pixels), is_best=is_best)
        return self._payloads[key]

    def is_everything_better(self, loaded: LoadedModel, num_bytes: int) -> bool:
        """Return whether a file without any loss is no larger than one of `num_bytes`.

        Lossless coding of a whole picture takes long, so it is tried for graphics alone, where the
        candidates themselves do not already say no.
        """
        is_auto = self._choice == EXACT_AUTO and loaded.model.can_price_errors
        if not is_auto or not self._candidates.any():
            return False
        candidates_bytes = self._exact_bits[self._candidates].sum() / 8
        return (
            num_bytes > BEST_TO_FAST * candidates_bytes
            and num_bytes > BEST_TO_FAST * self._fast_bytes
            and num_bytes >= len(self.everything)
        )

    @cached_property
    def _fast_bytes(self) -> int:
        """Size of everything, coded fast."""
        blocks = ExactBlocks(np.ones(self._grid, np.bool_), self._pixels)
        return len(encode_exact(blocks))

    @cached_property
    def _candidates(self) -> NDArray[np.bool_]:
        """The mask of blocks that may be graphics."""
        image = Image.fromarray(self._pixels)
        if image.getcolors(PALETTE_COLOURS) is not None:
            return np.ones(self._grid, np.bool_)
        codes = np.frombuffer(image.convert("RGBX").tobytes(), np.uint32)
        codes = codes.reshape(self._pixels.shape[:2])
        is_flat = np.zeros(codes.shape, np.bool_)
        is_flat[:, 1:] = codes[:, 1:] == codes[:, :-1]
        is_flat[1:] |= codes[1:] == codes[:-1]
        candidates = _mean_of_blocks(is_flat) >= FLAT_SHARE
        is_sure = np.zeros_like(candidates)
        for row, column in np.argwhere(candidates):
            block = self._block(row, column).reshape(-1, 3)
            if np.ptp(block, axis=0).max() >= SURE_CONTRAST:
                colours = np.sort(self._block(row, column, codes).ravel())
                is_ground = colours == colours[len(colours) // 2]  # if any has the majority
                is_sure[row, column] = is_ground.mean() >= GROUND_SHARE
        kept = np.zeros_like(candidates)
        for component in _components(candidates):
            if is_sure[component].sum() >= MIN_SURE_BLOCKS:
                kept[component] = True
        return kept

    @cached_property
    def _exact_bits(self) -> NDArray[np.float64]:
        """What each candidate takes in a lossless file of all of them; 0 for other blocks.

        Every block is coded alone to find its share of the whole.
        """
        shares = self._bytes_alone(self._candidates)
        whole = encode_exact(ExactBlocks(self._candidates, self._pixels))
        return shares * (8 * len(whole) / shares.sum())

    def _bytes_alone(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return the bytes of each block of a mask, coded alone without loss; 0 for others."""
        sizes = np.zeros(self._grid)
        for row, column in np.argwhere(mask):
            data = lossless_webp(self._block(row, column))
            sizes[row, column] = max(1, len(data) - WEBP_OVERHEAD_BYTES)
        return sizes

    def _model_prices(self, loaded: LoadedModel, quality: int, tile_px: int) -> NDArray[np.float64]:
        """Return bits plus lambda times squared error of the blocks around candidates."""
        prices = np.zeros(self._grid)
        height, width = self._pixels.shape[:2]
        for tile in tile_grid(height, width, tile_px, loaded.model.stride_px):
            part = self._around_candidates(tile, loaded.model.stride_px)
            if part is not None:
                price = measure_tile(loaded, self._pixels, part, quality)
                room = prices[part.top // BLOCK_PX :, part.left // BLOCK_PX :]
                room = room[: price.shape[0], : price.shape[1]]
                room[:] = price[: room.shape[0], : room.shape[1]]
        return prices

    def _around_candidates(self, tile: Tile, stride: int) -> Tile | None:
        """Return the smallest part of a tile, in blocks and strides, that holds its candidates."""
        rows = slice(tile.top // BLOCK_PX, -(-(tile.top + tile.height) // BLOCK_PX))
        columns = slice(tile.left // BLOCK_PX, -(-(tile.left + tile.width) // BLOCK_PX))
        found = np.argwhere(self._candidates[rows, columns])
        if not len(found):
            return None
        step = max(stride, BLOCK_PX)
        top, left = found.min(axis=0) * BLOCK_PX // step * step
        bottom, right = -(-(found.max(axis=0) + 1) * BLOCK_PX // step) * step
        height, width = min(bottom, tile.height) - top, min(right, tile.width) - left
        return Tile(tile.top + int(top), tile.left + int(left), int(height), int(width))

    def _block(self, row: int, column: int, samples: NDArray | None = None) -> NDArray:
        top, left = row * BLOCK_PX, column * BLOCK_PX
        samples = self._pixels if samples is None else samples
        return samples[top : top + BLOCK_PX, left : left + BLOCK_PX]


def _mean_of_blocks(values: NDArray) -> NDArray[np.float64]:
    starts = [np.arange(0, side, BLOCK_PX) for side in values.shape]
    rows = np.add.reduceat(values, starts[0], dtype=np.float64)
    sums = np.add.reduceat(rows, starts[1], axis=1)
    counts = [np.diff([*start, side]) for start, side in zip(starts, values.shape, strict=True)]
    return sums / np.outer(*counts)


def _components(mask: NDArray[np.bool_]) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield the rows and columns of each group of set elements that touch, corners included."""
    left = mask.copy()
    for start in zip(*np.nonzero(mask), strict=True):
        if not left[start]:
            continue
        left[start] = False
        found, edge = [start], [start]
        while edge:
            row, column = edge.pop()
            top, first = max(0, row - 1), max(0, column - 1)
            near = np.argwhere(left[top : row + 2, first : column + 2])
            for place in map(tuple, near + np.array([top, first])):
                left[place] = False
                found.append(place)
                edge.append(place)
        rows, columns = zip(*found, strict=True)
        yield np.array(rows), np.array(columns)
