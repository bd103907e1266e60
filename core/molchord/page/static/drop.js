// Files come by dropping or choosing; a file of a sample is dragged to another one.

import { rest } from "./rest.js";
import { act, alarm } from "./say.js";

const KIND = "application/x-molchord-file";

export function dropping() {
  for (const type of ["dragenter", "dragover"]) document.addEventListener(type, over);
  document.addEventListener("dragleave", (event) => event.target.closest?.(".over")?.classList.remove("over"));
  document.addEventListener("drop", dropped);
  document.addEventListener("dragstart", (event) => {
    const file = event.target.closest?.("[data-file]");
    if (file) event.dataTransfer.setData(KIND, file.dataset.file);
  });
  document.addEventListener("change", (event) => {
    const { id, files } = event.target;
    if ((id !== "add-files" && id !== "add-folder") || !files.length) return;
    upload([...files].map((file) => [file, file.webkitRelativePath || file.name]), null);
    event.target.value = "";
  });
}

function over(event) {
  event.preventDefault();
  for (const old of document.querySelectorAll(".over")) old.classList.remove("over");
  event.target.closest?.("[data-drop]")?.classList.add("over");
}

async function dropped(event) {
  event.preventDefault();
  for (const old of document.querySelectorAll(".over")) old.classList.remove("over");
  const sample = event.target.closest?.("[data-drop]")?.dataset.drop || null;
  const moved = event.dataTransfer.getData(KIND);
  if (moved) {
    if (sample) act(() => rest.changeFile(moved, { sample }), "Moved");
    return;
  }
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const files = entries.length
    ? (await Promise.all(entries.map((entry) => below(entry)))).flat()
    : [...event.dataTransfer.files].map((file) => [file, file.name]);
  upload(files, sample);
}

// All files of a dropped file or folder, each with its path in it.
async function below(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [[file, entry.fullPath.replace(/^\//, "")]];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    for (const one of some) found.push(...(await below(one)));
  }
  return found;
}

export async function upload(files, sample) {
  const seen = files.filter(([, path]) => !path.split("/").some((part) => part.startsWith(".")));
  if (!seen.length) return alarm("There was no file in what was dropped.");
  const form = new FormData();
  for (const [file, path] of seen) form.append("files", file, path);
  const added = await act(() => rest.add(form), seen.length === 1 ? "1 file added" : `${seen.length} files added`);
  if (added === null) return;
  if (sample) {
    const files = added.flatMap((one) => one.files);
    await act(() => Promise.all(files.map((file) => rest.changeFile(file.id, { sample }))), "Added to the sample");
  } else if (!document.querySelector("#ask") && added.length && location.pathname === "/") {
    location.assign(`/samples/${encodeURIComponent(added[0].id)}`);
  }
}
