/** Reading forward through bytes, and the CRC-32 that guards them (SPEC 1.1, 1.2). */

import { CorruptStreamError, TruncatedStreamError } from "./errors.js";

const MAX_VARINT_BYTES = 5;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

/** Return the CRC-32 of bytes, continuing that of earlier ones. */
export function crc32(bytes, before = 0) {
  let crc = ~before;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 0xff];
  return ~crc >>> 0;
}

/** Reads forward through bytes; refuses to read past their end. */
export class Cursor {
  /** @param {Uint8Array} data */
  constructor(data) {
    this.data = data;
    this.position = 0;
  }

  get remaining() {
    return this.data.length - this.position;
  }

  /** Return the next bytes, as a view. */
  take(numBytes) {
    if (numBytes > this.remaining) {
      throw new TruncatedStreamError(
        `the stream is cut short: ${numBytes} bytes expected at offset ${this.position}, ` +
          `${this.remaining} left`,
      );
    }
    this.position += numBytes;
    return this.data.subarray(this.position - numBytes, this.position);
  }

  /** Return the next 4 bytes as an unsigned big-endian number. */
  takeUint32() {
    const [a, b, c, d] = this.take(4);
    return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
  }

  /** Return a number in groups of 7 bits, the lowest first. */
  takeVarint() {
    let value = 0;
    for (let index = 0; index < MAX_VARINT_BYTES; index++) {
      const byte = this.take(1)[0];
      value += (byte & 0x7f) * 2 ** (7 * index);
      if (byte < 0x80) {
        if (byte === 0 && index > 0) {
          throw new CorruptStreamError("a number is not written in its shortest form");
        }
        return value;
      }
    }
    throw new CorruptStreamError(`a number is longer than ${MAX_VARINT_BYTES} bytes`);
  }
}
