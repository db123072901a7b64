"use strict";
// The page: reads the data element, owns the selections, draws curves, tables and pictures.

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const NUM_FIXED = 7; // columns of a point before its metric values
  const looks = Object.fromEntries(data.codecs.map((codec) => [codec.name, codec]));
  const anchorOrder = [(codec) => codec.name === "jpeg", (codec) => /^jpeg-/.test(codec.name), (codec) => !codec.own];
  const defaultAnchor = Math.max(
    0, anchorOrder.map((test) => data.codecs.findIndex(test)).find((index) => index >= 0) ?? 0,
  );
  const state = {
    metric: 0,
    image: "mean",
    log: true,
    anchor: defaultAnchor,
    hidden: new Set(),
    overlaysHidden: new Set(data.overlays.slice(4).map((overlay) => overlay.name)),
  };
  data.overlays.forEach((overlay, index) => {
    overlay.dash = ["6 4", "7 3 2 3", "2 3"][index % 3];
  });
  let viewer = null;

  const percent = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)} %`;
  const seconds = (value) => (value === null ? "" : `${value < 0.1 ? (1000 * value).toFixed(0) + " ms" : value.toFixed(2) + " s"}`);
  const metric = () => data.metrics[state.metric];
  // A dagger where the metric was a loss of the codec's training.
  const mark = (entry, codec) => (entry.taught.includes(codec.name) ? "†" : "");
  const metricText = (value, codec) => {
    const [name, unit] = metric().label.split(", ");
    return `${name} ${value.toFixed(metric().digits)}${unit ? ` ${unit}` : ""}${mark(metric(), codec)}`;
  };

  function meanCurve(codec, index) {
    return data.means[index][metric().key].map((point) => ({
      x: point.bpp,
      y: point.value,
      tip: [
        `${codec.label}, ${point.setting}`,
        `mean of ${point.count} images`,
        `${formatBytes(point.bytes)}, ${formatBpp(point.bpp)}`,
        metricText(point.value, codec),
      ],
      codec: codec.name,
    }));
  }

  function imageCurve(codec, index, image) {
    const column = NUM_FIXED + state.metric;
    return data.points
      .filter((row) => row[0] === image && row[1] === index && row[column] !== null)
      .map((row) => ({
        x: row[4],
        y: row[column],
        tip: [
          `${codec.label}, ${row[2]}`,
          `${data.images[image].name}, ${data.images[image].width} × ${data.images[image].height}`,
          `${formatBytes(row[3])}, ${formatBpp(row[4])}`,
          metricText(row[column], codec),
          `encode ${seconds(row[5])}, decode ${seconds(row[6])}`,
        ].filter((line) => !/encode , decode $/.test(line)),
        codec: codec.name,
        image: data.images[image].name,
      }));
  }

  const chart = new Chart(byId("chart"), (point) => {
    if (!viewer) return;
    const change = {};
    if (viewer.data.codecs.includes(point.codec)) change.right = point.codec;
    const image = viewer.data.images.findIndex((entry) => entry.name === point.image);
    if (image >= 0) change.image = image;
    const rates = viewer.data.rates.map((rate) => Math.abs(Math.log(rate / point.x)));
    change.level = rates.indexOf(Math.min(...rates));
    if (change.right === viewer.state.left) change.left = viewer.state.right;
    viewer.set(change);
    byId("look").scrollIntoView();
  });

  function drawChart() {
    const curves = [];
    data.codecs.forEach((codec, index) => {
      if (state.hidden.has(codec.name)) return;
      const { label, color, marker, dash, own } = codec;
      const look = { codec: codec.name, label, color, marker, dash, own };
      if (state.image === "mean") curves.push({ ...look, points: meanCurve(codec, index) });
      else if (state.image === "all") {
        data.images.forEach((_, image) =>
          curves.push({ ...look, faint: true, points: imageCurve(codec, index, image) }));
      } else curves.push({ ...look, points: imageCurve(codec, index, Number(state.image)) });
    });
    const shown = state.image === "mean"
      ? data.overlays.filter((overlay) => !state.overlaysHidden.has(overlay.name))
      : [];
    const overlays = shown
      .map(({ name, color, dash, curves: byMetric }) => ({
        label: name,
        color,
        dash,
        points: byMetric[metric().key].map(([x, y]) => ({ x, y })),
      }))
      .filter((overlay) => overlay.points.length);
    chart.show(curves.filter((curve) => curve.points.length), overlays, {
      log: state.log,
      up: metric().up,
      xTitle: `bits per pixel of the whole file${state.log ? ", log scale" : ""}`,
      yTitle: metric().label + (metric().up ? "" : ", lower is better (axis turned round)"),
    });
  }

  function pressGroup(group, value) {
    for (const button of group.children) {
      button.setAttribute("aria-pressed", button.dataset.value === `${value}`);
    }
  }

  function buildControls() {
    const metrics = byId("metric-select");
    data.metrics.forEach((entry, index) =>
      htmlElement("option", { value: index, textContent: entry.label.split(",")[0] }, metrics));
    metrics.addEventListener("change", () => {
      state.metric = Number(metrics.value);
      drawChart();
    });
    const images = byId("image-select");
    const choices = [["mean", `mean of ${data.images.length}`]];
    if (data.images.length > 1 && data.images.length <= 40) choices.push(["all", "every image, one curve each"]);
    data.images.forEach((image, index) => choices.push([index, image.name]));
    for (const [value, text] of choices) htmlElement("option", { value, textContent: text }, images);
    images.addEventListener("change", () => {
      state.image = images.value;
      drawChart();
      drawRates();
    });
    const scales = byId("scale-select");
    for (const button of scales.children) {
      button.addEventListener("click", () => {
        state.log = button.dataset.value === "log";
        pressGroup(scales, button.dataset.value);
        drawChart();
      });
    }
    const anchors = byId("anchor-select");
    data.codecs.forEach((codec, index) =>
      htmlElement("option", { value: index, textContent: codec.label, selected: index === state.anchor }, anchors));
    anchors.addEventListener("change", () => {
      state.anchor = Number(anchors.value);
      drawRates();
    });
  }

  // One list of toggles: click hides or shows, double-click shows one alone (or all again).
  function buildToggles(root, entries, hidden) {
    const buttons = entries.map((entry) => {
      const button = htmlElement("button", { type: "button" }, root);
      button.dataset.name = entry.name;
      const line = svgElement("svg", { width: 30, height: 12, "aria-hidden": true }, button);
      const stroke = { stroke: entry.color, "stroke-width": entry.own ? 3.4 : 2.2 };
      svgElement("line", { x1: 0, x2: 30, y1: 6, y2: 6, ...stroke, "stroke-dasharray": entry.dash || "none" }, line);
      if (entry.marker) drawMarker(entry.marker, 15, 6, 4.4, { fill: entry.color }, line);
      button.append(entry.label);
      if (entry.note) button.title = entry.note;
      button.addEventListener("click", () => {
        if (!hidden.delete(entry.name)) hidden.add(entry.name);
        refresh();
      });
      button.addEventListener("dblclick", () => {
        const others = entries.filter((other) => other !== entry);
        const isAlone = others.every((other) => hidden.has(other.name));
        hidden.clear();
        if (!isAlone) others.forEach((other) => hidden.add(other.name));
        refresh();
      });
      return button;
    });
    const refresh = () => {
      buttons.forEach((button, index) => button.setAttribute("aria-pressed", !hidden.has(entries[index].name)));
      drawChart();
    };
    refresh();
  }

  function bdEntry(key, anchor, test) {
    const scopes = data.bd[key];
    const scope = /^\d+$/.test(state.image) ? Number(state.image) + 1 : 0;
    return scopes[Math.min(scope, scopes.length - 1)][`${anchor},${test}`];
  }

  function drawRates() {
    const isImage = /^\d+$/.test(state.image);
    const hasImages = data.bd[data.metrics[0].key].length > 1;
    byId("rates-scope").textContent = isImage && hasImages
      ? `of ${data.images[Number(state.image)].name}`
      : `of the mean curves over ${data.images.length} images`;
    const table = byId("bd-table");
    table.replaceChildren();
    const head = htmlElement("tr", {}, htmlElement("thead", {}, table));
    const titles = ["Codec", ...data.metrics.map((entry) => entry.label.split(",")[0]), "encode MP/s", "decode MP/s"];
    for (const title of titles) htmlElement("th", { textContent: title, scope: "col" }, head);
    const body = htmlElement("tbody", {}, table);
    data.codecs.forEach((codec, index) => {
      const row = htmlElement("tr", { className: codec.own ? "own" : "" }, body);
      const name = htmlElement("th", { scope: "row" }, row);
      const swatch = svgElement("svg", { width: 12, height: 12, class: "swatch", "aria-hidden": true }, name);
      drawMarker(codec.marker, 6, 6, 4.8, { fill: codec.color }, swatch);
      name.append(codec.label);
      for (const entry of data.metrics) rateCell(row, entry.key, index);
      for (const speed of [codec.encodeMps, codec.decodeMps]) {
        htmlElement("td", { textContent: speed === null ? "" : speed.toPrecision(3) }, row);
      }
      // On a narrow screen a row is a block whose cells carry their titles.
      [...row.children].forEach((cell, column) => (cell.dataset.title = titles[column]));
    });
  }

  function rateCell(row, key, index) {
    const cell = htmlElement("td", {}, row);
    cell.dataset.metric = key;
    if (index === state.anchor) {
      cell.textContent = "anchor";
      cell.className = "none";
      return;
    }
    const entry = bdEntry(key, state.anchor, index);
    if (typeof entry === "string") {
      cell.textContent = "–";
      cell.title = entry;
      cell.className = "none refused";
      return;
    }
    const [value, overlap] = entry;
    cell.textContent = percent(value) + mark(data.metrics.find((metric) => metric.key === key), data.codecs[index]);
    cell.title = `over ${overlap} % of the shorter curve`;
    cell.className = value < 0 ? "good" : "bad";
  }

  function buildHeadline() {
    byId("taught-note").textContent = data.metrics.some((entry) => entry.taught.length) ? data.taughtNote : "";
    const mean = `${data.images.length} image${data.images.length === 1 ? "" : "s"}`;
    byId("facts").textContent = [mean, `${data.codecs.length} codecs`, `${data.numRows} files`,
      data.errors.length ? `${data.errors.length} failed` : "", data.created].filter(Boolean).join(" · ");
    const own = data.codecs.findIndex((codec) => codec.own);
    if (own < 0 || !data.metrics.length) return;
    const key = data.metrics[0].key;
    const name = data.metrics[0].label.split(",")[0] + mark(data.metrics[0], data.codecs[own]);
    const tiles = data.codecs
      .map((codec, index) => [codec, codec.own ? null : data.bd[key][0][`${index},${own}`]])
      .filter(([, entry]) => Array.isArray(entry));
    if (!tiles.length) return;
    const text = `Bytes of ${data.codecs[own].label} at equal ${name} (BD-rate)`;
    htmlElement("p", { className: "hint", textContent: text }, byId("headline"));
    for (const [codec, [value]] of tiles) {
      const tile = htmlElement("div", { className: "tile card" }, byId("headline"));
      htmlElement("b", { textContent: percent(value) }, tile).style.color =
        value < 0 ? "var(--good)" : "var(--bad)";
      htmlElement("span", { textContent: `against ${codec.label}` }, tile);
    }
  }

  function buildNotes() {
    const notes = byId("codec-notes");
    for (const codec of data.codecs) {
      const row = htmlElement("tr", {}, notes);
      htmlElement("td", { textContent: codec.label }, row);
      htmlElement("td", { textContent: codec.note || "no description" }, row);
    }
    for (const note of data.notes) htmlElement("p", { textContent: note }, byId("run-notes"));
    if (!data.errors.length) return;
    const details = htmlElement("details", {}, byId("errors"));
    htmlElement("summary", { textContent: `${data.errors.length} failed rows` }, details);
    for (const row of data.errors) {
      const text = `${row.codec}, ${row.setting}, ${row.image}: ${row.error}`;
      htmlElement("div", { className: "hint", textContent: text }, details);
    }
  }

  function buildViewer() {
    if (!data.viewer) {
      byId("viewer-note").textContent = "No pictures: the images of this run were not at hand.";
      return;
    }
    viewer = new Viewer(byId("viewer"), data.viewer, looks);
    byId("viewer-note").textContent = data.viewer.note;
  }

  buildControls();
  buildToggles(byId("codec-toggles"), data.codecs, state.hidden);
  if (data.overlays.length) {
    byId("overlay-block").hidden = false;
    const entries = data.overlays.map((overlay) => ({ ...overlay, label: overlay.name }));
    buildToggles(byId("overlay-toggles"), entries, state.overlaysHidden);
  }
  buildHeadline();
  drawRates();
  buildNotes();
  buildViewer();
})();
