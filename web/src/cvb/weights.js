/** Weights files: safetensors, and what the exact networks need of them (SPEC 3). */

import { UnknownModelError } from "./errors.js";
import { Tables } from "./rangecoder.js";

const WEIGHT_BITS = 12;
const BIAS_BITS = 20;

const TYPES = {
  F16: { array: Uint16Array, name: "float16" },
  F32: { array: Float32Array, name: "float32" },
  I16: { array: Int16Array, name: "int16" },
  I32: { array: Int32Array, name: "int32" },
  U32: { array: Uint32Array, name: "uint32" },
};

/**
 * A tensor as it is stored.
 * @typedef {{type: string, shape: number[], data: TypedArray}} Tensor
 */

/** A weights file. */
export class Weights {
  /** @param {ArrayBuffer} buffer */
  constructor(buffer) {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    this.buffer = buffer;
    this.metadata = header.__metadata__ ?? {};
    delete header.__metadata__;
    this.entries = header;
    this.start = 8 + length;
    this.sizes = JSON.parse(this.metadata.model);
    this.tables = new Tables(
      this.stored("tables.frequencies"),
      this.stored("tables.half_widths"),
    );
    this.numbers = new Map();
  }

  /** Whether there is a tensor of a name. */
  has(name) {
    return name in this.entries;
  }

  /** Return a tensor as it is stored. */
  stored(name) {
    const entry = this.entries[name];
    if (!entry) throw new UnknownModelError(`the weights have no tensor ${name}`);
    const [first, last] = entry.data_offsets;
    const { array } = TYPES[entry.dtype];
    const bytes = this.buffer.slice(this.start + first, this.start + last);
    return { type: entry.dtype, shape: entry.shape, data: new array(bytes) };
  }

  /** Return the numbers of a tensor as doubles, in their units. */
  get(name) {
    if (!this.numbers.has(name)) {
      const { type, data } = this.stored(name);
      const unit = { I16: 2 ** -WEIGHT_BITS, I32: 2 ** -BIAS_BITS }[type] ?? 1;
      const numbers = new Float64Array(data.length);
      for (let i = 0; i < data.length; i++) {
        numbers[i] = type === "F16" ? fromHalf(data[i]) : data[i] * unit;
      }
      this.numbers.set(name, numbers);
    }
    return this.numbers.get(name);
  }

  /** Return the shape of a tensor. */
  shape(name) {
    return this.entries[name].shape;
  }

  /**
   * Check that the tensors have the hash of the metadata, and that it is this one.
   * @param {string} hash its first digits, hexadecimal
   */
  async check(hash) {
    const parts = [];
    for (const name of Object.keys(this.entries).sort()) {
      const { dtype, shape, data_offsets: [first, last] } = this.entries[name];
      const sizes = shape.length > 1 ? shape.join(", ") : `${shape[0] ?? 1},`;
      const line = `${name} ${TYPES[dtype].name} (${sizes})\n`;
      parts.push(new TextEncoder().encode(line));
      parts.push(new Uint8Array(this.buffer, this.start + first, last - first));
    }
    const all = new Uint8Array(await new Blob(parts).arrayBuffer());
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
    const found = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== this.metadata.hash || !found.startsWith(hash)) {
      throw new UnknownModelError("the tensors do not have the hash of the metadata");
    }
  }
}

/** Return the number that 16 bits of a half precision float stand for. */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
