"""Small pictures and hand-made PNG files for the tests of reading and writing."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

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


def wide_png(samples, chunks=()) -> bytes:
    """Return a PNG file of 16-bit samples (H, W, 1 to 4); Pillow writes grey ones only.

    Args:
        samples: of the values 0 to 65535.
        chunks: (type, payload) to put before the pixels.
    """
    height, width, channels = samples.shape
    raw = b"".join(b"\0" + row.tobytes() for row in samples.astype(">u2"))
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    ihdr = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    return png([(b"IHDR", ihdr), *chunks, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")])


def wide_tiff(samples) -> bytes:
    """Return an uncompressed TIFF file of 16-bit RGB samples, which Pillow does not write."""
    height, width, channels = samples.shape
    data = samples.astype("<u2").tobytes()
    depths = 8 + len(data)
    one = {256: width, 257: height, 259: 1, 262: 2, 273: 8, 277: channels, 278: height}
    entries = [(tag, 4, 1, value) for tag, value in {**one, 279: len(data)}.items()]
    directory = struct.pack("<H", len(entries) + 1)
    for entry in sorted([*entries, (258, 3, channels, depths)]):
        directory += struct.pack("<HHII", *entry)
    head = b"II*\0" + struct.pack("<I", depths + 2 * channels)
    return head + data + struct.pack("<3H", 16, 16, 16) + directory + bytes(4)


def photograph(height, width) -> np.ndarray:
    """Return a part of the photograph that matplotlib ships, uint8 (height, width, 3)."""
    from matplotlib.cbook import get_sample_data

    with Image.open(get_sample_data("grace_hopper.jpg")) as image:
        return np.asarray(image)[60 : 60 + height, 160 : 160 + width].copy()
