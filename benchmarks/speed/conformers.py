"""ETKDG over processes: parallel efficiency."""

from __future__ import annotations

import os
import random
import statistics
import sys
import time
from typing import Any

from benchmarks.accuracy.sources import qm9_smiles
from molchord.data.parallel import ordered
from molchord.host import installed
from molchord.library.stages import Prepare

__all__ = ["TEXT", "TITLE", "measure"]

TITLE = "Conformers over processes: parallel efficiency"
TEXT = (
    "Random QM9 molecules, parsed and given one ETKDG conformer in chunks of 16 by the process pool that training and "
    "embedding use, one process against as many as there are cores, in turns with the same molecules. The clock runs "
    "from the eighth result to the last, so that the start of Python is not counted. `efficiency`: the rate of all "
    "over that of one times their number, median over rounds."
)
CHUNK, START = 16, 7


def measure(device: str, *, small: bool = False) -> list[dict[str, Any]]:
    """Compare the rates of one worker and of as many as there are cores; `device` has no part in it."""
    chunks, rounds = (16, 1) if small else (192, 5)
    cores = len(os.sched_getaffinity(0))
    smiles = qm9_smiles()
    random.Random(7).shuffle(smiles)
    rates: dict[int, list[float]] = {1: [], cores: []}
    for number in range(rounds):
        some = smiles[number * chunks * CHUNK : (number + 1) * chunks * CHUNK]
        for workers, found in rates.items():
            found.append(_rate(some, workers))
        print({workers: round(found[-1]) for workers, found in rates.items()}, file=sys.stderr)
    shares = [many / (cores * one) for one, many in zip(rates[1], rates[cores], strict=True)]
    rows = [
        {"case": f"{workers} processes", "molecules_per_second": round(statistics.median(found))}
        for workers, found in rates.items()
    ]
    spread = {"efficiency": statistics.median(shares), "lowest": min(shares), "highest": max(shares)}
    return [*rows[:-1], rows[-1] | {key: round(value, 3) for key, value in spread.items()}]


def _rate(smiles: list[str], workers: int) -> float:
    """Return molecules a second between the first results and the last one."""
    record: Any = installed().find("modality", "structure").record
    job = Prepare(record.build(record.config(geometry="etkdg"), "graph"))
    chunks = [(0, smiles[start : start + CHUNK]) for start in range(0, len(smiles), CHUNK)]
    ends = [time.perf_counter() for _ in ordered(job, chunks, workers)]
    return CHUNK * (len(ends) - 1 - START) / (ends[-1] - ends[START])
