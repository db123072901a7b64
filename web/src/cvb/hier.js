/** The walk of the hier family (SPEC 6). */

import { activate, anchorOf, atAnchor, compand, depthwise, pointwise, positionOf, shuffle } from "./exact.js";
import { decodeMasked } from "./masked.js";
import { MISSING } from "./rangecoder.js";

export const STRIDE = 64;
const NUM_LEVELS = 3;
const ALLOCATION_ROW = 23;
const ALLOCATION_STEP = 16;
const INTEGER_MAX = 64;

/** Names of the passes, level by level. */
export function passesOf({ num_passes: count }) {
  const ofLevel = (level) => Array.from({ length: count }, (_, k) => `l${level + 1}.${k + 1}`);
  return [["l0", ...ofLevel(0)], ofLevel(1), ofLevel(2)];
}

/**
 * Decode a tile; see `beta.decodeTile`.
 *
 * @returns {Promise<?Float32Array[]>} the latents of each level (M, h, w), coarse to fine
 */
export async function decodeTile(weights, shape, quality, reader, nets) {
  const { sizes } = weights;
  const anchors = sizes.num_anchors;
  const answer = reader.read("l0", Int32Array.of(ALLOCATION_ROW, ALLOCATION_ROW));
  let isOver = answer === null;
  const shifts = Array.from({ length: NUM_LEVELS }, (_, k) =>
    isOver || k === NUM_LEVELS - 1 || answer[k] === MISSING ? 0 : answer[k],
  );
  const position = positionOf(weights, quality);
  const at = shifts.map((shift) => anchorOf(position + ALLOCATION_STEP * shift, anchors));
  const hats = [];
  let features = null;
  let above = null;
  for (let k = 0; k < NUM_LEVELS; k++) {
    const [height, width] = [shape.height << k, shape.width << k];
    const channels = sizes.latent_channels[k];
    const n = height * width;
    const prefix = `levels.${k}`;
    if (!isOver) features = rowFeatures(weights, k, above, features, at, height, width);
    const float = nets && (await nets.level(k, hats, at, height, width));
    const gain = atAnchor(weights.get(`${prefix}.log_gain`), at[k], anchors).map(Math.exp);
    const { integers, decoded } = await decodeMasked(
      {
        name: `l${k + 1}.`,
        channels,
        first: 0,
        passes: sizes.num_passes,
        height,
        width,
        innerHeight: height,
        innerWidth: width,
        base: atAnchor(weights.get(`${prefix}.log_scale`), at[k], anchors),
        rows: `${prefix}.rows`,
        features,
        isOver,
        step: (place) => 1 / (gain[Math.floor(place / n)] * (float?.widening?.[place] ?? 1)),
        mean: float && float.mean,
      },
      weights,
      reader,
    );
    isOver = integers === null;
    above = integers;
    if (float) hats.push(decoded.map((value, i) => value + (float.prediction ? float.prediction[i] : 0)));
  }
  return nets && hats;
}

/** Return the features of the rows of a level (E, h, w) from the integers of the level above. */
function rowFeatures(weights, k, integers, features, at, height, width) {
  const anchors = weights.sizes.num_anchors;
  const n = height * width;
  if (k === 0) {
    const level = activate(atAnchor(weights.get("row_context.level"), at[0], anchors));
    return Float64Array.from({ length: level.length * n }, (_, i) => level[Math.floor(i / n)]);
  }
  const prefix = `row_context.stages.${k - 1}`;
  const coarse = n / 4;
  const seen = new Float64Array(2 * integers.length);
  integers.forEach((q, i) => {
    seen[i] = Math.max(-INTEGER_MAX, Math.min(INTEGER_MAX, q));
    seen[integers.length + i] = compand(q);
  });
  const level = weights.get(`${prefix}.level`);
  const own = atAnchor(level, at[k - 1], 2 * anchors);
  const finer = atAnchor(level, at[k], 2 * anchors, anchors);
  let x = pointwise(weights, `${prefix}.decoded`, seen, coarse);
  x = pointwise(weights, `${prefix}.carried`, features, coarse, x);
  for (let i = 0; i < x.length; i++) x[i] += own[Math.floor(i / coarse)] + finer[Math.floor(i / coarse)];
  x = activate(depthwise(weights, `${prefix}.depthwise`, activate(x), height / 2, width / 2));
  return shuffle(activate(pointwise(weights, `${prefix}.up`, x, coarse)), height / 2, width / 2);
}
