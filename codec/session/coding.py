"""Tiles to streams and back: where models meet the entropy coder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.models.coders import Block, IntegerCoder
from imgcodec.codec.models.coders import Observer as BlockObserver
from imgcodec.codec.session.allocation import find_allocation
from imgcodec.codec.session.refinement import Progress, refine
from imgcodec.codec.session.tiling import analyse_tile
from imgcodec.codec.session.timing import Timer
from imgcodec.codec.stream.coder import PassDecoder, PassEncoder, PrefixDecoder
from imgcodec.codec.stream.container import Stream
from imgcodec.codec.stream.tables import Tables
from imgcodec.codec.stream.tiles import Tile, tile_grid
from imgcodec.codec.weights.store import LoadedModel

Observer = Callable[[Tile, Block, NDArray[np.int64], NDArray[np.int32]], None]
"""Called with the tile, a block of it, the table rows of its integers, and them."""


class Write(IntegerCoder):
    """The encoder's integers, sent.

    Args:
        tables: of the model.
        num_segments: of the file.
        rounding, integers: as in `IntegerCoder`.
        timer: gets the stage "entropy coding".

    Attributes:
        encoders: of each segment.
    """

    def __init__(
        self,
        tables: Tables,
        num_segments: int,
        *,
        rounding: float = 1.0,
        integers: Mapping[str, NDArray[np.int32]] | None = None,
        timer: Timer,
    ) -> None:
        super().__init__(tables, rounding=rounding, integers=integers)
        self._timer = timer
        self.encoders = [PassEncoder(tables) for _ in range(num_segments)]

    def exchange(
        self, block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32] | None
    ) -> NDArray[np.int32] | None:
        """Send and return the encoder's integers."""
        assert q is not None
        with self._timer.stage("entropy coding"):
            self.encoders[block.segment].encode(q, indexes)
        return q


class Read(IntegerCoder):
    """Integers of a stream, as far as it goes.

    Args:
        tables: of the model.
        decoders: of the segments that are there, the last perhaps in part.
        max_passes: those beyond are not read; blocks of one name are one pass.
        observe: as in `IntegerCoder`.

    Attributes:
        num_blocks: how many were read.
        is_whole: nothing was asked for that was not there.
    """

    def __init__(
        self,
        tables: Tables,
        decoders: Sequence[PassDecoder | PrefixDecoder],
        max_passes: int | None = None,
        observe: BlockObserver | None = None,
    ) -> None:
        super().__init__(tables, observe=observe)
        self._decoders, self._max_passes = decoders, max_passes
        self._names: set[str] = set()
        self.num_blocks, self.is_whole = 0, True

    def exchange(
        self, block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32] | None
    ) -> NDArray[np.int32] | None:
        """Read and return the integers of a block, None where the stream has no more."""
        is_new = block.name not in self._names
        answer = None
        if block.segment < len(self._decoders) and not (
            is_new and len(self._names) == self._max_passes
        ):
            self._names.add(block.name)
            answer = self._decoders[block.segment].decode(indexes)
        if answer is None:
            self.is_whole = False
        else:
            self.num_blocks += 1
        return answer


@torch.inference_mode()
def decode_latents(
    loaded: LoadedModel,
    stream: Stream,
    max_passes: int | None = None,
    observe: Observer | None = None,
    region: Tile | None = None,
    levels: int | None = None,
) -> Tensor:
    """Return y_hat (1, M, H / stride, W / stride) of all tiles.

    Passes beyond `max_passes` (those of one name count as one), passes of segments from `levels`
    on, and passes that a truncated stream does not settle are filled. `observe` is called with
    every decoded block. With a `region`, in multiples of the stride, y_hat is that of the region,
    and only tiles that overlap it are decoded.

    Raises:
        CorruptStreamError: the data are invalid, or truncated before any pass of these tiles.
    """
    header, stride = stream.header, loaded.model.stride_px
    num_segments = loaded.model.num_segments(header.quality)
    if header.num_segments != num_segments:
        raise CorruptStreamError(
            f"{header.num_segments} segments, but {loaded.info.id} writes {num_segments}"
        )
    grid = tile_grid(header.height, header.width, header.tile_px, stride)
    if region is None:
        region = Tile(0, 0, grid[-1].top + grid[-1].height, grid[-1].left + grid[-1].width)
    y_hat = torch.zeros(
        1, loaded.model.latent_channels, region.height // stride, region.width // stride
    )
    num_passes = 0
    for number, tile in enumerate(grid):
        rows, tile_rows = _overlap(region.top, region.height, tile.top, tile.height, stride)
        columns, tile_columns = _overlap(region.left, region.width, tile.left, tile.width, stride)
        if rows and columns:
            decoders = _decoders(loaded.tables, stream, number)[:levels]
            part, decoded = _decode_tile(
                loaded, tile, decoders, header.quality, max_passes, observe
            )
            num_passes += decoded
            if not num_passes and not stream.is_complete:  # later tiles have no more
                raise CorruptStreamError("the stream is cut short: it ends before the first pass")
            y_hat[:, :, rows, columns] = part[:, :, tile_rows, tile_columns]
    return y_hat


def _decoders(tables: Tables, stream: Stream, number: int) -> list[PassDecoder | PrefixDecoder]:
    """Return a decoder for each segment of a tile that is there, the last perhaps in part."""
    there = [tiles[number] for tiles in stream.segments if number < len(tiles)]
    decoders: list[PassDecoder | PrefixDecoder] = [PassDecoder(tables, data) for data in there]
    cut_tile = sum(map(len, stream.segments)) % stream.header.num_tiles
    if stream.cut is not None and number == cut_tile:
        decoders.append(PrefixDecoder(tables, stream.cut.payload, stream.cut.missing_bytes))
    return decoders


def _overlap(
    start: int, length: int, tile_start: int, tile_length: int, stride: int
) -> tuple[slice, slice] | tuple[None, None]:
    """Return where two intervals overlap, as latent positions in each, or two times None."""
    first = max(start, tile_start)
    last = min(start + length, tile_start + tile_length)
    if first >= last:
        return None, None
    return tuple(  # type: ignore[return-value]
        slice((first - origin) // stride, (last - origin) // stride)
        for origin in (start, tile_start)
    )


def encode_tile(
    loaded: LoadedModel,
    pixels: NDArray[np.uint8],
    tile: Tile,
    quality: int,
    *,
    rounding: float = 1.0,
    allocation: Sequence[int] | None = (),
    effort: int = 1,
    progress: Progress = lambda _: None,
    timer: Timer,
) -> list[bytes]:
    """Return the streams of one tile, one for each segment.

    Args:
        loaded: model and tables.
        pixels: the picture (H, W, 3).
        tile: which part of it.
        quality: 1 to 100.
        rounding: as in `thresholds_of`.
        allocation: as in `CodecModel.code`; None for the best one of the tile.
        effort: 1 to 9; see `codec.refinement`.
        progress: called with the share of the tile's work that is done, where it takes effort.
        timer: gets the stages "analysis", "allocation", "effort", "passes" and "entropy coding".
    """
    model = loaded.model
    with timer.stage("analysis"):
        y = analyse_tile(model, pixels, tile, quality)
    if allocation is None:
        shown = pixels[tile.top :, tile.left :][: tile.height, : tile.width]
        with timer.stage("allocation"):
            allocation = find_allocation(loaded, y, shown, quality, rounding=rounding)
    refined: Mapping[str, NDArray[np.int32]] = {}
    if effort > 1:
        with timer.stage("effort"):
            refined = refine(
                loaded, pixels, tile, y, quality, effort, rounding=rounding, progress=progress
            )
    coder = Write(
        loaded.tables,
        model.num_segments(quality),
        rounding=rounding,
        integers=refined,
        timer=timer,
    )
    shape = (y.shape[2], y.shape[3])
    with timer.stage("passes"):
        model.code(shape, quality, coder, y, allocation=allocation)
    with timer.stage("entropy coding"):
        return [encoder.to_bytes() for encoder in coder.encoders]


def _decode_tile(
    loaded: LoadedModel,
    tile: Tile,
    decoders: list[PassDecoder | PrefixDecoder],
    quality: int,
    max_passes: int | None,
    observe: Observer | None,
) -> tuple[Tensor, int]:
    """Return y_hat (1, M, h, w) of one tile, and how many passes were decoded for it."""
    stride = loaded.model.stride_px
    shape = (tile.height // stride, tile.width // stride)
    coder = Read(
        loaded.tables,
        decoders,
        max_passes,
        None if observe is None else partial(observe, tile),
    )
    y_hat = loaded.model.code(shape, quality, coder)
    if coder.is_whole:
        for decoder in decoders:
            decoder.finish()
    return y_hat, coder.num_blocks
