"""The walk on one screen: pictures to `.cvb` bytes and back.

encode: read picture -> exact blocks -> tiles -> analysis -> walk -> range coder -> container
decode: container -> (range decoder <-> walk) per tile -> synthesis by tiles -> exact blocks
        (`session.decoder`)
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcodec.codec.errors import OptionError
from imgcodec.codec.files import Source, read_bytes
from imgcodec.codec.options import DEFAULT_QUALITY, EXACT_AUTO, EncodeOptions
from imgcodec.codec.picture.exact import block_grid, decode_exact
from imgcodec.codec.picture.read import PictureSource
from imgcodec.codec.session.decoder import decode_picture
from imgcodec.codec.session.encoder import Encoder
from imgcodec.codec.session.targets import MAX_QUALITY, Found, Repair, Target, meet_target, psnr_db
from imgcodec.codec.session.timing import Progress, Timer
from imgcodec.codec.stream.container import (
    MAX_PIXELS,
    MIN_TILE_LOG2,
    read_stream,
)
from imgcodec.codec.weights.installed import FIDELITY, find_model

__all__ = ["decode", "encode", "encode_to_target"]

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
        progress: called with the share of the work that is done; with a target once for
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

    def between(quality: int) -> list[Callable[[], bytes]]:
        halves = encoder.between(quality)
        return [partial(encoder.at, quality, half_size_quality=half) for half in halves]

    with (timer or Timer()).stage("search"):
        return meet_target(
            target,
            encoder.picture.pixels,
            encoder.at,
            decode_rgb,
            repair if chosen.exact == EXACT_AUTO else None,
            between,
        )


for _function in (encode, encode_to_target):  # so that help() and editors list the options
    _signature = inspect.signature(_function)
    _own = [p for p in _signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    _named = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default)
        for f in dataclasses.fields(EncodeOptions)
    ]
    vars(_function)["__signature__"] = _signature.replace(parameters=[*_own, *_named])


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
    progress: Progress = lambda _: None,
) -> Image.Image:
    """Decompress a `.cvb` file.

    Args:
        source: the bytes, a path, or a binary file.
        model: weights file to use instead of the installed models.
        decoder: "fidelity", or another that the model has, such as "natural": any decoder
            reads any file of its model.
        max_passes: decode this many passes only and fill the rest with prior means: a preview.
        levels: the same for levels, of families that have some.
        allow_truncated: of a file that just ends early, make the best picture that its bytes allow:
            integers that are not there are filled with their means. The chunk in which the file
            ends has no CRC that could vouch for it, all others are checked. What was there and
            used is logged.
        crop: x, y, width, height of a part to decode, in pixels as stored (an orientation in the
            EXIF is not applied); only the tiles that it needs are decoded.
        scale: reduce by 2, 4, ..., 256, averaging squares of pixels from the corner of the crop;
            sides are rounded up. By 2 to 16 many models make the small picture straight from the
            latents, about as the average would be, in less time and memory.
        max_pixels: refuse larger pictures before anything is allocated.
        progress: called with the share of the work that is done, of pictures of several tiles.

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
    return decode_picture(
        read_bytes(source),
        model=model,
        decoder=decoder,
        max_passes=max_passes,
        levels=levels,
        allow_truncated=allow_truncated,
        crop=crop,
        scale=scale,
        max_pixels=max_pixels,
        progress=progress,
    )
