/**
 * Entropy decoding of passes (SPEC 2).
 *
 * The two 64-bit numbers of the range decoder are kept as halves of 32 bits: every product below
 * is of numbers whose bits add up to 53 at most, so arithmetic of doubles is exact.
 */

import { CorruptStreamError } from "./errors.js";

const WORD = 2 ** 32;
const TOTAL = 2 ** 24;
const MAX_MAGNITUDE = 2 ** 15;
const MAX_SUFFIX_BITS = 15;
/** Of an integer that a cut stream does not settle. */
export const MISSING = -(2 ** 31);

/** Return the starts of the symbols of a row of frequencies, and their sum at the end. */
function startsOf(frequencies) {
  const starts = new Float64Array(frequencies.length + 1);
  for (let s = 0; s < frequencies.length; s++) starts[s + 1] = starts[s] + frequencies[s];
  return starts;
}

const LENGTHS = startsOf(
  Array.from({ length: MAX_SUFFIX_BITS + 1 }, (_, k) => 2 ** (23 - Math.min(k, 14))),
);
const SIGNS = startsOf([TOTAL / 2, TOTAL / 2]);
const SUFFIXES = Array.from({ length: MAX_SUFFIX_BITS + 1 }, (_, k) =>
  startsOf(Array(2 ** k).fill(TOTAL / 2 ** k)),
);

/** The tables of a model: a row of frequencies for each index. */
export class Tables {
  /**
   * @param {{data: ArrayLike<number>, shape: number[]}} frequencies rows x symbols
   * @param {{data: ArrayLike<number>}} halfWidths
   */
  constructor(frequencies, halfWidths) {
    const [rows, symbols] = frequencies.shape;
    this.halfWidths = Int32Array.from(halfWidths.data);
    this.starts = Array.from({ length: rows }, (_, row) => {
      const used = 2 * this.halfWidths[row] + 2;
      return startsOf(Array.from(frequencies.data.subarray(row * symbols, row * symbols + used)));
    });
  }

  get numRows() {
    return this.starts.length;
  }
}

class RangeDecoder {
  constructor(data) {
    this.data = data;
    this.position = 0;
    this.rangeHigh = WORD - 1;
    this.rangeLow = WORD - 1;
    this.high = this.nextWord();
    this.low = this.nextWord();
  }

  nextWord() {
    let word = 0;
    for (let i = 0; i < 4; i++) word = word * 256 + (this.data[this.position++] ?? 0);
    return word;
  }

  /** Decode the next symbol, of a row with these starts. */
  decode(starts) {
    const scale = this.rangeHigh * 256 + (this.rangeLow >>> 24);
    // The quotient is at most one off: the symbol that it gives is checked against exact products.
    const guess = Math.floor((this.high * WORD + this.low) / scale);
    let first = 0;
    let last = starts.length - 1;
    if (guess >= starts[last] + 1) {
      throw new CorruptStreamError("entropy-coded data are invalid");
    }
    while (last - first > 1) {
      const middle = (first + last) >> 1;
      if (starts[middle] <= guess) first = middle;
      else last = middle;
    }
    const scaleHigh = Math.floor(scale / 65536);
    const scaleLow = scale % 65536;
    if (!this.subtract(scaleHigh, scaleLow, starts[first])) {
      first -= 1; // the guess was one too large
      this.subtract(scaleHigh, scaleLow, starts[first]);
    }
    this.multiply(scaleHigh, scaleLow, starts[first + 1] - starts[first]);
    if (this.high > this.rangeHigh || (this.high === this.rangeHigh && this.low >= this.rangeLow)) {
      first += 1; // it was one too small
      if (first >= starts.length - 1) {
        throw new CorruptStreamError("entropy-coded data are invalid");
      }
      const borrow = this.low < this.rangeLow ? 1 : 0;
      this.high -= this.rangeHigh + borrow;
      this.low += borrow * WORD - this.rangeLow;
      this.multiply(scaleHigh, scaleLow, starts[first + 1] - starts[first]);
    }
    if (this.rangeHigh === 0) {
      this.rangeHigh = this.rangeLow;
      this.rangeLow = 0;
      this.high = this.low;
      this.low = this.nextWord();
    }
    return first;
  }

  /** Set the range to scale * size. */
  multiply(scaleHigh, scaleLow, size) {
    const upper = scaleHigh * size; // below 2^48, in units of 2^16
    const low = (upper % 65536) * 65536 + scaleLow * size;
    this.rangeLow = low % WORD;
    this.rangeHigh = Math.floor(upper / 65536) + Math.floor(low / WORD);
  }

  /** Subtract scale * start, if that is not more than there is; return whether. */
  subtract(scaleHigh, scaleLow, start) {
    const upper = scaleHigh * start;
    const sum = (upper % 65536) * 65536 + scaleLow * start;
    const low = sum % WORD;
    const high = Math.floor(upper / 65536) + Math.floor(sum / WORD);
    const borrow = this.low < low ? 1 : 0;
    if (this.high - borrow < high) return false;
    this.high -= high + borrow;
    this.low += borrow * WORD - low;
    return true;
  }
}

/** Return the positions of indexes, stably sorted by falling row, and how many each row has. */
function grouped(indexes, numRows) {
  const counts = new Int32Array(numRows);
  for (const index of indexes) counts[index] += 1;
  const next = new Int32Array(numRows);
  for (let row = numRows - 1, start = 0; row >= 0; row--) {
    next[row] = start;
    start += counts[row];
  }
  const order = new Int32Array(indexes.length);
  for (let i = 0; i < indexes.length; i++) order[next[indexes[i]]++] = i;
  return { counts, order };
}

/** Decodes the passes of a stream, in the order in which they were encoded. */
export class PassDecoder {
  /**
   * @param {Tables} tables
   * @param {Uint8Array} data
   */
  constructor(tables, data) {
    if (data.length && data[data.length - 1] === 0) {
      throw new CorruptStreamError("entropy-coded data end in a superfluous zero byte");
    }
    this.tables = tables;
    this.decoder = new RangeDecoder(data);
  }

  symbols(starts, count) {
    const found = new Int32Array(count);
    for (let i = 0; i < count; i++) found[i] = this.decoder.decode(starts);
    return found;
  }

  /** Return the integers of escapes, from the half widths of their rows. */
  escapes(halves) {
    const lengths = this.symbols(LENGTHS, halves.length);
    const signs = this.symbols(SIGNS, halves.length);
    const magnitudes = Int32Array.from(halves, (half, i) => half + 2 ** lengths[i]);
    for (let k = 1; k <= MAX_SUFFIX_BITS; k++) {
      for (let i = 0; i < lengths.length; i++) {
        if (lengths[i] === k) magnitudes[i] += this.decoder.decode(SUFFIXES[k]);
      }
    }
    for (const magnitude of magnitudes) {
      if (magnitude > MAX_MAGNITUDE) {
        throw new CorruptStreamError("an escaped integer is out of range");
      }
    }
    return magnitudes.map((magnitude, i) => (signs[i] ? -magnitude : magnitude));
  }

  /**
   * Decode a pass.
   * @param {Int32Array} indexes row of each integer
   * @returns {?Int32Array}
   */
  decode(indexes) {
    return decodePass(this.tables, indexes, {
      symbols: (starts, count) => this.symbols(starts, count),
      escapes: (halves) => this.escapes(halves),
    });
  }
}

/** Return the integers of a pass, `MISSING` where there are no more; null where all are. */
function decodePass(tables, indexes, source) {
  const { counts, order } = grouped(indexes, tables.numRows);
  const values = new Int32Array(indexes.length).fill(MISSING);
  const places = [];
  const halves = [];
  let start = 0;
  for (let row = tables.numRows - 1; row >= 0; row--) {
    if (!counts[row]) continue;
    const half = tables.halfWidths[row];
    const symbols = source.symbols(tables.starts[row], counts[row]);
    for (let i = 0; i < symbols.length; i++) {
      const place = order[start + i];
      values[place] = symbols[i] - half;
      if (symbols[i] > 2 * half) {
        places.push(place);
        halves.push(half);
      }
    }
    start += counts[row];
  }
  if (places.length) {
    const escaped = source.escapes(Int32Array.from(halves));
    places.forEach((place, i) => {
      values[place] = escaped.length === places.length ? escaped[i] : MISSING;
    });
  }
  return values.length && values.every((value) => value === MISSING) ? null : values;
}

/** Decodes what of a stream its first bytes settle (SPEC 1.4, at the end). */
export class PrefixDecoder {
  /**
   * @param {Tables} tables
   * @param {Uint8Array} data beginning of the stream
   * @param {number} missingBytes how many bytes of it follow that are not there
   */
  constructor(tables, data, missingBytes) {
    this.tables = tables;
    this.isOver = false;
    const filled = new Uint8Array(data.length + Math.min(missingBytes, 8)).fill(255);
    filled.set(data);
    this.decoders = [data, filled].map((end) => new PassDecoder(tables, withoutZeros(end)));
  }

  settled(decode) {
    if (this.isOver) return new Int32Array();
    let one;
    let other;
    try {
      [one, other] = this.decoders.map(decode);
    } catch (error) {
      if (!(error instanceof CorruptStreamError)) throw error;
      this.isOver = true;
      return new Int32Array();
    }
    const difference = one.findIndex((value, i) => value !== other[i]);
    if (difference < 0) return one;
    this.isOver = true;
    return one.subarray(0, difference);
  }

  /** Decode a pass as `PassDecoder`, `MISSING` from the first integer that hangs on missing bytes. */
  decode(indexes) {
    if (this.isOver) return null;
    return decodePass(this.tables, indexes, {
      symbols: (starts, count) => this.settled((decoder) => decoder.symbols(starts, count)),
      escapes: (halves) => this.settled((decoder) => decoder.escapes(halves)),
    });
  }
}

function withoutZeros(data) {
  let length = data.length;
  while (length && data[length - 1] === 0) length -= 1;
  return data.subarray(0, length);
}
