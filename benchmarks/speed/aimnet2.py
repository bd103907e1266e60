"""Simulator `aimnet2`: molecules in batches against the prototype, which computes them one by one."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.accuracy.sources import ROOT
from benchmarks.speed.timing import compare
from molchord.chem import molecule, parse
from molchord_simulators import AIMNET2
from molchord_simulators.aimnet2 import weights

__all__ = ["TEXT", "TITLE", "measure"]

TITLE = "Simulator aimnet2: geometry, Hessian, IR and Raman"
TEXT = (
    "Molecules of the bundled sets with so many heavy atoms, from the same MMFF94 conformers, four members, one thread "
    "on both sides. `prototype`: one by one, geometry by quasi-Newton steps of all members, Hessian by a second "
    "backward pass for each of its rows. The geometries end at a largest gradient of 6e-5 Hartree/Bohr here, at 1.5e-4 "
    "there; Raman activities from GFN2-xTB in fields are the same work on both sides. `molecules/s`: of one core."
)
PROTOTYPES = ROOT.parent / "shared" / "prototypes"
SETS = {9: ("qm9-xtb-grown", 4), 20: ("ordinary-aimnet2", 2)}

Job = Mapping[str, NDArray[Any]]


def measure(device: str, *, small: bool = False) -> list[dict[str, Any]]:
    """Time a batch of molecules of 9 heavy atoms, and one of 20."""
    simulator: Any = AIMNET2.build(AIMNET2.config(device="cuda" if device.startswith("cuda") else "cpu"))
    rows = []
    for heavy, (name, count) in SETS.items():
        jobs = [simulator.prepare(molecule(smiles)) for smiles in _smiles(name, heavy, 1 if small else count)]

        def batch(jobs: Sequence[Job] = jobs) -> None:
            simulator.compute_batch(jobs)

        row = compare({"molchord": batch, "prototype": _one_by_one(jobs)}, device=device, rounds=5)
        rate = {f"{side}, molecules/s": round(len(jobs) / spent, 2) for side, spent in row["seconds"].items()}
        rows.append({"case": f"{heavy} heavy atoms, {len(jobs)} molecules", **row, **rate})
    return rows


def _smiles(name: str, heavy: int, count: int) -> list[str]:
    """Return the first molecules of that size of a bundled set, which is in random order."""
    out: list[str] = []
    for part in sorted((ROOT / "datasets" / name).glob("part-*.npz")):
        with np.load(part, allow_pickle=False) as data:
            for smiles in data["smiles"].tolist():
                if sum(atom.GetAtomicNum() > 1 for atom in parse(smiles).GetAtoms()) == heavy:
                    out.append(smiles)
                if len(out) == count:
                    return out
    raise SystemExit(f"{name} holds {len(out)} molecules of {heavy} heavy atoms, not {count}")


def _one_by_one(jobs: Sequence[Job]) -> Callable[[], None]:
    """Return what computes the jobs by the prototype beside the repository."""
    if not PROTOTYPES.is_dir():
        raise SystemExit(f"the prototype is not there: {PROTOTYPES}")
    os.environ["MOLCHORD_SIMULATORS"] = str(ROOT / "plugins" / "simulators" / "molchord_simulators")
    os.environ["AIMNET_WEIGHTS"] = str(weights.find().parent)
    sys.path.insert(0, str(PROTOTYPES))
    prototype: Any = importlib.import_module("aimnet2_sim")
    prototype.G._Molecule = prototype.G.Calculated  # its name since

    def run() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        for job in jobs:
            prototype.compute(job)
        torch.set_num_threads(before)

    return run
