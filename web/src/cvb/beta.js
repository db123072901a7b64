/** The walk of the beta family (SPEC 3). */

import { activate, anchorOf, atAnchor, depthwise, indexOf, pointwise, positionOf, shuffle } from "./exact.js";
import { decodeMasked } from "./masked.js";
import { MISSING } from "./rangecoder.js";

export const STRIDE = 16;
const INTEGER_MAX = 64;

/** Names of the passes, level by level. */
export function passesOf({ lead_channels: lead = 0, num_passes: count }) {
  const numbers = Array.from({ length: count }, (_, k) => k + 1);
  const leading = lead ? numbers.map((k) => `lead${k}`) : [];
  return [["z", ...leading, ...numbers.map((k) => `y${k}`)]];
}

/**
 * Decode a tile.
 *
 * @param {Weights} weights
 * @param {{height: number, width: number}} shape of the latents
 * @param {number} quality
 * @param {{read: (string, Int32Array) => ?Int32Array}} reader
 * @param {?object} nets float networks; without them only the integers are read
 * @returns {Promise<?Float32Array>} y_hat (M, h, w)
 */
export async function decodeTile(weights, shape, quality, reader, nets) {
  const { sizes } = weights;
  const { num_anchors: anchors, lead_channels: lead = 0 } = sizes;
  const at = anchorOf(positionOf(weights, quality), anchors);
  const tensor = (name) => atAnchor(weights.get(name), at, anchors);
  const [height, width] = [shape.height, shape.width].map((side) => Math.ceil(side / 4) * 4);
  const [zHeight, zWidth] = [height / 4, width / 4];
  const zCount = zHeight * zWidth;
  const zRows = tensor("z_log_scale").map((value) => indexOf(8 * value));
  const zIndexes = Int32Array.from({ length: zRows.length * zCount }, (_, place) =>
    zRows[Math.floor(place / zCount)],
  );
  const answer = reader.read("z", zIndexes);
  const z = Float64Array.from(answer ?? zIndexes, (q) => (answer && q !== MISSING ? q : 0));
  const rowFeatures = answer ? rowFeaturesOf(weights, z, tensor, zHeight, zWidth) : null;
  const n = height * width;
  const float = nets && (await nets.begin(z, zHeight, zWidth));
  const gain = tensor("log_gain").map(Math.exp);
  const common = {
    passes: sizes.num_passes,
    height,
    width,
    innerHeight: shape.height,
    innerWidth: shape.width,
    base: tensor("y_log_scale"),
    features: rowFeatures,
    isOver: answer === null,
    step: (place) => 1 / (gain[Math.floor(place / n)] * (float.widening?.[place] ?? 1)),
  };
  const meanOf = (name) => float && ((number, decoded) => float.mean(name, number, decoded));
  let known = null;
  if (lead) {
    known = await decodeMasked(
      {
        ...common,
        name: "lead",
        channels: lead,
        first: 0,
        rows: "exact.lead_rows",
        mean: meanOf("lead_mean"),
      },
      weights,
      reader,
    );
  }
  const channels = sizes.latent_channels;
  const { decoded } = await decodeMasked(
    {
      ...common,
      name: "y",
      channels,
      first: lead,
      rows: "exact.rows",
      known,
      mean: meanOf("mean"),
    },
    weights,
    reader,
  );
  return decoded && crop(decoded, channels, height, width, shape);
}

/** Return the features of the rows (E, h, w) from the integers z. */
function rowFeaturesOf(weights, z, tensor, height, width) {
  const n = height * width;
  const prefix = "exact.features";
  const level = tensor(`${prefix}.level`);
  const clamped = z.map((q) => Math.max(-INTEGER_MAX, Math.min(INTEGER_MAX, q)));
  let x = pointwise(weights, `${prefix}.first`, clamped, n);
  for (let i = 0; i < x.length; i++) x[i] += level[Math.floor(i / n)];
  x = activate(depthwise(weights, `${prefix}.depthwise`, activate(x), height, width));
  x = shuffle(activate(pointwise(weights, `${prefix}.up1`, x, n)), height, width);
  x = activate(pointwise(weights, `${prefix}.up2`, x, 4 * n));
  return shuffle(x, 2 * height, 2 * width);
}

/** Return the upper left part of (C, h, w). */
export function crop(x, channels, height, width, shape) {
  if (height === shape.height && width === shape.width) return x;
  const out = new x.constructor(channels * shape.height * shape.width);
  for (let c = 0, to = 0; c < channels; c++) {
    for (let i = 0; i < shape.height; i++, to += shape.width) {
      const from = (c * height + i) * width;
      out.set(x.subarray(from, from + shape.width), to);
    }
  }
  return out;
}
