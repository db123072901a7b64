"use strict";
// A rate-distortion chart in plain SVG: curves, overlays, nearest-point hover.

const SVG_NS = "http://www.w3.org/2000/svg";

function svgElement(name, attributes, parent) {
  const element = document.createElementNS(SVG_NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.appendChild(element);
  return element;
}

function htmlElement(name, properties, parent) {
  const element = Object.assign(document.createElement(name), properties);
  if (parent) parent.appendChild(element);
  return element;
}

// Outlines of markers of radius 1, by matplotlib's names; "o" is a circle.
const polygon = (sides, turn) => Array.from({ length: sides }, (_, k) => {
  const angle = 2 * Math.PI * (k / sides) + (turn - 90) * (Math.PI / 180);
  return [Math.cos(angle), Math.sin(angle)];
});
const ARM = 0.36;
const PLUS = [
  [ARM, -1], [ARM, -ARM], [1, -ARM], [1, ARM], [ARM, ARM], [ARM, 1],
  [-ARM, 1], [-ARM, ARM], [-1, ARM], [-1, -ARM], [-ARM, -ARM], [-ARM, -1],
];
const MARKERS = {
  s: polygon(4, 45), "^": polygon(3, 0), v: polygon(3, 180), "<": polygon(3, 270), ">": polygon(3, 90),
  D: polygon(4, 0), d: polygon(4, 0).map(([x, y]) => [0.6 * x, y]), p: polygon(5, 0), h: polygon(6, 0),
  8: polygon(8, 22.5), "*": polygon(10, 0).map(([x, y], k) => (k % 2 ? [0.45 * x, 0.45 * y] : [x, y])),
  P: PLUS, X: PLUS.map(([x, y]) => [(x - y) * Math.SQRT1_2, (x + y) * Math.SQRT1_2]),
};

function drawMarker(marker, x, y, radius, attributes, parent) {
  const outline = MARKERS[marker];
  if (!outline) return svgElement("circle", { cx: x, cy: y, r: radius, ...attributes }, parent);
  const points = outline.map(([dx, dy]) => `${x + 1.3 * radius * dx} ${y + 1.3 * radius * dy}`).join(" ");
  return svgElement("polygon", { points, ...attributes }, parent);
}

const formatBytes = (bytes) => `${Math.round(bytes).toLocaleString("en-US")} bytes`;
const formatBpp = (bpp) => `${bpp.toFixed(bpp < 0.0995 ? 4 : 3)} bpp`;

function niceTicks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high + 1e-9 * step; k++) ticks.push(k * step);
  return ticks.map((tick) => Number(tick.toPrecision(8)));
}

function logTicks(low, high, width) {
  const all = [0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20];
  const ticks = all.filter((tick) => tick >= low && tick <= high);
  return ticks.length * 46 > width ? ticks.filter((tick) => /^[0.]*[125]0*$/.test(`${tick}`)) : ticks;
}

// Curves are {codec, label, color, marker, dash, own, faint, points: [{x, y, tip}]}.
class Chart {
  constructor(root, onPick) {
    this.root = root;
    this.onPick = onPick;
    this.curves = [];
    this.overlays = [];
    this.options = { log: true, up: true, xTitle: "", yTitle: "" };
    this.tip = htmlElement("div", { className: "tip", hidden: true }, root);
    root.addEventListener("pointermove", (event) => this.hover(event));
    root.addEventListener("pointerleave", () => this.clearHover());
    root.addEventListener("click", (event) => {
      this.hover(event);
      if (this.nearest) this.onPick(this.nearest.point);
    });
    new ResizeObserver(() => this.draw()).observe(root);
  }

  show(curves, overlays, options) {
    this.curves = curves;
    this.overlays = overlays;
    Object.assign(this.options, options);
    this.draw();
  }

  draw() {
    const width = this.root.clientWidth;
    const height = this.root.clientHeight;
    this.clearHover();
    this.svg?.remove();
    if (!width || !height) return;
    this.svg = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    this.svg.setAttribute("aria-label", `${this.options.yTitle} against ${this.options.xTitle}`);
    this.root.prepend(this.svg);
    const box = { left: 66, right: width - 20, top: 18, bottom: height - 50 };
    const points = this.curves.flatMap((curve) => curve.points);
    if (!points.length) {
      const text = svgElement("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, this.svg);
      text.textContent = "Nothing to show: turn a codec on.";
      return;
    }
    this.setScales(points, box);
    this.drawAxes(box, width);
    this.drawCurves(box);
  }

  setScales(points, box) {
    const { log, up } = this.options;
    const xs = points.map((point) => point.x);
    const ys = points.map((point) => point.y);
    let [xLow, xHigh] = [Math.min(...xs), Math.max(...xs)];
    let [yLow, yHigh] = [Math.min(...ys), Math.max(...ys)];
    const yPad = 0.06 * (yHigh - yLow) || 0.05 * Math.abs(yHigh) || 1;
    [yLow, yHigh] = [yLow - yPad, yHigh + yPad];
    if (log) [xLow, xHigh] = [xLow / 1.1, xHigh * 1.1];
    else [xLow, xHigh] = [0, xHigh * 1.04];
    const fx = log ? Math.log : (v) => v;
    this.x = (v) => box.left + ((fx(v) - fx(xLow)) / (fx(xHigh) - fx(xLow))) * (box.right - box.left);
    this.y = (v) => {
      const share = (v - yLow) / (yHigh - yLow);
      return up ? box.bottom - share * (box.bottom - box.top) : box.top + share * (box.bottom - box.top);
    };
    this.domain = { xLow, xHigh, yLow, yHigh };
  }

  drawAxes(box, width) {
    const { xLow, xHigh, yLow, yHigh } = this.domain;
    const xTicks = this.options.log
      ? logTicks(xLow, xHigh, box.right - box.left)
      : niceTicks(xLow, xHigh, Math.max(3, width / 110));
    for (const tick of xTicks) {
      const x = this.x(tick);
      svgElement("line", { class: "grid", x1: x, x2: x, y1: box.top, y2: box.bottom }, this.svg);
      const text = svgElement("text", { x, y: box.bottom + 19, "text-anchor": "middle" }, this.svg);
      text.textContent = `${tick}`;
    }
    for (const tick of niceTicks(yLow, yHigh, 7)) {
      const y = this.y(tick);
      svgElement("line", { class: "grid", x1: box.left, x2: box.right, y1: y, y2: y }, this.svg);
      const text = svgElement("text", { x: box.left - 9, y: y + 4, "text-anchor": "end" }, this.svg);
      text.textContent = `${tick}`;
    }
    const frame = { class: "frame", fill: "none" };
    const d = `M${box.left} ${box.top}V${box.bottom}H${box.right}`;
    svgElement("path", { ...frame, d }, this.svg);
    const middle = (box.left + box.right) / 2;
    const xTitle = svgElement(
      "text",
      { class: "axis-title", x: middle, y: box.bottom + 41, "text-anchor": "middle" },
      this.svg,
    );
    xTitle.textContent = this.options.xTitle;
    const yMiddle = (box.top + box.bottom) / 2;
    const yTitle = svgElement(
      "text",
      { class: "axis-title", "text-anchor": "middle", transform: `translate(18 ${yMiddle}) rotate(-90)` },
      this.svg,
    );
    yTitle.textContent = this.options.yTitle;
  }

  drawCurves(box) {
    const clip = svgElement("clipPath", { id: "plot-area" }, this.svg);
    const size = { width: box.right - box.left + 12, height: box.bottom - box.top + 6 };
    svgElement("rect", { x: box.left, y: box.top - 6, ...size }, clip);
    const group = svgElement("g", { "clip-path": "url(#plot-area)" }, this.svg);
    const path = (points) =>
      "M" + points.map((p) => `${this.x(p.x).toFixed(1)} ${this.y(p.y).toFixed(1)}`).join("L");
    for (const overlay of this.overlays) {
      const attributes = { fill: "none", stroke: overlay.color, "stroke-width": 1.3 };
      const d = path(overlay.points);
      const line = svgElement("path", { ...attributes, d, "stroke-dasharray": overlay.dash }, group);
      line.dataset.overlay = overlay.label;
    }
    for (const curve of [...this.curves].sort((a, b) => a.own - b.own)) {
      const line = svgElement("path", { fill: "none", stroke: curve.color, d: path(curve.points) }, group);
      line.dataset.codec = curve.codec;
      line.setAttribute("stroke-width", curve.faint ? 1 : curve.own ? 3 : 1.9);
      line.setAttribute("stroke-opacity", curve.faint ? 0.35 : 1);
      line.setAttribute("stroke-linejoin", "round");
      if (curve.dash) line.setAttribute("stroke-dasharray", curve.dash);
      for (const point of curve.points) {
        const r = curve.faint ? 2 : curve.own ? 5 : 4.3;
        const look = { fill: curve.color, class: curve.faint ? "point" : "point halo" };
        drawMarker(curve.marker, this.x(point.x), this.y(point.y), r, look, group);
      }
    }
  }

  hover(event) {
    if (!this.svg || !this.curves.length) return;
    const bounds = this.root.getBoundingClientRect();
    const [px, py] = [event.clientX - bounds.left, event.clientY - bounds.top];
    let best = null;
    let bestDistance = 45;
    for (const curve of this.curves) {
      for (const point of curve.points) {
        const distance = Math.hypot(this.x(point.x) - px, this.y(point.y) - py);
        if (distance < bestDistance) [best, bestDistance] = [{ curve, point }, distance];
      }
    }
    if (!best) return this.clearHover();
    this.clearHover();
    this.nearest = best;
    const [x, y] = [this.x(best.point.x), this.y(best.point.y)];
    this.ring = svgElement("circle", { class: "ring", cx: x, cy: y, r: 8 }, this.svg);
    this.tip.replaceChildren();
    const [title, ...lines] = best.point.tip;
    htmlElement("b", { textContent: title }, this.tip);
    for (const line of lines) htmlElement("div", { textContent: line }, this.tip);
    this.tip.hidden = false;
    const { offsetWidth, offsetHeight } = this.tip;
    const left = x + 16 + offsetWidth > bounds.width ? x - 16 - offsetWidth : x + 16;
    const top = Math.min(Math.max(6, y - offsetHeight / 2), bounds.height - offsetHeight - 6);
    this.tip.style.left = `${Math.max(4, left)}px`;
    this.tip.style.top = `${top}px`;
  }

  clearHover() {
    this.ring?.remove();
    this.nearest = null;
    this.tip.hidden = true;
  }
}
