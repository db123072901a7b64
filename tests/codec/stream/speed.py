"""Symbols a second of every backend: ``python -m tests.codec.stream.speed``.

Normal distributions of many widths, mostly narrow ones as in a photograph; processor time, best of
five. The lists of `rangecoder.Model` are made before.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from imgcodec.codec.stream.backends import backend_named
from imgcodec.codec.stream.coder import PassDecoder, PassEncoder
from imgcodec.codec.stream.tables import Tables

NUM_SYMBOLS = 400_000
SCALES = np.geomspace(0.11, 64, 64)


def main() -> None:
    """Print a line for each backend."""
    generator = np.random.default_rng(1)
    tables = Tables.gaussian(SCALES)
    indexes = np.minimum(generator.exponential(10, NUM_SYMBOLS), len(SCALES) - 1).astype(np.int64)
    q = np.round(generator.normal(size=NUM_SYMBOLS) * SCALES[indexes]).astype(np.int32)
    for name in ("constriction", "python"):
        backend = backend_named(name)

        def encode(backend=backend) -> bytes:
            encoder = PassEncoder(tables, backend)
            encoder.encode(q, indexes)
            return encoder.to_bytes()

        data = encode()

        def decode(backend=backend, data=data) -> None:
            assert np.array_equal(PassDecoder(tables, data, backend).decode(indexes), q)

        speeds = [NUM_SYMBOLS / 1e6 / _seconds(function) for function in (encode, decode)]
        print(
            f"{name:12} {8 * len(data) / NUM_SYMBOLS:.2f} bits a symbol, "
            f"encodes {speeds[0]:.1f}, decodes {speeds[1]:.1f} million symbols a second"
        )


def _seconds(function: Callable[[], object]) -> float:
    durations = []
    for _ in range(5):
        start = time.process_time()
        function()
        durations.append(time.process_time() - start)
    return min(durations)


if __name__ == "__main__":
    main()
