"""JPEG, WebP, JPEG 2000 and AVIF as Pillow writes them.

AVIF is written by libaom through libavif, which since its version 1.4 tunes it for the eye
(`tune=iq`) unless told otherwise: `avif` is what libavif does by itself, `avif-psnr` and
`avif-ssim` ask for the other tunes.

Ladders run from about 0.1 to 2.5 bpp on Kodak (mean of the set) where the format reaches that
low: JPEG ends at about 0.25 bpp.
"""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, features
from PIL import __version__ as pillow_version

from imgcodec.codec.errors import OptionError
from imgcodec.eval.anchors.base import AnchorError, Factory, RgbArray, Setting

JPEG_LADDER = (5, 8, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)
WEBP_LADDER = (0, 2, 5, 10, 20, 40, 60, 75, 85, 90, 95)
AVIF_LADDER = (5, 10, 20, 30, 40, 50, 60, 70, 80, 90)
HALF_SIZE_LADDER = (5, 10, 20, 30, 40, 50, 60, 70, 80)
JPEG2000_LADDER = (0.1, 0.15, 0.25, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5)


@dataclasses.dataclass(frozen=True)
class PillowCodec:
    """A format of Pillow with fixed options and one option that sets the rate.

    Attributes:
        name: registry name.
        settings: values of the rate option, low to high rate.
        pillow_format: format name given to `Image.save`.
        feature: name for `PIL.features`, which tells whether this Pillow has the format.
        options: fixed options of `Image.save`.
        label: prefix of the setting in tables (`q=`).
        rate_options: maps a setting to the options of `Image.save` that select it.
        note: chroma format and effort in words.
    """

    name: str
    settings: Sequence[Setting]
    pillow_format: str
    feature: str
    options: Mapping[str, Any]
    note: str
    label: str = "q"
    rate_options: Callable[[Any], dict[str, Any]] = lambda setting: {"quality": setting}

    def __post_init__(self) -> None:
        if not features.check(self.feature):
            raise AnchorError(
                f"codec {self.name!r}: this Pillow ({pillow_version}) was built without "
                f"{self.pillow_format}; install the official wheel: pip install -U pillow"
            )

    def encode(self, rgb: RgbArray, setting: Setting) -> bytes:
        """Return the file for a uint8 HxWx3 array.

        Raises:
            OptionError: There is no such setting.
        """
        buffer = io.BytesIO()
        options = {**self.options, **self.rate_options(setting)}
        try:
            Image.fromarray(rgb).save(buffer, self.pillow_format, **options)
        except (TypeError, ValueError) as error:
            raise OptionError(f"{self.name} has no setting {setting!r}: {error}") from error
        return buffer.getvalue()

    def decode(self, data: bytes) -> RgbArray:
        """Return the uint8 HxWx3 array of a file."""
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    def describe(self, setting: Setting) -> str:
        """Return the setting as `label=value`."""
        return f"{self.label}={setting}"

    def describe_codec(self) -> str:
        """Return library versions, chroma format and effort."""
        library = _libraries(self.feature)
        return f"Pillow {pillow_version} {self.pillow_format} ({library}), {self.note}"


@dataclasses.dataclass(frozen=True)
class HalfSizeCodec:
    """The picture at half its size in another codec, enlarged again: what people do by hand.

    Both ways by Lanczos. Half of an odd side is rounded up, and one more byte says which were odd.

    Attributes:
        name: registry name.
        inner: codec of the smaller picture.
        settings: of the inner codec, low to high rate.
    """

    name: str
    inner: PillowCodec
    settings: Sequence[Setting]

    def encode(self, rgb: RgbArray, setting: Setting) -> bytes:
        """Return the file for a uint8 HxWx3 array; see `PillowCodec.encode`."""
        height, width = rgb.shape[:2]
        size = (-(-width // 2), -(-height // 2))
        half = Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS)
        return self.inner.encode(np.asarray(half), setting) + bytes([height % 2 * 2 + width % 2])

    def decode(self, data: bytes) -> RgbArray:
        """Return the uint8 HxWx3 array of a file."""
        half = Image.fromarray(self.inner.decode(data[:-1]))
        size = (2 * half.width - data[-1] % 2, 2 * half.height - data[-1] // 2)
        return np.asarray(half.resize(size, Image.Resampling.LANCZOS))

    def describe(self, setting: Setting) -> str:
        """Return the setting as the inner codec does."""
        return self.inner.describe(setting)

    def describe_codec(self) -> str:
        """Return what the inner codec says, and what is done to the picture."""
        return f"{self.inner.describe_codec()}, of half the size, Lanczos both ways"


def _jpeg2000_rate(bits_per_pixel: float) -> dict[str, Any]:
    return {"quality_mode": "rates", "quality_layers": [24.0 / bits_per_pixel]}


def _jpeg(name: str, note: str, **options: Any) -> PillowCodec:
    return PillowCodec(name, JPEG_LADDER, "JPEG", "jpg", options, note)


def _webp(name: str, method: int) -> PillowCodec:
    return PillowCodec(
        name, WEBP_LADDER, "WEBP", "webp", {"method": method}, f"4:2:0, method {method}"
    )


def _avif(name: str, subsampling: str, speed: int, tune: str = "") -> PillowCodec:
    options: dict[str, Any] = {"subsampling": subsampling, "speed": speed}
    if tune:
        options["advanced"] = {"tune": tune}
    note = f"{subsampling}, speed {speed}, tune {tune or default_avif_tune()}"
    return PillowCodec(name, AVIF_LADDER, "AVIF", "avif", options, note)


def default_avif_tune() -> str:
    """Return what libavif tunes libaom for by itself, in words; `iq` (the eye) since 1.4."""
    version = features.version("avif") or "0"
    major, minor = (int(part) for part in f"{version}.0".split(".")[:2])
    return "iq (default)" if (major, minor) >= (1, 4) else "default"


def _libraries(feature: str) -> str:
    """Return names and versions of the libraries behind a format."""
    if feature == "jpg" and features.check("libjpeg_turbo"):
        return f"libjpeg-turbo {features.version('libjpeg_turbo')}"
    if feature == "avif":
        from PIL import _avif as plugin

        return f"libavif {features.version('avif')}, {plugin.codec_versions()}"
    names = {"jpg": "libjpeg", "webp": "libwebp", "jpg_2000": "OpenJPEG"}
    return f"{names[feature]} {features.version(feature)}"


def _jpeg2000(name: str) -> PillowCodec:
    options = {"irreversible": True}
    return PillowCodec(
        name,
        JPEG2000_LADDER,
        "JPEG2000",
        "jpg_2000",
        options,
        "4:4:4, 9/7 wavelet, one layer",
        label="bpp",
        rate_options=_jpeg2000_rate,
    )


def factories() -> dict[str, Factory]:
    """Return every Pillow codec by name. `jpeg` is Pillow's default, which is 4:2:0."""
    found: dict[str, Factory] = {
        "jpeg": lambda: _jpeg("jpeg", "4:2:0, default settings"),
        "jpeg-420": lambda: _jpeg(
            "jpeg-420", "4:2:0, optimised Huffman", subsampling="4:2:0", optimize=True
        ),
        "jpeg-444": lambda: _jpeg(
            "jpeg-444", "4:4:4, optimised Huffman", subsampling="4:4:4", optimize=True
        ),
        "webp": lambda: _webp("webp", 6),
        "webp-m4": lambda: _webp("webp-m4", 4),
        "jpeg2000": lambda: _jpeg2000("jpeg2000"),
    }
    for speed in (6, 2):
        suffix = "" if speed == 6 else f"-s{speed}"
        for subsampling, chroma in (("4:4:4", ""), ("4:2:0", "-420")):
            name = f"avif{chroma}{suffix}"
            found[name] = functools.partial(_avif, name, subsampling, speed)
    found["avif-half"] = lambda: HalfSizeCodec(
        "avif-half", _avif("avif-half", "4:4:4", 6), HALF_SIZE_LADDER
    )
    for tune in ("psnr", "ssim"):
        found[f"avif-{tune}"] = functools.partial(_avif, f"avif-{tune}", "4:4:4", 6, tune)
    return found
