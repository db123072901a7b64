"use strict";
// The page of one comparison: the slider, then the same crops of every codec side by side.

const MIN_TILE_PX = 190;

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  document.getElementById("facts").textContent = data.facts;
  const viewer = new Viewer(document.getElementById("viewer"), data.viewer, data.looks);
  const grid = document.getElementById("crops");
  const names = ["original", ...data.viewer.codecs];
  const windows = data.crops.map(({ window: { left, top, width, height } }) => `crop of ${width} × ${height} at ${left}, ${top}`);
  for (const name of names) {
    const look = data.looks[name] ?? { label: "original", color: "", lines: windows };
    const figure = htmlElement("figure", {}, grid);
    for (const crop of data.crops) {
      htmlElement("img", { src: crop.pictures[name], alt: `crop of ${look.label}` }, figure);
    }
    const caption = htmlElement("figcaption", {}, figure);
    const title = htmlElement("b", { textContent: look.label }, caption);
    if (look.color) title.style.color = look.color;
    for (const line of look.lines) htmlElement("div", { textContent: line }, caption);
    if (name !== "original") figure.addEventListener("click", () => viewer.set({ right: name }));
  }

  // As many columns as fit, of those numbers that fill the rows; nearly, where none is near.
  const fillRows = () => {
    const most = Math.max(1, Math.min(names.length, Math.floor(grid.clientWidth / MIN_TILE_PX)));
    const filling = Array.from({ length: most }, (_, k) => most - k).find((n) => names.length % n === 0);
    const even = Math.ceil(names.length / Math.ceil(names.length / most));
    const columns = 2 * filling >= most ? filling : even;
    grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    grid.classList.toggle("single", columns === 1); // the crops of a tile side by side
  };
  new ResizeObserver(fillRows).observe(grid);
})();
