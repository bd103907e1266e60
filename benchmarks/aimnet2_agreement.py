"""How the simulator `aimnet2` agrees with the prototype's spectra of `nist-aimnet2.npz`, at their geometries.

Usage: python -m benchmarks.aimnet2_agreement [NUMBER]

Writes ``benchmarks/results/aimnet2-agreement.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.accuracy.__main__ import write
from benchmarks.accuracy.sources import DATA, ROOT
from molchord_simulators import gfn2
from molchord_simulators.aimnet2 import surface, weights
from molchord_simulators.aimnet2.network import Network
from molchord_simulators.gfn2 import BOHR

RESULT = ROOT / "benchmarks" / "results" / "aimnet2-agreement.json"
LOW = 100  # cm^-1


def main(arguments: Sequence[str]) -> int:
    """Compare wavenumbers above 100 cm^-1, and the sums of the intensities of a molecule."""
    torch.set_num_threads(1)
    network = Network(weights.read(weights.find()), torch.float32, torch.device("cpu"))
    with np.load(DATA / "nist-aimnet2.npz", allow_pickle=False) as data:
        stored = {name: data[name] for name in data.files}
    count = min(int(arguments[0]) if arguments else len(stored["id"]), len(stored["id"]))
    shifts, intensities = [], []
    for i in tqdm(range(count), disable=None):
        found, modes = _spectrum(network, stored, i), slice(*stored["modes"][i : i + 2])
        high = stored["freq"][modes] > LOW
        shifts.append(np.abs(found["freq"] - stored["freq"][modes])[high])
        intensities.append([abs(found[name].sum() / stored[name][modes].sum() - 1) for name in ("ir", "raman")])
    shift, intensity = np.concatenate(shifts), np.array(intensities)
    result = {
        "molecules": count,
        "modes": len(shift),
        "wavenumber, cm^-1": _quantiles(shift),
        "share of modes within 0.5 cm^-1": round(float((shift < 0.5).mean()), 4),
        "sum of IR intensities, part": _quantiles(intensity[:, 0]),
        "sum of Raman activities, part": _quantiles(intensity[:, 1]),
    }
    print(result)
    write(RESULT, result)
    return 0


def _spectrum(network: Network, stored: Mapping[str, NDArray[Any]], i: int) -> dict[str, NDArray[Any]]:
    atoms = slice(*stored["atoms"][i : i + 2])
    z, positions = stored["z"][atoms].astype(np.int64), stored["pos"][atoms].astype(float) / BOHR
    start = surface.Start(z, positions, np.zeros((0, 2), dtype=np.int64), 0.0)
    (found,) = surface.curvatures(network, [start])
    freq, modes = gfn2.normal_modes(found.hessian, np.array(gfn2.MASSES)[z - 1], positions)
    _, polarizability = gfn2.Calculated(z, 0).field_derivatives(positions)
    return {"freq": freq, "ir": gfn2.infrared(found.dipole @ modes), "raman": gfn2.raman(polarizability @ modes)}


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    names = {"median": 0.5, "95 %": 0.95, "99 %": 0.99, "largest": 1.0}
    return {name: round(float(np.quantile(values, part)), 5) for name, part in names.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
