/** Talks to the worker that decodes. */

const MAX_THREADS = 4;

/** An error that the worker reports. */
export class DecodeError extends Error {
  constructor(message, name) {
    super(message);
    this.name = name;
  }
}

/** Decodes files in the background. */
export class Client {
  /**
   * @param {{worker?: string, runtime?: string, weights?: string}} places addresses of the worker,
   *   of the folder of onnxruntime-web, and of that of the weights; by default beside this file
   */
  constructor({
    worker = new URL("worker.js", import.meta.url),
    runtime = new URL("./", import.meta.url),
    weights = new URL("weights/", import.meta.url),
  } = {}) {
    this.waiting = new Map();
    this.next = 0;
    this.worker = new Worker(worker, { type: "module" });
    this.worker.onmessage = ({ data }) => this.receive(data);
    const threads = Math.min(navigator.hardwareConcurrency || 1, MAX_THREADS);
    this.send({ kind: "open", weights: String(weights), runtime: String(runtime), threads });
  }

  send(message, onProgress) {
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, onProgress });
      this.worker.postMessage({ ...message, id });
    });
  }

  receive({ id, progress, result, error, name }) {
    const { resolve, reject, onProgress } = this.waiting.get(id);
    if (progress !== undefined) {
      onProgress?.(progress);
      return;
    }
    this.waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new DecodeError(error, name));
  }

  /**
   * Decode a file.
   *
   * @param {Uint8Array} data
   * @param {{decoder?: string, allowTruncated?: boolean}} options as of `Decoder.decode`
   * @param {(number) => void} onProgress gets the share that is done
   * @returns {Promise<{png: Blob, info: object, height: number, width: number}>}
   */
  decode(data, options = {}, onProgress = undefined) {
    return this.send({ kind: "decode", data, options }, onProgress);
  }

  /**
   * Decode a file while it arrives: whenever another level is there, and at the end.
   *
   * @param {ReadableStream<Uint8Array>} stream
   * @param {number} numBytes of the whole file, 0 where that is not known
   * @param {(object) => void} onPicture gets what `decode` returns, for each picture
   * @param {object} options as of `decode`
   * @returns {Promise<Uint8Array>} the whole file
   */
  async decodeArriving(stream, numBytes, onPicture, options = {}) {
    let data = new Uint8Array();
    let shownAt = 0;
    let busy = null;
    const show = async (part, isWhole) => {
      try {
        onPicture(await this.decode(part, { ...options, allowTruncated: !isWhole }));
      } catch (error) {
        if (isWhole || error.name !== "TruncatedStreamError") throw error;
      } finally {
        busy = null;
      }
    };
    const reader = stream.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const longer = new Uint8Array(data.length + part.value.length);
      longer.set(data);
      longer.set(part.value, data.length);
      data = longer;
      const isWorthIt = numBytes && data.length < numBytes && data.length >= Math.max(2 * shownAt, 0.06 * numBytes);
      if (isWorthIt && !busy) {
        shownAt = data.length;
        busy = show(data, false);
        busy.catch(() => {}); // what is wrong with a beginning, the whole file will say
      }
    }
    await busy?.catch(() => {});
    await show(data, true);
    return data;
  }
}
