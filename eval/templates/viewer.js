"use strict";
// Two pictures under one divider: drag or arrow keys, wheel zoom, flip and difference.

const VIEWER_KEYS = [
  ["← →", "divider"], ["+ −", "zoom"], ["0", "fit"], ["1", "100 %"], ["W A S D", "move"],
  ["Space", "flip"], ["O", "hold: original"], ["X", "swap"], ["F", "difference"],
  ["[ ]", "rate"], ["N P", "image"],
];

class Viewer {
  // data: {rates, codecs: [name], images: [{name, original, window, isWhole, levels}]}
  // looks: codec name to {label, color}
  constructor(root, data, looks) {
    Object.assign(this, { root, data, looks });
    const [own, ...others] = data.codecs;
    this.state = {
      image: 0,
      level: Math.min(1, data.rates.length - 1),
      left: others.find((name) => /^avif/.test(name)) ?? others[0] ?? "original",
      right: own,
      mode: "slider",
      split: 0.5,
      flipped: false,
    };
    this.view = { scale: 1, x: 0, y: 0, isFit: true };
    this.build();
    this.bind();
    this.update();
  }

  get image() { return this.data.images[this.state.image]; }

  shot(codec) {
    if (codec === "original") return { src: this.image.original, isOriginal: true };
    return this.image.levels[this.state.level][codec] ?? null;
  }

  build() {
    const tools = htmlElement("div", { className: "tools" }, this.root);
    this.imageSelect = this.select(tools, "Image", this.data.images.map((image, i) => [i, image.name]));
    const choices = [
      ["original", "original"],
      ...this.data.codecs.map((name) => [name, this.looks[name].label]),
    ];
    this.levelButtons = this.segments(
      tools, "Rate", this.data.rates.map((rate, i) => [i, this.data.rateLabels?.[i] ?? `${rate} bpp`]),
      (value) => this.set({ level: Number(value) }),
    );
    this.leftSelect = this.select(tools, "Left", choices);
    this.swapButton = htmlElement(
      "button", { type: "button", textContent: "⇄", title: "Swap left and right (X)" }, tools,
    );
    this.rightSelect = this.select(tools, "Right", choices);
    this.modeButtons = this.segments(
      tools, "Mode", [["slider", "Slider"], ["flip", "Flip"], ["difference", "Difference"]],
      (value) => this.set({ mode: value }),
    );
    this.modeButtons.classList.add("push");
    this.zoomButtons = this.segments(
      tools, "Zoom", [["out", "−"], ["fit", "Fit"], ["one", "100 %"], ["in", "+"], ["full", "Full"]],
      (value) => this.zoomCommand(value),
    );
    this.stage = htmlElement("div", { className: "stage", tabIndex: 0 }, this.root);
    this.stage.setAttribute("aria-label", "Comparison of two pictures; arrow keys move the divider");
    const layers = htmlElement("div", { className: "layers" }, this.stage);
    this.layers = {};
    this.pictures = {};
    for (const side of ["right", "left"]) {
      this.layers[side] = htmlElement("div", { className: `layer ${side}` }, layers);
      this.pictures[side] = htmlElement("img", { alt: "", draggable: false }, this.layers[side]);
      this.pictures[side].addEventListener("load", () => this.place());
    }
    this.divider = htmlElement("div", { className: "divider" }, this.stage);
    this.plates = {
      left: htmlElement("div", { className: "plate left" }, this.stage),
      right: htmlElement("div", { className: "plate right" }, this.stage),
    };
    htmlElement("div", { className: "badge", textContent: "difference, 6 times brighter" }, this.stage);
    const keys = htmlElement("p", { className: "keys" }, this.root);
    const single = { rate: this.data.rates.length < 2, image: this.data.images.length < 2 };
    for (const [key, what] of VIEWER_KEYS.filter((entry) => !single[entry[1]])) {
      for (const part of key.split(" ")) {
        htmlElement("kbd", { textContent: part }, keys);
        keys.append(" ");
      }
      keys.append(`${what}\u2003`);
    }
  }

  select(parent, label, choices) {
    const field = htmlElement("label", { className: "field", textContent: `${label} ` }, parent);
    const select = htmlElement("select", {}, field);
    for (const [value, text] of choices) {
      htmlElement("option", { value, textContent: text }, select);
    }
    field.hidden = choices.length < 2;
    return select;
  }

  segments(parent, label, choices, action) {
    const group = htmlElement("div", { className: "segments" }, parent);
    group.hidden = choices.length < 2;
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", label);
    for (const [value, text] of choices) {
      const button = htmlElement("button", { type: "button", textContent: text }, group);
      button.dataset.value = value;
      button.addEventListener("click", () => action(value));
    }
    return group;
  }

  bind() {
    this.imageSelect.addEventListener("change", () => this.set({ image: Number(this.imageSelect.value) }));
    this.leftSelect.addEventListener("change", () => this.set({ left: this.leftSelect.value }));
    this.rightSelect.addEventListener("change", () => this.set({ right: this.rightSelect.value }));
    this.swapButton.addEventListener("click", () => this.swap());
    this.stage.addEventListener("pointerdown", (event) => this.dragStart(event));
    this.stage.addEventListener("pointermove", (event) => this.dragMove(event));
    for (const name of ["pointerup", "pointercancel"]) {
      this.stage.addEventListener(name, (event) => this.dragEnd(event));
    }
    this.pointers = new Map();
    this.stage.addEventListener("dblclick", (event) => {
      if (this.view.isFit) this.zoomTo(this.oneToOne(), event);
      else this.fit();
    });
    this.stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomTo(this.view.scale * Math.exp(-event.deltaY * 0.0018), event);
    }, { passive: false });
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("keyup", (event) => {
      if (event.key.toLowerCase() === "o") this.peek(false);
    });
    new ResizeObserver(() => (this.view.isFit ? this.fit() : this.place())).observe(this.stage);
  }

  set(change) {
    const imageChanges = "image" in change && change.image !== this.state.image;
    Object.assign(this.state, change);
    if (change.mode && change.mode !== "flip") this.state.flipped = false;
    this.update();
    if (imageChanges) this.view.isFit = true;
  }

  swap() { this.set({ left: this.state.right, right: this.state.left }); }

  step(key, by, count) { this.set({ [key]: (this.state[key] + by + count) % count }); }

  update() {
    const { state } = this;
    this.imageSelect.value = state.image;
    this.leftSelect.value = state.left;
    this.rightSelect.value = state.right;
    for (const button of this.levelButtons.children) {
      button.setAttribute("aria-pressed", Number(button.dataset.value) === state.level);
    }
    for (const button of this.modeButtons.children) {
      button.setAttribute("aria-pressed", button.dataset.value === state.mode);
    }
    for (const side of ["left", "right"]) {
      const shot = this.shot(state[side]);
      const picture = this.pictures[side];
      picture.style.visibility = shot ? "visible" : "hidden";
      if (shot && picture.src !== shot.src) picture.src = shot.src;
      this.writePlate(side, shot);
    }
    this.place();
  }

  writePlate(side, shot) {
    const name = this.state[side];
    const plate = this.plates[side];
    plate.replaceChildren();
    const look = this.looks[name];
    htmlElement("b", { textContent: look ? look.label : "original" }, plate);
    const add = (text, tag = "div") => htmlElement(tag, { textContent: text }, plate);
    if (!shot) return add("no picture of this codec here");
    if (shot.isOriginal) return add(this.windowText());
    add(`${formatBytes(shot.bytes)}, ${formatBpp(shot.bpp)}`);
    const quality = shot.psnr === null ? "lossless" : `${shot.psnr.toFixed(2)} dB PSNR`;
    add(`${quality}, ${shot.setting}`);
    const target = this.image.targets?.[this.state.level] ?? this.data.rates[this.state.level];
    const off = 100 * (shot.bpp / target - 1);
    if (Math.abs(off) >= 10) add(`${off > 0 ? "+" : "−"}${Math.abs(off).toFixed(0)} % off the rate`, "i");
  }

  windowText() {
    const { window: part, isWhole, width, height } = this.image;
    if (isWhole) return `${width} × ${height}`;
    return `window ${part.width} × ${part.height} of ${width} × ${height}`;
  }

  // Geometry: picture px to stage px is scale and offset.
  place() {
    const { clientWidth, clientHeight } = this.stage;
    const { width, height } = this.image.window;
    const view = this.view;
    if (view.isFit) {
      view.scale = Math.min(clientWidth / width, clientHeight / height);
      view.x = (clientWidth - width * view.scale) / 2;
      view.y = (clientHeight - height * view.scale) / 2;
    }
    for (const side of ["left", "right"]) {
      const style = this.pictures[side].style;
      style.width = `${width}px`;
      style.height = `${height}px`;
      style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    }
    this.stage.classList.toggle("pixelated", view.scale * devicePixelRatio >= 2.5);
    this.stage.classList.toggle("difference", this.state.mode === "difference");
    const { mode, split, flipped } = this.state;
    const shownLeft = mode === "slider" ? split : mode === "flip" ? (flipped ? 0 : 1) : 1;
    this.layers.left.style.clipPath = `inset(0 ${100 * (1 - shownLeft)}% 0 0)`;
    this.divider.hidden = mode !== "slider";
    this.divider.style.left = `${100 * split}%`;
    this.plates.left.hidden = mode === "flip" && flipped;
    this.plates.right.hidden = mode === "flip" && !flipped;
    const percent = Math.round(100 * view.scale * devicePixelRatio);
    this.zoomButtons.title = `zoom ${percent} %`;
  }

  oneToOne() { return 1 / devicePixelRatio; }

  fit() {
    this.view.isFit = true;
    this.place();
  }

  zoomTo(scale, event) {
    const bounds = this.stage.getBoundingClientRect();
    const px = event ? event.clientX - bounds.left : bounds.width / 2;
    const py = event ? event.clientY - bounds.top : bounds.height / 2;
    const next = Math.min(16, Math.max(0.1, scale));
    const ratio = next / this.view.scale;
    this.view = {
      scale: next,
      x: px - (px - this.view.x) * ratio,
      y: py - (py - this.view.y) * ratio,
      isFit: false,
    };
    this.place();
  }

  zoomCommand(command) {
    if (command === "fit") this.fit();
    else if (command === "one") this.zoomTo(this.oneToOne());
    else if (command === "full") {
      if (document.fullscreenElement) document.exitFullscreen();
      else this.stage.requestFullscreen?.();
    } else this.zoomTo(this.view.scale * (command === "in" ? 1.4 : 1 / 1.4));
  }

  pan(dx, dy) {
    this.view = { ...this.view, x: this.view.x + dx, y: this.view.y + dy, isFit: false };
    this.place();
  }

  moveDivider(split) {
    this.state.split = Math.min(1, Math.max(0, split));
    if (this.state.mode !== "slider") this.set({ mode: "slider" });
    this.place();
  }

  dragStart(event) {
    this.stage.setPointerCapture(event.pointerId);
    this.stage.classList.add("dragging");
    this.stage.focus({ preventScroll: true });
    this.pointers.set(event.pointerId, event);
    // At fit there is nothing to move: a press anywhere takes the divider.
    const isDivider = event.target === this.divider || this.view.isFit;
    this.dragKind = isDivider && this.state.mode === "slider" ? "divider" : "pan";
    this.dragMove(event);
    event.preventDefault();
  }

  dragMove(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    if (this.pointers.size === 2) this.pinch(event);
    else if (this.dragKind === "divider") {
      const bounds = this.stage.getBoundingClientRect();
      this.moveDivider((event.clientX - bounds.left) / bounds.width);
    } else if (event !== last) this.pan(event.clientX - last.clientX, event.clientY - last.clientY);
    this.pointers.set(event.pointerId, event);
  }

  pinch(event) {
    const other = [...this.pointers.values()].find((p) => p.pointerId !== event.pointerId);
    const last = this.pointers.get(event.pointerId);
    const spread = (a) => Math.hypot(a.clientX - other.clientX, a.clientY - other.clientY) || 1;
    const middle = {
      clientX: (event.clientX + other.clientX) / 2,
      clientY: (event.clientY + other.clientY) / 2,
    };
    this.zoomTo((this.view.scale * spread(event)) / spread(last), middle);
  }

  dragEnd(event) {
    this.pointers.delete(event.pointerId);
    this.stage.classList.remove("dragging");
  }

  peek(isOn) {
    for (const side of ["left", "right"]) {
      const shot = this.shot(this.state[side]);
      this.pictures[side].src = isOn || !shot ? this.image.original : shot.src;
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === " " && event.target.tagName === "BUTTON") return;
    const bounds = this.stage.getBoundingClientRect();
    const isSeen = bounds.bottom > 0 && bounds.top < innerHeight;
    if (!isSeen) return;
    const far = event.shiftKey ? 0.1 : 0.02;
    const actions = {
      arrowleft: () => this.moveDivider(this.state.split - far),
      arrowright: () => this.moveDivider(this.state.split + far),
      "+": () => this.zoomCommand("in"),
      "=": () => this.zoomCommand("in"),
      "-": () => this.zoomCommand("out"),
      0: () => this.fit(),
      1: () => this.zoomTo(this.oneToOne()),
      w: () => this.pan(0, 60),
      s: () => this.pan(0, -60),
      a: () => this.pan(60, 0),
      d: () => this.pan(-60, 0),
      " ": () => this.set({ mode: "flip", flipped: this.state.mode === "flip" && !this.state.flipped }),
      o: () => this.peek(true),
      x: () => this.swap(),
      f: () => this.set({ mode: this.state.mode === "difference" ? "slider" : "difference" }),
      "[": () => this.set({ level: Math.max(0, this.state.level - 1) }),
      "]": () => this.set({ level: Math.min(this.data.rates.length - 1, this.state.level + 1) }),
      n: () => this.step("image", 1, this.data.images.length),
      p: () => this.step("image", -1, this.data.images.length),
    };
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  }
}
