"""One picture, encoded at whatever quality: what does not depend on it is done once."""

from __future__ import annotations

import functools
import logging
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import OptionError
from imgcodec.codec.options import EncodeOptions
from imgcodec.codec.picture.alpha import encode_alpha
from imgcodec.codec.picture.read import PictureSource, read_picture, without_exif
from imgcodec.codec.session.allocation import allocation_of
from imgcodec.codec.session.coding import SegmentNames, encode_tile, segments_of
from imgcodec.codec.session.exact_choice import ExactChooser
from imgcodec.codec.session.halving import halve
from imgcodec.codec.session.painting import paint_over
from imgcodec.codec.session.targets import MAX_QUALITY
from imgcodec.codec.session.timing import Progress, Timer
from imgcodec.codec.stream.container import Header, Stream, parse_metadata_names, write_stream
from imgcodec.codec.stream.tiles import Tile, tile_grid
from imgcodec.codec.weights.backends import require_package
from imgcodec.codec.weights.installed import find_model
from imgcodec.codec.weights.store import load_model

logger = logging.getLogger(__name__)

SLOW_EFFORT = 5
"""From this effort on, lossless coding of photographs takes its time too."""


class Encoder:
    """A picture with the model and everything else that makes files of it.

    Args:
        image: as of `imgcodec.encode`.
        options: how to encode it.
        progress: called with the share of the work that is done.
        timer: gets the seconds of each stage.

    Attributes:
        picture: what is encoded.
        chooser: of the blocks that are stored without loss.

    Raises:
        ImageFormatError, UnknownModelError, OptionError: as `imgcodec.encode`.
    """

    def __init__(
        self,
        image: PictureSource,
        options: EncodeOptions,
        *,
        progress: Progress = lambda _: None,
        timer: Timer | None = None,
    ) -> None:
        self._options, self._progress, self._timer = options, progress, timer or Timer()
        kept = parse_metadata_names(options.metadata)
        with self._timer.stage("reading"):
            picture = read_picture(
                image, frame=options.frame, strict=options.strict, max_pixels=options.max_pixels
            )
        self.picture = picture if "exif" in kept else without_exif(picture)
        with self._timer.stage("loading the model"):
            self._loaded = load_model(find_model(options.weights))
        model = self._loaded.model
        if options.effort > 1 and not model.can_price_errors:
            raise OptionError(f"{model.family} has no latents to refine: its only effort is 1")
        if options.effort > 1:
            require_package("torch", "effort beyond 1")
        if model.is_gray_only and np.ptp(self.picture.pixels, axis=2).any():
            logger.warning("%s keeps no colours: the picture becomes grey", model.family)
        self._allocation = allocation_of(model, options.level_bits)
        self._alpha = None if self.picture.alpha is None else encode_alpha(self.picture.alpha)
        metadata = self.picture.metadata
        self._metadata = {name: metadata[name] for name in metadata.keys() & kept}
        is_best = options.effort >= SLOW_EFFORT
        self.chooser = ExactChooser(self.picture.pixels, options.exact, is_best=is_best)

    def at(
        self,
        quality: int,
        rounding: float = 1.0,
        exact_mask: NDArray[np.bool_] | None = None,
        half_size_quality: int | None = None,
    ) -> bytes:
        """Return the file of a quality.

        Args:
            quality: 1 to 100.
            rounding: as in `thresholds_of`.
            exact_mask: bool, which blocks are stored without loss; None for what the chooser says.
            half_size_quality: of the picture at half its size; None for what the quality says.

        Raises:
            OptionError: there is no such quality.
        """
        if not (isinstance(quality, Integral) and 1 <= quality <= MAX_QUALITY):
            raise OptionError(f"quality must be an integer from 1 to 100, not {quality!r}")
        quality = int(quality)
        chooser, loaded, tile_px = self.chooser, self._loaded, self._options.tile_px
        with self._timer.stage("exact blocks"):
            if exact_mask is None:
                mask, payload = chooser.choose(loaded, quality, tile_px) or (None, None)
            elif exact_mask.any():
                mask, payload = exact_mask, chooser.encode(exact_mask)
            else:
                mask, payload = None, None
            if mask is not None and mask.all():
                return self._file(quality, None, payload)
            pixels = self.picture.pixels
            if mask is not None:
                pixels = paint_over(pixels, mask)
        coded_quality, reduction = quality, 1
        halves = loaded.model.half_size_qualities
        if mask is None and quality <= len(halves):
            coded_quality, reduction = half_size_quality or halves[quality - 1], 2
            pixels = halve(pixels)
        segments = self._encode_tiles(pixels, coded_quality, rounding)
        num_bytes = sum(len(part) for segment in segments for part in segment)
        with self._timer.stage("exact blocks"):
            if chooser.is_everything_better(loaded, num_bytes + len(payload or b"")):
                return self._file(quality, None, chooser.everything)
        return self._file(coded_quality, segments, payload, reduction)

    def between(self, quality: int) -> range:
        """Return what `half_size_quality` may be for files between those of two qualities.

        Those at half size are further apart than others.
        """
        halves = (*self._loaded.model.half_size_qualities, MAX_QUALITY + 1)
        return (
            range(halves[quality - 1] + 1, halves[quality]) if quality < len(halves) else range(0)
        )

    def _encode_tiles(
        self, pixels: NDArray[np.uint8], quality: int, rounding: float
    ) -> list[list[bytes]]:
        """Return the streams of all tiles, segment by segment."""
        tiles = self._tiles(*pixels.shape[:2])
        levels = self._levels(quality, len(tiles))
        per_tile = []
        for number, tile in enumerate(tiles):
            streams = encode_tile(
                self._loaded,
                pixels,
                tile,
                quality,
                levels,
                rounding=rounding,
                allocation=self._allocation,
                effort=self._options.effort,
                progress=functools.partial(self._tell, number, len(tiles)),
                timer=self._timer,
            )
            per_tile.append(streams)
            self._tell(number, len(tiles), 1.0)
        return [list(segment) for segment in zip(*per_tile, strict=True)]

    def _tiles(self, height: int, width: int) -> list[Tile]:
        return tile_grid(height, width, self._options.tile_px, self._loaded.model.stride_px)

    def _levels(self, quality: int, num_tiles: int) -> SegmentNames:
        return segments_of(self._loaded.model, quality, num_tiles)

    def _tell(self, done: int, count: int, share: float) -> None:
        """Report the progress of one of several tiles, `done` of which are done."""
        self._progress((done + share) / count)

    def _file(
        self,
        quality: int,
        segments: list[list[bytes]] | None,
        exact: bytes | None,
        reduction: int = 1,
    ) -> bytes:
        """Return a file; without segments one in which everything is exact."""
        height, width = self.picture.pixels.shape[:2]
        num_tiles = len(self._tiles(-(-height // reduction), -(-width // reduction)))
        levels = self._levels(quality, num_tiles)
        if segments is None:
            segments = [[b""] * num_tiles for level in levels for _ in level]
        header = Header(
            model_hash=self._loaded.stream_hash,
            height=height,
            width=width,
            quality=quality,
            is_gray=self.picture.is_gray,
            has_alpha=self._alpha is not None,
            has_exact=exact is not None,
            tile_px=self._options.tile_px,
            num_segments=len(segments),
            reduction=reduction,
        )
        return write_stream(
            Stream(
                header,
                segments,
                self._alpha,
                self._metadata,
                exact=exact,
                levels=tuple(map(len, levels)),
            )
        )
