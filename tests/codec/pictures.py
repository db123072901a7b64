"""Small pictures and hand-made PNG files for the tests of reading and writing."""

import io
import zlib

import numpy as np

SIZES = [(1, 1), (1, 9), (7, 1), (5, 3), (33, 17)]  # (height, width)


def noise(height, width, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    shape = (height, width, channels) if channels > 1 else (height, width)
    return rng.integers(0, 256, shape).astype(np.uint8)


def encoded(image, format, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(chunks) -> bytes:
    data = b"\x89PNG\r\n\x1a\n"
    for kind, payload in chunks:
        data += len(payload).to_bytes(4, "big") + kind + payload
        data += zlib.crc32(kind + payload).to_bytes(4, "big")
    return data
