"""`molchord open` under load: many clients at once against a real server, and one query among 117,000 candidates.

    python -m benchmarks.page --cache DIR     # writes benchmarks/page.json and benchmarks/page.md

Each client uploads a spectrum of its own, searches it, and asks for what a page shows. A request that is refused since
the queue is full (429) is sent again after the time that the refusal names, and its time counts from the first try.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

HERE = Path(__file__).parent
CLIENTS, ROUNDS, CANDIDATES, REPEATS = 50, 1, 117_000, 5
KINDS = ("upload", "search and answer", "answer again", "list of samples", "spectrum", "count of candidates", "page")


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", help="where embedded lists are kept")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    found = {
        "machine": {"cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 1)},
        "load": under_load(arguments.clients, arguments.rounds, arguments.cache),
        "query": query_seconds(arguments.cache),
    }
    (HERE / "page.json").write_text(json.dumps(found, indent=1) + "\n")
    (HERE / "page.md").write_text(text_of(found))
    print(text_of(found))
    if found["load"]["errors"]:
        sys.exit(1)


def text_of(found: dict) -> str:
    """Return the figures as Markdown."""
    load, query, machine = found["load"], found["query"], found["machine"]
    lines = [
        "# The page under load",
        "",
        f"`python -m benchmarks.page`, {machine['cores']} cores, which other programs used too (load average "
        f"{machine['load_before']} before it began).",
        "",
        f"**One query** among {query['candidates']:,} candidates (random vectors, held in memory; shipped model, IR): "
        f"{query['wall_s']:.2f} s, of which the processor worked {query['cpu_s']:.2f} s.",
        "",
        f"**{load['clients']} clients at once**, shipped model and list: {load['requests']:,} requests in "
        f"{load['seconds']:.0f} s, {load['errors']} errors, {load['refused']:,} refusals (429) that were sent again.",
        "",
        "| request | number | p50 / s | p95 / s |",
        "|---|---:|---:|---:|",
        *(f"| {kind} | {own['number']} | {own['p50']:.2f} | {own['p95']:.2f} |" for kind, own in load["kinds"].items()),
    ]
    return "\n".join(lines) + "\n"


# --- one query -------------------------------------------------------------------------------------------------------


def query_seconds(cache: str | None, count: int = CANDIDATES) -> dict:
    """Measure a query of a case whose candidates are random vectors; the median of some, after a first one."""
    from molchord.api import Molecule
    from molchord.case.case import Case
    from molchord.library.library import Entry, Library
    from molchord.page.desk import Desk
    from molchord.run import Run

    run = Run.load("pretrained", device="cpu")
    rng = np.random.default_rng(0)
    size = run.graph.embedding_dim

    def entries() -> Iterator[Entry]:
        for number in range(count):
            vector = rng.standard_normal(size).astype(np.float32)
            key = "".join(chr(65 + number // 26**place % 26) for place in range(14))
            molecule = Molecule(key14=key, smiles="CCO", formula="C2H6O", exact_mass=46.0 + number * 1e-3)
            yield Entry(molecule, vector / np.linalg.norm(vector))

    with TemporaryDirectory() as made:
        folder = Path(made)
        library = Library.create(folder / "library", entries(), run=run.id, candidate=run.candidate, embedding_dim=size)
        case = Case.create(folder / "case", run="pretrained", candidates="ordinary")
        desk = Desk(case, run=run, library=library, cache=None if cache is None else Path(cache))
        desk.loading.future.result()
        [sample] = desk.add({"unknown.ir.csv": spectrum(0)})
        times = []
        for _ in range(REPEATS + 1):
            before, worked = time.perf_counter(), time.process_time()
            job = desk.search([sample.id], again=True)
            desk.jobs.find(job.id).future.result()
            times.append((time.perf_counter() - before, time.process_time() - worked))
        desk.close()
    wall, cpu = np.median(times[1:], axis=0)
    return {"candidates": len(library), "wall_s": round(float(wall), 3), "cpu_s": round(float(cpu), 3)}


def spectrum(seed: int) -> bytes:
    """Return a table of some bands."""
    rng = np.random.default_rng(seed)
    x = np.arange(500.0, 4000.0, 4.0)
    y = sum(
        h / (1 + (x - c) ** 2 / 200) for c, h in zip(rng.uniform(600, 3500, 12), rng.uniform(0.1, 1, 12), strict=True)
    )
    return "".join(f"{a:.0f},{b:.5f}\n" for a, b in zip(x, y, strict=True)).encode()


# --- many clients ----------------------------------------------------------------------------------------------------


def under_load(clients: int, rounds: int, cache: str | None) -> dict:
    """Start a server, let clients at it at once, and return what they saw."""
    with TemporaryDirectory() as made:
        command = [sys.executable, "-m", "molchord", "open", f"{made}/case", "--no-browser", "--port", "0"]
        command += [] if cache is None else ["--cache", cache]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            port = _port(server)
            _until_ready(port)
            began = time.perf_counter()
            with ThreadPoolExecutor(clients) as pool:
                seen = list(pool.map(lambda number: client(port, number, rounds), range(clients)))
            seconds = time.perf_counter() - began
        finally:
            server.terminate()
            server.wait(30)
    times: dict[str, list[float]] = defaultdict(list)
    for own, _ in seen:
        for kind, took in own:
            times[kind].append(took)
    states = sum((counted for _, counted in seen), Counter())
    return {
        "clients": clients,
        "requests": sum(states.values()),
        "seconds": round(seconds, 1),
        "refused": states.pop(429, 0),
        "errors": sum(number for status, number in states.items() if not 200 <= status < 400),
        "states": {str(status): number for status, number in states.items()},
        "kinds": {
            kind: {
                "number": len(times[kind]),
                "p50": round(float(np.percentile(times[kind], 50)), 3),
                "p95": round(float(np.percentile(times[kind], 95)), 3),
            }
            for kind in KINDS
        },
    }


def client(port: int, number: int, rounds: int) -> tuple[list[tuple[str, float]], Counter[int]]:
    """Do what a person does with a page; returns kinds and times of requests, and how often each status came."""
    times: list[tuple[str, float]] = []
    states: Counter[int] = Counter()
    connection = HTTPConnection("127.0.0.1", port, timeout=600)

    def ask(kind: str, method: str, path: str, body: bytes | None = None, headers: dict | None = None) -> bytes:
        before = time.perf_counter()
        while True:
            connection.request(method, path, body, {"X-Molchord": "1", **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
            states[answer.status] += 1
            if answer.status != 429:
                times.append((kind, time.perf_counter() - before))
                return content
            time.sleep(float(answer.headers["Retry-After"]))

    for one in range(rounds):
        sample = json.loads(_upload(ask, number * rounds + one))[0]["id"]
        ask("search and answer", "GET", f"/api/samples/{sample}/hits")
        ask("answer again", "GET", f"/api/samples/{sample}/hits")
        ask("list of samples", "GET", "/api/samples")
        ask("spectrum", "GET", f"/api/samples/{sample}/spectrum")
        ask("count of candidates", "GET", f"/api/candidates/count?mz={100 + number}.05&adduct=%5BM%2BH%5D%2B")
        ask("page", "GET", f"/samples/{sample}")
    connection.close()
    return times, states


def _upload(ask: Callable[..., bytes], seed: int) -> bytes:
    edge = "molchord-benchmark"
    head = f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="unknown-{seed}.ir.csv"\r\n\r\n'
    body = head.encode() + spectrum(seed) + f"\r\n--{edge}--\r\n".encode()
    return ask("upload", "POST", "/api/samples", body, {"Content-Type": f"multipart/form-data; boundary={edge}"})


def _port(server: subprocess.Popen) -> int:
    for line in server.stdout or ():
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
    raise SystemExit("the server printed no address")


def _until_ready(port: int) -> None:
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/api/candidates")
            state = json.loads(connection.getresponse().read())["state"]
        except ConnectionError:
            state = "loading"
        if state == "failed":
            raise SystemExit("the server cannot prepare its candidates")
        if state == "ready":
            return
        time.sleep(0.5)


if __name__ == "__main__":
    main()
