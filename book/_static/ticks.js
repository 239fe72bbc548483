// Lets the reader tick off the pages that are read, and shows the ticks in the table of contents.
// They stay in this browser, under one key; where it refuses to keep anything, there are none.
(() => {
  "use strict";
  const KEY = "pcbook-read";
  const home = new URL("..", document.currentScript.src).pathname;
  const page = (url) => new URL(url).pathname.slice(home.length).replace(/\.html$/, "");
  const add = (parent, tag, properties) => parent.appendChild(Object.assign(document.createElement(tag), properties));

  const read = () => {
    try {
      return new Set(JSON.parse(localStorage.getItem(KEY)));
    } catch { // not ours to interpret, so nothing is read
      return new Set();
    }
  };
  const keep = (pages) => localStorage.setItem(KEY, JSON.stringify([...pages]));
  try {
    keep(read());
  } catch {
    return;
  }

  const links = [...document.querySelectorAll(".bd-docs-nav ul:not(.bd-sidenav__home-link) a")];
  const here = page(location.href);
  const article = document.querySelector("article.bd-article");
  let box;
  if (article && links.some((link) => page(link.href) === here)) {
    const label = add(article, "label", { className: "pc-read d-print-none" });
    box = add(label, "input", { type: "checkbox", autocomplete: "off" });
    label.append(" I have read this page");
    box.addEventListener("change", () => {
      const pages = read();
      pages[box.checked ? "add" : "delete"](here);
      keep(pages);
      show();
    });
  }

  const show = () => {
    const pages = read();
    if (box) box.checked = pages.has(here);
    for (const link of links) {
      link.querySelector(".pc-tick")?.remove();
      if (pages.has(page(link.href))) add(link, "span", { className: "pc-tick", role: "img", ariaLabel: "(read)", textContent: "✓" });
    }
  };
  show();
  addEventListener("storage", show); // ticked in another tab
  addEventListener("pageshow", show); // or since this page was left
})();
