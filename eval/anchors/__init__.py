"""Codecs to compare with: one interface, one registry."""

from imgcodec.eval.anchors.base import (
    AnchorError,
    ImageCodec,
    TrainedCodec,
    check_codec_name,
    codec_names,
    get_codec,
    register,
    split_names,
    taught_of,
    with_settings,
)

__all__ = [
    "AnchorError",
    "ImageCodec",
    "TrainedCodec",
    "check_codec_name",
    "codec_names",
    "get_codec",
    "register",
    "split_names",
    "taught_of",
    "with_settings",
]
