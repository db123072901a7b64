/** The `.cvb` container: header, chunks, CRCs (SPEC 1); the reader of `codec/stream/container.py`. */

import { Cursor, crc32 } from "./bytes.js";
import { CorruptStreamError, TruncatedStreamError, UnsupportedVersionError } from "./errors.js";

export const VERSION = 2;
export const MAX_PIXELS = 2 ** 28;
const MAX_SIDE_PX = 2 ** 24 - 1;
const MIN_TILE_LOG2 = 8;
const MAX_TILE_LOG2 = 12;
const MIN_CHUNK_BYTES = 6;
const METADATA = { i: "icc", e: "exif", x: "xmp" };
const FLAG_GRAY = 1;
const FLAG_ALPHA = 2;
const FLAG_EXACT = 4;
const FLAG_HALF = 8;

/**
 * What the decoder must know before the first chunk.
 * @typedef {object} Header
 * @property {string} modelHash 8 hexadecimal digits
 * @property {number} height
 * @property {number} width
 * @property {number} quality 1 to 100
 * @property {boolean} isGray
 * @property {boolean} hasAlpha
 * @property {boolean} hasExact
 * @property {number} reduction 1, or 2 where the picture is coded at half its size
 * @property {{height: number, width: number}} coded size of what the model codes
 * @property {number} tilePx side of the square tiles
 * @property {number} numSegments number of data chunks
 */

/**
 * A parsed file.
 * @typedef {object} Stream
 * @property {Header} header
 * @property {Uint8Array[][]} segments streams by segment and tile; fewer where the file is cut
 * @property {?{numBytes: number, streams: Uint8Array[], beginning: Uint8Array,
 *   missingBytes: number}} cut the data chunk in which a file ends
 * @property {?Uint8Array} alpha payload of the alpha chunk
 * @property {?Uint8Array} exact payload of the exact chunk
 * @property {Object<string, Uint8Array>} metadata by "icc", "exif", "xmp"
 * @property {number[]} levels how many segments belong to each level
 * @property {{name: string, bytes: number}[]} chunks the parts of the file in order
 * @property {boolean} isComplete
 */

/** Return the number of tiles of a picture. */
export function numTiles({ coded, tilePx }) {
  return Math.ceil(coded.height / tilePx) * Math.ceil(coded.width / tilePx);
}

/**
 * Parse a file and check every CRC.
 * @param {Uint8Array} data
 * @param {{allowTruncated?: boolean, maxPixels?: number}} options
 * @returns {Stream}
 */
export function readStream(data, { allowTruncated = false, maxPixels = MAX_PIXELS } = {}) {
  const cursor = new Cursor(data);
  const header = readHeader(cursor);
  const { numSegments } = header;
  if (header.height * header.width > maxPixels) {
    throw new CorruptStreamError(
      `the picture has ${header.height} x ${header.width} pixels, more than the limit of ` +
        `${maxPixels}; raise max_pixels if the file can be trusted`,
    );
  }
  if (!allowTruncated && numSegments * MIN_CHUNK_BYTES > cursor.remaining) {
    throw new TruncatedStreamError(
      `${cursor.remaining} bytes cannot hold ${numSegments} segments`,
    );
  }
  const stream = {
    header,
    segments: [],
    cut: null,
    alpha: null,
    exact: null,
    metadata: {},
    levels: [],
    chunks: [{ name: "header", bytes: cursor.position }],
  };
  const announced = Number(header.hasAlpha) + Number(header.hasExact);
  const isAnnouncedThere = () =>
    Number(stream.alpha !== null) + Number(stream.exact !== null) === announced;
  try {
    readChunks(cursor, header, stream, isAnnouncedThere);
    if (cursor.remaining) {
      throw new CorruptStreamError(`${cursor.remaining} bytes follow the end of the stream`);
    }
  } catch (error) {
    const isCut = error instanceof TruncatedStreamError && allowTruncated && isAnnouncedThere();
    if (!isCut) throw error;
  }
  stream.isComplete = stream.segments.length === numSegments;
  return stream;
}

function readHeader(cursor) {
  const [c, v, b] = cursor.take(3);
  if (String.fromCharCode(c, v, b) !== "CVB") {
    throw new CorruptStreamError("not a .cvb stream: it does not start with 'CVB'");
  }
  const [version] = cursor.take(1);
  if (version !== VERSION) {
    throw new UnsupportedVersionError(
      `the stream has format version ${version}, this decoder reads ${VERSION}; upgrade it`,
    );
  }
  const modelHash = [...cursor.take(4)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const height = cursor.takeVarint();
  const width = cursor.takeVarint();
  const [quality, flags, layout] = cursor.take(3);
  const body = cursor.data.subarray(0, cursor.position);
  if (cursor.takeUint32() !== crc32(body)) {
    throw new CorruptStreamError("the header is damaged: wrong CRC");
  }
  if (flags & ~(FLAG_GRAY | FLAG_ALPHA | FLAG_EXACT | FLAG_HALF)) {
    throw new UnsupportedVersionError(
      `the header has unknown flags 0x${flags.toString(16).padStart(2, "0")}`,
    );
  }
  const refuse = (why) => {
    throw new CorruptStreamError(`the header is invalid: ${why}`);
  };
  if (Math.min(height, width) < 1 || Math.max(height, width) > MAX_SIDE_PX) {
    refuse(`picture size ${height} x ${width} is out of range`);
  }
  if (quality < 1 || quality > 100) refuse(`quality ${quality} is not in [1, 100]`);
  const tileLog2 = (layout & 0xf) + MIN_TILE_LOG2;
  if (tileLog2 > MAX_TILE_LOG2) {
    refuse(`tile side ${2 ** tileLog2} is not a power of two in [256, 4096]`);
  }
  const reduction = flags & FLAG_HALF ? 2 : 1;
  return {
    modelHash,
    height,
    width,
    quality,
    isGray: Boolean(flags & FLAG_GRAY),
    hasAlpha: Boolean(flags & FLAG_ALPHA),
    hasExact: Boolean(flags & FLAG_EXACT),
    reduction,
    coded: { height: Math.ceil(height / reduction), width: Math.ceil(width / reduction) },
    tilePx: 2 ** tileLog2,
    numSegments: (layout >> 4) + 1,
  };
}

function readChunks(cursor, header, stream, isAnnouncedThere) {
  const ofHeader = crc32(cursor.data.subarray(0, cursor.position - 4));
  let critical = ofHeader;
  const tiles = numTiles(header);
  while (stream.segments.length < header.numSegments) {
    const start = cursor.position;
    const letter = String.fromCharCode(cursor.take(1)[0]);
    if (!/[A-Za-z]/.test(letter)) {
      throw new CorruptStreamError(`no chunk starts at offset ${start}`);
    }
    const isData = letter === "D" || letter === "C";
    const numBytes = cursor.takeVarint();
    const payloadAt = cursor.position;
    const place = (payload) => {
      if (!isAnnouncedThere()) {
        throw new CorruptStreamError("a chunk is missing that the header announces");
      }
      if (letter === "C" && !stream.segments.length) {
        throw new CorruptStreamError("no level begins with the first segment");
      }
      return cutChunk(payload, numBytes, tiles);
    };
    let payload;
    let crc;
    try {
      payload = cursor.take(numBytes);
      crc = cursor.takeUint32();
    } catch (error) {
      if (isData) stream.cut = place(cursor.data.subarray(payloadAt, payloadAt + numBytes));
      throw error;
    }
    const isCritical = letter < "a";
    const all = cursor.data.subarray(start, payloadAt + numBytes);
    const expected = crc32(all, isCritical ? critical : ofHeader);
    if (isCritical) critical = expected;
    if (crc !== expected) {
      throw new CorruptStreamError(`the chunk at offset ${start} is damaged: wrong CRC`);
    }
    const bytes = cursor.position - start;
    if (isData) {
      const { streams } = place(payload);
      if (streams.length < tiles) {
        throw new CorruptStreamError("a segment is shorter than its streams");
      }
      if (payload.length && streams.every((part) => !part.length)) {
        throw new CorruptStreamError("a segment without data is not empty");
      }
      stream.segments.push(streams);
      if (letter === "D") stream.levels.push(0);
      stream.levels[stream.levels.length - 1] += 1;
      stream.chunks.push({ name: `segment ${stream.segments.length}`, bytes });
    } else if (letter === "A" || letter === "L") {
      const name = letter === "A" ? "alpha" : "exact";
      const isWanted = letter === "A" ? header.hasAlpha : header.hasExact;
      const isLate = stream.segments.length || (letter === "A" && stream.exact !== null);
      if (!isWanted || stream[name] !== null || isLate) {
        throw new CorruptStreamError(`chunk ${letter} is out of place`);
      }
      stream[name] = payload;
      stream.chunks.push({ name, bytes });
    } else if (letter in METADATA) {
      const name = METADATA[letter];
      const isLate = stream.alpha !== null || stream.exact !== null || stream.segments.length;
      if (name in stream.metadata || isLate) {
        throw new CorruptStreamError(`an ${name} chunk is out of place`);
      }
      stream.metadata[name] = payload;
      stream.chunks.push({ name, bytes });
    } else if (isCritical) {
      throw new UnsupportedVersionError(`unknown critical chunk '${letter}'`);
    }
  }
}

/** Return what the beginning of the payload of a data chunk tells (SPEC 1.4). */
function cutChunk(there, numBytes, tiles) {
  const missing = numBytes - there.length;
  const empty = new Uint8Array();
  if (numBytes === 0) {
    return { numBytes, streams: Array(tiles).fill(empty), beginning: empty, missingBytes: 0 };
  }
  const cursor = new Cursor(there);
  const lengths = [];
  try {
    while (lengths.length < tiles - 1) lengths.push(cursor.takeVarint());
  } catch (error) {
    if (!(error instanceof TruncatedStreamError)) throw error;
    return { numBytes, streams: [], beginning: empty, missingBytes: missing };
  }
  lengths.push(lengths.reduce((rest, length) => rest - length, numBytes - cursor.position));
  if (lengths[tiles - 1] < 0) {
    throw new CorruptStreamError("a segment is shorter than its streams");
  }
  const streams = [];
  while (streams.length < tiles && lengths[streams.length] <= cursor.remaining) {
    streams.push(cursor.take(lengths[streams.length]));
  }
  if (streams.length === tiles) return { numBytes, streams, beginning: empty, missingBytes: 0 };
  const beginning = cursor.take(cursor.remaining);
  const missingBytes = lengths[streams.length] - beginning.length;
  return { numBytes, streams, beginning, missingBytes };
}
