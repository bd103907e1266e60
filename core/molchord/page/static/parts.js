// A page is made of parts. After a change the same address is asked for again, and parts that became others are put in.

import { forget, plots } from "./plot.js";

const known = new Map();
let running = null;
let next = null;

export function remember() {
  for (const part of document.querySelectorAll("[data-part]")) known.set(part.dataset.part, part.innerHTML);
}

// Ask for the page once more; calls that come meanwhile wait for one more.
export function refresh() {
  const once = () => {
    next = null;
    return refresh();
  };
  if (running) return (next ??= running.then(once, once));
  return (running = renew().finally(() => {
    running = null;
  }));
}

async function renew() {
  const asked = location.href;
  let answer;
  try {
    answer = await fetch(asked);
  } catch {
    return;
  }
  if (asked !== location.href) return; // whoever changed it asks for it
  if (answer.status === 404) return void location.assign("/"); // the sample is gone
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const missing = [...fresh.querySelectorAll("[data-part]")].some((part) => !document.querySelector(same(part)));
  if (answer.redirected || missing) return void location.assign(answer.url);
  document.title = fresh.title;
  for (const part of fresh.querySelectorAll("[data-part]")) put(document.querySelector(same(part)), part);
  plots(document);
}

const same = (part) => `[data-part="${part.dataset.part}"]`;

// Put in one part, unless nothing changed or somebody writes in it; focus, place and open details stay.
function put(old, fresh) {
  const html = fresh.innerHTML;
  if (known.get(old.dataset.part) === html || writes(old)) return;
  known.set(old.dataset.part, html);
  const focus = old.contains(document.activeElement) ? document.activeElement.id : "";
  const open = [...old.querySelectorAll("details[id]")].filter((one) => one.open).map((one) => one.id);
  const tab = old.querySelector('[role="tab"][aria-selected="true"]')?.id;
  const top = old.scrollTop;
  forget(old);
  old.replaceChildren(...fresh.childNodes);
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (tab) document.getElementById(tab)?.click();
  old.scrollTop = top;
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
}

// Whether a field of this part has the focus and another value than the page came with.
function writes(part) {
  const field = document.activeElement;
  if (!part.contains(field)) return false;
  if (field.matches("textarea, input:not([type=checkbox]):not([type=file])")) return field.value !== field.defaultValue;
  return field.matches("select:focus") && field.matches(":open");
}

// Go to another state of this page without loading it anew.
export function go(address) {
  history.pushState(null, "", address);
  return refresh();
}
