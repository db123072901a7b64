"""What codes symbols: constriction, or plain Python where that has no wheel.

Both give the same bytes and the same integers. The environment variable IMGCODEC_CODER forces one:
`constriction` or `python`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imgcodec.codec.errors import CodecError
from imgcodec.codec.stream import rangecoder

VARIABLE = "IMGCODEC_CODER"

Model: TypeAlias = Any  # made and understood by one backend alone


class Encoder(Protocol):
    """Writes symbols into one stream."""

    def encode(self, symbols: NDArray[np.int32], model: Model) -> None:
        """Append symbols of one model, each in [0, number of its symbols)."""

    def end(self) -> tuple[bytes, int, int]:
        """Return how the stream may end: a head, and two numbers lower < top <= 2**64.

        The head followed by any number of [lower, top), as 8 bytes, decodes to the symbols so far.
        Encoding may go on.
        """


class Decoder(Protocol):
    """Reads symbols from one stream, which zeros follow."""

    def decode(self, model: Model, num: int) -> NDArray[np.int32]:
        """Return the next symbols, all of one model.

        Raises:
            CorruptStreamError: The data are invalid.
        """


@dataclass(frozen=True)
class Backend:
    """One way to code symbols.

    Attributes:
        name: "constriction" or "python".
        categorical: Makes a model with exactly these frequencies, which sum to 2**24.
        uniform: Makes a model of equally likely symbols, whose number is a power of two.
        encoder: Starts a stream.
        decoder: Starts to read a stream.
    """

    name: str
    categorical: Callable[[NDArray[np.int64]], Model]
    uniform: Callable[[int], Model]
    encoder: Callable[[], Encoder]
    decoder: Callable[[bytes], Decoder]


def chosen() -> Backend:
    """Return the backend that IMGCODEC_CODER names, else the fastest one that is there.

    Raises:
        CodecError: The variable names none, or one that is not there.
    """
    return backend_named(os.environ.get(VARIABLE, ""))


@lru_cache(maxsize=4)
def backend_named(name: str) -> Backend:
    """Return a backend, the fastest one that is there for an empty name.

    Raises:
        CodecError: There is none of that name, or it cannot be imported.
    """
    if name not in ("", "constriction", "python"):
        raise CodecError(f"{VARIABLE} is {name!r}; it may be 'constriction' or 'python'")
    if name != "python":
        try:
            from imgcodec.codec.stream import constricted
        except ImportError as error:
            if name:
                raise CodecError(f"constriction cannot be imported: {error}") from error
        else:
            return Backend(
                "constriction",
                constricted.categorical,
                constricted.uniform,
                constricted.Encoder,
                constricted.Decoder,
            )
    return Backend(
        "python",
        rangecoder.categorical,
        rangecoder.uniform,
        rangecoder.Encoder,
        rangecoder.Decoder,
    )
