"""Retrieval: many queries against a Python loop, one query against faiss, ten million candidates on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.speed.timing import compare
from molchord.api import Molecule
from molchord.library.library import Entry, Library
from molchord.library.writer import shortened
from molchord.retrieval.exact import Exact, source
from molchord.retrieval.scores import Block
from molchord.vocabulary import FUSIONS

__all__ = ["TEXT", "TITLE", "measure"]

TITLE = "Retrieval: exact search"
TEXT = (
    "k = 25, random unit vectors of 512 numbers, queries near a candidate each. `Python loop`: what VibraCLIP's "
    "published callback does (Rocabert-Oriols et al. 2025), one query after the other: three products of a matrix and "
    "a vector, the cube root of the product of cosines, a dictionary of all candidates and its sort; some queries are "
    "timed and scaled to all, and nothing is kept, which spares it memory. `faiss`: IndexFlatIP on the same vectors, "
    "one search a spectrum, without joining them. On a GPU the vectors are resident, bf16 rows are scanned and fp32 "
    "rows scored. All hits of molchord are proven."
)
K, SIZE = 25, 512
LOOP_QUERIES = 20


def measure(device: str, *, small: bool = False) -> list[dict[str, Any]]:
    """Compare on a CPU; on a GPU, time batches and single queries."""
    rounds = 5
    if torch.device(device).type == "cuda":
        return list(_resident(device, 200_000 if small else 10_000_000, rounds))
    with TemporaryDirectory(prefix="molchord-speed-") as folder:
        rows = [*_batches(f"{folder}/a", 500 if small else 10_000, 1000 if small else 10_000, rounds)]
        rows += _singles(f"{folder}/b", 20_000 if small else 1_000_000, rounds)
    return rows


# --- cases -----------------------------------------------------------------------------------------------------------


def _batches(folder: str, queries: int, candidates: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Time all queries against all candidates, two spectra each."""
    vectors = unit(candidates, 0)
    library = library_of(folder, vectors)
    given = queries_near(vectors, queries, ("ir", "raman"))
    timed = min(LOOP_QUERIES, queries)
    arrays = {name: part[:timed].numpy() for name, part in given.items()}
    names = [f"candidate {number}" for number in range(candidates)]
    for fusion in FUSIONS:
        sides = {
            "molchord": partial(library.find, given, k=K, fusion=fusion),
            "Python loop": partial(python_loop, vectors.numpy(), names, arrays["ir"], arrays["raman"]),
        }
        row = compare(sides, rounds=rounds)
        for part in (row["seconds"], row["ratio"]):
            part["Python loop"] *= queries / timed
        row["range"]["Python loop"] = [value * queries / timed for value in row["range"]["Python loop"]]
        yield {"case": f"{queries:,} queries x {candidates:,} candidates, 2 spectra, {fusion}", **row}


def _singles(folder: str, candidates: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Time one query against many candidates."""
    vectors = unit(candidates, 1)
    library = library_of(folder, vectors)
    index = flat_index(vectors)
    for fusion, names in (
        ("gm-exp", ("ir", "raman", "msms")),
        ("gm-half", ("ir", "raman")),
        ("gm-half", ("ir", "raman", "msms")),
    ):
        given = queries_near(vectors, 1, names)
        sides: dict[str, Callable[[], object]] = {"molchord": partial(library.find, given, k=K, fusion=fusion)}
        if index is not None:
            # gm-exp is one inner product; the other fusions need as many searches as there are spectra.
            searches = 1 if fusion == "gm-exp" else len(names)
            several = [part.numpy() for part in given.values()][:searches]
            sides[f"faiss x {searches}"] = lambda index=index, several=several: [index.search(q, K) for q in several]
        row = compare(sides, rounds=rounds)
        yield {"case": f"1 query x {candidates:,} candidates, {len(names)} spectra, {fusion}", **row}


def _resident(device: str, candidates: int, rounds: int) -> Iterator[dict[str, Any]]:
    """Time batches and single queries of three spectra with all vectors on the device."""
    block = resident(candidates, device)
    for queries in (4096, 1):
        given = queries_near(block.vectors, queries, ("ir", "raman", "msms"))
        for fusion in ("gm-exp", "gm-half"):
            row = compare({"molchord": partial(search, given, block, fusion, device)}, device=device, rounds=rounds)
            case = f"{queries:,} queries x {candidates:,} candidates, 3 spectra, {fusion}"
            yield {"case": case, **row, "queries_per_second": round(queries / row["seconds"]["molchord"])}


# --- sides -----------------------------------------------------------------------------------------------------------


def python_loop(
    graphs: NDArray[np.float32], names: list[str], ir: NDArray[np.float32], raman: NDArray[np.float32]
) -> list[str]:
    """Rank all candidates for each query, as VibraCLIP's callback does for two spectra; returns the first of each.

    Query i is of candidate i, whose own spectra join the product.
    """
    lengths, ir_lengths, raman_lengths = (np.linalg.norm(part, axis=1) for part in (graphs, ir, raman))
    best = []
    for query, (first, second) in enumerate(zip(ir, raman, strict=True)):
        one = np.dot(graphs, first) / (lengths * ir_lengths[query])
        other = np.dot(graphs, second) / (lengths * raman_lengths[query])
        # The callback's third product is of all infrared spectra with this Raman spectrum; one as large stands for it.
        third = np.dot(graphs, second) / (lengths * raman_lengths[query])
        similarities = np.cbrt(one * other * third)
        scored = {str(name): float(value) for name, value in zip(names, similarities, strict=True)}
        ranked = dict(sorted(scored.items(), key=lambda item: item[1], reverse=True))
        best.append(next(iter(ranked)))
    return best


def search(given: Mapping[str, Tensor], block: Block, fusion: str, device: str) -> Tensor:
    """Search a block that lies on the device, as a library that it holds does."""
    found = Exact(given, K, fusion=fusion)
    at_once = 2**29 // len(next(iter(given.values())))
    source(found, (block[start : start + at_once] for start in range(0, len(block), at_once)), device)
    return found.found().rows


def flat_index(vectors: Tensor) -> Any:
    """Return faiss's exact index with as many threads as torch has; None where faiss is not installed."""
    if find_spec("faiss") is None:
        return None
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors.numpy())
    return index


# --- data ------------------------------------------------------------------------------------------------------------


def unit(count: int, seed: int, device: str = "cpu") -> Tensor:
    """Return random unit rows."""
    generator = torch.Generator(device).manual_seed(seed)
    return normalize(torch.randn(count, SIZE, generator=generator, device=device), dim=1)


def queries_near(vectors: Tensor, count: int, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return unit rows a modality with a cosine of about 0.45 with the candidate of the same number."""
    near = vectors[torch.arange(count, device=vectors.device) % len(vectors)]
    device = str(vectors.device)
    return {name: normalize(0.5 * near + unit(count, seed, device), dim=1) for seed, name in enumerate(names, start=10)}


def library_of(folder: str, vectors: Tensor) -> Library:
    """Write a library of made-up molecules."""
    entries = (Entry(_molecule(number), vector) for number, vector in enumerate(vectors.numpy()))
    return Library.create(folder, entries, run="speed", candidate="structure", embedding_dim=SIZE)


def resident(candidates: int, device: str) -> Block:
    """Return candidates on a device, with bf16 rows beside the fp32 ones."""
    vectors = torch.empty(candidates, SIZE, device=device)
    short = torch.empty(candidates, SIZE, device=device, dtype=torch.bfloat16)
    error = 0.0
    for number, start in enumerate(range(0, candidates, 100_000)):
        part = slice(start, min(start + 100_000, candidates))
        vectors[part] = unit(part.stop - start, number, device)
        found = shortened(vectors[part], "bf16")
        short[part], error = found["short"], max(error, float(found["error"]))
    return Block(index=torch.arange(candidates, device=device), vectors=vectors, short=short, error=error)


def _molecule(number: int) -> Molecule:
    key = "".join(chr(65 + number // 26**place % 26) for place in range(13, -1, -1))
    return Molecule(key14=key, smiles="C", formula="CH4", exact_mass=100.0 + number % 9973 / 20.0)
