"""Numbers of variable length, and reading forward through bytes (SPEC 1.1)."""

from __future__ import annotations

from imgcodec.codec.errors import CorruptStreamError, TruncatedStreamError

_MAX_VARINT_BYTES = 5


class Cursor:
    """Reads forward through bytes; refuses to read past their end."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    @property
    def remaining(self) -> int:
        return len(self.data) - self.position

    def take(self, num_bytes: int) -> bytes:
        if num_bytes > self.remaining:
            raise TruncatedStreamError(
                f"the stream is cut short: {num_bytes} bytes expected at offset {self.position}, "
                f"{self.remaining} left"
            )
        self.position += num_bytes
        return self.data[self.position - num_bytes : self.position]

    def take_varint(self) -> int:
        value = 0
        for shift in range(0, 7 * _MAX_VARINT_BYTES, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift > 0:
                    raise CorruptStreamError("a number is not written in its shortest form")
                return value
        raise CorruptStreamError(f"a number is longer than {_MAX_VARINT_BYTES} bytes")


def write_varint(value: int) -> bytes:
    """Return a number in groups of 7 bits, the lowest first (SPEC 1.1).

    Raises:
        ValueError: It has more than 35 bits.
    """
    if value >= 1 << 7 * _MAX_VARINT_BYTES:
        raise ValueError(f"a chunk of {value} bytes is too long")
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
