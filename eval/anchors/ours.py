"""This project's codec in the harness, through the public `imgcodec.encode` and `decode`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imgcodec.eval.anchors.base import RgbArray, Setting, register

LADDER = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
FAMILIES = ("beta",)


@dataclasses.dataclass(frozen=True)
class ImgcodecCodec:
    """A model of imgcodec; settings are qualities from 1 to 100.

    Attributes:
        name: value of the `codec` column.
        settings: qualities, low to high rate.
        model: family, model id or path of a weights file.
    """

    name: str
    settings: Sequence[Setting] = LADDER
    model: str = "beta"

    def encode(self, rgb: RgbArray, setting: Setting) -> bytes:
        """Return the `.cvb` file for a uint8 HxWx3 array."""
        import imgcodec

        return imgcodec.encode(rgb, model=self.model, quality=setting)

    def decode(self, data: bytes) -> RgbArray:
        """Return the uint8 HxWx3 array of a `.cvb` file."""
        import imgcodec

        return np.asarray(imgcodec.decode(data, model=self._weights_file).convert("RGB"))

    def describe(self, setting: Setting) -> str:
        """Return the setting as `q=quality`."""
        return f"q={setting}"

    def describe_codec(self) -> str:
        """Return model id, hash and the complexity of the decoder.

        Raises:
            UnknownModelError: the model is not installed.
        """
        from imgcodec.codec.models.weights import find_model

        info = find_model(self.model)
        return f"imgcodec {info.id} ({info.hash[:8]}), decoder {info.kmac_decode:.1f} kMAC/px"

    def sizes(self, data: bytes) -> tuple[float, float]:
        """Return (bytes of entropy-coded payload, likelihood estimate in bytes) of a file."""
        import imgcodec
        from imgcodec.codec.container import read_stream

        payload = sum(len(part) for segment in read_stream(data).segments for part in segment)
        estimate = imgcodec.inspect(data, verify=True, model=self._weights_file).estimated_bytes
        return float(payload), float("nan") if estimate is None else float(estimate)

    @property
    def _weights_file(self) -> str | None:
        """The model where it is a file: its streams cannot be matched to an installed model."""
        return self.model if Path(self.model).is_file() else None

    @contextlib.contextmanager
    def entropy_clock(self) -> Iterator[Callable[[], float]]:
        """Yield a function that tells the seconds spent in entropy coding inside the block.

        The methods of the coder classes are wrapped for the time of the block; the rest of the
        time of a call is transform time.
        """
        from imgcodec.codec.entropy import coder

        seconds = 0.0

        def timed(method: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(method)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                nonlocal seconds
                start = time.perf_counter()
                try:
                    return method(*args, **kwargs)
                finally:
                    seconds += time.perf_counter() - start

            return wrapper

        with contextlib.ExitStack() as undo:
            for owner, names in (
                (coder.PassEncoder, ("encode", "to_bytes")),
                (coder.PassDecoder, ("decode", "finish")),
            ):
                for method_name in names:
                    original = getattr(owner, method_name)
                    setattr(owner, method_name, timed(original))
                    undo.callback(setattr, owner, method_name, original)
            yield lambda: seconds


def register_all() -> None:
    """Register one codec per model family."""
    for family in FAMILIES:
        name = f"imgcodec-{family}"
        register(name, functools.partial(ImgcodecCodec, name=name, model=family))
