/**
 * `<cvb-img src="photo.cvb" alt="...">`: a picture in a page, better and better while it loads.
 *
 * Attributes: `src`, `alt`, `decoder` (one that the model has), `weights` (where the weights lie).
 * Events: "load" for each picture, "error" with the message in `detail`.
 */

import { Client } from "./client.js";

const clients = new Map();

/** Return the client of a folder of weights, shared by all pictures of a page. */
function clientOf(weights) {
  if (!clients.has(weights)) clients.set(weights, new Client(weights ? { weights } : {}));
  return clients.get(weights);
}

/** The element. */
export class CvbImage extends HTMLElement {
  static observedAttributes = ["src", "alt", "decoder", "weights"];

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.innerHTML = `<style>:host { display: inline-block } img { display: block; max-width: 100%; height: auto }</style>`;
    this.image = document.createElement("img");
    root.append(this.image);
  }

  attributeChangedCallback(name) {
    if (name === "alt") this.image.alt = this.getAttribute("alt") ?? "";
    else if (this.isConnected) this.load();
  }

  connectedCallback() {
    this.load();
  }

  /** Fetch the file and show it; resolves when all of it is shown. */
  async load() {
    const source = this.getAttribute("src");
    if (!source) return;
    const weights = this.getAttribute("weights");
    const client = clientOf(weights ? String(new URL(weights, document.baseURI)) : "");
    const options = { decoder: this.getAttribute("decoder") ?? undefined };
    const isStale = () => source !== this.getAttribute("src");
    try {
      const response = await fetch(new URL(source, document.baseURI));
      if (!response.ok) throw new Error(`${source} cannot be loaded: ${response.status}`);
      const numBytes = Number(response.headers.get("content-length") ?? 0);
      await client.decodeArriving(
        response.body,
        numBytes,
        (picture) => isStale() || this.show(picture),
        options,
      );
    } catch (error) {
      if (!isStale()) this.dispatchEvent(new CustomEvent("error", { detail: error.message }));
    }
  }

  show({ png, info, height, width }) {
    if (this.image.src) URL.revokeObjectURL(this.image.src);
    this.image.src = URL.createObjectURL(png);
    this.image.width = width;
    this.image.height = height;
    this.dispatchEvent(new CustomEvent("load", { detail: info }));
  }
}

customElements.define("cvb-img", CvbImage);
