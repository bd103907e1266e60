// What buttons ask of REST. Every change has the header that no other site's page can send.

const HEADER = { "X-Molchord": "1" };

export class Refused extends Error {}

async function ask(method, address, body) {
  const options = { method, headers: { ...HEADER } };
  if (body instanceof FormData) options.body = body;
  else if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Refused("molchord does not answer; is `molchord open` still running?");
  }
  const text = await answer.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    value = null;
  }
  if (!answer.ok) throw new Refused(value?.error ?? value?.detail ?? `molchord refused (${answer.status})`);
  return value;
}

const sample = (id) => `/api/samples/${encodeURIComponent(id)}`;

export const rest = {
  change: (id, fields) => ask("PATCH", sample(id), fields),
  changeFile: (id, fields) => ask("PATCH", `/api/files/${encodeURIComponent(id)}`, fields),
  removeFile: (id) => ask("DELETE", `/api/files/${encodeURIComponent(id)}`),
  search: (ids, again = false) => ask("POST", "/api/search", { samples: ids, again }),
  cancel: (job) => ask("DELETE", `/api/jobs/${encodeURIComponent(job)}`),
  count: (known) => ask("GET", `/api/candidates/count?${new URLSearchParams(known)}`),
  candidates: (given) => ask("POST", "/api/candidates", given),
  candidatesFile: (form) => ask("POST", "/api/candidates/file", form),
  add: (form) => ask("POST", "/api/samples", form),
};
