// What the server does meanwhile: while there are jobs, their events make the page look again.

import { refresh } from "./parts.js";
import { say } from "./say.js";

const followed = new Map();
let due = 0;

export function follow() {
  listen();
  new MutationObserver(listen).observe(document.querySelector("#job"), { childList: true });
}

// Follow the jobs that the page shows, each by a stream of its own.
function listen() {
  for (const { dataset } of document.querySelectorAll("[data-job]")) {
    if (followed.has(dataset.job)) continue;
    const events = new EventSource(`/api/jobs/${encodeURIComponent(dataset.job)}/events`);
    followed.set(dataset.job, events);
    events.onmessage = (event) => look(JSON.parse(event.data), events);
    events.onerror = () => {
      events.close();
      look({ state: "running" }, events);
      setTimeout(() => followed.delete(dataset.job), 1000);
    };
  }
}

const ENDS = { done: "Done", failed: "Failed", cancelled: "Cancelled" };

function look(job, events) {
  if (job.state in ENDS) {
    if (job.state !== "cancelled") events.close(); // the step under way is still to end
    say(job.kind === "search" && job.state === "done" ? "Answered" : ENDS[job.state]);
    refresh();
  } else {
    due ||= setTimeout(() => {
      due = 0;
      refresh();
    }, 300);
  }
}
