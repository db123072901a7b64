/** Weights and golden files of the repository. */

import { existsSync, readFileSync, readdirSync } from "node:fs";

import { Weights } from "../src/cvb/weights.js";

const ROOT = new URL("../../", import.meta.url);
export const WEIGHTS = new URL("codec/weights/", ROOT);
export const GOLDEN = new URL("tests/golden/", ROOT);

/** Return the ids that have golden files and whose weights are installed, in order. */
export function installed() {
  const ids = readdirSync(GOLDEN).filter((id) => existsSync(new URL(`${id}.safetensors`, WEIGHTS)));
  return ids.sort();
}

/** Return the weights of an id. */
export function readWeights(id) {
  const file = readFileSync(new URL(`${id}.safetensors`, WEIGHTS));
  return new Weights(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
}

/** Return the bytes of a golden file. */
export function golden(id, name) {
  return new Uint8Array(readFileSync(new URL(`${id}/${name}`, GOLDEN)));
}

/** Return what is known of the golden files of an id, by name. */
export function goldenEntries(id) {
  return JSON.parse(readFileSync(new URL(`${id}/golden.json`, GOLDEN)));
}
