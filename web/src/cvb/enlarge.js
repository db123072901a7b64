/** Pictures coded at half their size, made large again (SPEC 1.7). */

const REACH = 3;

/** Lanczos' kernel of three lobes. */
function kernel(t) {
  return (REACH * Math.sin(Math.PI * t) * Math.sin((Math.PI * t) / REACH)) / (Math.PI * t) ** 2;
}

/**
 * Return, for each of the first places of a line of twice the length, what it is made of.
 * @returns {{start: number, weights: number[]}[]}
 */
function taps(length, places) {
  return Array.from({ length: places }, (_, place) => {
    const centre = (place + 0.5) / 2 - 0.5;
    const start = Math.max(0, Math.ceil(centre - REACH));
    const end = Math.min(length - 1, Math.floor(centre + REACH));
    const weights = Array.from({ length: end - start + 1 }, (_, k) => kernel(start + k - centre));
    const sum = weights.reduce((total, weight) => total + weight);
    return { start, weights: weights.map((weight) => weight / sum) };
  });
}

/**
 * Enlarge a picture.
 * @param {Uint8Array} small (h, w, 3)
 * @param {Header} header
 * @returns {Uint8Array} (H, W, 3)
 */
export function enlarge(small, { height, width, coded }) {
  const [down, across] = [taps(coded.height, height), taps(coded.width, width)];
  const out = new Uint8ClampedArray(3 * height * width);
  const wide = new Map(); // rows of the small picture, already enlarged
  const widened = (row) => {
    if (!wide.has(row)) {
      const line = new Uint8ClampedArray(3 * width); // rounds and clamps
      across.forEach(({ start, weights }, x) => {
        for (let c = 0; c < 3; c++) {
          const from = 3 * (row * coded.width + start) + c;
          line[3 * x + c] = weights.reduce((sum, weight, k) => sum + weight * small[from + 3 * k], 0);
        }
      });
      wide.set(row, line);
    }
    return wide.get(row);
  };
  down.forEach(({ start, weights }, y) => {
    wide.delete(start - 1);
    const lines = weights.map((_, k) => widened(start + k));
    for (let x = 0; x < 3 * width; x++) {
      let sum = 0;
      for (let k = 0; k < lines.length; k++) sum += weights[k] * lines[k][x];
      out[3 * y * width + x] = sum;
    }
  });
  return new Uint8Array(out.buffer);
}
