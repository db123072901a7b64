/** Beginnings of files tell the truth; damaged files end in an error of the codec. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { readStream } from "../src/cvb/container.js";
import { CodecError, TruncatedStreamError } from "../src/cvb/errors.js";
import { decodeLatents } from "../src/cvb/latents.js";
import { MISSING } from "../src/cvb/rangecoder.js";
import { golden, installed, readWeights } from "./files.js";

const newest = (family) => installed().filter((id) => id.startsWith(family)).at(-1);

async function blocksOf(data, weights, allowTruncated = false) {
  const blocks = [];
  const observe = (name, q) => blocks.push([name, q]);
  await decodeLatents(readStream(data, { allowTruncated }), weights, null, { observe });
  return blocks;
}

for (const [family, name] of [["beta", "gray-q50.cvb"], ["beta", "tiles-q40.cvb"], ["hier", "gray-q50.cvb"]]) {
  test(`beginnings of ${name} of ${family} hold integers of the whole file`, async () => {
    const weights = readWeights(newest(family));
    const data = golden(newest(family), name);
    const whole = await blocksOf(data, weights);
    let last = 0;
    for (const share of [0.15, 0.4, 0.7, 0.95, 1]) {
      const part = data.subarray(0, Math.round(share * data.length));
      let blocks = [];
      try {
        blocks = await blocksOf(part, weights, true);
      } catch (error) {
        assert.ok(error instanceof TruncatedStreamError, error.stack);
      }
      let known = 0;
      const left = [...whole];
      for (const [passName, q] of blocks) {
        const at = left.findIndex(([other, all]) => other === passName && all.length === q.length);
        const [[, all]] = left.splice(0, at + 1).slice(-1);
        q.forEach((value, i) => {
          if (value === MISSING) return;
          assert.equal(value, all[i], passName);
          known += 1;
        });
      }
      assert.ok(known >= last, `${share}: ${known} after ${last}`);
      last = known;
    }
    assert.equal(last, whole.reduce((sum, [, q]) => sum + q.length, 0));
  });
}

/** Return numbers in [0, 1) that are always the same (mulberry32). */
function numbers(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Change bytes, cut, repeat or insert, as files get damaged. */
export function mutate(data, random) {
  const bytes = [...data];
  const at = Math.floor(random() * bytes.length);
  const kind = Math.floor(random() * 5);
  if (kind === 0) bytes[at] ^= 1 << Math.floor(random() * 8);
  else if (kind === 1) bytes.splice(at);
  else if (kind === 2) bytes.splice(at, 1 + Math.floor(random() * 8));
  else if (kind === 3) bytes.splice(at, 0, ...Array.from({ length: 1 + Math.floor(random() * 8) }, () => Math.floor(random() * 256)));
  else for (let i = at; i < Math.min(at + 8, bytes.length); i++) bytes[i] = Math.floor(random() * 256);
  return Uint8Array.from(bytes);
}

test("a thousand damaged files end in a message", async () => {
  const random = numbers(7);
  const weights = readWeights(newest("beta"));
  const files = ["pixel-q60.cvb", "waves-q1.cvb"].map((name) => golden(newest("beta"), name));
  for (let k = 0; k < 1000; k++) {
    const data = mutate(files[k % files.length], random);
    // As a whole file it must be refused; as a beginning it may be shown.
    const isSame = String(data) === String(files[k % files.length]);
    for (const allowTruncated of k % 10 ? [false] : [false, true]) {
      try {
        await blocksOf(data, weights, allowTruncated);
        assert.ok(allowTruncated || isSame, `file ${k} was taken for a good one`);
      } catch (error) {
        assert.ok(error instanceof CodecError, error.stack);
      }
    }
  }
});
