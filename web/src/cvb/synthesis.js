/** From latents to samples: windows with a halo, so that memory is bounded and no seam shows. */

import { toSample } from "./picture.js";

/** Multiples of 16 that cover the receptive field of the blocks at 1/8 and 1/16. */
function haloPx({ decoder_blocks: blocks }, stride) {
  if (!blocks) return 0;
  return Math.ceil((8 * blocks[0] + 16 * blocks[1]) / stride) * stride;
}

/**
 * A plane of latents of the whole picture.
 * @typedef {{channels: number, factor: number, height: number, width: number,
 *   data: Float32Array}} Plane `factor` positions, in each direction, for a square of the stride
 */

/**
 * Put the latents of tiles together.
 * @param {{tile: object, latents: Float32Array | Float32Array[]}[]} results of `decodeLatents`
 * @returns {Plane[]}
 */
export function joinTiles(results, header, stride) {
  const [rows, columns] = [header.coded.height, header.coded.width].map((side) => Math.ceil(side / stride));
  const partsOf = ({ latents }) => (Array.isArray(latents) ? latents : [latents]);
  return partsOf(results[0]).map((first, level) => {
    const factor = 2 ** level;
    const { tile } = results[0];
    const channels = first.length / ((tile.height / stride) * (tile.width / stride) * factor ** 2);
    const [height, width] = [rows * factor, columns * factor];
    const data = new Float32Array(channels * height * width);
    for (const result of results) {
      const part = partsOf(result)[level];
      const [top, left, h, w] = ["top", "left", "height", "width"].map(
        (key) => (result.tile[key] / stride) * factor,
      );
      for (let c = 0; c < channels; c++) {
        for (let i = 0; i < h; i++) {
          const from = (c * h + i) * w;
          data.set(part.subarray(from, from + w), (c * height + top + i) * width + left);
        }
      }
    }
    return { channels, factor, height, width, data };
  });
}

/** Return a rectangle, in squares of the stride, of a plane. */
function cut({ channels, factor, height, width, data }, { top, left, rows, columns }) {
  const [h, w] = [rows * factor, columns * factor];
  const out = new Float32Array(channels * h * w);
  for (let c = 0; c < channels; c++) {
    for (let i = 0; i < h; i++) {
      const from = (c * height + top * factor + i) * width + left * factor;
      out.set(data.subarray(from, from + w), (c * h + i) * w);
    }
  }
  return out;
}

/**
 * Return the samples of a picture as it is coded.
 *
 * @param {Plane[]} planes
 * @param {Weights} weights
 * @param {Header} header
 * @param {number} stride
 * @param {(Float32Array[], {top: number, left: number, rows: number, columns: number}) =>
 *   Promise<Float32Array>} synthesise from latents and the rectangle that they are of, in squares
 *   of the stride, to values (3, H, W)
 * @param {(number) => void} progress gets the share that is done
 * @returns {Promise<Uint8Array>} (H, W, 3)
 */
export async function samplesOf(planes, weights, header, stride, synthesise, progress) {
  const { tilePx } = header;
  const { height, width } = header.coded;
  const halo = haloPx(weights.sizes, stride) / stride;
  const samples = new Uint8Array(3 * height * width);
  const [rows, columns] = [height, width].map((side) => Math.ceil(side / stride));
  const side = tilePx / stride;
  for (let top = 0; top < rows; top += side) {
    for (let left = 0; left < columns; left += side) {
      const [bottom, right] = [Math.min(rows, top + side), Math.min(columns, left + side)];
      const outer = { top: Math.max(0, top - halo), left: Math.max(0, left - halo) };
      outer.rows = Math.min(rows, bottom + halo) - outer.top;
      outer.columns = Math.min(columns, right + halo) - outer.left;
      const values = await synthesise(planes.map((plane) => cut(plane, outer)), outer);
      const area = outer.rows * outer.columns * stride ** 2;
      for (let y = top * stride; y < Math.min(height, bottom * stride); y++) {
        const line = (y - outer.top * stride) * outer.columns * stride - outer.left * stride;
        for (let x = left * stride; x < Math.min(width, right * stride); x++) {
          const to = 3 * (y * width + x);
          for (let c = 0; c < 3; c++) samples[to + c] = toSample(values[c * area + line + x]);
        }
      }
      progress?.(Math.min(1, (bottom * columns - (bottom - top) * (columns - right)) / (rows * columns)));
    }
  }
  return samples;
}
