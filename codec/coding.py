"""Tiles to streams and back: where models meet the entropy coder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imgcodec.codec.container import Stream
from imgcodec.codec.entropy.coder import PassDecoder, PassEncoder
from imgcodec.codec.errors import CorruptStreamError
from imgcodec.codec.models.base import Pass, drive
from imgcodec.codec.models.weights import LoadedModel
from imgcodec.codec.tiling import Tile, analyse_tile, tile_grid

Source = bytes | bytearray | memoryview | str | os.PathLike | BinaryIO
Observer = Callable[[Tile, Pass, NDArray[np.int32]], None]


def read_bytes(source: Source) -> bytes:
    """Return the bytes of a path, a binary file or a bytes-like object."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes()
    return source.read()


def decode_latents(
    loaded: LoadedModel,
    stream: Stream,
    max_passes: int | None = None,
    observe: Observer | None = None,
) -> Tensor:
    """Return y_hat (1, M, H / stride, W / stride) of all tiles, passes beyond `max_passes` filled.

    `observe` is called with every decoded pass.
    """
    header, stride = stream.header, loaded.model.stride_px
    if header.num_segments != loaded.model.num_segments:
        raise CorruptStreamError(
            f"{header.num_segments} segments, but {loaded.info.id} "
            f"writes {loaded.model.num_segments}"
        )
    grid = tile_grid(header.height, header.width, header.tile_px, stride)
    rows, columns = -(-header.height // stride), -(-header.width // stride)
    y_hat = torch.zeros(1, loaded.model.latent_channels, rows, columns)
    for tile, *payloads in zip(grid, *stream.segments, strict=True):
        part = _decode_tile(loaded, tile, payloads, header.quality, max_passes, observe)
        top, left = tile.top // stride, tile.left // stride
        y_hat[:, :, top : top + part.shape[2], left : left + part.shape[3]] = part
    return y_hat


def encode_tile(
    loaded: LoadedModel, pixels: NDArray[np.uint8], tile: Tile, quality: int
) -> list[bytes]:
    """Return the streams of one tile, one for each segment."""
    model = loaded.model
    y = analyse_tile(model, pixels, tile, quality)
    encoders = [PassEncoder(loaded.tables) for _ in range(model.num_segments)]

    def respond(request: Pass) -> NDArray[np.int32]:
        encoders[request.segment].encode(request.q, request.indexes)
        return request.q

    drive(model.passes((y.shape[2], y.shape[3]), quality, y), respond)
    return [encoder.to_bytes() for encoder in encoders]


def _decode_tile(
    loaded: LoadedModel,
    tile: Tile,
    payloads: list[bytes],
    quality: int,
    max_passes: int | None,
    observe: Observer | None,
) -> Tensor:
    """Return y_hat (1, M, h, w) of one tile."""
    decoders = [PassDecoder(loaded.tables, payload) for payload in payloads]
    remaining = max_passes

    def respond(request: Pass) -> NDArray[np.int32] | None:
        nonlocal remaining
        if remaining is not None:
            if remaining <= 0:
                return None
            remaining -= 1
        q = decoders[request.segment].decode(request.indexes)
        if observe is not None:
            observe(tile, request, q)
        return q

    stride = loaded.model.stride_px
    shape = (tile.height // stride, tile.width // stride)
    y_hat = drive(loaded.model.passes(shape, quality), respond)
    if max_passes is None:
        for decoder in decoders:
            decoder.finish()
    return y_hat
