"""Segments: the streams of all tiles in the payload of one data chunk (SPEC 1.4)."""

from __future__ import annotations

from dataclasses import dataclass

from imgcodec.codec.errors import CorruptStreamError, TruncatedStreamError
from imgcodec.codec.stream.varints import Cursor, write_varint


@dataclass(frozen=True)
class CutChunk:
    """The data chunk in which a file ends; its CRC is not there, so nothing vouches for it.

    Attributes:
        num_bytes: Of the whole payload, as its length field tells.
        streams: Those of the first tiles, as far as they are there in full.
        beginning: What there is of the stream of the next tile.
        missing_bytes: Bytes of that stream that are not there.
    """

    num_bytes: int
    streams: list[bytes]
    beginning: bytes = b""
    missing_bytes: int = 0


def join_streams(streams: list[bytes]) -> bytes:
    """Return the payload of a segment: the lengths of all streams but the last, and the streams."""
    if not any(streams):
        return b""
    return b"".join([*(write_varint(len(stream)) for stream in streams[:-1]), *streams])


def split_streams(payload: bytes, num_tiles: int) -> list[bytes]:
    """Return the streams of a payload.

    Raises:
        CorruptStreamError: it is not what `join_streams` writes.
    """
    streams = cut_payload(payload, len(payload), num_tiles).streams
    if len(streams) < num_tiles:
        raise CorruptStreamError("a segment is shorter than its streams")
    if payload and not any(streams):
        raise CorruptStreamError("a segment without data is not empty")
    return streams


def cut_payload(there: bytes, num_bytes: int, num_tiles: int) -> CutChunk:
    """Return what the beginning of a payload tells."""
    missing = num_bytes - len(there)
    if num_bytes == 0:
        return CutChunk(0, [b""] * num_tiles)
    cursor = Cursor(there)
    streams: list[bytes] = []
    try:
        lengths = [cursor.take_varint() for _ in range(num_tiles - 1)]
    except TruncatedStreamError:
        return CutChunk(num_bytes, [], b"", missing)
    lengths.append(num_bytes - cursor.position - sum(lengths))
    if lengths[-1] < 0:
        raise CorruptStreamError("a segment is shorter than its streams")
    while len(streams) < num_tiles and lengths[len(streams)] <= cursor.remaining:
        streams.append(cursor.take(lengths[len(streams)]))
    if len(streams) == num_tiles:
        return CutChunk(num_bytes, streams)
    beginning = cursor.take(cursor.remaining)
    return CutChunk(num_bytes, streams, beginning, lengths[len(streams)] - len(beginning))
