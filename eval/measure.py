"""One row: code one image with one codec at one setting, time it, compare it."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from imgcodec.codec.errors import CodecError
from imgcodec.eval.anchors.base import ImageCodec, RgbArray, Setting
from imgcodec.eval.memory import peak_memory
from imgcodec.eval.metrics.base import Metric

Row = dict[str, Any]


@runtime_checkable
class InstrumentedCodec(Protocol):
    """A codec that can tell payload, estimate and entropy-coding time (see `ImgcodecCodec`)."""

    def sizes(self, data: bytes) -> tuple[float, float]: ...

    def entropy_clock(self) -> contextlib.AbstractContextManager[Callable[[], float]]: ...


class WrongSizeError(CodecError):
    """A codec returned a picture of another shape than it was given."""


def warm_up(codec: ImageCodec, rgb: RgbArray, setting: Setting) -> None:
    """Code an image once, so that loading of libraries and weights stays out of the timing."""
    codec.decode(codec.encode(rgb, setting))


def measure_row(
    codec: ImageCodec,
    metrics: Sequence[Metric],
    rgb: RgbArray,
    prepared: Sequence[Any],
    setting: Setting,
    reps: int,
) -> Row:
    """Return the measured columns of a row.

    Times are medians over `reps` runs; sizes are those of the file, headers and all.

    Args:
        codec: warmed-up codec.
        metrics: what to compute.
        rgb: the original, uint8 HxWx3.
        prepared: `prepare` of each metric on the original.
        setting: setting of the codec.
        reps: number of timed runs, at least 1.

    Raises:
        WrongSizeError: the decoded picture has another shape.
    """
    height, width = rgb.shape[:2]
    megapixels = height * width / 1e6
    with peak_memory() as peak:
        data, encode_s, encode_entropy_s = _timed(codec, lambda: codec.encode(rgb, setting), reps)
        decoded, decode_s, decode_entropy_s = _timed(codec, lambda: codec.decode(data), reps)
    decoded = np.asarray(decoded)
    if decoded.shape != rgb.shape:
        raise WrongSizeError(f"{codec.name} decoded {rgb.shape} as {decoded.shape}")
    row: Row = {
        "bytes": len(data),
        "bpp": len(data) * 8 / (height * width),
        "ratio": rgb.size / len(data),
        "encode_s": encode_s,
        "decode_s": decode_s,
        "encode_mp_s": megapixels / encode_s,
        "decode_mp_s": megapixels / decode_s,
        "peak_memory_bytes": peak.bytes,
    }
    if isinstance(codec, InstrumentedCodec):
        payload_bytes, estimate_bytes = codec.sizes(data)
        row |= {
            "payload_bpp": payload_bytes * 8 / (height * width),
            "estimate_bpp": estimate_bytes * 8 / (height * width),
            "encode_entropy_s": encode_entropy_s,
            "encode_transform_s": encode_s - encode_entropy_s,
            "decode_entropy_s": decode_entropy_s,
            "decode_transform_s": decode_s - decode_entropy_s,
        }
    for metric, reference in zip(metrics, prepared, strict=True):
        row |= metric.measure(reference, decoded)
    return row


def _timed(codec: ImageCodec, call: Callable[[], Any], reps: int) -> tuple[Any, float, float]:
    """Return (result, median seconds, entropy-coding seconds of the median run)."""
    runs: list[tuple[float, float]] = []
    result: Any = None
    for _ in range(max(reps, 1)):
        with _entropy_clock(codec) as entropy_seconds:
            start = time.perf_counter()
            result = call()
            seconds = time.perf_counter() - start
            runs.append((seconds, entropy_seconds()))
    total = statistics.median(seconds for seconds, _ in runs)
    entropy = statistics.median(entropy for _, entropy in runs)
    return result, total, min(entropy, total)


@contextlib.contextmanager
def _entropy_clock(codec: ImageCodec) -> Iterator[Callable[[], float]]:
    if isinstance(codec, InstrumentedCodec):
        with codec.entropy_clock() as seconds:
            yield seconds
    else:
        yield lambda: math.nan
