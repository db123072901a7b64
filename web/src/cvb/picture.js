/** What a file holds beside latents, and how samples become a picture (SPEC 1.5, 1.6, 3.4). */

import { Cursor } from "./bytes.js";
import { CorruptStreamError } from "./errors.js";
import { checkGreyPng } from "./png.js";

export const BLOCK_PX = 32;
const WEBP_SIDE_PX = 8192;

/**
 * Decode an image file with the means of the browser, colours as they are stored.
 * @returns {Promise<Uint8ClampedArray>} RGBA
 */
async function decodeImage(bytes, type, height, width) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type }), options);
  } catch (error) {
    throw new CorruptStreamError(`an embedded picture is damaged: ${error.message}`);
  }
  if (bitmap.height !== height || bitmap.width !== width) {
    throw new CorruptStreamError("an embedded picture has the wrong size");
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height).data;
}

/** Return the alpha plane (H, W) of a payload. */
export async function decodeAlpha(payload, height, width) {
  if (payload.length === 1) return new Uint8Array(height * width).fill(payload[0]);
  checkGreyPng(payload, height, width);
  const rgba = await decodeImage(payload, "image/png", height, width);
  return Uint8Array.from({ length: height * width }, (_, i) => rgba[4 * i]);
}

/** Return the bytes of a zlib stream that must have a size; no more is ever expanded. */
async function inflate(packed, size) {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const bits = new Uint8Array(size);
  let length = 0;
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (length + part.value.length > size) {
        await reader.cancel();
        length = Infinity;
        break;
      }
      bits.set(part.value, length);
      length += part.value.length;
    }
  } catch (error) {
    throw new CorruptStreamError(`the mask of the exact blocks is damaged: ${error.message}`);
  }
  if (length !== size) {
    throw new CorruptStreamError("the mask of the exact blocks has the wrong length");
  }
  return bits;
}

/**
 * Return the mask of exact blocks, and a cursor at their pictures.
 * @returns {Promise<{mask: Uint8Array, rows: number, columns: number, cursor: Cursor}>}
 */
export async function readMask(payload, height, width) {
  const [rows, columns] = [height, width].map((side) => Math.ceil(side / BLOCK_PX));
  const cursor = new Cursor(payload);
  const packed = cursor.take(cursor.takeVarint());
  const mask = new Uint8Array(rows * columns).fill(1);
  if (packed.length) {
    const bits = await inflate(packed, Math.ceil(mask.length / 8));
    const isSet = (i) => (bits[i >> 3] >> (7 - (i & 7))) & 1;
    mask.forEach((_, i) => {
      mask[i] = isSet(i);
    });
    let isClean = mask.some((bit) => bit !== mask[0]);
    for (let i = mask.length; i < 8 * bits.length; i++) isClean &&= !isSet(i);
    if (!isClean) {
      throw new CorruptStreamError("the mask of the exact blocks is not in its only form");
    }
  }
  return { mask, rows, columns, cursor };
}

/** Return the lines of samples that cross a set block. */
function lines(blocks, side) {
  return Array.from({ length: side }, (_, line) => line).filter((line) => blocks[Math.floor(line / BLOCK_PX)]);
}

/**
 * Paste exact blocks over the samples of a picture, in place.
 * @param {Uint8Array} samples (H, W, 3)
 */
export async function pasteExact({ mask, rows, columns, cursor }, samples, height, width) {
  const inRow = Array.from({ length: rows }, (_, i) => mask.subarray(i * columns, (i + 1) * columns).includes(1));
  const inColumn = Array.from({ length: columns }, (_, j) => inRow.some((_, i) => mask[i * columns + j]));
  const [ys, xs] = [lines(inRow, height), lines(inColumn, width)];
  for (let top = 0; top < ys.length; top += WEBP_SIDE_PX) {
    for (let left = 0; left < xs.length; left += WEBP_SIDE_PX) {
      const [partRows, partColumns] = [ys.slice(top, top + WEBP_SIDE_PX), xs.slice(left, left + WEBP_SIDE_PX)];
      const data = cursor.take(cursor.takeVarint());
      checkLossless(data, partRows.length, partColumns.length);
      const rgba = await decodeImage(data, "image/webp", partRows.length, partColumns.length);
      let from = 0;
      for (const y of partRows) {
        for (const x of partColumns) {
          if (mask[Math.floor(y / BLOCK_PX) * columns + Math.floor(x / BLOCK_PX)]) {
            samples.set(rgba.subarray(from, from + 3), 3 * (y * width + x));
          }
          from += 4;
        }
      }
    }
  }
  if (cursor.remaining) throw new CorruptStreamError("the exact blocks have the wrong length");
}

/** Refuse all but lossless WebP of a size, before it is decoded. */
function checkLossless(data, height, width) {
  const isLossless = String.fromCharCode(...data.subarray(12, 16)) === "VP8L" && data.length > 25;
  const size = isLossless ? new DataView(data.buffer, data.byteOffset).getUint32(21, true) : 0;
  if (!isLossless || (size & 0x3fff) + 1 !== width || ((size >>> 14) & 0x3fff) + 1 !== height) {
    throw new CorruptStreamError(`exact blocks are no lossless WebP picture of (${height}, ${width})`);
  }
}

/** Return a sample, from a number of the synthesis. */
export function toSample(value) {
  const scaled = value * 255;
  // Halves go to the even number, as NumPy and torch have it.
  const floor = Math.floor(scaled);
  const rounded = scaled - floor === 0.5 ? floor + (floor & 1) : Math.round(scaled);
  return rounded < 0 ? 0 : rounded > 255 ? 255 : rounded;
}

/**
 * Put samples and alpha together as the header says.
 * @param {Uint8Array} samples (H, W, 3)
 * @param {?Uint8Array} alpha (H, W)
 * @returns {{samples: Uint8Array, channels: number}}
 */
export function assemble(samples, alpha, isGray) {
  if (!isGray && !alpha) return { samples, channels: 3 };
  const colours = isGray ? 1 : 3;
  const channels = colours + (alpha ? 1 : 0);
  const count = samples.length / 3;
  const out = new Uint8Array(count * channels);
  for (let i = 0; i < count; i++) {
    const [red, green, blue] = [samples[3 * i], samples[3 * i + 1], samples[3 * i + 2]];
    if (isGray) out[i * channels] = Math.floor((red + green + blue + 1) / 3);
    else out.set([red, green, blue], i * channels);
    if (alpha) out[i * channels + colours] = alpha[i];
  }
  return { samples: out, channels };
}
