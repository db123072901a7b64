"""One file, decoded: what of it is asked for, at the size that is asked for."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcodec.codec.errors import CorruptStreamError, OptionError
from imgcodec.codec.families.base import CodecModel
from imgcodec.codec.families.coders import Block
from imgcodec.codec.picture.alpha import decode_alpha
from imgcodec.codec.picture.base import Picture, mode_of, to_pil
from imgcodec.codec.picture.exact import ExactBlocks, decode_exact
from imgcodec.codec.picture.metadata import info_of_metadata
from imgcodec.codec.session.coding import decode_latents
from imgcodec.codec.session.halving import MARGIN_PX, enlarge
from imgcodec.codec.session.targets import MAX_QUALITY
from imgcodec.codec.session.thumbnails import can_shrink, needs_leading_alone, shrink
from imgcodec.codec.session.tiling import region_of, synthesise
from imgcodec.codec.session.timing import Progress
from imgcodec.codec.stream.container import Header, Stream, expected_bytes, read_stream
from imgcodec.codec.stream.tiles import Tile, do_overlap, tile_grid
from imgcodec.codec.weights.installed import find_model_of_stream
from imgcodec.codec.weights.store import load_model

logger = logging.getLogger(__name__)


def decode_picture(
    data: bytes,
    *,
    model: str | os.PathLike | None,
    decoder: str,
    max_passes: int | None,
    levels: int | None,
    allow_truncated: bool,
    crop: tuple[int, int, int, int] | None,
    scale: int,
    max_pixels: int,
    progress: Progress,
) -> Image.Image:
    """Return the picture of a file; see `api.decode`."""
    stream = read_stream(data, max_pixels=max_pixels, allow_truncated=allow_truncated)
    header = stream.header
    tell = progress if header.num_tiles > 1 else (lambda _: None)
    height, width = header.height, header.width
    reduction, size = header.reduction, header.coded_size
    shown = _rectangle(crop or (0, 0, width, height), height, width)
    exact = None if stream.exact is None else decode_exact(stream.exact, height, width)
    alpha = None if stream.alpha is None else decode_alpha(stream.alpha, height, width)
    if exact is not None and exact.is_everything:
        if any(part for segment in stream.segments for part in segment):
            raise CorruptStreamError("everything is exact, and yet there is more")
        windows = exact.windows(shown, header.tile_px)
    else:
        loaded = load_model(find_model_of_stream(header.model_hash, model), decoder)
        _check(loaded.model, header.quality, levels, max_passes)
        is_plain = alpha is None and max_passes is None and levels is None
        is_small = is_plain and can_shrink(loaded, shown, scale, reduction)
        margin_px = 0 if is_small or reduction == 1 else MARGIN_PX
        coded = shown.reduced(reduction, margin_px, size)
        region = region_of(loaded.model, coded, *size, with_halo=not is_small)
        used = _Used()
        y_hat = decode_latents(
            loaded,
            stream,
            max_passes,
            observe=used.add,
            region=region,
            levels=levels,
            leading_alone=is_small and needs_leading_alone(loaded, scale // reduction),
            progress=lambda share: tell(share if is_small else share / 2),
        )
        if not stream.is_complete:
            grid = tile_grid(*size, header.tile_px, loaded.model.stride_px)
            num_tiles = sum(do_overlap(tile, region) for tile in grid)
            _tell_truncation(stream, len(data), used.told(num_tiles))
        if is_small:
            small = shrink(loaded, y_hat, scale // reduction, coded)
            if exact is not None:
                exact.paste_reduced(small, shown, scale)
            image = to_pil(Picture(small, None, header.is_gray))
            image.info.update(info_of_metadata(stream.metadata))
            return image
        windows = synthesise(loaded.model, y_hat, header.quality, coded, *size, header.tile_px)
        if reduction > 1:
            windows = enlarge(windows, coded, shown, header)
    image = _assemble(windows, header, shown, scale, exact, alpha, tell)
    image.info.update(info_of_metadata(stream.metadata))
    return image


def _assemble(
    windows: Iterator[tuple[Tile, NDArray[np.uint8]]],
    header: Header,
    shown: Tile,
    scale: int,
    exact: ExactBlocks | None,
    alpha: NDArray[np.uint8] | None,
    tell: Progress,
) -> Image.Image:
    """Return the picture that windows make up, reduced one by one."""
    size = (-(-shown.width // scale), -(-shown.height // scale))
    image = Image.new(mode_of(header.is_gray, alpha is not None), size)
    done = 0
    for window, pixels in windows:
        if exact is not None and not exact.is_everything:
            exact.paste(pixels, window.top, window.left)
        part_alpha = None if alpha is None else window.cut(alpha)
        part = to_pil(Picture(pixels, part_alpha, header.is_gray))
        place = (window.left - shown.left) // scale, (window.top - shown.top) // scale
        image.paste(part.reduce(scale), place)
        done += window.height * window.width
        tell(0.5 + done / (2 * shown.height * shown.width))
    return image


def _check(model: CodecModel, quality: int, levels: int | None, max_passes: int | None) -> None:
    if levels is not None and len(model.passes(MAX_QUALITY)) == 1:
        raise OptionError(f"files of {model.family} have no levels to choose from")
    passes = model.passes(quality)
    if levels is not None and levels > len(passes):
        raise OptionError(f"the file has {len(passes)} levels, not {levels}")
    names = [name for level in passes for name in level]
    if max_passes is not None and max_passes > len(names):
        listed = ", ".join(names)
        raise OptionError(f"the file has {len(names)} passes ({listed}), not {max_passes}")


class _Used:
    """Which passes were decoded, of which tiles."""

    def __init__(self) -> None:
        self._whole: dict[str, set[Tile]] = defaultdict(set)
        self._partial: set[str] = set()

    def add(self, tile: Tile, block: Block, indexes: NDArray, q: NDArray) -> None:
        """Observe a block."""
        if block.is_partial:
            self._whole[block.name].discard(tile)
            self._partial.add(block.name)
        else:
            self._whole[block.name].add(tile)

    def told(self, num_tiles: int) -> str:
        """Return the names of all passes, and how much of them was used."""
        listed = []
        for name, tiles in self._whole.items():
            if len(tiles) == num_tiles:
                listed.append(name)
            elif num_tiles == 1:
                listed.append(f"a part of {name}")
            else:
                more = " and a part" if name in self._partial else ""
                listed.append(f"{name} of {len(tiles)} of {num_tiles} tiles{more}")
        return ", ".join(listed)


def _tell_truncation(stream: Stream, num_bytes: int, used: str) -> None:
    """Log how much of a file is there, and what of it the picture shows."""
    size, is_known = expected_bytes(stream)
    logger.info(
        "%d of %s%d bytes are there (%s%.0f %%): used are the passes %s",
        num_bytes,
        "" if is_known else "at least ",
        size,
        "" if is_known else "at most ",
        100 * num_bytes / size,
        used,
    )


def _rectangle(crop: tuple[int, int, int, int], height: int, width: int) -> Tile:
    left, top, crop_width, crop_height = crop
    if min(left, top) < 0 or min(crop_width, crop_height) < 1:
        raise OptionError(f"crop {crop} is not x, y >= 0 and width, height >= 1")
    if left + crop_width > width or top + crop_height > height:
        raise OptionError(f"crop {crop} reaches beyond the picture of {width} x {height} pixels")
    return Tile(top, left, crop_height, crop_width)
