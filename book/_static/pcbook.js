// Draws each .pc-explorer (see pcbook/page.py) when it comes near the viewport, in the page's colour mode.
(() => {
  "use strict";
  const root = document.documentElement;
  const vendor = new URL("vendor/", document.currentScript.src).href;
  const touch = matchMedia("(pointer: coarse)");
  const mode = () => (root.dataset.theme === "dark" ? "dark" : "light");

  const load = (name) => new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src: vendor + name, onload: resolve, onerror: reject });
    document.head.append(script);
  });
  let library;
  const plotly = () => (library ??= Promise.all([load("plotly-templates.js"), load("plotly.min.js")]));

  // The same merge patch as sliders.merge: objects and lists of objects by place, null deletes.
  const isObject = (value) => value !== null && typeof value === "object";
  const merge = (old, patch) => {
    if (!isObject(patch) || Array.isArray(patch) || !isObject(old) || (Array.isArray(old) && "dtype" in patch)) return patch;
    const merged = Array.isArray(old) ? [...old] : { ...old };
    for (const [key, value] of Object.entries(patch)) {
      if (value === null) delete merged[key];
      else merged[key] = merge(merged[key], value);
    }
    return merged;
  };
  // A deep copy in which the numbers of pooled arrays have become the arrays; plotly may write into it.
  const unpool = (value, pool) => {
    if (Array.isArray(value)) return value.map((item) => unpool(item, pool));
    if (!isObject(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, key === "bdata" ? pool[item] ?? item : unpool(item, pool)]));
  };

  const drawings = new Map(); // element -> function that draws it again
  const stills = []; // functions that add what only paper shows

  const prepare = (element) => {
    const { panels: opening, frames = [{}], texts = [], pool = [] } = JSON.parse(element.querySelector("script[type='application/json']").textContent);
    const panels = [...element.querySelectorAll(".pc-panel")];
    const inputs = [...element.querySelectorAll(".pc-control input, .pc-control select")];
    const position = (input) => (input.tagName === "SELECT" ? input.selectedIndex : Number(input.value));
    const announce = () => inputs.forEach((input, i) => {
      const text = texts[i][position(input)];
      if (input.type !== "range") return;
      input.setAttribute("aria-valuetext", text);
      input.parentElement.querySelector("output").textContent = text;
    });
    const drawFrame = (boxes, index) => {
      const figures = unpool(merge(opening, frames[index]), pool);
      boxes.forEach((box, i) => {
        const { data, layout } = figures[i];
        const fixed = { template: window.PCBOOK_TEMPLATES[mode()], autosize: true, uirevision: "keep" };
        if (touch.matches) fixed.dragmode = false; // a finger on the figure scrolls the page
        const config = { responsive: true, displaylogo: false, displayModeBar: touch.matches ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"] };
        window.Plotly.react(box, data, { ...layout, ...fixed }, config);
      });
    };
    const frameAt = (positions) => positions.reduce((sum, at, i) => sum * texts[i].length + at, 0);
    const draw = () => {
      const index = frameAt(inputs.map(position));
      drawFrame(panels, index);
      element.dataset.frame = index;
    };
    // Paper cannot be moved: it shows the ends of the first slider, too.
    const still = () => {
      const slider = inputs.findIndex((input) => input.type === "range");
      if (slider < 0 || element.querySelector(".pc-still")) return;
      const here = inputs.map(position);
      [0, texts[slider].length - 1].filter((end) => end !== here[slider]).forEach((end) => {
        const row = element.querySelector(".pc-panels").cloneNode(false);
        const boxes = panels.map((panel) => Object.assign(document.createElement("div"), { className: "pc-panel", style: `height: ${panel.style.height}` }));
        row.append(...boxes);
        const figure = Object.assign(document.createElement("div"), { className: "pc-still", textContent: texts[slider][end] });
        figure.append(row);
        element.append(figure);
        drawFrame(boxes, frameAt(here.with(slider, end)));
      });
    };
    let waiting = false; // at most one drawing per animation frame, however fast the slider moves
    const changed = () => {
      announce();
      if (!waiting) requestAnimationFrame(() => { waiting = false; draw(); });
      waiting = true;
    };
    announce();
    inputs.forEach((input, i) => { // for paper
      const output = input.parentElement.querySelector("output");
      if (output) output.dataset.range = `${texts[i][0]} … ${texts[i].at(-1)}`;
    });
    plotly().then(() => {
      inputs.forEach((input) => input.addEventListener("input", changed));
      drawings.set(element, draw);
      stills.push(still);
      draw();
    }, () => { // without the library the figure's words stand in for it
      const box = element.querySelector(".pc-panels");
      box.textContent = box.getAttribute("aria-label");
    });
  };

  const explorers = new Set(document.querySelectorAll(".pc-explorer"));
  const start = (element) => { if (explorers.delete(element)) prepare(element); };
  const observer = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => start(entry.target)),
    { rootMargin: "400px" });
  explorers.forEach((element) => observer.observe(element));

  let last = mode();
  new MutationObserver(() => {
    if (mode() === last) return;
    last = mode();
    drawings.forEach((draw) => draw());
  }).observe(root, { attributes: true, attributeFilter: ["data-theme"] });

  // What the theme's buttons do on a click: a page's policy lets them carry no code of their own.
  const clicks = { "toggleFullScreen()": () => window.toggleFullScreen(), "window.print()": () => window.print() };
  document.querySelectorAll("[data-pc-click]").forEach((button) => button.addEventListener("click", clicks[button.dataset.pcClick]));

  // A download of a page is saved, also where the browser could show it.
  document.querySelectorAll(".btn-download-source-button").forEach((link) => { link.download = ""; });

  // Paper shows every figure, at a width that fits the sheet, in light colours; wide equations become smaller.
  const width = (pixels) => document.querySelectorAll(".pc-panel.js-plotly-plot").forEach((panel) =>
    window.Plotly.relayout(panel, { width: pixels && Math.min(pixels, panel.clientWidth), autosize: !pixels }));
  const sizes = new Map(); // equation -> its size on the screen
  const shrink = (equation) => {
    const share = equation.clientWidth / equation.scrollWidth;
    if (!(share < 1)) return;
    if (!sizes.has(equation)) sizes.set(equation, equation.style.fontSize);
    equation.style.fontSize = `${share * parseFloat(equation.style.fontSize || "100")}%`;
  };
  let theme;
  addEventListener("beforeprint", () => {
    theme ??= root.dataset.theme;
    root.dataset.theme = "light";
    explorers.forEach(start);
    stills.forEach((still) => still());
    width(600);
    document.querySelectorAll("mjx-container[display='true']").forEach(shrink);
  });
  addEventListener("afterprint", () => {
    root.dataset.theme = theme;
    theme = undefined;
    document.querySelectorAll(".pc-still").forEach((still) => still.remove());
    width(null);
    sizes.forEach((size, equation) => { equation.style.fontSize = size; });
    sizes.clear();
  });

  // Chapters that run in the browser say so, where the site for that (pcbook/lite.py) was built and is served.
  const heading = document.querySelector(".bd-article h1");
  const [page] = location.pathname.split("/").pop().split(".");
  if (heading && location.protocol.startsWith("http")) load("lite.js").then(() => {
    if (!window.PCBOOK_LITE.includes(page)) return;
    const link = Object.assign(document.createElement("a"), { textContent: "Run this chapter in the browser" });
    link.href = new URL(`../../lite/lab/index.html?path=${page}.ipynb`, vendor);
    heading.after(Object.assign(document.createElement("p"), { className: "pc-lite" }));
    heading.nextElementSibling.append(link);
  });
})();
