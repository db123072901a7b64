"""The walk on one screen: pictures to `.cvb` bytes and back.

encode: read picture -> tiles -> analysis -> passes -> range coder -> container
decode: container -> (range decoder <-> passes) per tile -> synthesis by tiles -> picture
"""

from __future__ import annotations

import os
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from imgcodec.codec.coding import Source, decode_latents, encode_tile, read_bytes
from imgcodec.codec.container import MAX_PIXELS, Header, Stream, read_stream, write_stream
from imgcodec.codec.image import Picture, decode_alpha, encode_alpha, read_picture, to_pil
from imgcodec.codec.inspection import Inspection, inspect
from imgcodec.codec.models.weights import (
    ModelInfo,
    find_model,
    find_model_of_stream,
    list_models,
    load_model,
)
from imgcodec.codec.tiling import synthesise, tile_grid

__all__ = ["Inspection", "ModelInfo", "decode", "encode", "inspect", "list_models"]

TILE_PX = 1024
DEFAULT_QUALITY = 60


@torch.inference_mode()
def encode(
    image: str | os.PathLike | Image.Image | NDArray | bytes | BinaryIO,
    *,
    model: str | os.PathLike = "beta",
    quality: int = DEFAULT_QUALITY,
    keep_metadata: bool = True,
    tile_px: int = TILE_PX,
) -> bytes:
    """Compress a picture into the bytes of a `.cvb` file.

    Args:
        image: a path, file, PIL image, encoded bytes, or uint8 array (H, W), (H, W, 3 or 4).
        model: family ("beta"), model id, or path of a weights file.
        quality: 1 (smallest) to 100 (best); maps log-linearly onto lambda.
        keep_metadata: store ICC profile, EXIF and XMP.
        tile_px: side of the tiles, a power of two from 256 to 4096; bounds memory.

    Raises:
        ImageFormatError: the picture cannot be read.
        UnknownModelError: no such model.
        ValueError: quality or tile_px is out of range.
    """
    if not (isinstance(quality, int) and 1 <= quality <= 100):
        raise ValueError(f"quality must be an integer from 1 to 100, not {quality!r}")
    picture = read_picture(image)
    loaded = load_model(find_model(os.fspath(model)))
    height, width = picture.pixels.shape[:2]
    header = Header(
        model_hash=loaded.stream_hash,
        height=height,
        width=width,
        quality=quality,
        is_gray=picture.is_gray,
        has_alpha=picture.alpha is not None,
        tile_px=tile_px,
        num_segments=loaded.model.num_segments,
    )
    tiles = tile_grid(height, width, tile_px, loaded.model.stride_px)
    per_tile = [encode_tile(loaded, picture.pixels, tile, quality) for tile in tiles]
    return write_stream(
        Stream(
            header=header,
            segments=[list(segment) for segment in zip(*per_tile, strict=True)],
            alpha=None if picture.alpha is None else encode_alpha(picture.alpha),
            metadata=picture.metadata if keep_metadata else {},
        )
    )


@torch.inference_mode()
def decode(
    source: Source,
    *,
    model: str | os.PathLike | None = None,
    max_passes: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Image.Image:
    """Decompress a `.cvb` file.

    Args:
        source: the bytes, a path, or a binary file.
        model: weights file to use instead of the installed models.
        max_passes: decode this many passes only and fill the rest with prior means: a preview.
        max_pixels: refuse larger pictures before anything is allocated.

    Returns:
        A PIL image of mode L, LA, RGB or RGBA with ICC profile, EXIF and XMP in its `info`.

    Raises:
        CorruptStreamError: the bytes are damaged or no `.cvb` stream.
        UnknownModelError: the model that wrote it is not installed.
        UnsupportedVersionError: written by a newer format version.
    """
    stream = read_stream(read_bytes(source), max_pixels=max_pixels)
    header = stream.header
    loaded = load_model(find_model_of_stream(header.model_hash, model))
    y_hat = decode_latents(loaded, stream, max_passes)
    pixels = np.empty((header.height, header.width, 3), np.uint8)
    walk = synthesise(
        loaded.model, y_hat, header.quality, header.height, header.width, header.tile_px
    )
    for tile, part in walk:
        pixels[tile.top : tile.top + part.shape[0], tile.left : tile.left + part.shape[1]] = part
    alpha = None
    if stream.alpha is not None:
        alpha = decode_alpha(stream.alpha, header.height, header.width)
    return to_pil(Picture(pixels, alpha, header.is_gray, stream.metadata))
