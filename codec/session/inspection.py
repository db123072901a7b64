"""What is inside a `.cvb` file: header, chunks, and, on request, every integer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import UnknownModelError
from imgcodec.codec.files import Source, read_bytes
from imgcodec.codec.picture.exact import ExactBlocks, decode_exact, exact_share
from imgcodec.codec.stream.container import (
    MAX_PIXELS,
    Header,
    Stream,
    chunk_sizes,
    expected_bytes,
    level_edges,
    read_stream,
)
from imgcodec.codec.stream.tiles import Tile
from imgcodec.codec.weights.installed import ModelInfo, find_model_of_stream

if TYPE_CHECKING:
    from imgcodec.codec.families.coders import Block


@dataclass(frozen=True)
class Chunk:
    """A part of the file: its name, bytes on disk, bits per pixel and share of the file."""

    name: str
    bytes: int
    bpp: float
    share: float


@dataclass(frozen=True)
class LevelBytes:
    """A level: its bytes on disk, and where it ends.

    Attributes:
        number: from 1, coarse to fine.
        bytes: of its chunks.
        bpp: bits per pixel.
        share: of the file.
        bytes_so_far: of the file up to its end.
    """

    number: int
    bytes: int
    bpp: float
    share: float
    bytes_so_far: int


@dataclass(frozen=True)
class PassBits:
    """A pass over all tiles: number of symbols and their ideal code length in bits."""

    name: str
    symbols: int
    bits: float


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        file_bytes: size of the file.
        expected_bytes: size that it has where nothing is cut off; a least one unless
            `is_size_known`, which only many tiles or levels that are missing prevent.
        header: header fields.
        model: id of the model, or None if it is not installed.
        bpp: bits per pixel of the whole file.
        chunks: header and chunks in the order of the file.
        levels: its levels; families without levels have one.
        exact_share: share of the pixels that are stored without loss.
        passes: bits of each pass, None unless verified.
        integers_sha256: SHA-256 of all integers as little-endian int32, tile by tile and pass by
            pass; None unless verified.
        estimated_bytes: ideal code length of all integers in bytes, and the bytes of exact
            blocks; None unless verified.
        heatmap: bits a pixel of each latent position, None unless asked for; those of exact
            blocks are spread evenly over them. `picture.heatmap` draws it.
        heatmap_cell_px: side of the square that a position covers.
    """

    file_bytes: int
    expected_bytes: int
    is_size_known: bool
    header: Header
    model: str | None
    bpp: float
    chunks: list[Chunk]
    levels: list[LevelBytes]
    exact_share: float
    passes: list[PassBits] | None = None
    integers_sha256: str | None = None
    estimated_bytes: float | None = None
    heatmap: NDArray[np.float64] | None = None
    heatmap_cell_px: int | None = None


def inspect(
    source: Source,
    *,
    verify: bool = False,
    heatmap: bool = False,
    model: str | None = None,
    allow_truncated: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Inspection:
    """Describe a `.cvb` file; with `verify` or `heatmap` decode every integer of it.

    Args:
        source: the bytes, a path, or a binary file.
        verify: decode all integers and hash them.
        heatmap: also tell where the bits went.
        model: weights file to use instead of the installed models.
        allow_truncated: of a file that just ends early, describe what is there; see `decode`.
        max_pixels: refuse larger pictures before anything is allocated.

    Raises:
        CorruptStreamError, UnsupportedVersionError: as `decode`.
        UnknownModelError: the model is not installed and `verify` or `heatmap` needs it.
    """
    data = read_bytes(source)
    stream = read_stream(data, max_pixels=max_pixels, allow_truncated=allow_truncated)
    header = stream.header
    num_pixels = header.height * header.width
    exact = _exact_blocks(stream)
    sizes = chunk_sizes(stream)
    rest = len(data) - sum(size for _, size in sizes)
    if rest and not stream.is_complete:
        sizes.append(("cut chunk", rest))
    chunks = [Chunk(name, size, size * 8 / num_pixels, size / len(data)) for name, size in sizes]
    levels = [
        LevelBytes(
            number, end - start, (end - start) * 8 / num_pixels, (end - start) / len(data), end
        )
        for number, (start, end) in enumerate(pairwise(level_edges(stream)), 1)
    ]
    needs_model = verify or heatmap
    try:
        info = find_model_of_stream(header.model_hash, model)
    except UnknownModelError:
        if needs_model:
            raise
        info = None
    expected, is_known = (len(data), True) if stream.is_complete else expected_bytes(stream)
    return Inspection(
        file_bytes=len(data),
        expected_bytes=expected,
        is_size_known=is_known,
        header=header,
        model=None if info is None else info.id,
        bpp=len(data) * 8 / num_pixels,
        chunks=chunks,
        levels=levels,
        exact_share=0.0 if exact is None else exact.share,
        **(_decode_everything(info, stream, heatmap) if info and needs_model else {}),
    )


def exact_share_of(data: bytes) -> tuple[Header, float]:
    """Return the header of a file and the share of its pixels that are stored without loss."""
    stream = read_stream(data)
    header = stream.header
    if stream.exact is None:
        return header, 0.0
    return header, exact_share(stream.exact, header.height, header.width)


def _exact_blocks(stream: Stream) -> ExactBlocks | None:
    if stream.exact is None:
        return None
    return decode_exact(stream.exact, stream.header.height, stream.header.width)


def _decode_everything(info: ModelInfo, stream: Stream, with_heatmap: bool) -> dict[str, Any]:
    from imgcodec.codec.session.coding import decode_latents
    from imgcodec.codec.weights.store import load_model

    loaded = load_model(info)
    header, stride = stream.header, loaded.model.stride_px
    cell_px = stride * header.reduction
    digest = hashlib.sha256()
    passes: dict[str, tuple[int, float]] = {}
    grid = np.zeros((-(-header.height // cell_px), -(-header.width // cell_px)))

    def observe(tile: Tile, block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32]) -> None:
        digest.update(q.astype("<i4").tobytes())
        bits = loaded.tables.code_lengths(q, indexes)
        symbols, total = passes.get(block.name, (0, 0.0))
        passes[block.name] = (symbols + q.size, total + float(bits.sum()))
        if with_heatmap:
            height, width = tile.height // stride, tile.width // stride
            top, left = tile.top // stride, tile.left // stride
            grid[top : top + height, left : left + width] += block.map(bits, (height, width))

    exact = _exact_blocks(stream)
    if exact is None or not exact.is_everything:
        decode_latents(loaded, stream, observe=observe)
    if exact is not None and stream.exact is not None:
        grid += _spread(8.0 * len(stream.exact), exact, cell_px)
    result: dict[str, Any] = {
        "passes": [PassBits(name, *values) for name, values in passes.items()],
        "integers_sha256": digest.hexdigest(),
        "estimated_bytes": sum(bits for _, bits in passes.values()) / 8 + len(stream.exact or b""),
    }
    if with_heatmap:
        result |= {"heatmap": grid / cell_px**2, "heatmap_cell_px": cell_px}
    return result


def _spread(bits: float, exact: ExactBlocks, cell_px: int) -> NDArray[np.float64]:
    """Return bits of exact blocks by latent position, as many for every pixel in them."""
    height, width = exact.pixels.shape[:2]
    grid = np.zeros((-(-height // cell_px), -(-width // cell_px)))
    rows, columns = np.nonzero(exact.covered)
    np.add.at(grid, (rows // cell_px, columns // cell_px), 1.0)
    return grid * (bits / len(rows))
