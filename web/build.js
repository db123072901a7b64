/** Builds the page into dist/: `npm run build`; with `--weights` also what static pages need. */

import { build } from "esbuild";
import { cp, mkdir, readdir, rm, writeFile } from "node:fs/promises";

const here = (path) => new URL(path, import.meta.url).pathname;
const RUNTIME = "node_modules/onnxruntime-web/dist/";
const RUNTIME_FILES = ["ort-wasm-simd-threaded.wasm", "ort-wasm-simd-threaded.mjs"];

await rm(here("dist"), { recursive: true, force: true });
await mkdir(here("dist"));
await build({
  entryPoints: { worker: here("src/worker.js"), page: here("src/page/page.js"), "cvb-img": here("src/cvb-img.js") },
  outdir: here("dist"),
  bundle: true,
  format: "esm",
  minify: true,
  keepNames: true, // errors are told by their names
  legalComments: "linked",
});
for (const file of ["index.html", "page.css"]) await cp(here(`src/page/${file}`), here(`dist/${file}`));
for (const file of RUNTIME_FILES) await cp(here(RUNTIME + file), here(`dist/${file}`));
if (process.argv.includes("--weights")) {
  const isServed = (name) => /\.safetensors$|^ids\.json$|^graphs$/.test(name);
  const names = (await readdir(here("../codec/weights"))).filter(isServed);
  for (const name of names) {
    await cp(here(`../codec/weights/${name}`), here(`dist/weights/${name}`), { recursive: true });
  }
  const decoders = {}; // `imgcodec view` answers with the same
  for (const name of names) {
    const [, id, decoder] = name.match(/^([^.]+)\.([^.]+)\.safetensors$/) ?? [];
    if (decoder) (decoders[id] ??= []).push(decoder);
  }
  await writeFile(here("dist/weights/decoders.json"), JSON.stringify(decoders));
}
