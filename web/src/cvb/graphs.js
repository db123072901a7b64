/** Float networks: ONNX graphs whose weights lie in the safetensors files. */

import { UnknownModelError } from "./errors.js";

const INDEX = "graphs.json";
const FIDELITY = "fidelity";

/** The networks of a model, of all of its decoders. */
export class Graphs {
  /**
   * @param {object} ort the module onnxruntime-web
   * @param {(string) => Promise<ArrayBuffer>} fetchFile
   * @param {string} id of the model
   * @param {Map<string, Uint8Array>} files weights files by name
   */
  constructor(ort, fetchFile, id, files) {
    this.ort = ort;
    this.fetchFile = fetchFile;
    this.id = id;
    this.files = files;
    this.networks = {};
    this.decoders = [FIDELITY];
    this.sessions = new Map();
  }

  /** Return the graphs of a model whose weights are loaded. */
  static async open(ort, fetchFile, id, weights) {
    const files = new Map([[`${id}.safetensors`, new Uint8Array(weights.buffer)]]);
    const graphs = new Graphs(ort, fetchFile, id, files);
    const index = JSON.parse(new TextDecoder().decode(await fetchFile(`graphs/${id}/${INDEX}`)));
    if (index.hash !== weights.metadata.hash) {
      throw new UnknownModelError(`the graphs of ${id} belong to other weights`);
    }
    graphs.add(FIDELITY, id, index.networks);
    const decoders = JSON.parse(new TextDecoder().decode(await fetchFile("decoders.json")));
    graphs.decoders.push(...(decoders[id] ?? []));
    return graphs;
  }

  add(decoder, folder, networks) {
    this.networks[decoder] = { ...this.networks[FIDELITY] };
    for (const [name, { file, inputs, outputs }] of Object.entries(networks)) {
      this.networks[decoder][name] = { path: `graphs/${folder}/${file}`, inputs, outputs };
    }
  }

  /** Load what a further decoder has of its own. */
  async load(decoder) {
    if (this.networks[decoder]) return;
    if (!this.decoders.includes(decoder)) {
      const known = this.decoders.join(", ");
      throw new UnknownModelError(`${this.id} has no decoder '${decoder}'; known: ${known}`);
    }
    const folder = `${this.id}.${decoder}`;
    const [index, weights] = await Promise.all([
      this.fetchFile(`graphs/${folder}/${INDEX}`),
      this.fetchFile(`${folder}.safetensors`),
    ]);
    this.files.set(`${folder}.safetensors`, new Uint8Array(weights));
    this.add(decoder, folder, JSON.parse(new TextDecoder().decode(index)).networks);
  }

  session(path) {
    if (!this.sessions.has(path)) {
      const externalData = [...this.files].map(([name, data]) => ({ path: name, data }));
      const starting = this.fetchFile(path).then((graph) =>
        this.ort.InferenceSession.create(new Uint8Array(graph), {
          externalData,
          executionProviders: ["wasm"],
        }),
      );
      this.sessions.set(path, starting);
    }
    return this.sessions.get(path);
  }

  /** Whether a decoder has a network. */
  has(name, decoder = FIDELITY) {
    return name in this.networks[decoder];
  }

  /**
   * Run a network.
   *
   * @param {string} name such as "mean.3"
   * @param {{data: Float32Array, shape: number[]}[]} inputs in the order of its arguments
   * @returns {Promise<(?Float32Array)[]>} its outputs, null for those that it does not have
   */
  async run(name, inputs, decoder = FIDELITY) {
    const network = this.networks[decoder][name];
    const session = await this.session(network.path);
    const feeds = {};
    network.inputs.forEach((input, i) => {
      if (!session.inputNames.includes(input)) return; // the network has no use for it
      feeds[input] = new this.ort.Tensor("float32", inputs[i].data, inputs[i].shape);
    });
    const wanted = network.outputs.filter((output) => output !== null);
    const found = await session.run(feeds, wanted);
    return network.outputs.map((output) => (output === null ? null : found[output].data));
  }
}
