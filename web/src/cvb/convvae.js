/** The walk of the convvae family (SPEC 5). */

import { indexOf } from "./exact.js";
import { MISSING } from "./rangecoder.js";

export const STRIDE = 32;
const POSTERIOR_QUALITY = 30;

/** Names of the passes, level by level. */
export function passesOf() {
  return [["z"]];
}

/** Decode a tile; see `beta.decodeTile`. */
export async function decodeTile(weights, shape, quality, reader) {
  const n = shape.height * shape.width;
  const finer = quality - POSTERIOR_QUALITY;
  const rows = weights.get("scale_row").map((row) => indexOf(row + finer / 4));
  const gain = weights.get("log_gain").map((value) => Math.exp(value + finer / 32));
  const indexes = Int32Array.from({ length: rows.length * n }, (_, i) => rows[Math.floor(i / n)]);
  const answer = reader.read("z", indexes);
  return Float32Array.from(indexes, (_, i) =>
    answer && answer[i] !== MISSING ? answer[i] / gain[Math.floor(i / n)] : 0,
  );
}
