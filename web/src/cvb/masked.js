/** Masked passes over the latents of one resolution (SPEC 3.1, 3.3, 3.4, 6.3, 6.4). */

import { compand, indexOf, rowNet } from "./exact.js";
import { MISSING } from "./rangecoder.js";

/** Call `visit` with the place of every element that a pass codes, row-major. */
function visitPass({ channels, first, passes, number, height, width, innerHeight, innerWidth }, visit) {
  for (let c = first; c < channels; c++) {
    for (let i = 0; i < innerHeight; i++) {
      for (let j = 0; j < innerWidth; j++) {
        const phase = passes === 4 ? 2 * (i & 1) + (j & 1) : (i + j) & 1;
        if (((c % passes) ^ phase) === number) visit((c * height + i) * width + j);
      }
    }
  }
}

/**
 * Decode latents in passes, each of which knows the ones before it.
 *
 * @param {object} latent
 * @param {string} latent.name passes are called by it and their number
 * @param {number} latent.channels M
 * @param {number} latent.first channels before it are known
 * @param {number} latent.passes K
 * @param {number} latent.height of the grid of the networks
 * @param {number} latent.width
 * @param {number} latent.innerHeight of what is coded, from the corner on
 * @param {number} latent.innerWidth
 * @param {Float64Array} latent.base log scale of each channel
 * @param {string} latent.rows prefix of the networks of the rows
 * @param {Float64Array} latent.features of the rows
 * @param {?{integers: ?Float64Array, decoded: ?Float32Array}} latent.known of the first channels
 * @param {?(number, Float32Array) => Promise<Float32Array>} latent.mean from a pass and what is
 *   decoded to its means (M, h, w); null where integers are all that is asked for
 * @param {(number) => number} latent.step from the place of an element to the size of its step
 * @param {boolean} latent.isOver the stream has no more already
 * @param {Weights} weights
 * @param {{read: (string, Int32Array) => ?Int32Array}} reader
 * @returns {Promise<{integers: ?Float64Array, decoded: ?Float32Array}>} companded integers are
 *   not kept; integers are null where some are missing
 */
export async function decodeMasked(latent, weights, reader) {
  const { channels, first, height, width, passes, base, known } = latent;
  const n = height * width;
  const integers = new Float64Array(channels * n);
  const decoded = latent.mean ? new Float32Array(channels * n) : null;
  if (known?.integers) integers.set(known.integers);
  if (known?.decoded) decoded.set(known.decoded);
  let isOver = latent.isOver || (known && !known.integers);
  const context = isOver ? null : Float64Array.from(integers, compand);
  for (let number = 0; number < passes; number++) {
    const mean = latent.mean ? await latent.mean(number, decoded) : null;
    const pass = { ...latent, number };
    let answer = null;
    const places = [];
    if (!isOver) {
      const isFirst = number === 0 && first === 0;
      const prefix = `${latent.rows}.${number}`;
      const offsets = rowNet(weights, prefix, latent.features, isFirst ? null : context, height, width);
      visitPass(pass, (place) => places.push(place));
      const indexes = Int32Array.from(places, (place) =>
        indexOf(8 * (base[Math.floor(place / n)] + offsets[place])),
      );
      answer = reader.read(`${latent.name}${number + 1}`, indexes);
      isOver = answer === null;
    }
    if (mean) {
      visitPass({ ...pass, innerHeight: height, innerWidth: width }, (place) => {
        decoded[place] = mean[place];
      });
    }
    if (answer) {
      places.forEach((place, i) => {
        const q = answer[i] === MISSING ? 0 : answer[i];
        integers[place] = q;
        context[place] = compand(q);
        if (decoded) decoded[place] += q * latent.step(place);
      });
    }
  }
  return { integers: isOver ? null : integers, decoded };
}
