"""Codecs to compare with: one interface, one registry."""

from imgcodec.eval.anchors.base import (
    AnchorError,
    ImageCodec,
    codec_names,
    get_codec,
    register,
    split_names,
    with_settings,
)

__all__ = [
    "AnchorError",
    "ImageCodec",
    "codec_names",
    "get_codec",
    "register",
    "split_names",
    "with_settings",
]
