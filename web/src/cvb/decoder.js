/** Files to pictures: finds the weights, walks, synthesises, and puts everything together. */

import { readStream } from "./container.js";
import { enlarge } from "./enlarge.js";
import { CorruptStreamError, UnknownModelError } from "./errors.js";
import { Graphs } from "./graphs.js";
import { decodeLatents, FAMILIES } from "./latents.js";
import { netsOf } from "./nets.js";
import { assemble, decodeAlpha, pasteExact, readMask } from "./picture.js";
import { joinTiles, samplesOf } from "./synthesis.js";
import { Weights } from "./weights.js";

export const FIDELITY = "fidelity";

/**
 * A decoded picture.
 * @typedef {object} Decoded
 * @property {Uint8Array} samples (H, W, channels): grey, grey and alpha, RGB or RGBA
 * @property {number} channels
 * @property {number} height
 * @property {number} width
 * @property {Object<string, Uint8Array>} metadata by "icc", "exif", "xmp"
 * @property {object} info what is shown about the file
 */

/** Decodes files whose weights lie at an address. */
export class Decoder {
  /**
   * @param {object} ort the module onnxruntime-web
   * @param {(string) => Promise<ArrayBuffer>} fetchFile from a path below the folder of the
   *   weights, such as "ids.json", to its bytes
   */
  constructor(ort, fetchFile) {
    this.ort = ort;
    this.fetchFile = fetchFile;
    this.models = new Map();
  }

  /** Return the weights and graphs of a model, by the hash that streams carry. */
  model(hash) {
    if (!this.models.has(hash)) {
      const loading = this.load(hash);
      loading.catch(() => this.models.delete(hash)); // the next file may try again
      this.models.set(hash, loading);
    }
    return this.models.get(hash);
  }

  async load(hash) {
    const ids = JSON.parse(new TextDecoder().decode(await this.fetchFile("ids.json")));
    const id = Object.keys(ids).find((key) => ids[key].hash.startsWith(hash) && !ids[key].withdrawn);
    if (!id) throw new UnknownModelError(`the stream was made by a model with hash ${hash}; it is not here`);
    const weights = new Weights(await this.fetchFile(`${id}.safetensors`));
    await weights.check(hash);
    return { id, weights, graphs: await Graphs.open(this.ort, this.fetchFile, id, weights) };
  }

  /**
   * Decode a file.
   *
   * @param {Uint8Array} data
   * @param {{decoder?: string, allowTruncated?: boolean, progress?: (number) => void}} options
   *   a decoder of the model; whether beginnings are shown; what gets the share that is done
   * @returns {Promise<Decoded>}
   */
  async decode(data, { decoder = FIDELITY, allowTruncated = false, progress } = {}) {
    const stream = readStream(data, { allowTruncated });
    const { header } = stream;
    const { height, width } = header;
    const alpha = stream.alpha && (await decodeAlpha(stream.alpha, height, width));
    const exact = stream.exact && (await readMask(stream.exact, height, width));
    const isEverything = exact?.mask.every(Boolean);
    const info = { header, chunks: stream.chunks, bytes: data.length, isComplete: stream.isComplete };
    info.exactShare = exact ? exact.mask.reduce((sum, bit) => sum + bit, 0) / exact.mask.length : 0;
    let samples;
    if (isEverything) {
      if (stream.segments.flat().some((part) => part.length)) {
        throw new CorruptStreamError("everything is exact, and yet there is more");
      }
      samples = new Uint8Array(3 * height * width);
    } else {
      const { id, weights, graphs } = await this.model(header.modelHash);
      const { family } = weights.metadata;
      await graphs.load(decoder);
      const nets = netsOf(family, weights, graphs, header.quality, decoder);
      const results = await decodeLatents(stream, weights, nets, {
        progress: (share) => progress?.(0.5 * share),
      });
      const { STRIDE: stride } = FAMILIES[family];
      const planes = joinTiles(results, header, stride);
      samples = await samplesOf(planes, weights, header, stride, nets.synthesise, (share) =>
        progress?.(0.5 + 0.5 * share),
      );
      if (header.reduction === 2) samples = enlarge(samples, header);
      Object.assign(info, { model: id, decoders: graphs.decoders, levels: stream.levels.length });
    }
    if (exact) await pasteExact(exact, samples, height, width);
    const picture = assemble(samples, alpha, header.isGray);
    return { ...picture, height, width, metadata: stream.metadata, info };
  }
}
