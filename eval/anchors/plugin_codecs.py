"""JPEG XL through imagecodecs and HEIC (x265) through pillow-heif; both optional packages."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from imgcodec.eval.anchors.base import AnchorError, Factory, RgbArray, Setting

JXL_LADDER = (18.0, 13.0, 9.5, 7.0, 5.0, 3.5, 2.5, 1.8, 1.2, 0.8)
HEIC_LADDER = (5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60)


def _import_optional(module: str, package: str, codec: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise AnchorError(
            f"codec {codec!r} needs the package {package}: pip install {package} ({error})"
        ) from error


@dataclasses.dataclass(frozen=True)
class JpegXlCodec:
    """JPEG XL (libjxl, VarDCT in XYB, so no chroma format to choose); settings are distances.

    Attributes:
        settings: Butteraugli distances, from far (small file) to near (large file).
        effort: libjxl effort, 1 to 9; 7 is the default of `cjxl`.
    """

    name: str = "jxl"
    settings: Sequence[Setting] = JXL_LADDER
    effort: int = 7

    def __post_init__(self) -> None:
        _import_optional("imagecodecs", "imagecodecs", self.name)

    def encode(self, rgb: RgbArray, setting: Setting) -> bytes:
        """Return the file for a uint8 HxWx3 array."""
        imagecodecs = _import_optional("imagecodecs", "imagecodecs", self.name)
        data = imagecodecs.jpegxl_encode(
            np.ascontiguousarray(rgb),
            distance=float(setting),
            effort=self.effort,
            lossless=False,
            numthreads=1,
        )
        return bytes(data)

    def decode(self, data: bytes) -> RgbArray:
        """Return the uint8 HxWx3 array of a file."""
        imagecodecs = _import_optional("imagecodecs", "imagecodecs", self.name)
        rgb: RgbArray = imagecodecs.jpegxl_decode(data, numthreads=1)
        return rgb

    def describe(self, setting: Setting) -> str:
        """Return the setting as `d=distance`."""
        return f"d={setting}"

    def describe_codec(self) -> str:
        """Return library version and effort."""
        imagecodecs = _import_optional("imagecodecs", "imagecodecs", self.name)
        version = imagecodecs.jpegxl_version()
        return f"{version} (imagecodecs {imagecodecs.__version__}), effort {self.effort}"


@dataclasses.dataclass(frozen=True)
class HeicCodec:
    """HEIC with x265 (pillow-heif). Attributes as in `ImageCodec`; `chroma` is 444 or 420."""

    name: str = "heic"
    settings: Sequence[Setting] = HEIC_LADDER
    chroma: int = 444

    def __post_init__(self) -> None:
        self._plugin()

    def _plugin(self) -> Any:
        return _import_optional("pillow_heif", "pillow-heif", self.name)

    def encode(self, rgb: RgbArray, setting: Setting) -> bytes:
        """Return the file for a uint8 HxWx3 array."""
        buffer = io.BytesIO()
        picture = self._plugin().from_pillow(Image.fromarray(rgb))
        picture.save(buffer, quality=setting, chroma=self.chroma)
        return buffer.getvalue()

    def decode(self, data: bytes) -> RgbArray:
        """Return the uint8 HxWx3 array of a file."""
        image: Image.Image = self._plugin().open_heif(io.BytesIO(data)).to_pillow()
        return np.asarray(image.convert("RGB"))

    def describe(self, setting: Setting) -> str:
        """Return the setting as `q=quality`."""
        return f"q={setting}"

    def describe_codec(self) -> str:
        """Return library versions, chroma format and effort."""
        plugin = self._plugin()
        encoders = plugin.libheif_info().get("encoders", {}).values()
        hevc = next((text for text in encoders if "x265" in text), "x265")
        chroma = "4:4:4" if self.chroma == 444 else "4:2:0"
        return (
            f"pillow-heif {plugin.__version__} (libheif {plugin.libheif_version()}, {hevc}), "
            f"{chroma}, default preset"
        )


def factories() -> dict[str, Factory]:
    """Return JPEG XL and HEIC by name; their libraries are loaded on first use."""
    return {
        "jxl": JpegXlCodec,
        "jxl-e9": functools.partial(JpegXlCodec, name="jxl-e9", effort=9),
        "heic": HeicCodec,
        "heic-420": functools.partial(HeicCodec, name="heic-420", chroma=420),
    }
