"""Embedding a library: what each stage does a second on one core or GPU, and what a molecule needs on disk."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import molchord as mc
from benchmarks.accuracy.sources import qm9_smiles
from molchord.api import SampleError
from molchord.data.reading import parsed
from molchord.embedder import EMBEDDED_AT_ONCE
from molchord.host import installed
from molchord.library.files import Entry, LibraryManifest
from molchord.library.stages import blocks_of, encoded, prepared
from molchord.library.work_folder import WorkFolder

__all__ = ["TEXT", "TITLE", "measure"]

TITLE = "Embedding a library: rates of the stages"
TEXT = (
    "Random molecules of `datasets/qm9_smiles.csv.gz` through the stages of `molchord embed` one after the other in "
    "one process with one thread: `2-D graph` and `encode` for the model `pretrained` (256 numbers), `conformers` for "
    "a structure that needs positions (ETKDG, one conformer). `molecules_per_second` is the median over rounds, each "
    "of other molecules, of processor time on a CPU (so that other programs count for little), else by the clock. "
    "Bytes are those of a shard's two files over its rows."
)


def measure(device: str, *, small: bool = False) -> list[dict[str, Any]]:
    """Time the stages and weigh the shards."""
    size, rounds = (64, 2) if small else (1024, 5)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return list(_rows(device, size, rounds))
    finally:
        torch.set_num_threads(threads)


def _rows(device: str, size: int, rounds: int) -> Iterator[dict[str, Any]]:
    smiles = qm9_smiles()
    random.Random(7).shuffle(smiles)
    parts = [smiles[start : start + size] for start in range(0, (rounds + 1) * size, size)]
    run = mc.load("pretrained", device=device)
    record: Any = installed().find("modality", "structure").record
    spatial = record.build(record.config(geometry="etkdg"), "graph")

    molecules, rate = _timed(lambda part: list(parsed(part)), parts)
    yield {"case": "parse", **rate}
    samples, rate = _timed(lambda part: prepared(run.modalities[run.candidate], part), molecules)
    yield {"case": "2-D graph", **rate}
    _, rate = _timed(lambda part: prepared(spatial, part[: size // 4]), molecules, share=0.25)
    yield {"case": "conformers", **rate}
    entries, rate = _timed(lambda part: _encoded(run, part), samples)
    yield {"case": "encode", **rate}
    with TemporaryDirectory(prefix="molchord-speed-") as place:
        for storage in ("fp32", "bf16", "int8"):
            manifest = LibraryManifest(
                run=run.id, candidate=run.candidate, embedding_dim=run.graph.embedding_dim, storage=storage
            )
            folder = WorkFolder(Path(place) / storage, manifest, size)
            numbered = [(next(blocks_of(part, size)), found) for part, found in zip(parts, entries, strict=True)]
            _, rate = _timed(lambda pair, folder=folder: folder.write(*pair), numbered, count=size)
            files = [
                file for file in (Path(place) / storage / "shards").iterdir() if file.name.startswith("shard-00000")
            ]
            rows = sum(isinstance(entry, Entry) for entry in entries[0])
            yield {
                "case": f"write, {storage}",
                **rate,
                "bytes_per_molecule": round(sum(f.stat().st_size for f in files) / rows),
            }


def _timed(
    stage: Callable[[Any], Any], parts: list[Any], *, share: float = 1.0, count: int | None = None
) -> tuple[list[Any], dict[str, Any]]:
    """Run a stage on all parts, the first untimed; returns what it made and its rate."""
    made, rates = [], []
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    for part in parts:
        start = clock()
        made.append(stage(part))
        rates.append(share * (len(part) if count is None else count) / (clock() - start))
    rates = rates[1:]
    return made, {
        "molecules_per_second": round(statistics.median(rates)),
        "lowest": round(min(rates)),
        "highest": round(max(rates)),
    }


def _encoded(run: mc.Run, part: list[Any]) -> list[Entry | SampleError]:
    """Embed a part in chunks; vectors arrive on the CPU, so a GPU has been waited for."""
    return [
        entry
        for start in range(0, len(part), EMBEDDED_AT_ONCE)
        for entry in encoded(run.embedder, part[start : start + EMBEDDED_AT_ONCE])
    ]
