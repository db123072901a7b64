"""What the harness asks of a codec.

A codec turns an RGB array into the bytes of a real file and back, at an ordered list of
settings. Everything else (timing, metrics, curves) belongs to the runner.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from imgcodec.codec.errors import CodecError

Setting = int | float | str
RgbArray = npt.NDArray[np.uint8]


class AnchorError(CodecError):
    """A codec is unknown, its library is missing, or its command failed."""


@runtime_checkable
class ImageCodec(Protocol):
    """A codec under test.

    Attributes:
        name: the registry name, which is also the value of the `codec` column.
        settings: values for `encode`, ordered from the lowest rate to the highest.

    `describe_codec` may raise `CodecError` when the codec cannot work here.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> Sequence[Setting]: ...

    def encode(self, rgb: RgbArray, setting: Setting) -> bytes:
        """Return the complete file for a uint8 HxWx3 sRGB array."""
        ...

    def decode(self, data: bytes) -> RgbArray:
        """Return the uint8 HxWx3 array of a file written by `encode`."""
        ...

    def describe(self, setting: Setting) -> str:
        """Return the setting as text for tables, such as `q=60`."""
        ...

    def describe_codec(self) -> str:
        """Return library, version, chroma format and effort as one line."""
        ...


@runtime_checkable
class TrainedCodec(Protocol):
    """A codec whose weights were trained, which may have seen the metrics (see `ImgcodecCodec`)."""

    def taught(self) -> frozenset[str]:
        """Return the columns of the metrics that were losses of the training."""
        ...


Factory = Callable[[], ImageCodec]
"""Makes a codec; may raise `AnchorError` when its library is missing."""


def taught_of(codecs: Iterable[ImageCodec]) -> dict[str, frozenset[str]]:
    """Return codec name to the columns of the metrics that taught it; others are left out."""
    trained = {codec.name: codec.taught() for codec in codecs if isinstance(codec, TrainedCodec)}
    return {name: columns for name, columns in trained.items() if columns}


def parse_settings(text: str) -> list[Setting]:
    """Return the settings of a comma-separated list: integers, else floats, else text."""
    return [parse_setting(part.strip()) for part in text.split(",") if part.strip()]


def parse_setting(text: str) -> Setting:
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def with_settings(codec: ImageCodec, settings: Sequence[Setting]) -> ImageCodec:
    """Return the same codec with another list of settings (low to high rate)."""
    fields: Any = codec
    replaced: ImageCodec = dataclasses.replace(fields, settings=tuple(settings))
    return replaced
