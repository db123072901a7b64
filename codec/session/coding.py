"""Tiles to streams and back: where models meet the entropy coder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.families.base import CodecModel
from imgcodec.codec.families.coders import Block, IntegerCoder
from imgcodec.codec.families.coders import Observer as BlockObserver
from imgcodec.codec.session.allocation import find_allocation
from imgcodec.codec.session.tiling import analyse_tile
from imgcodec.codec.session.timing import Progress, Timer
from imgcodec.codec.stream.coder import PassDecoder, PassEncoder, PrefixDecoder
from imgcodec.codec.stream.container import Stream
from imgcodec.codec.stream.tables import MISSING, Tables
from imgcodec.codec.stream.tiles import Tile, tile_grid
from imgcodec.codec.weights.store import LoadedModel

Observer = Callable[[Tile, Block, NDArray[np.int64], NDArray[np.int32]], None]
"""Called with the tile, a block of it, the table rows of its integers, and them."""

SegmentNames = tuple[tuple[tuple[str, ...], ...], ...]
"""Names of the passes, of each segment, of each level."""


def segments_of(model: CodecModel, quality: int, num_tiles: int) -> SegmentNames:
    """Return which passes share a segment: those of a level or, of several tiles, none.

    So every beginning of a file shows the whole scene, and a file of one tile has few chunks.
    """
    levels = model.passes(quality)
    if num_tiles == 1:
        return tuple((names,) for names in levels)
    return tuple(tuple((name,) for name in names) for names in levels)


def _numbers(levels: SegmentNames) -> dict[str, int]:
    """Return the number of the segment of each pass."""
    segments = (names for level in levels for names in level)
    return {name: number for number, names in enumerate(segments) for name in names}


class Write(IntegerCoder):
    """The encoder's integers, sent.

    Args:
        tables: of the model.
        levels: as of `segments_of`.
        rounding, integers: as in `IntegerCoder`.
        timer: gets the stage "entropy coding".

    Attributes:
        encoders: of each segment.
    """

    def __init__(
        self,
        tables: Tables,
        levels: SegmentNames,
        *,
        rounding: float = 1.0,
        integers: Mapping[str, NDArray[np.int32]] | None = None,
        timer: Timer,
    ) -> None:
        super().__init__(tables, rounding=rounding, integers=integers)
        self._timer = timer
        self._numbers = _numbers(levels)
        self.encoders = [PassEncoder(tables) for _ in range(sum(map(len, levels)))]

    def exchange(
        self, block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32] | None
    ) -> NDArray[np.int32] | None:
        """Send and return the encoder's integers."""
        assert q is not None
        with self._timer.stage("entropy coding"):
            self.encoders[self._numbers[block.name]].encode(q, indexes)
        return q


class Read(IntegerCoder):
    """Integers of a stream, as far as it goes.

    Args:
        tables: of the model.
        decoders: by the names of the passes that are there, the last perhaps in part.
        observe: as in `IntegerCoder`.

    Attributes:
        is_empty: there was nothing to be read.
    """

    def __init__(
        self,
        tables: Tables,
        decoders: Mapping[str, PassDecoder | PrefixDecoder],
        observe: BlockObserver | None = None,
    ) -> None:
        super().__init__(tables, observe=observe)
        self._decoders = decoders
        self.is_empty = True

    def exchange(
        self, block: Block, indexes: NDArray[np.int64], q: NDArray[np.int32] | None
    ) -> NDArray[np.int32] | None:
        """Read and return the integers of a block, None where the stream has no more."""
        decoder = self._decoders.get(block.name)
        answer = None if decoder is None else decoder.decode(indexes)
        if block.is_choice and answer is not None and np.any(answer == MISSING):
            answer = None  # choices make sense together only
        self.is_empty = self.is_empty and answer is None
        return answer


def decode_latents(
    loaded: LoadedModel,
    stream: Stream,
    max_passes: int | None = None,
    observe: Observer | None = None,
    region: Tile | None = None,
    levels: int | None = None,
    leading_alone: bool = False,
    progress: Progress = lambda _: None,
) -> NDArray[np.float32]:
    """Return y_hat (1, M, H / stride, W / stride) of all tiles.

    Passes beyond `max_passes` and `levels`, and what a truncated stream does not settle, are
    filled. `observe` is called with every decoded block. With a `region`, in multiples of the
    stride, y_hat is that of the region, and only tiles that overlap it are decoded. Of models
    where some latents lead these may be asked for alone. `progress` is called with the share of the
    tiles that are done.

    Raises:
        CorruptStreamError: the data are invalid, or end before any integer of these tiles.
    """
    header, stride = stream.header, loaded.model.stride_px
    all_levels = segments_of(loaded.model, header.quality, header.num_tiles)
    sizes = tuple(map(len, all_levels))
    if header.num_segments != sum(sizes) or (stream.is_complete and stream.levels != sizes):
        raise CorruptStreamError(
            f"levels of {stream.levels} segments, but {loaded.info.id} writes {sizes}"
        )
    names = [name for level in all_levels[:levels] for segment in level for name in segment]
    names = names[:max_passes]
    grid = tile_grid(*header.coded_size, header.tile_px, stride)
    if region is None:
        region = Tile(0, 0, grid[-1].top + grid[-1].height, grid[-1].left + grid[-1].width)
    model = loaded.model
    channels = model.leading_channels if leading_alone else model.latent_channels
    size = (region.height // stride, region.width // stride)
    y_hat = np.zeros((1, channels, *size), np.float32)
    numbers, is_empty = _numbers(all_levels), True
    for number, tile in enumerate(grid):
        rows, tile_rows = _overlap(region.top, region.height, tile.top, tile.height, stride)
        columns, tile_columns = _overlap(region.left, region.width, tile.left, tile.width, stride)
        if rows and columns:
            decoders = _decoders(loaded.tables, stream, number)
            of_names = {
                name: decoders[segment]
                for name, segment in numbers.items()
                if segment < len(decoders) and name in names
            }
            coder = Read(
                loaded.tables, of_names, None if observe is None else partial(observe, tile)
            )
            shape = (tile.height // stride, tile.width // stride)
            decode = model.code_leading if leading_alone else model.code
            part = decode(shape, header.quality, coder)
            is_empty = is_empty and coder.is_empty
            if is_empty and not stream.is_complete:  # later tiles have no more
                raise CorruptStreamError("the stream is cut short: it ends before the first pass")
            y_hat[:, :, rows, columns] = part[:, :, tile_rows, tile_columns]
        progress((number + 1) / len(grid))
    return y_hat


def _decoders(tables: Tables, stream: Stream, number: int) -> list[PassDecoder | PrefixDecoder]:
    """Return a decoder for each segment of a tile that is there, the last perhaps in part."""
    decoders: list[PassDecoder | PrefixDecoder] = [
        PassDecoder(tables, streams[number]) for streams in stream.segments
    ]
    cut = stream.cut
    if cut is not None and number < len(cut.streams):
        decoders.append(PrefixDecoder(tables, cut.streams[number], 0))
    elif cut is not None and number == len(cut.streams):
        decoders.append(PrefixDecoder(tables, cut.beginning, cut.missing_bytes))
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
    levels: SegmentNames,
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
        levels: as of `segments_of`.
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
        from imgcodec.codec.session.refinement import refine  # torch, for those who need it

        with timer.stage("effort"):
            refined = refine(
                loaded, pixels, tile, y, quality, effort, rounding=rounding, progress=progress
            )
    coder = Write(
        loaded.tables,
        levels,
        rounding=rounding,
        integers=refined,
        timer=timer,
    )
    shape = (y.shape[2], y.shape[3])
    with timer.stage("passes"):
        model.code(shape, quality, coder, y, allocation=allocation)
    with timer.stage("entropy coding"):
        return [encoder.to_bytes() for encoder in coder.encoders]
