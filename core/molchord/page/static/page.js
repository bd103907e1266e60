// What the page does when something is pressed, dropped, typed or done by the server.

import { dropping } from "./drop.js";
import { keys } from "./keys.js";
import { follow } from "./live.js";
import { go, refresh, remember } from "./parts.js";
import { plotOf, plots, zoom } from "./plot.js";
import { asking } from "./question.js";
import { rest } from "./rest.js";
import { act, hush, say } from "./say.js";
import { sorting } from "./sort.js";

const chosen = () => document.querySelector("#ask")?.dataset.sample;
const query = () => new URLSearchParams(location.search);

// By the name of the data attribute of what was pressed.
const presses = {
  search: (id) => act(() => rest.search([id], true), "Searching"),
  searchAll: () => act(() => rest.search(null), "Searching all samples"),
  cancel: (job) => act(() => rest.cancel(job), "Cancelled"),
  accept: (key, button) => {
    const off = button.getAttribute("aria-pressed") === "true";
    const fields = off ? { decision: "none" } : { decision: "accepted", decided_key14: key };
    return act(() => rest.change(chosen(), fields), off ? "Decision undone" : "Accepted");
  },
  reject: () => act(() => rest.change(chosen(), { decision: "rejected" }), "Rejected"),
  undecide: () => act(() => rest.change(chosen(), { decision: "none" }), "Decision undone"),
  remove: (file) => act(() => rest.removeFile(file), "Removed"),
  patch: (body, button) => act(() => rest.change(button.dataset.sample, JSON.parse(body)), "Done"),
  pin: (key) => go(pinned(key)),
  zoom: (how, button) => zoom(plotOf(button.closest(".panel").querySelector("[data-plot]")), how),
};

function pinned(key) {
  const asked = query();
  const pins = (asked.get("pin") ?? "").split(",").filter(Boolean);
  const left = pins.includes(key) ? pins.filter((one) => one !== key) : [...pins, key].slice(-2);
  if (left.length) asked.set("pin", left.join(","));
  else asked.delete("pin");
  return `${location.pathname}${asked.size ? `?${asked}` : ""}`;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const link = event.target.closest(".card a[href]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    go(link.getAttribute("href")).then(() => say("Reasons"));
  }
  if (!button) return;
  if (button.id === "alert-close") hush();
  if (button.id === "help-open") document.querySelector("#help").showModal();
  if (button.id === "help-close") document.querySelector("#help").close();
  if (button.role === "tab") choose(button);
  for (const [name, press] of Object.entries(presses)) {
    if (name in button.dataset) press(button.dataset[name], button);
  }
});

document.addEventListener("change", (event) => {
  const field = event.target;
  const { move, decide, best, comment, clean } = field.dataset;
  if (move && field.value) {
    act(() => rest.changeFile(move, { sample: field.value }), "Moved");
  }
  if (decide) {
    const key = field.value === "accepted" ? { decided_key14: best } : {};
    act(() => rest.change(decide, { decision: field.value || "none", ...key }), "Decided");
  }
  if (comment) {
    field.defaultValue = field.value; // what is kept is not in the way of a fresh part
    act(() => rest.change(comment, { comment: field.value }), "Comment kept");
  }
  if (clean) {
    const all = [...field.closest("fieldset").querySelectorAll("[data-clean]")];
    const { min, max } = plotOf(field.closest(".panel").querySelector("[data-plot]"))?.scales.x ?? {};
    // A step that needs a range takes the part that is shown.
    const steps = all.filter((one) => one.checked).map((one) => one.value.replace(/=[A-Z:]+$/, `=${Math.round(min)}:${Math.round(max)}`));
    act(() => rest.change(chosen(), { clean: { [clean]: steps.join(",") } }), "Cleaned up");
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.reading) {
    event.preventDefault();
    const values = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value === "" ? null : value]));
    const { modality, skip, ...rest_ } = values;
    const fields = { modality, reading: { ...rest_, skip: Number(skip ?? 0) } };
    act(() => rest.changeFile(form.dataset.reading, fields), "Read again");
  }
  if (form.id === "filter") {
    event.preventDefault();
    const asked = query();
    const { has } = form.elements;
    has.defaultValue = has.value; // what is asked for is not in the way of the answer
    asked.set("has", has.value);
    if (!has.value) asked.delete("has");
    go(`${location.pathname}${asked.size ? `?${asked}` : ""}`).then(() => {
      say(`${document.querySelectorAll(".card.hit").length} candidates have it`);
    });
  }
});

// Tabs: the chosen one is shown, arrows choose.
function choose(tab) {
  for (const other of tab.parentElement.children) {
    const on = other === tab;
    other.setAttribute("aria-selected", String(on));
    other.tabIndex = on ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !on;
  }
  plots(document);
}

document.addEventListener("keydown", (event) => {
  if (event.target.role !== "tab" || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
  const tabs = [...event.target.parentElement.children];
  const step = event.key === "ArrowRight" ? 1 : tabs.length - 1;
  const next = tabs[(tabs.indexOf(event.target) + step) % tabs.length];
  choose(next);
  next.focus();
});

addEventListener("popstate", () => refresh());
remember();
plots(document);
dropping();
asking();
keys();
sorting();
follow();
