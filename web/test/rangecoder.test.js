/** The entropy decoder against the example of SPEC.md, and against damage. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { CorruptStreamError } from "../src/cvb/errors.js";
import { MISSING, PassDecoder, PrefixDecoder, Tables } from "../src/cvb/rangecoder.js";

const tables = new Tables(
  { shape: [1, 4], data: Uint32Array.of(4194304, 8388608, 4186112, 8192) },
  { data: Int16Array.of(1) },
);
const stream = Uint8Array.of(0xa5, 0xfc, 0xff, 0xfa, 0x8f);
const integers = [0, 1, -1, 0, 5, -3, 0];
const indexes = new Int32Array(7);

test("the example of SPEC 2.4", () => {
  assert.deepEqual([...new PassDecoder(tables, stream).decode(indexes)], integers);
});

test("a beginning gives a beginning of the integers, and never another", () => {
  let last = 0;
  for (let length = 0; length <= stream.length; length++) {
    const missing = stream.length - length;
    const found = new PrefixDecoder(tables, stream.subarray(0, length), missing).decode(indexes) ?? [];
    const known = [...found].filter((q) => q !== MISSING);
    known.forEach((q) => assert.ok(integers.includes(q)));
    assert.ok(known.length >= last);
    last = known.length;
  }
  assert.equal(last, integers.length);
});

test("a superfluous zero byte is refused", () => {
  assert.throws(() => new PassDecoder(tables, Uint8Array.of(1, 0)), CorruptStreamError);
});

test("what lies beyond the last symbol is refused", () => {
  // scale = range >> 24 leaves a rest of the range that no symbol has.
  const all = new Uint8Array(8).fill(255);
  assert.throws(() => new PassDecoder(tables, all).decode(indexes), CorruptStreamError);
});
