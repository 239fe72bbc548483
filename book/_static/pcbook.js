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
    const draw = () => {
      const index = inputs.reduce((sum, input, i) => sum * texts[i].length + position(input), 0);
      const figures = unpool(merge(opening, frames[index]), pool);
      panels.forEach((panel, i) => {
        const { data, layout } = figures[i];
        const fixed = { template: window.PCBOOK_TEMPLATES[mode()], autosize: true, uirevision: "keep" };
        if (touch.matches) fixed.dragmode = false; // a finger on the figure scrolls the page
        const config = { responsive: true, displaylogo: false, displayModeBar: touch.matches ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"] };
        window.Plotly.react(panel, data, { ...layout, ...fixed }, config);
      });
      element.dataset.frame = index;
    };
    let waiting = false; // at most one drawing per animation frame, however fast the slider moves
    const changed = () => {
      announce();
      if (!waiting) requestAnimationFrame(() => { waiting = false; draw(); });
      waiting = true;
    };
    announce();
    plotly().then(() => {
      inputs.forEach((input) => input.addEventListener("input", changed));
      drawings.set(element, draw);
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

  // Paper shows every figure, at a width that fits the sheet.
  const width = (pixels) => document.querySelectorAll(".pc-panel.js-plotly-plot").forEach((panel) =>
    window.Plotly.relayout(panel, { width: pixels && Math.min(pixels, panel.clientWidth), autosize: !pixels }));
  addEventListener("beforeprint", () => { explorers.forEach(start); width(600); });
  addEventListener("afterprint", () => width(null));
})();
