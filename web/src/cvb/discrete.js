/** The walk of the families vq and cv (SPEC 4). */

import { activate, depthwise, indexOf, pointwise } from "./exact.js";
import { CorruptStreamError } from "./errors.js";
import { MISSING } from "./rangecoder.js";

export const STRIDE = 16;
const GROUPS = [[0, 0], [1, 1], [0, 1], [1, 0]];

/** Names of the passes, level by level. */
export function passesOf({ stages }, quality) {
  const used = 1 + Math.floor(((quality - 1) * stages) / 100);
  return Array.from({ length: used }, (_, stage) => [`code${stage + 1}`]);
}

/** Return the vectors of all codes of a stage, codes x D. */
function vectorsOf(weights, stage) {
  const prefix = `quantisers.${stage}`;
  if (weights.has(`${prefix}.codewords`)) return weights.get(`${prefix}.codewords`);
  const { latent_channels: dims, level_bits: bits } = weights.sizes;
  const poses = weights.get(`${prefix}.poses`);
  const levels = 2 ** bits;
  return Float64Array.from({ length: poses.length * levels }, (_, i) => {
    const code = Math.floor(i / dims);
    return (poses[Math.floor(code / levels) * dims + (i % dims)] * (2 * (code % levels) + 1)) / (2 * levels);
  });
}

const MEAN_MAX = 8;

/** Decode a tile; see `beta.decodeTile`. The vectors are exact: no float network is needed. */
export async function decodeTile(weights, shape, quality, reader) {
  const { sizes } = weights;
  const { latent_channels: dims, num_bits = sizes.pose_bits + sizes.level_bits } = sizes;
  const { height, width } = shape;
  const n = height * width;
  const before = new Float64Array(dims * n);
  for (const [[name], stage] of passesOf(sizes, quality).map((level, i) => [level, i])) {
    const prefix = `priors.${stage}`;
    const table = vectorsOf(weights, stage);
    const nodes = weights.get(`${prefix}.nodes`);
    const biases = weights.get(`${prefix}.node_bias`);
    const depth = nodes.length / biases.length;
    const context = new Float64Array((2 * dims + 1) * n);
    context.set(before);
    const done = [];
    for (const [row, column] of GROUPS) {
      const places = [];
      for (let i = row; i < height; i += 2) {
        for (let j = column; j < width; j += 2) places.push(i * width + j);
      }
      if (!places.length) continue;
      const x = priorFeatures(weights, prefix, context, height, width);
      const mean = weights.has(`${prefix}.mean.weight`)
        ? pointwise(weights, `${prefix}.mean`, x, n).map((m) => Math.min(Math.max(m, -MEAN_MAX), MEAN_MAX))
        : new Float64Array(dims * n);
      const node = new Int32Array(places.length).fill(1);
      for (let bit = 0; bit < num_bits; bit++) {
        const indexes = Int32Array.from(places, (place, i) => {
          let sum = biases[node[i]];
          for (let c = 0; c < depth; c++) sum += nodes[node[i] * depth + c] * x[c * n + place];
          return indexOf(4 * sum + 31.5);
        });
        const choices = reader.read(name, indexes);
        if (choices === null || choices.includes(MISSING)) {
          for (let place = 0; place < n; place++) {
            if (context[2 * dims * n + place]) continue; // decoded
            for (let d = 0; d < dims; d++) context[(dims + d) * n + place] = mean[d * n + place];
          }
          return Float32Array.from(sumOf(before, context, dims, n));
        }
        choices.forEach((choice, i) => {
          if (choice < 0 || choice > 1) {
            throw new CorruptStreamError("a binary choice has another value than 0 or 1");
          }
          node[i] = 2 * node[i] + choice;
        });
      }
      places.forEach((place, i) => {
        const code = node[i] - 2 ** num_bits;
        for (let d = 0; d < dims; d++) {
          context[(dims + d) * n + place] = mean[d * n + place] + table[code * dims + d];
        }
        done.push(place);
      });
      for (const place of done) context[2 * dims * n + place] = 1;
    }
    before.set(sumOf(before, context, dims, n));
  }
  return Float32Array.from(before);
}

/** Return the vectors of earlier stages and of this one, as far as they are decoded. */
function sumOf(before, context, dims, n) {
  return before.map((value, i) => value + context[dims * n + i]);
}

function priorFeatures(weights, prefix, context, height, width) {
  const n = height * width;
  let x = activate(pointwise(weights, `${prefix}.known`, context, n));
  x = activate(depthwise(weights, `${prefix}.near`, x, height, width));
  x = activate(pointwise(weights, `${prefix}.mix`, x, n));
  x = activate(depthwise(weights, `${prefix}.far`, x, height, width));
  return activate(pointwise(weights, `${prefix}.out`, x, n));
}
