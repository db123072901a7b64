/** The page that shows `.cvb` files. */

import { Client } from "../client.js";

const ZOOM_STEP = Math.SQRT2;
const MAX_ZOOM = 32;

const $ = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));
const client = new Client();

/** Files that were opened, and what of them is shown. */
const state = {
  files: [],
  originals: [],
  current: null,
  shown: null,
  view: { zoom: 1, x: 0, y: 0 },
  isFitting: true,
  drag: null,
};

const stem = (name) => name.replace(/\.[^.]*$/, "");
const setHidden = (isHidden, ...nodes) => nodes.forEach((node) => { node.hidden = isHidden; });

function say(message) {
  $.message.textContent = message ?? "";
  $.message.hidden = !message;
}

// ---- files ------------------------------------------------------------------------------

async function open(files) {
  say(null);
  let first = null;
  for (const file of files) {
    if (/\.cvb$/i.test(file.name) || (await isCvb(file))) {
      state.files = [...state.files.filter(({ name }) => name !== file.name), file];
      first ??= file;
    } else {
      state.originals = [file, ...state.originals.filter(({ name }) => name !== file.name)];
    }
  }
  $.names.replaceChildren(...state.files.map(({ name }) => new Option(name, name)));
  $.names.hidden = state.files.length < 2;
  if (first) await show(first);
  else if (state.shown) await showOriginal();
  else say("No .cvb file is open yet to compare with.");
}

async function isCvb(file) {
  const [c, v, b] = new Uint8Array(await file.slice(0, 3).arrayBuffer());
  return String.fromCharCode(c, v, b) === "CVB";
}

/** Show a file, coarse to fine while it arrives. */
async function show(file, decoder) {
  state.current = file;
  state.isFitting = true;
  $.names.value = file.name;
  say(null);
  setHidden(true, $.hint);
  setHidden(false, $.progress);
  $.progress.removeAttribute("value");
  const isStale = () => state.current !== file;
  try {
    const onPicture = (picture) => isStale() || showPicture(picture, file, decoder);
    const { body, size } = file.open ? await file.open() : { body: file.stream(), size: file.size };
    await client.decodeArriving(body, size, onPicture, { decoder });
  } catch (error) {
    if (isStale()) return;
    say(`${file.name}: ${error.message}`);
    setHidden(true, $.picture, $.divider, $.facts, $.zooms, $.save, $.decoder);
    state.shown = null;
  } finally {
    if (!isStale()) setHidden(true, $.progress);
  }
}

async function showPicture(picture, file, decoder) {
  if (state.shown) URL.revokeObjectURL(state.shown.url);
  state.shown = { ...picture, url: URL.createObjectURL(picture.png), name: file.name };
  $.shown.src = state.shown.url;
  $.shown.width = picture.width;
  $.shown.height = picture.height;
  await $.shown.decode().catch(() => {});
  setHidden(false, $.picture, $.facts, $.zooms, $.save);
  document.title = file.name;
  showFacts(picture.info);
  const decoders = picture.info.decoders ?? [];
  $.decoder.replaceChildren(...decoders.map((name) => new Option(`${name} decoder`, name)));
  $.decoder.value = decoder ?? decoders[0] ?? "";
  $.decoder.hidden = decoders.length < 2;
  await showOriginal();
  if (state.isFitting) fit();
  document.body.dataset.shown = picture.info.isComplete ? "whole" : "beginning";
}

/** Put the original of the same name, or else the last one, beside the picture. */
async function showOriginal() {
  const { shown, originals } = state;
  const file = originals.find(({ name }) => stem(name) === stem(shown.name)) ?? originals[0];
  setHidden(!file, $.slider, $.original, $.divider);
  if (!file) return;
  if ($.original.dataset.name !== file.name) {
    $.original.src = URL.createObjectURL(file);
    $.original.dataset.name = file.name;
    try {
      await $.original.decode();
    } catch {
      say(`${file.name} is no picture that this browser can show.`);
      state.originals = state.originals.filter((other) => other !== file);
      setHidden(true, $.slider, $.original, $.divider);
      return;
    }
  }
  const { naturalWidth: width, naturalHeight: height } = $.original;
  if (width * shown.height !== height * shown.width) {
    say(`${file.name} has another shape: ${width} x ${height}.`);
    setHidden(true, $.slider, $.original, $.divider);
    return;
  }
  $.original.width = shown.width;
  $.original.height = shown.height;
  place();
}

function showFacts({ header, bytes, chunks, model, levels, exactShare, isComplete }) {
  const bpp = (8 * bytes) / (header.height * header.width);
  const rows = [
    ["size", `${header.width} x ${header.height} px${header.isGray ? ", grey" : ""}${header.hasAlpha ? ", alpha" : ""}`],
    ["bytes", `${bytes.toLocaleString("en")} (${bpp.toFixed(3)} bit/px)`],
    ["quality", `${header.quality}${header.reduction === 2 ? " at half size" : ""}`],
    ["model", model ?? "none needed"],
    ["levels", levels ?? "none"],
    ["exact", `${(100 * exactShare).toFixed(0)} % of the blocks`],
    ["file", isComplete ? "whole" : "cut short: this is what its beginning shows"],
  ];
  $.table.replaceChildren(...rows.map(([name, value]) => {
    const row = document.createElement("tr");
    for (const text of [name, value]) row.insertCell().textContent = text;
    return row;
  }));
  $.chunks.replaceChildren(...chunks.map(({ name, bytes: size }) => {
    const line = document.createElement("div");
    line.className = "chunk";
    line.style.setProperty("--share", `${(100 * size) / bytes}%`);
    line.append(...[name, size.toLocaleString("en")].map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    return line;
  }));
}

// ---- view -------------------------------------------------------------------------------

function place() {
  const { zoom, x, y } = state.view;
  $.picture.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
  $.picture.classList.toggle("large", zoom * devicePixelRatio >= 2);
  $.zoom.textContent = `${Math.round(100 * zoom * devicePixelRatio)} %`;
  if (!$.original.hidden && state.shown) {
    const share = Number($.share.value) / 100;
    $.original.style.clipPath = `inset(0 ${100 * (1 - share)}% 0 0)`;
    $.divider.style.left = `${x + zoom * share * state.shown.width}px`;
  }
}

/** Show all of the picture, not enlarged. */
function fit() {
  if (!state.shown) return;
  const { clientWidth, clientHeight } = $.stage;
  const { width, height } = state.shown;
  const zoom = Math.min(1 / devicePixelRatio, clientWidth / width, clientHeight / height);
  state.view = { zoom, x: (clientWidth - zoom * width) / 2, y: (clientHeight - zoom * height) / 2 };
  state.isFitting = true;
  place();
}

/** Zoom by a factor around a point of the stage. */
function zoomBy(factor, x = $.stage.clientWidth / 2, y = $.stage.clientHeight / 2) {
  if (!state.shown) return;
  const { view } = state;
  const zoom = Math.max(0.02, Math.min(MAX_ZOOM, view.zoom * factor));
  const change = zoom / view.zoom;
  state.view = { zoom, x: x - change * (x - view.x), y: y - change * (y - view.y) };
  state.isFitting = false;
  place();
}

$.stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = $.stage.getBoundingClientRect();
  zoomBy(ZOOM_STEP ** (-event.deltaY / 100), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
$.stage.addEventListener("pointerdown", ({ clientX, clientY, pointerId }) => {
  if (!state.shown) return;
  state.drag = { x: clientX - state.view.x, y: clientY - state.view.y };
  $.stage.setPointerCapture(pointerId);
});
$.stage.addEventListener("pointermove", ({ clientX, clientY }) => {
  if (!state.drag) return;
  Object.assign(state.view, { x: clientX - state.drag.x, y: clientY - state.drag.y });
  state.isFitting = false;
  place();
});
$.stage.addEventListener("pointerup", () => { state.drag = null; });
$.stage.addEventListener("keydown", ({ key }) => {
  if (key === "+" || key === "=") zoomBy(ZOOM_STEP);
  else if (key === "-") zoomBy(1 / ZOOM_STEP);
  else if (key === "0") fit();
});
new ResizeObserver(() => state.isFitting && fit()).observe($.stage);

// ---- controls ---------------------------------------------------------------------------

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $.stage.classList.toggle("target", kind === "dragover");
    if (kind === "drop") open([...event.dataTransfer.files]);
  });
}
$.files.addEventListener("change", () => open([...$.files.files]));
$.names.addEventListener("change", () => show(state.files.find(({ name }) => name === $.names.value)));
$.decoder.addEventListener("change", () => show(state.current, $.decoder.value));
$.share.addEventListener("input", place);
$.fit.addEventListener("click", fit);
$.in.addEventListener("click", () => zoomBy(ZOOM_STEP));
$.out.addEventListener("click", () => zoomBy(1 / ZOOM_STEP));
$.save.addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = state.shown.url;
  link.download = `${stem(state.shown.name)}.png`;
  link.click();
});

/** Open the file that the address names, as `imgcodec view` does. */
const named = new URLSearchParams(location.search).get("file");
if (named) {
  const file = {
    name: decodeURIComponent(named.split("/").pop()),
    async open() {
      const response = await fetch(named);
      if (!response.ok) throw new Error(`cannot be loaded: ${response.status}`);
      return { body: response.body, size: Number(response.headers.get("content-length") ?? 0) };
    },
  };
  state.files = [file];
  show(file);
}
