"""The registry of codecs: every module with codecs says which, here they are found by name."""

from __future__ import annotations

from functools import cache

from imgcodec.codec.errors import OptionError
from imgcodec.eval.anchors import ours, pillow_codecs, plugin_codecs
from imgcodec.eval.anchors.base import (
    AnchorError,
    Factory,
    ImageCodec,
    parse_setting,
    parse_settings,
    with_settings,
)
from imgcodec.eval.anchors.command import CommandCodec


@cache
def _factories() -> dict[str, Factory]:
    return ours.factories() | pillow_codecs.factories() | plugin_codecs.factories()


def codec_names() -> list[str]:
    """Return all registered names, whether or not their library is installed."""
    return list(_factories())


def check_codec_name(name: str) -> None:
    """Check that `get_codec` knows a name, without loading the codec.

    Raises:
        AnchorError: the name is unknown.
    """
    base = name.partition("@")[0]
    if base not in _factories() and not name.startswith(("custom:", "imgcodec:")):
        raise AnchorError(
            f"unknown codec {base!r}: use one of {', '.join(_factories())}, imgcodec:MODEL, "
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
        return CommandCodec.parse(name)
    base, _, settings_text = name.partition("@")
    if base.startswith("imgcodec:"):
        codec: ImageCodec = ours.ImgcodecCodec.of_model(base, base.removeprefix("imgcodec:"))
    else:
        codec = _factories()[base]()
    return with_settings(codec, parse_settings(settings_text)) if settings_text else codec


def split_names(text: str) -> list[str]:
    """Return the codec names of a comma-separated list; `jpeg@10,50,webp` are two of them.

    A number that follows the settings of a name belongs to them. Command lines (`custom:`) cannot
    be part of a list, since they may hold commas.

    Raises:
        OptionError: the list is empty.
    """
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        is_setting = bool(names) and "@" in names[-1] and not isinstance(parse_setting(part), str)
        if is_setting:
            names[-1] += f",{part}"
        elif part:
            names.append(part)
    if not names:
        raise OptionError("no codec is named")
    return names
