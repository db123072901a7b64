/**
 * Exact networks (SPEC 3.3): numbers of JavaScript are float64, in which every sum of these
 * networks is exact in any order; so table rows are those of every other decoder, bit for bit.
 *
 * Arrays are Float64Array of channels x positions, rows of the grid one after the other.
 */

const ACTIVATION_MAX = 16 - 1 / 256;

/** Round onto the grid 2^-8 and clamp to [0, 16), in place. */
export function activate(x) {
  for (let i = 0; i < x.length; i++) {
    const rounded = Math.floor(x[i] * 256 + 0.5) / 256;
    x[i] = rounded < 0 ? 0 : rounded > ACTIVATION_MAX ? ACTIVATION_MAX : rounded;
  }
  return x;
}

/** Squeeze |q| by dyadic pieces. */
export function compand(q) {
  const a = Math.abs(q);
  return Math.min(a, 2) * 0.5 + Math.min(a, 8) * 0.125 + Math.min(a, 32) * 0.03125;
}

/**
 * 1x1 convolution: (in, n) to (out, n), with the tensors `prefix.weight` and `prefix.bias`.
 * @param {?Float64Array} into sums are added to it, with the bias, instead of to zeros
 */
export function pointwise(weights, prefix, x, n, into = null) {
  const weight = weights.get(`${prefix}.weight`);
  const bias = weights.get(`${prefix}.bias`);
  const channels = x.length / n;
  const out = into ?? new Float64Array(bias.length * n);
  for (let o = 0; o < bias.length; o++) {
    const row = out.subarray(o * n, (o + 1) * n);
    for (let i = 0; i < n; i++) row[i] += bias[o];
  }
  const input = new Float64Array(n);
  const places = new Int32Array(n);
  for (let c = 0; c < channels; c++) {
    // What is decoded is mostly zeros: only the others are multiplied.
    let count = 0;
    for (let i = 0; i < n; i++) {
      const value = x[c * n + i];
      if (value !== 0) {
        input[count] = value;
        places[count++] = i;
      }
    }
    if (count) accumulate(out, weight, channels, c, input, count === n ? null : places, count, n);
  }
  return out;
}

/** Add to all outputs what one input channel gives, at these places (all, if null). */
function accumulate(out, weight, channels, channel, input, places, count, n) {
  const outputs = out.length / n;
  let o = 0;
  for (; o + 4 <= outputs; o += 4) {
    const [w0, w1, w2, w3] = [0, 1, 2, 3].map((k) => weight[(o + k) * channels + channel]);
    const [a, b, c, d] = [o * n, (o + 1) * n, (o + 2) * n, (o + 3) * n];
    for (let k = 0; k < count; k++) {
      const i = places === null ? k : places[k];
      const value = input[k];
      out[a + i] += w0 * value;
      out[b + i] += w1 * value;
      out[c + i] += w2 * value;
      out[d + i] += w3 * value;
    }
  }
  for (; o < outputs; o++) {
    const w = weight[o * channels + channel];
    for (let k = 0; k < count; k++) out[o * n + (places === null ? k : places[k])] += w * input[k];
  }
}

/** Depthwise 3x3 convolution with zero padding, of (C, h, w). */
export function depthwise(weights, prefix, x, height, width) {
  const weight = weights.get(`${prefix}.weight`);
  const bias = weights.get(`${prefix}.bias`);
  const n = height * width;
  const out = new Float64Array(x.length);
  for (let c = 0; c < bias.length; c++) {
    out.fill(bias[c], c * n, (c + 1) * n);
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) {
        const w = weight[9 * c + 3 * (dy + 1) + dx + 1];
        for (let i = Math.max(0, -dy); i < height - Math.max(0, dy); i++) {
          const to = c * n + i * width;
          const from = to + dy * width + dx;
          for (let j = Math.max(0, -dx); j < width - Math.max(0, dx); j++) {
            out[to + j] += w * x[from + j];
          }
        }
      }
    }
  }
  return out;
}

/** Pixel shuffle by a factor: (C f^2, h, w) to (C, f h, f w), of any typed array. */
export function shuffle(x, height, width, factor = 2) {
  const n = height * width;
  const channels = x.length / (n * factor * factor);
  const out = new x.constructor(x.length);
  for (let c = 0, from = 0; c < channels; c++) {
    for (let a = 0; a < factor; a++) {
      for (let b = 0; b < factor; b++) {
        for (let i = 0; i < height; i++) {
          let to = c * n * factor * factor + (i * factor + a) * width * factor + b;
          for (let j = 0; j < width; j++, to += factor) out[to] = x[from++];
        }
      }
    }
  }
  return out;
}

/** Add a (C, 2, 2) tensor, repeated over the grid, in place. */
export function addCell(x, cell, height, width) {
  const channels = cell.length / 4;
  for (let c = 0, at = 0; c < channels; c++) {
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) x[at++] += cell[4 * c + 2 * (i & 1) + (j & 1)];
    }
  }
  return x;
}

/** Return the table index of a real-valued row. */
export function indexOf(row) {
  return Math.max(0, Math.min(63, Math.floor(row + 0.5)));
}

/** Return a tensor with one row for each anchor, interpolated: weights of two anchors in 64ths. */
export function atAnchor(tensor, { anchor, step }, numAnchors, firstRow = 0) {
  const width = tensor.length / numAnchors;
  const values = new Float64Array(width);
  for (let i = 0; i < width; i++) {
    const upper = step ? tensor[(firstRow + anchor + 1) * width + i] * step : 0;
    values[i] = (tensor[(firstRow + anchor) * width + i] * (64 - step) + upper) / 64;
  }
  return values;
}

/** Return the anchor and the 64ths of a position on the rate axis, clamped to its ends. */
export function anchorOf(position, numAnchors) {
  const inside = Math.max(0, Math.min(position, (numAnchors - 1) * 64));
  return { anchor: Math.floor(inside / 64), step: inside % 64 };
}

/** Return the position of a quality on the rate axis (SPEC 3.2). */
export function positionOf(weights, quality) {
  if (weights.has("quality.positions")) {
    return weights.stored("quality.positions").data[quality - 1];
  }
  return Math.floor(((quality - 1) * (weights.sizes.num_anchors - 1) * 64) / 99);
}

/**
 * Offsets of the rows of a pass (SPEC 3.3): features (E, h, w) and companded integers to (M, h, w).
 * @param {?Float64Array} known companded integers, null where the pass is the first
 */
export function rowNet(weights, prefix, features, known, height, width) {
  const n = height * width;
  let g = pointwise(weights, `${prefix}.features`, features, n);
  addCell(g, weights.get(`${prefix}.phase`), height, width);
  if (known) g = pointwise(weights, `${prefix}.decoded`, known, n, g);
  g = activate(depthwise(weights, `${prefix}.depthwise`, activate(g), height, width));
  g = activate(pointwise(weights, `${prefix}.mix`, g, n));
  return pointwise(weights, `${prefix}.out`, g, n);
}
