"""A learned image codec: real files, honest byte counts, weights in the package.

    >>> import imgcodec
    >>> data = imgcodec.encode("photo.png", quality=60)
    >>> imgcodec.decode(data).save("back.png")

This is the thin public face. Everything is loaded on first use (PEP 562), so that
``import imgcodec`` and ``imgcodec --help`` cost no torch import.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imgcodec.codec.api import decode, encode
    from imgcodec.codec.errors import (
        CodecError,
        CorruptStreamError,
        ImageFormatError,
        MissingPackageError,
        OptionError,
        RefusedPictureError,
        TruncatedStreamError,
        UnknownModelError,
        UnreachableTargetError,
        UnsupportedVersionError,
    )
    from imgcodec.codec.previews import preview
    from imgcodec.codec.session.inspection import inspect
    from imgcodec.codec.weights.installed import list_models

__version__ = "0.1.0"

_HOMES = {
    "CodecError": "imgcodec.codec.errors",
    "CorruptStreamError": "imgcodec.codec.errors",
    "ImageFormatError": "imgcodec.codec.errors",
    "MissingPackageError": "imgcodec.codec.errors",
    "OptionError": "imgcodec.codec.errors",
    "RefusedPictureError": "imgcodec.codec.errors",
    "TruncatedStreamError": "imgcodec.codec.errors",
    "UnknownModelError": "imgcodec.codec.errors",
    "UnreachableTargetError": "imgcodec.codec.errors",
    "UnsupportedVersionError": "imgcodec.codec.errors",
    "decode": "imgcodec.codec.api",
    "encode": "imgcodec.codec.api",
    "inspect": "imgcodec.codec.session.inspection",
    "list_models": "imgcodec.codec.weights.installed",
    "preview": "imgcodec.codec.previews",
}

__all__ = [
    "CodecError",
    "CorruptStreamError",
    "ImageFormatError",
    "MissingPackageError",
    "OptionError",
    "RefusedPictureError",
    "TruncatedStreamError",
    "UnknownModelError",
    "UnreachableTargetError",
    "UnsupportedVersionError",
    "__version__",
    "decode",
    "encode",
    "inspect",
    "list_models",
    "preview",
]

# In a source checkout the subpackages (codec, cli, ...) lie beside this folder, not inside it:
# with the repository root on the search path `python -m imgcodec` works without installation.
_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "setup.cfg").is_file() and (_ROOT / "codec" / "__init__.py").is_file():
    __path__.append(str(_ROOT))


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
