// Filters the claims of the ledger (see pcbook/ledger.py). What is chosen stands in the address, so it can be linked.
(() => {
  "use strict";
  const form = document.querySelector(".pc-filter");
  const rows = [...document.querySelectorAll(".pc-claim")];
  const fields = [...form.elements].filter((field) => field.name);
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  const matches = (row) => fields.every(({ name, value }) => (name === "text"
    ? value.toLowerCase().split(/\s+/).every((word) => texts.get(row).includes(word))
    : value === "" || row.dataset[name] === value));
  const apply = () => {
    rows.forEach((row) => { row.hidden = !matches(row); });
    form.querySelector("output").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
  };
  const write = () => {
    const chosen = new URLSearchParams(fields.filter((field) => field.value.trim()).map((field) => [field.name, field.value.trim()]));
    history.replaceState(null, "", `#${chosen}`);
    apply();
  };
  const read = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target) { // a link to a place: show it, whatever was chosen
      if (!target.closest(".pc-claim")?.hidden) return;
      form.reset();
      apply();
      target.scrollIntoView();
      return;
    }
    const chosen = new URLSearchParams(location.hash.slice(1));
    fields.forEach((field) => {
      field.value = chosen.get(field.name) ?? "";
      if (field.selectedIndex === -1) field.selectedIndex = 0; // not among the choices
    });
    apply();
  };

  form.addEventListener("input", write);
  form.addEventListener("reset", () => setTimeout(write)); // the fields are empty only after the event
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", read);
  form.hidden = false;
  apply();
  read();
})();
