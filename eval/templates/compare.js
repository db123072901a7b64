"use strict";
// The page of one comparison: the slider, then the same crops of every codec side by side.

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  document.getElementById("facts").textContent = data.facts;
  const viewer = new Viewer(document.getElementById("viewer"), data.viewer, data.looks);
  const section = document.getElementById("crops");
  const names = ["original", ...data.viewer.codecs];
  for (const crop of data.crops) {
    const grid = htmlElement("div", { className: "crops" }, section);
    for (const name of names) {
      const look = data.looks[name] ?? { label: "original", color: "", lines: [] };
      const figure = htmlElement("figure", {}, grid);
      htmlElement("img", { src: crop.pictures[name], alt: `crop of ${look.label}` }, figure);
      const caption = htmlElement("figcaption", {}, figure);
      const title = htmlElement("b", { textContent: look.label }, caption);
      if (look.color) title.style.color = look.color;
      const { x, y, width, height } = crop.window;
      const lines = look.lines.length ? look.lines : [`crop of ${width} × ${height} at ${x}, ${y}`];
      for (const line of lines) htmlElement("div", { textContent: line }, caption);
      if (name !== "original") figure.addEventListener("click", () => viewer.set({ right: name }));
    }
  }
})();
