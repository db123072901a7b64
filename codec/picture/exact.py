"""Exact blocks: parts of a picture that are stored without loss, beside what the model codes.

Text and hard-edged graphics cost a transform codec more bits than lossless coding, and come out
blurred. Blocks of 32 px are marked in a mask, their samples are coded as lossless WebP, and pasted
over what the model decodes. Where every block is exact the model codes nothing at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.stream.tiles import Tile, tile_grid
from imgcodec.codec.stream.varints import Cursor, write_varint

BLOCK_PX = 32
WEBP_SIDE_PX = 8192
"""Exact blocks, side by side, are cut into pictures of this size: WebP ends at 16383."""
WEBP_FAST = {"method": 4, "quality": 80}
WEBP_BEST = {"method": 6, "quality": 100}
_LOSSLESS_AT, _LOSSLESS = slice(12, 16), b"VP8L"
_SIZE_AT = slice(21, 25)
"""Width and height minus 1 in 14 bits each, little-endian, after the signature byte 0x2F."""


@dataclass(frozen=True)
class ExactBlocks:
    """Which blocks of a picture are exact, and their samples.

    Attributes:
        mask: bool (ceil(H / 32), ceil(W / 32)), at least one block is set.
        pixels: uint8 (H, W, 3); what lies outside exact blocks has no meaning.
    """

    mask: NDArray[np.bool_]
    pixels: NDArray[np.uint8] = field(repr=False)

    @cached_property
    def is_everything(self) -> bool:
        """Whether every block is exact."""
        return bool(self.mask.all())

    @property
    def covered(self) -> NDArray[np.bool_]:
        """Whether each pixel lies in an exact block, (H, W)."""
        return covered_by(self.mask, Tile(0, 0, *self.pixels.shape[:2]))

    @property
    def share(self) -> float:
        """The share of the picture's pixels in exact blocks."""
        return float(self.covered.mean())

    def paste(self, pixels: NDArray[np.uint8], top: int, left: int) -> None:
        """Put the exact samples into a window (h, w, 3) of the picture, in place."""
        window = Tile(top, left, *pixels.shape[:2])
        covered = covered_by(self.mask, window)
        pixels[covered] = window.cut(self.pixels)[covered]

    def paste_reduced(self, pixels: NDArray[np.uint8], window: Tile, scale: int) -> None:
        """Put them into a reduced window (h, w, 3), in place; blocks are multiples of the scale."""
        reduced = np.asarray(Image.fromarray(window.cut(self.pixels)).reduce(scale))
        covered = covered_by(self.mask, window)[::scale, ::scale]
        pixels[covered] = reduced[covered]

    def windows(self, crop: Tile, tile_px: int) -> Iterator[tuple[Tile, NDArray[np.uint8]]]:
        """Yield the windows that make up a rectangle, as `tiling.synthesise` does."""
        for part in tile_grid(crop.height, crop.width, tile_px, 1):
            window = Tile(crop.top + part.top, crop.left + part.left, part.height, part.width)
            yield window, window.cut(self.pixels)


def covered_by(mask: NDArray[np.bool_], window: Tile) -> NDArray[np.bool_]:
    """Return whether each pixel of a window (h, w) lies in a block of a mask."""
    rows = np.arange(window.top, window.top + window.height) // BLOCK_PX
    columns = np.arange(window.left, window.left + window.width) // BLOCK_PX
    return mask[rows[:, None], columns[None]]


def block_grid(height: int, width: int) -> tuple[int, int]:
    """Return the number of rows and columns of blocks of a picture."""
    return -(-height // BLOCK_PX), -(-width // BLOCK_PX)


def encode_exact(blocks: ExactBlocks, *, is_best: bool = False) -> bytes:
    """Return the payload of an exact chunk.

    Args:
        blocks: what to store.
        is_best: take ten times as long for a few percent.
    """
    packed_mask = b""
    if not blocks.is_everything:
        packed_mask = zlib.compress(np.packbits(blocks.mask).tobytes(), 9)
    parts = [write_varint(len(packed_mask)), packed_mask]
    for picture in _pictures(_gather(blocks)):
        data = lossless_webp(picture, is_best=is_best)
        parts += [write_varint(len(data)), data]
    return b"".join(parts)


def lossless_webp(pixels: NDArray[np.uint8], *, is_best: bool = False) -> bytes:
    """Return a lossless WebP file of samples (h, w, 3)."""
    stream = BytesIO()
    options = WEBP_BEST if is_best else WEBP_FAST
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        stream, "WEBP", lossless=True, exact=True, **options
    )
    return stream.getvalue()


def decode_exact(data: bytes, height: int, width: int) -> ExactBlocks:
    """Decode `encode_exact` output for a picture of a size.

    Raises:
        CorruptStreamError: the data are damaged or do not fit the size (checked before anything
            is allocated).
    """
    cursor = Cursor(data)
    mask = _decode_mask(cursor.take(cursor.take_varint()), height, width)
    rows, columns = _lines(mask, height, width)
    packed = np.empty((len(rows), len(columns), 3), np.uint8)
    for window in _pictures(packed):
        window[:] = _decode_webp(cursor.take(cursor.take_varint()), window.shape[:2])
    if cursor.remaining:
        raise CorruptStreamError("the exact blocks have the wrong length")
    if mask.all():
        return ExactBlocks(mask, packed)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[rows[:, None], columns[None]] = packed
    return ExactBlocks(mask, pixels)


def exact_share(data: bytes, height: int, width: int) -> float:
    """Return the share of the pixels in exact blocks, of `encode_exact` output; no more is decoded.

    Raises:
        CorruptStreamError: the mask is damaged.
    """
    cursor = Cursor(data)
    mask = _decode_mask(cursor.take(cursor.take_varint()), height, width)
    return float(covered_by(mask, Tile(0, 0, height, width)).mean())


def _lines(mask: NDArray[np.bool_], height: int, width: int) -> tuple[NDArray, NDArray]:
    """Return the rows and the columns of pixels that cross an exact block."""
    return tuple(  # type: ignore[return-value]
        np.flatnonzero(np.repeat(mask.any(axis=axis), BLOCK_PX)[:side])
        for axis, side in ((1, height), (0, width))
    )


def _gather(blocks: ExactBlocks) -> NDArray[np.uint8]:
    """Return the rows and columns with exact blocks; elsewhere the commonest of the samples."""
    if blocks.is_everything:
        return blocks.pixels
    rows, columns = _lines(blocks.mask, *blocks.pixels.shape[:2])
    packed = blocks.pixels[rows[:, None], columns[None]]
    covered = blocks.covered[rows[:, None], columns[None]]
    colours, counts = np.unique(packed[covered][::7], axis=0, return_counts=True)
    packed[~covered] = colours[counts.argmax()]
    return packed


def _pictures(packed: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return views of squares of `WEBP_SIDE_PX`, row by row."""
    return [
        packed[top : top + WEBP_SIDE_PX, left : left + WEBP_SIDE_PX]
        for top in range(0, packed.shape[0], WEBP_SIDE_PX)
        for left in range(0, packed.shape[1], WEBP_SIDE_PX)
    ]


def _decode_mask(data: bytes, height: int, width: int) -> NDArray[np.bool_]:
    grid = block_grid(height, width)
    if not data:
        return np.ones(grid, np.bool_)
    expected = -(-grid[0] * grid[1] // 8)
    inflate = zlib.decompressobj()
    try:
        bits = inflate.decompress(data, expected + 1)
    except zlib.error as error:
        raise CorruptStreamError(f"the mask of the exact blocks is damaged: {error}") from error
    if len(bits) != expected or not inflate.eof or inflate.unused_data:
        raise CorruptStreamError("the mask of the exact blocks has the wrong length")
    flags = np.unpackbits(np.frombuffer(bits, np.uint8))
    mask = flags[: grid[0] * grid[1]].astype(np.bool_).reshape(grid)
    if flags[mask.size :].any() or not mask.any() or mask.all():
        raise CorruptStreamError("the mask of the exact blocks is not in its only form")
    return mask


def _decode_webp(data: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return samples (h, w, 3) of a lossless WebP file that must have this size."""
    bits = int.from_bytes(data[_SIZE_AT], "little")
    stated = (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if data[_LOSSLESS_AT] != _LOSSLESS or stated != size:
        raise CorruptStreamError(f"exact blocks are no lossless WebP picture of {size}")
    try:
        with Image.open(BytesIO(data), formats=["WEBP"]) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # OSError, SyntaxError, ...: all mean damage
        raise CorruptStreamError(f"the exact blocks are damaged: {error}") from error
