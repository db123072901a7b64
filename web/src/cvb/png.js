/** PNG files: written from samples, and the planes that `.cvb` files hold, read. */

import { crc32 } from "./bytes.js";
import { CorruptStreamError } from "./errors.js";

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
const COLOUR_TYPES = { 1: 0, 2: 4, 3: 2, 4: 6 };

/** Compress bytes to a zlib stream. */
async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(name, ...parts) {
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(12 + size);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, size);
  bytes.set(new TextEncoder().encode(name), 4);
  let at = 8;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  view.setUint32(at, crc32(bytes.subarray(4, at)));
  return bytes;
}

/**
 * Write a PNG file.
 *
 * @param {Uint8Array} samples (H, W, channels): grey, grey and alpha, RGB or RGBA
 * @param {{height: number, width: number, channels: number,
 *   metadata?: {icc?: Uint8Array, exif?: Uint8Array, xmp?: Uint8Array}}} picture
 * @returns {Promise<Blob>}
 */
export async function writePng(samples, { height, width, channels, metadata = {} }) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, COLOUR_TYPES[channels], 0, 0, 0], 8);
  // Every row is the difference to the row above (filter 2): photographs halve, and it is cheap.
  const row = width * channels;
  const filtered = new Uint8Array(height * (row + 1));
  for (let i = 0; i < height; i++) {
    filtered[i * (row + 1)] = i ? 2 : 0;
    const to = i * (row + 1) + 1;
    for (let j = 0; j < row; j++) {
      const above = i ? samples[(i - 1) * row + j] : 0;
      filtered[to + j] = samples[i * row + j] - above;
    }
  }
  const parts = [SIGNATURE, chunk("IHDR", header)];
  if (metadata.icc) {
    const profile = await deflate(metadata.icc);
    parts.push(chunk("iCCP", new TextEncoder().encode("ICC profile\0\0"), profile));
  }
  if (metadata.exif) parts.push(chunk("eXIf", metadata.exif));
  if (metadata.xmp) {
    const keyword = new TextEncoder().encode("XML:com.adobe.xmp\0\0\0\0\0");
    parts.push(chunk("iTXt", keyword, metadata.xmp));
  }
  parts.push(chunk("IDAT", await deflate(filtered)), chunk("IEND"));
  return new Blob(parts, { type: "image/png" });
}

/**
 * Refuse all but an 8-bit grey PNG of a size, with nothing but its samples (SPEC 1.5).
 * @param {Uint8Array} data
 */
export function checkGreyPng(data, height, width) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const nameAt = (at) => String.fromCharCode(...data.subarray(at, at + 4));
  const isOurs =
    data.length > 33 &&
    SIGNATURE.every((byte, i) => data[i] === byte) &&
    nameAt(12) === "IHDR" &&
    view.getUint32(16) === width &&
    view.getUint32(20) === height &&
    [8, 0, 0, 0, 0].every((byte, i) => data[24 + i] === byte);
  if (!isOurs) {
    throw new CorruptStreamError(`the alpha plane is not an 8-bit grey PNG of ${height} x ${width}`);
  }
  let at = 33;
  for (let name = ""; name !== "IEND"; ) {
    name = at + 12 <= data.length ? nameAt(at + 4) : "";
    if (name !== "IDAT" && name !== "IEND") {
      throw new CorruptStreamError("the alpha plane holds an unexpected PNG chunk");
    }
    at += 12 + view.getUint32(at);
  }
  if (at !== data.length) throw new CorruptStreamError("the alpha plane has the wrong length");
}
