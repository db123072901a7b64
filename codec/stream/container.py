"""The `.cvb` container: a header, then chunks, each guarded by a CRC-32. SPEC.md is its definition.

    header | metadata chunks | alpha chunk | exact chunk | data chunks, one a segment

Metadata, alpha and exact blocks come first, so that any prefix that reaches the first data chunks
can be shown as it is meant to look, and the file always ends in a critical chunk, so that no
truncation goes unnoticed. A segment holds streams of all tiles, and segments go from coarse to
fine: a prefix of the data is the whole scene at a lower rate.
"""

# Long because writer, reader, and reader of beginnings must agree line by line.

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from imgcodec.codec.errors import (
    CorruptStreamError,
    OptionError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from imgcodec.codec.stream.kinds import METADATA
from imgcodec.codec.stream.segments import CutChunk, cut_payload, join_streams, split_streams
from imgcodec.codec.stream.varints import Cursor, write_varint

MAGIC = b"CVB"
VERSION = 2
MAX_SIDE_PX = (1 << 24) - 1
MAX_PIXELS = 1 << 28
MIN_TILE_LOG2, MAX_TILE_LOG2 = 8, 12
MAX_SEGMENTS = 16

_ALPHA, _EXACT, _DATA, _MORE_DATA = b"A", b"L", b"D", b"C"
_CRITICAL = (_ALPHA, _EXACT, _DATA, _MORE_DATA)
_METADATA_NAMES = {kind.letter: name for name, kind in METADATA.items()}
_FLAG_GRAY, _FLAG_ALPHA, _FLAG_EXACT, _FLAG_HALF = 1, 2, 4, 8
_CRC_BYTES = 4
_MIN_CHUNK_BYTES = 1 + 1 + _CRC_BYTES


@dataclass(frozen=True)
class Header:
    """What the decoder must know before the first chunk.

    Attributes:
        model_hash: 4 bytes that identify the weights.
        height: Rows, 1 to 2**24 - 1.
        width: Columns, 1 to 2**24 - 1.
        quality: 1 to 100, as the model defines it.
        is_gray: The picture is shown as one channel.
        has_alpha: An alpha chunk is present.
        has_exact: A chunk of exact blocks is present.
        tile_px: Side of the square tiles of the picture as it is coded, a power of two from 256
            to 4096.
        num_segments: Data chunks, 1 to 16: streams that each tile is split into, coarse to fine.
        reduction: 1, or 2 where the picture is coded at half its size and the decoder enlarges it.

    Raises:
        ValueError: A field is out of range.
    """

    model_hash: bytes
    height: int
    width: int
    quality: int
    is_gray: bool
    has_alpha: bool
    tile_px: int
    num_segments: int
    has_exact: bool = False
    reduction: int = 1

    def __post_init__(self) -> None:
        if len(self.model_hash) != 4:
            raise ValueError("model_hash must be 4 bytes")
        if not (1 <= self.height <= MAX_SIDE_PX and 1 <= self.width <= MAX_SIDE_PX):
            raise ValueError(f"picture size {self.height} x {self.width} is out of range")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality {self.quality} is not in [1, 100]")
        if self.tile_px not in {1 << k for k in range(MIN_TILE_LOG2, MAX_TILE_LOG2 + 1)}:
            raise OptionError(f"tile side {self.tile_px} is not a power of two in [256, 4096]")
        if not 1 <= self.num_segments <= MAX_SEGMENTS:
            raise ValueError(f"{self.num_segments} segments are not in [1, {MAX_SEGMENTS}]")
        if self.reduction not in (1, 2):
            raise ValueError(f"reduction {self.reduction} is not 1 or 2")

    @property
    def coded_size(self) -> tuple[int, int]:
        """Rows and columns of what the model codes."""
        return -(-self.height // self.reduction), -(-self.width // self.reduction)

    @property
    def num_tiles(self) -> int:
        """Tiles of the grid, row-major; those at the right and bottom edges may be smaller."""
        height, width = self.coded_size
        return -(-height // self.tile_px) * -(-width // self.tile_px)


@dataclass(frozen=True)
class Stream:
    """A parsed `.cvb` file.

    Attributes:
        header: The header.
        segments: `segments[segment][tile]`, entropy-coded bytes. Complete unless the file was
            read with `allow_truncated`; then the last ones may be missing.
        alpha: Payload of the alpha chunk, None when the picture is opaque.
        exact: Payload of the chunk of exact blocks, None without.
        metadata: "icc", "exif" and "xmp" payloads, those that exist.
        cut: The data chunk after those of `segments` where the file ends within its payload or
            CRC; only with `allow_truncated`.
        levels: How many of `segments` belong to each level of the model, coarse to fine; () for
            one each.
    """

    header: Header
    segments: list[list[bytes]]
    alpha: bytes | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)
    cut: CutChunk | None = None
    exact: bytes | None = None
    levels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.levels:
            object.__setattr__(self, "levels", (1,) * len(self.segments))

    @property
    def is_complete(self) -> bool:
        """Whether every segment is there."""
        return len(self.segments) == self.header.num_segments


def write_stream(stream: Stream) -> bytes:
    """Serialise a complete stream.

    Raises:
        ValueError: Segments, tiles, alpha or metadata do not match the header.
    """
    header = stream.header
    shape = [len(tiles) for tiles in stream.segments]
    if shape != [header.num_tiles] * header.num_segments:
        raise ValueError(
            f"{header.num_segments} segments of {header.num_tiles} tiles expected, got {shape}"
        )
    if sum(stream.levels) != header.num_segments or min(stream.levels) < 1:
        raise ValueError(f"levels of {stream.levels} are not {header.num_segments} segments")
    if (stream.alpha is not None) != header.has_alpha:
        raise ValueError("the alpha payload and the header disagree")
    if (stream.exact is not None) != header.has_exact:
        raise ValueError("the exact blocks and the header disagree")
    if not set(stream.metadata) <= set(METADATA):
        raise ValueError(f"metadata {list(stream.metadata)} are not all of {list(METADATA)}")
    parts = [_write_header(header)]
    crcs = _CrcChain(parts[0])
    for _, letter, payload in _chunks(stream):
        head = letter + write_varint(len(payload))
        parts += [head, payload, crcs.next(head, payload)]
    return b"".join(parts)


def read_header(data: bytes) -> Header:
    """Parse and check the header alone; `data` may be any prefix that contains it.

    Raises:
        CorruptStreamError: Not a `.cvb` stream, or the header is damaged or cut short.
        UnsupportedVersionError: Written by another version of the format.
    """
    return _parse_header(Cursor(data))


def read_stream(
    data: bytes, *, max_pixels: int = MAX_PIXELS, allow_truncated: bool = False
) -> Stream:
    """Parse a stream and check every CRC.

    Nothing is allocated beyond slices of `data` and an empty stream for each tile that has none.

    Args:
        data: The whole file.
        max_pixels: Refuse pictures with more pixels.
        allow_truncated: Where the file just ends early, return the chunks that are whole, whose
            CRCs are checked, and the beginning of the next one as `Stream.cut`, which no CRC can
            check: a damaged length that points beyond the end of the file looks like a cut.

    Raises:
        TruncatedStreamError: Cut short; with `allow_truncated` only where the header, the alpha
            chunk or the exact blocks are not whole.
        CorruptStreamError: Damaged, self-contradictory or larger than `max_pixels`.
        UnsupportedVersionError: Another format version, or a critical chunk of unknown type.
    """
    cursor = Cursor(data)
    header = _parse_header(cursor)
    if header.height * header.width > max_pixels:
        raise CorruptStreamError(
            f"the picture has {header.height} x {header.width} pixels, more than the limit of "
            f"{max_pixels}; raise max_pixels if the file can be trusted"
        )
    num_segments = header.num_segments
    if not allow_truncated and num_segments * _MIN_CHUNK_BYTES > cursor.remaining:
        raise TruncatedStreamError(f"{cursor.remaining} bytes cannot hold {num_segments} segments")
    segments: list[list[bytes]] = []
    levels: list[int] = []
    cut: CutChunk | None = None
    before: dict[bytes, bytes] = {}
    metadata: dict[str, bytes] = {}
    announced = {_ALPHA: header.has_alpha, _EXACT: header.has_exact}
    try:
        for letter, payload, num_bytes in _parse_chunks(cursor, num_segments):
            if letter in (_DATA, _MORE_DATA):
                if len(before) < sum(announced.values()):
                    raise CorruptStreamError("a chunk is missing that the header announces")
                if letter == _MORE_DATA and not segments:
                    raise CorruptStreamError("no level begins with the first segment")
                if num_bytes is not None:
                    cut = cut_payload(payload, num_bytes, header.num_tiles)
                    continue
                segments.append(split_streams(payload, header.num_tiles))
                if letter == _DATA:
                    levels.append(0)
                levels[-1] += 1
            elif letter in announced:
                is_late = segments or (letter == _ALPHA and _EXACT in before)
                if not announced[letter] or letter in before or is_late:
                    raise CorruptStreamError(f"chunk {letter.decode()} is out of place")
                before[letter] = payload
            elif letter in _METADATA_NAMES:
                name = _METADATA_NAMES[letter]
                if name in metadata or before or segments:
                    raise CorruptStreamError(f"an {name} chunk is out of place")
                metadata[name] = payload
    except TruncatedStreamError:
        if not allow_truncated or len(before) < sum(announced.values()):
            raise
    else:
        if cursor.remaining:
            raise CorruptStreamError(f"{cursor.remaining} bytes follow the end of the stream")
    return Stream(
        header,
        segments,
        before.get(_ALPHA),
        metadata,
        cut,
        before.get(_EXACT),
        tuple(levels),
    )


def parse_metadata_names(text: str) -> set[str]:
    """Return the kinds of metadata that "all", "none" or a list such as "icc,exif" stands for.

    Raises:
        OptionError: An unknown name.
    """
    if text in ("all", "none"):
        return set(METADATA if text == "all" else ())
    names = {name.strip() for name in text.split(",")}
    if not names <= set(METADATA):
        known = ",".join(METADATA)
        raise OptionError(f"metadata must be all, none or some of {known}, not {text!r}")
    return names


def chunk_sizes(stream: Stream) -> list[tuple[str, int]]:
    """Return (name, bytes on disk) of the header and of every chunk, in the order of the file.

    Names are "header", "icc", "exif", "xmp", "alpha", "exact" and "segment 1", "segment 2". The
    sum is the size of the file, unless that has ancillary chunks that this version skips.
    """
    sizes = [("header", len(_write_header(stream.header)))]
    for name, letter, payload in _chunks(stream):
        frame_bytes = len(letter) + len(write_varint(len(payload))) + _CRC_BYTES
        sizes.append((name, frame_bytes + len(payload)))
    return sizes


def expected_bytes(stream: Stream) -> tuple[int, bool]:
    """Return the size that the whole file has, and whether that is known: else it is a least one.

    Known as `chunk_sizes` are, and where no chunk follows the one in which the file ends.
    """
    size = sum(num_bytes for _, num_bytes in chunk_sizes(stream))
    missing = stream.header.num_segments - len(stream.segments)
    if stream.cut is not None:
        num_bytes = stream.cut.num_bytes
        size += len(_DATA) + len(write_varint(num_bytes)) + num_bytes + _CRC_BYTES
        missing -= 1
    return size + missing * _MIN_CHUNK_BYTES, missing == 0


def level_edges(stream: Stream) -> list[int]:
    """Return how many bytes of the file come before the first level, and up to the end of each.

    A file that is cut at such an edge shows the levels before it whole. Ancillary chunks of
    unknown type are not counted, as in `chunk_sizes`.
    """
    sizes = [size for _, size in chunk_sizes(stream)]
    counts = [len(sizes) - len(stream.segments), *stream.levels]
    return [sum(sizes[:end]) for end in accumulate(counts)]


def _chunks(stream: Stream) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield (name, type, payload) of every chunk in the order of the file."""
    for name, kind in METADATA.items():
        if name in stream.metadata:
            yield name, kind.letter, stream.metadata[name]
    if stream.alpha is not None:
        yield "alpha", _ALPHA, stream.alpha
    if stream.exact is not None:
        yield "exact", _EXACT, stream.exact
    starts = set(accumulate(stream.levels[:-1], initial=0))
    for number, streams in enumerate(stream.segments):
        letter = _DATA if number in starts else _MORE_DATA
        yield f"segment {number + 1}", letter, join_streams(streams)


class _CrcChain:
    """CRC-32 of chunk after chunk.

    A critical chunk's CRC continues that of the critical chunk before it, an ancillary one's that
    of the header: critical chunks cannot be reordered, dropped or taken from another file.
    """

    def __init__(self, header: bytes) -> None:
        self._header = self._critical = zlib.crc32(header[:-_CRC_BYTES])

    def next(self, head: bytes, payload: bytes) -> bytes:
        is_critical = head[:1].isupper()
        start = self._critical if is_critical else self._header
        crc = zlib.crc32(payload, zlib.crc32(head, start))
        if is_critical:
            self._critical = crc
        return crc.to_bytes(_CRC_BYTES, "big")


def _write_header(header: Header) -> bytes:
    flags = _FLAG_GRAY * header.is_gray | _FLAG_ALPHA * header.has_alpha
    flags |= _FLAG_EXACT * header.has_exact | _FLAG_HALF * (header.reduction == 2)
    tile_log2 = header.tile_px.bit_length() - 1
    layout = (header.num_segments - 1) << 4 | (tile_log2 - MIN_TILE_LOG2)
    body = b"".join(
        (
            MAGIC,
            bytes([VERSION]),
            header.model_hash,
            write_varint(header.height),
            write_varint(header.width),
            bytes([header.quality, flags, layout]),
        )
    )
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "big")


def _parse_header(cursor: Cursor) -> Header:
    if cursor.take(len(MAGIC)) != MAGIC:
        raise CorruptStreamError("not a .cvb stream: it does not start with 'CVB'")
    version = cursor.take(1)[0]
    if version != VERSION:
        raise UnsupportedVersionError(
            f"the stream has format version {version}, this decoder reads {VERSION}; upgrade it"
        )
    model_hash = cursor.take(4)
    height, width = cursor.take_varint(), cursor.take_varint()
    quality, flags, layout = cursor.take(3)
    body = cursor.data[: cursor.position]
    if cursor.take(_CRC_BYTES) != zlib.crc32(body).to_bytes(_CRC_BYTES, "big"):
        raise CorruptStreamError("the header is damaged: wrong CRC")
    if flags & ~(_FLAG_GRAY | _FLAG_ALPHA | _FLAG_EXACT | _FLAG_HALF):
        raise UnsupportedVersionError(f"the header has unknown flags {flags:#04x}")
    try:
        return Header(
            model_hash=model_hash,
            height=height,
            width=width,
            quality=quality,
            is_gray=bool(flags & _FLAG_GRAY),
            has_alpha=bool(flags & _FLAG_ALPHA),
            has_exact=bool(flags & _FLAG_EXACT),
            tile_px=1 << (layout & 0xF) + MIN_TILE_LOG2,
            num_segments=(layout >> 4) + 1,
            reduction=2 if flags & _FLAG_HALF else 1,
        )
    except ValueError as error:
        raise CorruptStreamError(f"the header is invalid: {error}") from error


def _parse_chunks(cursor: Cursor, num_segments: int) -> Iterator[tuple[bytes, bytes, int | None]]:
    """Yield (type, payload, None) up to the last data chunk; the cursor stands behind the header.

    A data chunk that is cut off comes as what there is of it with its whole length, and then the
    error.
    """
    crcs = _CrcChain(cursor.data[: cursor.position])
    while num_segments:
        start = cursor.position
        letter = cursor.take(1)
        if not letter.isalpha():
            raise CorruptStreamError(f"no chunk starts at offset {start}")
        num_bytes = cursor.take_varint()
        head = cursor.data[start : cursor.position]
        try:
            payload, crc = cursor.take(num_bytes), cursor.take(_CRC_BYTES)
        except TruncatedStreamError:
            if letter in (_DATA, _MORE_DATA):
                yield letter, cursor.data[start + len(head) :][:num_bytes], num_bytes
            raise
        if crc != crcs.next(head, payload):
            raise CorruptStreamError(f"the chunk at offset {start} is damaged: wrong CRC")
        if letter.isupper() and letter not in _CRITICAL:
            raise UnsupportedVersionError(f"unknown critical chunk {letter.decode()!r}")
        num_segments -= letter in (_DATA, _MORE_DATA)
        yield letter, payload, None
