"""Errors of the codec: one base class, so that callers can catch everything at once."""


class CodecError(Exception):
    """Base of every error that the codec raises on bad input."""


class CorruptStreamError(CodecError):
    """The bytes are not a `.cvb` stream, or they are damaged, cut short or self-contradictory."""


class TruncatedStreamError(CorruptStreamError):
    """The bytes end before the stream does; `allow_truncated` shows what there is."""


class UnsupportedVersionError(CodecError):
    """The stream was written by a newer format version or needs a chunk that we do not know."""


class UnknownModelError(CodecError):
    """The stream or the caller names a model whose weights are not installed."""


class MissingPackageError(CodecError):
    """A package is not installed that this needs; the message says which."""


class ImageFormatError(CodecError):
    """A picture cannot be read, or cannot be written in the format that was asked for."""


class UnreachableTargetError(CodecError):
    """No quality gives a file that is small enough, or a picture that is similar enough."""


class OptionError(CodecError, ValueError):
    """An argument is out of range, contradicts another, or does not fit the model or the file."""


class RefusedPictureError(ImageFormatError, OptionError):
    """A good picture that does not fit what was asked for: other options would do.

    Such as a file with several frames and no number of one, a picture beyond `max_pixels` or, with
    `strict`, of more than 8 bits a sample, and a format that cannot hold what is to be written.
    """
