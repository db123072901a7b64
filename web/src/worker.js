/** Decodes in the background, so that a page stays awake. */

import * as ort from "onnxruntime-web/wasm";

import { Decoder } from "./cvb/decoder.js";
import { CodecError } from "./cvb/errors.js";
import { writePng } from "./cvb/png.js";

let decoder = null;

/** Return a function that fetches files below an address. */
function fetcher(base) {
  return async (path) => {
    const response = await fetch(new URL(path, base));
    if (!response.ok) throw new Error(`${path} cannot be loaded: ${response.status}`);
    return response.arrayBuffer();
  };
}

const handlers = {
  open({ weights, runtime, threads }) {
    ort.env.wasm.wasmPaths = runtime;
    ort.env.wasm.numThreads = self.crossOriginIsolated ? threads : 1;
    decoder = new Decoder(ort, fetcher(weights));
  },
  async decode({ id, data, options }) {
    const progress = (share) => postMessage({ id, progress: share });
    const decoded = await decoder.decode(data, { ...options, progress });
    const png = await writePng(decoded.samples, decoded);
    return { png, info: decoded.info, height: decoded.height, width: decoded.width };
  },
};

let queue = Promise.resolve();

self.onmessage = ({ data: message }) => {
  // One after the other: two walks at once would only slow each other down.
  queue = queue.then(async () => {
    try {
      const result = await handlers[message.kind](message);
      postMessage({ id: message.id, result });
    } catch (error) {
      const known = error instanceof CodecError;
      postMessage({ id: message.id, error: known ? error.message : String(error), name: error.name });
    }
  });
};
