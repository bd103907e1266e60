"""Whether the parts of a spectrum that `explain` names are those that decide, and where textbooks have them.

Usage: python -m benchmarks.reasons RUN DATA [--molecules N]

Test molecules of DATA, their computed spectra made like measured ones, are explained as the right answer. The parts
named for each are left out together, and so are others of the same number and width, drawn at random from those that do
not overlap with them. Beside that stands how often the bands of three bonds are among the parts named, of molecules
that have the bond and of those that have not. Writes ``benchmarks/results/reasons.json``.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import molchord as mc
from benchmarks.accuracy.__main__ import write
from benchmarks.accuracy.perturb import LIKE_MEASURED
from benchmarks.accuracy.runner import hardware
from benchmarks.accuracy.sources import ROOT
from molchord.api import Measurement, Window
from molchord.chem import substructures
from molchord.explain.reasons import Explanation, explain
from molchord.run_folder import code_version

__all__ = ["main", "within"]

RESULT = ROOT / "benchmarks" / "results" / "reasons.json"
NAMED, DRAWS = 3, 10
BONDS = {
    "C=O": ("[CX3]=[OX1]", 1650.0, 1800.0),
    "O-H": ("[OX2H]", 3200.0, 3700.0),
    "C#N": ("[CX2]#[NX1]", 2200.0, 2260.0),
}
"""Pattern of a bond, and where textbooks have its stretching, cm^-1."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure a run and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reasons", description=__doc__)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--molecules", type=int, default=200, metavar="N", help="so many at random, and all with C#N")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)  # quality warnings of single queries
    run, data = mc.load(arguments.run, device="cpu"), mc.DataSet(arguments.data)
    library = run.library(data)
    test = data.rows("test")
    drawn = np.random.default_rng(0).permutation(test)[: arguments.molecules]
    rare = [row for row in test.tolist() if substructures(data.molecule(row).smiles, [BONDS["C#N"][0]])[0]]
    rows = sorted({*drawn.tolist(), *rare})
    found = [_measured(run, library, data, name, rows) for name in ("ir", "raman") if name in run.spectra]
    result = {"run": run.id[:12], "settings": code_version(), "hardware": hardware(), "rows": found}
    write(RESULT, result)
    for row in found:
        print({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()})


def within(window: Window, low: float, high: float) -> bool:
    """Return whether a window holds half of a range, or is filled by it by half.

    Example:
        >>> within(Window(name="", start=1700, stop=1800, unit="cm^-1"), 1650, 1800)
        True
    """
    overlap = min(high, window.stop) - max(low, window.start)
    return 2 * overlap >= min(high - low, window.stop - window.start)


def _measured(run: mc.Run, library: mc.Library, data: mc.DataSet, name: str, rows: Sequence[int]) -> dict[str, Any]:
    """Return the figures of one modality."""
    perturb, table = LIKE_MEASURED.reading(run.graph), data.table(run.graph.modalities[name].data)
    rng = np.random.default_rng(1)
    falls: list[tuple[float, float]] = []
    seconds: list[float] = []
    hit_windows: dict[str, list[tuple[bool, bool]]] = {bond: [] for bond in BONDS}
    for row in rows:
        own = table.of(row)
        if not len(own):
            continue
        molecule = data.molecule(row)
        measurement = perturb(name, table.read(int(own[0])), molecule.key14)
        first = run.search(library, k=6, **{name: [measurement]})
        others = [hit for hit in first if hit.key14 != molecule.key14][:4]
        facts = {field: getattr(molecule, field) for field in ("key14", "smiles", "formula", "exact_mass")}
        right = dataclasses.replace(first[0], rank=1, **facts)
        hits = [right, *(dataclasses.replace(hit, rank=place) for place, hit in enumerate(others, start=2))]
        start = time.process_time()
        why = explain(run.embedder, run.manifest, hits, {name: [measurement]})
        seconds.append(time.process_time() - start)
        fall = _falls(run, name, measurement, why, rng)
        if fall is not None:
            falls.append(fall)
        has = substructures(molecule.smiles, [pattern for pattern, _, _ in BONDS.values()])
        for (bond, (_, low, high)), there in zip(BONDS.items(), has, strict=True):
            inside = any(within(reason.window, low, high) for reason in why.first(name, NAMED))
            hit_windows[bond].append((there, inside))
    named, random = np.array(falls).T
    return {
        "modality": name,
        "molecules": len(falls),
        "fall named": float(named.mean()),
        "fall random": float(random.mean()),
        "named fall more": float((named > random).mean()),
        "seconds": float(np.median(seconds)),
        **{f"{bond} with": _rate(said, True) for bond, said in hit_windows.items()},
        **{f"{bond} without": _rate(said, False) for bond, said in hit_windows.items()},
        **{f"{bond} molecules": sum(there for there, _ in said) for bond, said in hit_windows.items()},
    }


def _falls(
    run: mc.Run, name: str, measurement: Measurement, why: Explanation, rng: np.random.Generator
) -> tuple[float, float] | None:
    """Return by how much the similarity falls without the parts named, and the mean of that without others."""
    named = [reason.window for reason in why.first(name, NAMED)]
    windows = [reason.window for reason in why.reasons[name]]
    free = [w for w in windows if all(w.stop <= n.start or w.start >= n.stop for n in named)]
    if len(named) < NAMED:
        return None
    choices = [named, *filter(None, (_apart(free, rng) for _ in range(DRAWS)))]
    if len(choices) < 2:
        return None
    modality: Any = run.modalities[name]
    whole = modality.without(measurement, ())
    rows = run.embed(name, [whole, *(modality.without(whole, choice) for choice in choices)])
    cosines = rows @ run.embed(run.candidate, [why.hit.smiles])[0]
    fall = cosines[0] - cosines[1:]
    return float(fall[0]), float(fall[1:].mean())


def _apart(windows: Sequence[Window], rng: np.random.Generator) -> list[Window] | None:
    """Draw as many windows as are named, no two of them overlapping; None where there are too few."""
    chosen: list[Window] = []
    for index in rng.permutation(len(windows)).tolist():
        window = windows[index]
        if all(window.stop <= other.start or window.start >= other.stop for other in chosen):
            chosen.append(window)
        if len(chosen) == NAMED:
            return chosen
    return None


def _rate(said: Sequence[tuple[bool, bool]], there: bool) -> float:
    return float(np.mean([inside for has, inside in said if has == there] or [np.nan]))


if __name__ == "__main__":
    main()
