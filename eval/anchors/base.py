"""What the harness asks of a codec, and the registry that names them.

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

from imgcodec.codec.errors import CodecError, OptionError

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


def taught_of(codecs: Iterable[ImageCodec]) -> dict[str, frozenset[str]]:
    """Return codec name to the columns of the metrics that taught it; others are left out."""
    trained = {codec.name: codec.taught() for codec in codecs if isinstance(codec, TrainedCodec)}
    return {name: columns for name, columns in trained.items() if columns}


_FACTORIES: dict[str, Callable[[], ImageCodec]] = {}
_LOADED = False


def register(name: str, factory: Callable[[], ImageCodec]) -> None:
    """Add a codec under `name`; the factory may raise `AnchorError` when its library is missing."""
    _FACTORIES[name] = factory


def _load() -> None:
    global _LOADED
    if not _LOADED:
        from imgcodec.eval.anchors import ours, pillow_codecs, plugin_codecs

        for module in (ours, pillow_codecs, plugin_codecs):
            module.register_all()
        _LOADED = True


def codec_names() -> list[str]:
    """Return all registered names, whether or not their library is installed."""
    _load()
    return list(_FACTORIES)


def check_codec_name(name: str) -> None:
    """Check that `get_codec` knows a name, without loading the codec.

    Raises:
        AnchorError: the name is unknown.
    """
    base = name.partition("@")[0]
    if base not in codec_names() and not name.startswith(("custom:", "imgcodec:")):
        raise AnchorError(
            f"unknown codec {base!r}: use one of {', '.join(_FACTORIES)}, imgcodec:MODEL, "
            "or custom:NAME:encode-cmd:decode-cmd"
        )


def get_codec(name: str) -> ImageCodec:
    """Return the codec of a registry name.

    Args:
        name: a registered name (`jpeg`, `webp`, `avif`, `imgcodec-beta`, ...), optionally with
            settings of one's own (`jpeg@10,50,90`), an imgcodec model by its id or weights file
            (`imgcodec:MODEL`), or a command line (`custom:NAME:encode-cmd:decode-cmd`, see
            `CommandCodec`).

    Raises:
        AnchorError: the name is unknown or the library behind it is not installed.
    """
    check_codec_name(name)
    if name.startswith("custom:"):
        from imgcodec.eval.anchors.command import CommandCodec

        return CommandCodec.parse(name)
    base, _, settings_text = name.partition("@")
    if base.startswith("imgcodec:"):
        from imgcodec.eval.anchors.ours import ImgcodecCodec

        codec: ImageCodec = ImgcodecCodec.of_model(base, base.removeprefix("imgcodec:"))
    else:
        codec = _FACTORIES[base]()
    return with_settings(codec, parse_settings(settings_text)) if settings_text else codec


def parse_settings(text: str) -> list[Setting]:
    """Return the settings of a comma-separated list: integers, else floats, else text."""
    return [_parse_setting(part.strip()) for part in text.split(",") if part.strip()]


def _parse_setting(text: str) -> Setting:
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def split_names(text: str) -> list[str]:
    """Return the codec names of a comma-separated list; `jpeg@10,50,webp` are two of them.

    A number that follows the settings of a name belongs to them. Command lines (`custom:`) cannot
    be part of a list, since they may hold commas.

    Raises:
        OptionError: the list is empty.
    """
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        is_setting = bool(names) and "@" in names[-1] and not isinstance(_parse_setting(part), str)
        if is_setting:
            names[-1] += f",{part}"
        elif part:
            names.append(part)
    if not names:
        raise OptionError("no codec is named")
    return names


def with_settings(codec: ImageCodec, settings: Sequence[Setting]) -> ImageCodec:
    """Return the same codec with another list of settings (low to high rate)."""
    fields: Any = codec
    replaced: ImageCodec = dataclasses.replace(fields, settings=tuple(settings))
    return replaced
