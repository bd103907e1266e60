// Single keys, outside of fields; they can be turned off in the list of keys.

const KEPT = "molchord-keys";

const keymap = {
  j: () => step(1),
  k: () => step(-1),
  a: () => press(document.querySelector(".card.open [data-accept]") ?? document.querySelector("[data-accept]")),
  r: () => press(document.querySelector("#reject")),
  p: () => press(document.querySelector(".card.open [data-pin]") ?? document.querySelector(".card [data-pin]")),
  s: () => press(document.querySelector("#search-one")),
  S: () => press(document.querySelector("#search-all")),
  m: () => focus("#ask-mass"),
  c: () => focus("#comment"),
  "/": () => focus("#filter-has"),
  u: () => press(document.querySelector("#add-files")),
  t: () => location.assign("/table"),
  "?": () => document.querySelector("#help").showModal(),
};

export function keys() {
  const on = document.querySelector("#keys-on");
  on.checked = localStorage.getItem(KEPT) !== "off";
  on.addEventListener("change", () => localStorage.setItem(KEPT, on.checked ? "on" : "off"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return event.target.blur?.();
    if (!on.checked || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.target.matches?.("input:not([type=checkbox]), textarea, select")) return;
    const does = /^[1-9]$/.test(event.key) ? () => press(document.getElementById(`why-${event.key}`)) : keymap[event.key];
    if (!does) return;
    event.preventDefault();
    does();
  });
}

const press = (place) => place?.click();
const focus = (what) => document.querySelector(what)?.focus();

function step(by) {
  const rows = [...document.querySelectorAll(".rows a")];
  const at = rows.findIndex((row) => row.hasAttribute("aria-current"));
  const next = rows[Math.min(Math.max(at + by, 0), rows.length - 1)];
  if (next && rows.indexOf(next) !== at) location.assign(next.href);
}
