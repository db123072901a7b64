"""The picture as the codec sees it, and as Pillow shows it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgcodec.codec.errors import ImageFormatError
from imgcodec.codec.picture.metadata import info_of_metadata


@dataclass(frozen=True)
class Picture:
    """A picture as the codec sees it.

    Attributes:
        pixels: uint8 (H, W, 3); grey pictures have three equal channels.
        alpha: uint8 (H, W), straight (not premultiplied), or None.
        is_gray: The picture has one colour channel and is written back as such.
        metadata: "icc" (profile), "exif" (TIFF block without the Exif prefix), "xmp" (packet).
            The EXIF orientation is not applied to the pixels.

    Raises:
        ImageFormatError: Shapes or types do not fit.
    """

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8] | None = None
    is_gray: bool = False
    metadata: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ImageFormatError(f"pixels must be uint8 (H, W, 3) and not empty, got {shape}")
        if self.alpha is not None and (
            self.alpha.dtype != np.uint8 or self.alpha.shape != shape[:2]
        ):
            raise ImageFormatError(f"alpha must be uint8 {shape[:2]}, got {self.alpha.shape}")


def to_pil(picture: Picture) -> Image.Image:
    """Return the picture as L, LA, RGB or RGBA with its metadata in `info`."""
    pixels = picture.pixels
    if picture.is_gray:
        pixels = ((pixels.sum(axis=2, dtype=np.uint16) + 1) // 3).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(np.ascontiguousarray(picture.alpha)))
    image.info.update(info_of_metadata(picture.metadata))
    return image


def mode_of(is_gray: bool, has_alpha: bool) -> str:
    """Return Pillow's name for how `to_pil` shows a picture."""
    return ("L" if is_gray else "RGB") + ("A" if has_alpha else "")
