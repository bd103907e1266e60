// What is said of what was done: a sentence for screen readers, and an alert where it was refused.

import { refresh } from "./parts.js";
import { Refused } from "./rest.js";

export function say(text) {
  document.querySelector("#say").textContent = text;
}

export function alarm(text) {
  const place = document.querySelector("#alert");
  place.querySelector("span").textContent = text;
  place.hidden = false;
}

export function hush() {
  document.querySelector("#alert").hidden = true;
}

// Do something by REST, say it, and show what became of it; what was refused is told in its own sentence.
export async function act(work, done) {
  try {
    const answer = await work();
    hush();
    say(done);
    return answer;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    alarm(error.message);
    return null;
  } finally {
    await refresh();
  }
}
