/** Golden files decode to the same integers as everywhere. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { readStream } from "../src/cvb/container.js";
import { decodeLatents } from "../src/cvb/latents.js";
import { golden, goldenEntries, installed, readWeights } from "./files.js";

/** Return the SHA-256 of all integers of a file, block after block, as `imgcodec inspect` has it. */
async function hashOfIntegers(data, weights) {
  const digest = createHash("sha256");
  const observe = (_, q) => digest.update(new Uint8Array(q.buffer, q.byteOffset, q.byteLength));
  await decodeLatents(readStream(data), weights, null, { observe });
  return digest.digest("hex");
}

test("there are golden files of the installed weights", () => assert.ok(installed().length >= 5));

for (const id of installed()) {
  test(`golden files of ${id}`, async () => {
    const weights = readWeights(id);
    for (const [name, { integers_sha256: expected }] of Object.entries(goldenEntries(id))) {
      const data = golden(id, name);
      await weights.check(readStream(data).header.modelHash);
      assert.equal(await hashOfIntegers(data, weights), expected, name);
    }
  });
}
