// What the server does meanwhile: each event makes the page look again, at most twice a second.

import { refresh } from "./parts.js";
import { rest } from "./rest.js";
import { act, say } from "./say.js";

let due = 0;
const asked = new Set();

export function follow() {
  const events = new EventSource("/api/events");
  events.onmessage = (event) => look(JSON.parse(event.data));
  pending();
  new MutationObserver(pending).observe(document.body, { childList: true, subtree: true });
}

function look(job) {
  if (job?.state === "done" && job.kind === "search") say("Answered");
  if (job?.state === "cancelled") say("Cancelled");
  clearTimeout(due);
  due = setTimeout(refresh, job?.state === "running" ? 400 : 30);
}

// Reasons that are shown as not known yet are asked for, once.
function pending() {
  const place = document.querySelector("[data-pending]");
  const id = document.querySelector("#ask")?.dataset.sample;
  if (!place || !id || asked.has(location.href)) return;
  const here = location.href;
  asked.add(here);
  act(() => rest.why(id, place.dataset.pending), "Reasons found").finally(() => asked.delete(here));
}
