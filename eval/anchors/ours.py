"""This project's codec in the harness, through the public `imgcodec.encode` and `decode`."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from imgcodec.codec.options import DEFAULT_FAMILY, MAX_EFFORT, TUNES
from imgcodec.eval.anchors.base import Factory, RgbArray, Setting
from imgcodec.eval.quality import taught_columns

FIDELITY = "fidelity"


@dataclasses.dataclass(frozen=True)
class ImgcodecCodec:
    """A model of imgcodec; settings are qualities from 1 to 100.

    Attributes:
        name: value of the `codec` column.
        settings: qualities, low to high rate.
        model: family, model id or path of a weights file.
        decoder: which of the model's decoders.
        effort: of the encoder, 1 to 9.
    """

    name: str
    settings: Sequence[Setting]
    model: str = "beta"
    decoder: str = FIDELITY
    effort: int = 1

    @classmethod
    def of_model(
        cls, name: str, model: str, decoder: str = FIDELITY, effort: int = 1
    ) -> ImgcodecCodec:
        """Return the codec of a model with the ladder of qualities that the model recommends.

        Raises:
            UnknownModelError: the model is not installed.
        """
        from imgcodec.codec.weights.installed import find_model
        from imgcodec.codec.weights.store import load_model

        ladder = load_model(find_model(model)).model.quality_ladder
        return cls(name, ladder, model, decoder, effort)

    def encode(self, rgb: RgbArray, setting: Setting) -> bytes:
        """Return the `.cvb` file for a uint8 HxWx3 array."""
        import imgcodec

        quality = cast("int", setting)
        return imgcodec.encode(rgb, model=self.model, quality=quality, effort=self.effort)

    def decode(self, data: bytes) -> RgbArray:
        """Return the uint8 HxWx3 array of a `.cvb` file."""
        import imgcodec

        image = imgcodec.decode(data, model=self._weights_file, decoder=self.decoder)
        return np.asarray(image.convert("RGB"))

    def describe(self, setting: Setting) -> str:
        """Return the setting as `q=quality`."""
        return f"q={setting}"

    def describe_codec(self) -> str:
        """Return model id, hash, decoder and its complexity.

        Raises:
            UnknownModelError: the model or the decoder is not installed.
        """
        from imgcodec.codec.weights.installed import decoder_hash, find_model

        info = find_model(self.model)
        name = "decoder"
        if self.decoder != FIDELITY:
            name = f"{self.decoder} decoder ({decoder_hash(info, self.decoder)[:8]})"
        effort = "" if self.effort == 1 else f", effort {self.effort}"
        return (
            f"imgcodec {info.id} ({info.hash[:8]}), {name} {info.kmac_decode:.1f} kMAC/px{effort}"
        )

    def taught(self) -> frozenset[str]:
        """Return the columns of the metrics that were losses of the training.

        Raises:
            UnknownModelError: the model is not installed.
        """
        from imgcodec.codec.weights.installed import find_model, trained_losses

        return taught_columns(trained_losses(find_model(self.model), self.decoder))

    def sizes(self, data: bytes) -> tuple[float, float]:
        """Return (bytes of entropy-coded payload, likelihood estimate in bytes) of a file."""
        import imgcodec
        from imgcodec.codec.stream.container import read_stream

        stream = read_stream(data)
        payload = sum(len(part) for segment in stream.segments for part in segment)
        payload += len(stream.exact or b"")
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
        from imgcodec.codec.stream import coder

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
                (coder.PassDecoder, ("decode",)),
            ):
                for method_name in names:
                    original = getattr(owner, method_name)
                    setattr(owner, method_name, timed(original))
                    undo.callback(setattr, owner, method_name, original)
            yield lambda: seconds


def factories() -> dict[str, Factory]:
    """Return installed families, further decoders of installed models, tunes and efforts."""
    from imgcodec.codec.weights.installed import list_models

    models = list_models()
    named = {f"imgcodec-{model.family}": (model.family, FIDELITY) for model in models}
    named |= {
        f"imgcodec-{DEFAULT_FAMILY}-{tune}": (model, FIDELITY) for tune, model in TUNES.items()
    }
    for info in models:
        named |= {f"imgcodec-{info.family}-{name}": (info.id, name) for name in info.decoders[1:]}
    found: dict[str, Factory] = {
        name: functools.partial(ImgcodecCodec.of_model, name, model, decoder)
        for name, (model, decoder) in named.items()
    }
    for effort in range(2, MAX_EFFORT + 1):
        name = f"imgcodec-{DEFAULT_FAMILY}-effort{effort}"
        found[name] = functools.partial(ImgcodecCodec.of_model, name, DEFAULT_FAMILY, effort=effort)
    return found
