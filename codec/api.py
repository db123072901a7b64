"""The walk on one screen: pictures to `.cvb` bytes and back.

encode: read picture -> exact blocks -> tiles -> analysis -> walk -> range coder -> container
decode: container -> (range decoder <-> walk) per tile -> synthesis by tiles -> exact blocks
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from imgcodec.codec.errors import CorruptStreamError, OptionError
from imgcodec.codec.files import Source, read_bytes
from imgcodec.codec.options import DEFAULT_QUALITY, EXACT_AUTO, EncodeOptions
from imgcodec.codec.picture.alpha import decode_alpha
from imgcodec.codec.picture.base import Picture, mode_of, to_pil
from imgcodec.codec.picture.exact import block_grid, decode_exact
from imgcodec.codec.picture.metadata import info_of_metadata
from imgcodec.codec.picture.read import PictureSource
from imgcodec.codec.session.coding import decode_latents
from imgcodec.codec.session.encoder import Encoder
from imgcodec.codec.session.refinement import Progress
from imgcodec.codec.session.targets import MAX_QUALITY, Found, Repair, Target, meet_target, psnr_db
from imgcodec.codec.session.tiling import region_of, synthesise
from imgcodec.codec.session.timing import Timer
from imgcodec.codec.stream.container import (
    MAX_PIXELS,
    MIN_TILE_LOG2,
    Header,
    Stream,
    expected_bytes,
    read_stream,
)
from imgcodec.codec.stream.tiles import Tile, do_overlap, tile_grid
from imgcodec.codec.weights.installed import FIDELITY, find_model, find_model_of_stream
from imgcodec.codec.weights.store import LoadedModel, load_model

__all__ = ["decode", "encode", "encode_to_target"]

logger = logging.getLogger(__name__)

SCALES = tuple(1 << k for k in range(MIN_TILE_LOG2 + 1))
"""Reductions of `decode`: they divide the side of every tile."""


def encode(
    image: PictureSource,
    *,
    quality: int | None = None,
    target_bytes: float | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    progress: Progress = lambda _: None,
    timer: Timer | None = None,
    **options: Any,
) -> bytes:
    """Compress a picture into the bytes of a `.cvb` file.

    Args:
        image: a path, file, PIL image, encoded bytes, or uint8 array (H, W), (H, W, 3 or 4); or
            what `read_picture` made of one, which `frame`, `strict` and `max_pixels` do not touch.
        quality: 1 (smallest) to 100 (best), 60 where no target is given; maps log-linearly onto
            lambda, or to equal steps of SSIMULACRA2 where the weights are calibrated.
        target_bytes: search for the best file within this size instead. The whole file counts.
        target_bpp: the same in bits per pixel.
        target_psnr: search for the smallest file with at least this PSNR of RGB in dB. Beyond
            quality 100, `exact="auto"` makes more and more blocks exact, in the end all.
        progress: called with the share of the work that is done, where it takes effort; once for
            each file that a search for a target tries.
        timer: gets the seconds of each stage.
        options: fields of `EncodeOptions`: model, tune, effort, exact, level_bits, metadata,
            strict, frame, max_pixels, tile_px.

    Raises:
        ImageFormatError: the picture cannot be read, or is refused.
        UnknownModelError: no such model.
        UnreachableTargetError: nothing meets the target; the message says what can be reached.
        OptionError: an argument is out of range, there is a target beside a quality or another, or
            the model has no levels to allocate bits to, or no latents to refine.
        TypeError: no such option.
    """
    goals = {"bytes": target_bytes, "bpp": target_bpp, "psnr": target_psnr}
    targets = [
        Target(name, value, psnr_db if name == "psnr" else None)
        for name, value in goals.items()
        if value is not None
    ]
    if len(targets) + (quality is not None) > 1:
        raise OptionError("give one of quality, target_bytes, target_bpp and target_psnr")
    if targets:
        return encode_to_target(image, targets[0], progress=progress, timer=timer, **options).data
    encoder = Encoder(image, EncodeOptions(**options), progress=progress, timer=timer)
    return encoder.at(DEFAULT_QUALITY if quality is None else quality)


def encode_to_target(
    image: PictureSource,
    target: Target,
    *,
    progress: Progress = lambda _: None,
    timer: Timer | None = None,
    **options: Any,
) -> Found:
    """Compress a picture to meet a target; see `encode`, which raises the same.

    Args:
        image, progress, timer, options: as of `encode`.
        target: the target, such as `Target("ms-ssim", 0.98, measure)` with a function of your own.

    Returns:
        The file, its quality, and the value that it reaches.
    """
    chosen = EncodeOptions(**options)
    encoder = Encoder(image, chosen, progress=progress, timer=timer)
    weights = find_model(chosen.weights).path
    shape = encoder.picture.pixels.shape[:2]

    def decode_rgb(data: bytes) -> NDArray[np.uint8]:
        limit = shape[0] * shape[1]
        return np.asarray(decode(data, model=weights, max_pixels=limit).convert("RGB"))

    def repair(data: bytes) -> Repair:
        stored = read_stream(data).exact
        mask = None if stored is None else decode_exact(stored, *shape).mask
        ranked = encoder.chooser.rank(decode_rgb(data), mask)

        def repaired(share: float) -> bytes:
            masks = np.ones((2, *block_grid(*shape)), np.bool_)
            for place in ranked[round(share * len(ranked)) :]:
                masks[0][place] = False
            return min((encoder.at(MAX_QUALITY, exact_mask=mask) for mask in masks), key=len)

        return repaired

    with (timer or Timer()).stage("search"):
        return meet_target(
            target,
            encoder.picture.pixels,
            encoder.at,
            decode_rgb,
            repair if chosen.exact == EXACT_AUTO else None,
        )


for _function in (encode, encode_to_target):  # so that help() and editors list the options
    _signature = inspect.signature(_function)
    _own = [p for p in _signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    _named = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default)
        for f in dataclasses.fields(EncodeOptions)
    ]
    vars(_function)["__signature__"] = _signature.replace(parameters=[*_own, *_named])


@torch.inference_mode()
def decode(
    source: Source,
    *,
    model: str | os.PathLike | None = None,
    decoder: str = FIDELITY,
    max_passes: int | None = None,
    levels: int | None = None,
    allow_truncated: bool = False,
    crop: tuple[int, int, int, int] | None = None,
    scale: int = 1,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Decompress a `.cvb` file.

    Args:
        source: the bytes, a path, or a binary file.
        model: weights file to use instead of the installed models.
        decoder: "fidelity", or another that the model has, such as "perceptual": any decoder
            reads any file of its model.
        max_passes: decode this many passes only and fill the rest with prior means: a preview.
        levels: the same for levels, of families that have some.
        allow_truncated: of a file that just ends early, make the best picture that its bytes allow:
            passes that are not there in full are filled, tile by tile. The chunk in which the file
            ends has no CRC that could vouch for it, all others are checked. What was there and
            used is logged.
        crop: x, y, width, height of a part to decode, in pixels as stored (an orientation in the
            EXIF is not applied); only the tiles that it needs are decoded.
        scale: reduce by 2, 4, ..., 256, averaging squares of pixels from the corner of the crop;
            sides are rounded up.
        max_pixels: refuse larger pictures before anything is allocated.

    Returns:
        A PIL image of mode L, LA, RGB or RGBA with ICC profile, EXIF and XMP in its `info`.

    Raises:
        CorruptStreamError: the bytes are damaged, no `.cvb` stream, or end too early: with
            `allow_truncated`, before any pass, or before the alpha and the exact blocks that the
            header announces.
        UnknownModelError: the model that wrote it is not installed, or lacks the decoder.
        UnsupportedVersionError: written by a newer format version.
        OptionError: the crop is not inside the picture, no such scale, or the file has fewer
            passes or levels.
    """
    if scale not in SCALES:
        raise OptionError(f"scale must be one of {', '.join(map(str, SCALES))}, not {scale!r}")
    if min(max_passes or 0, levels or 0) < 0:
        raise OptionError("levels and max_passes must not be negative")
    data = read_bytes(source)
    stream = read_stream(data, max_pixels=max_pixels, allow_truncated=allow_truncated)
    header = stream.header
    height, width = header.height, header.width
    shown = _rectangle(crop or (0, 0, width, height), height, width)
    exact = None if stream.exact is None else decode_exact(stream.exact, height, width)
    if exact is not None and exact.is_everything:
        if any(part for segment in stream.segments for part in segment):
            raise CorruptStreamError("everything is exact, and yet there is more")
        walk = exact.windows(shown, header.tile_px)
    else:
        loaded = load_model(find_model_of_stream(header.model_hash, model), decoder)
        if levels is not None:
            _check_levels(loaded, header, levels)
        region = region_of(loaded.model, shown, height, width)
        tiles_of_pass: dict[str, set[Tile]] = defaultdict(set)
        y_hat = decode_latents(
            loaded,
            stream,
            max_passes,
            observe=lambda tile, block, indexes, q: tiles_of_pass[block.name].add(tile),
            region=region,
            levels=levels,
        )
        if stream.is_complete:
            _check_passes(list(tiles_of_pass), max_passes)
        else:
            grid = tile_grid(height, width, header.tile_px, loaded.model.stride_px)
            num_tiles = sum(do_overlap(tile, region) for tile in grid)
            _tell_truncation(stream, len(data), tiles_of_pass, num_tiles)
        walk = synthesise(loaded.model, y_hat, header.quality, shown, height, width, header.tile_px)
    alpha = None if stream.alpha is None else decode_alpha(stream.alpha, height, width)
    size = (-(-shown.width // scale), -(-shown.height // scale))
    image = Image.new(mode_of(header.is_gray, alpha is not None), size)
    for window, pixels in walk:
        if exact is not None and not exact.is_everything:
            exact.paste(pixels, window.top, window.left)
        rows = slice(window.top, window.top + window.height)
        columns = slice(window.left, window.left + window.width)
        part_alpha = None if alpha is None else alpha[rows, columns]
        part = to_pil(Picture(pixels, part_alpha, header.is_gray))
        place = (window.left - shown.left) // scale, (window.top - shown.top) // scale
        image.paste(part.reduce(scale), place)
    image.info.update(info_of_metadata(stream.metadata))
    return image


def _check_levels(loaded: LoadedModel, header: Header, levels: int) -> None:
    if loaded.model.num_segments(MAX_QUALITY) == 1:
        raise OptionError(f"files of {loaded.model.family} have no levels to choose from")
    if levels > header.num_segments:
        raise OptionError(f"the file has {header.num_segments} levels, not {levels}")


def _check_passes(names: Sequence[str], max_passes: int | None) -> None:
    if max_passes is not None and max_passes > len(names):
        listed = ", ".join(names)
        raise OptionError(f"the file has {len(names)} passes ({listed}), not {max_passes}")


def _tell_truncation(
    stream: Stream, num_bytes: int, tiles: Mapping[str, Set[Tile]], num_tiles: int
) -> None:
    """Log how much of a file is there, and what of it the picture shows."""
    size, is_known = expected_bytes(stream)
    used = [
        name if len(those) == num_tiles else f"{name} of {len(those)} of {num_tiles} tiles"
        for name, those in tiles.items()
    ]
    logger.info(
        "%d of %s%d bytes are there (%s%.0f %%): used are the passes %s",
        num_bytes,
        "" if is_known else "at least ",
        size,
        "" if is_known else "at most ",
        100 * num_bytes / size,
        ", ".join(used),
    )


def _rectangle(crop: tuple[int, int, int, int], height: int, width: int) -> Tile:
    left, top, crop_width, crop_height = crop
    if min(left, top) < 0 or min(crop_width, crop_height) < 1:
        raise OptionError(f"crop {crop} is not x, y >= 0 and width, height >= 1")
    if left + crop_width > width or top + crop_height > height:
        raise OptionError(f"crop {crop} reaches beyond the picture of {width} x {height} pixels")
    return Tile(top, left, crop_height, crop_width)
