// The question: counted while it is typed, kept when a field is left, and asked.

import { refresh } from "./parts.js";
import { rest, Refused } from "./rest.js";
import { act } from "./say.js";

let wait = 0;

export function asking() {
  document.addEventListener("input", (event) => {
    if (!event.target.closest("#ask")) return;
    clearTimeout(wait);
    wait = setTimeout(count, 150);
  });
  document.addEventListener("submit", (event) => {
    if (event.target.id === "ask") {
      event.preventDefault();
      search();
    }
    if (event.target.id === "list") {
      event.preventDefault();
      choose(event.target);
    }
  });
  count();
}

// What is written in the form; null where a field is blank.
function known() {
  const out = {};
  for (const [name, value] of new FormData(document.querySelector("#ask"))) {
    const text = value.trim();
    if (!text) out[name] = null;
    else out[name] = ["mass", "mz", "ppm"].includes(name) ? Number(text.replace(",", ".")) : text;
  }
  if (out.mz === null) out.adduct = null;
  return out;
}

async function count() {
  const place = document.querySelector("#left");
  if (!place) return;
  const asked = Object.entries(known()).filter(([, value]) => value !== null);
  try {
    const { left, of, unseen, error } = await rest.count(Object.fromEntries(asked));
    place.classList.toggle("wrong", Boolean(error));
    const strange = unseen ? `, ${unseen.toLocaleString("en")} unlike all the model knows` : "";
    place.textContent = error ?? `${left.toLocaleString("en")} of ${of.toLocaleString("en")} candidates left${strange}`;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    place.textContent = "";
  }
}

async function search() {
  const id = document.querySelector("#ask").dataset.sample;
  const asked = known();
  document.activeElement?.blur?.();
  const kept = await act(() => rest.change(id, { asked }), "Question kept");
  if (kept !== null) await act(() => rest.search([id], true), "Searching");
}

async function choose(form) {
  const { list, file, text } = form.elements;
  const upload = new FormData();
  let work;
  if (text.value.trim()) work = () => rest.candidates({ text: text.value });
  else if (file.files.length) {
    upload.append("file", file.files[0], file.files[0].name);
    work = () => rest.candidatesFile(upload);
  } else if (list.value) work = () => rest.candidates({ list: list.value });
  else return;
  if ((await act(work, "Candidates chosen")) !== null) {
    form.reset();
    await refresh();
  }
}
