"""Geometries and harmonic spectra of many molecules at once: AIMNet2, with Raman activities from GFN2-xTB's fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from molchord_simulators import gfn2
from molchord_simulators.aimnet2.network import Network
from molchord_simulators.aimnet2.surface import Curvature, Start, curvatures, relax
from molchord_simulators.gfn2 import BOHR, Failed

__all__ = ["LOWEST", "SADDLE", "Spectrum", "compute"]

SADDLE = (
    -60.0
)  # cm^-1; a lower mode is pushed off, since soft torsions of a learned surface may stay slightly imaginary
LOWEST = -100.0  # cm^-1, that a molecule may keep
PUSHES, PUSH = 3, 0.3  # Bohr, of the atom that moves most

Spectrum: TypeAlias = dict[str, NDArray[Any]]


def compute(network: Network, jobs: Sequence[Mapping[str, NDArray[Any]]]) -> list[Spectrum | Failed]:
    """Relax molecules and compute their spectra; what fails takes its place.

    Args:
        network: The networks.
        jobs: As in `gfn2.compute`, of elements that the networks know.

    Shape:
        As in `gfn2.compute`, and ``energy`` () in Hartree, without the atoms' own.

    Raises:
        ImportError: tblite is not installed.
    """
    out: list[Spectrum | Failed] = [Failed("not computed")] * len(jobs)
    starts: dict[int, Start] = {}
    for i, job in enumerate(jobs):
        if len(job["z"]) < 2:
            out[i] = Failed("a single atom has no vibration")
        else:
            starts[i] = _start(job)
    for attempt in range(PUSHES + 1):
        found: dict[int, Start] = {}
        for i, geometry in zip(starts, relax(network, [*starts.values()]), strict=True):
            if isinstance(geometry, Failed):
                out[i] = geometry
            elif gfn2.rearranged(starts[i].z, geometry, _bonded(starts[i])):
                out[i] = Failed("bonds changed during the relaxation")
            else:
                found[i] = replace(starts[i], positions=geometry)
        starts = {}
        for (i, start), curvature in zip(found.items(), curvatures(network, [*found.values()]), strict=True):
            wavenumber, modes = gfn2.normal_modes(curvature.hessian, _masses(start.z), start.positions)
            if wavenumber[0] < SADDLE and attempt < PUSHES:
                starts[i] = _pushed(start, modes[:, 0])
            elif wavenumber[0] < LOWEST:
                out[i] = Failed(f"imaginary mode at {wavenumber[0]:.0f} cm^-1")
            else:
                out[i] = _spectrum(start, curvature, wavenumber, modes)
        if not starts:
            break
    return out


def _spectrum(
    start: Start, curvature: Curvature, wavenumber: NDArray[np.float64], modes: NDArray[np.float64]
) -> Spectrum | Failed:
    try:
        _, polarizability = gfn2.Calculated(start.z, int(start.charge)).field_derivatives(start.positions)
    except Failed as failure:
        return failure
    spectra = {
        "freq": wavenumber,
        "ir": gfn2.infrared(curvature.dipole @ modes),
        "raman": gfn2.raman(polarizability @ modes),
    }
    if not all(np.isfinite(values).all() for values in spectra.values()):
        return Failed("the spectrum is not finite")
    return {
        "z": start.z.astype(np.uint8),
        "pos": (start.positions * BOHR).astype(np.float32),
        **{name: values.astype(np.float32) for name, values in spectra.items()},
        "kind": gfn2.kinds(start.z, start.positions, _bonded(start), modes),
        "constants": gfn2.rotational_constants(start.z, start.positions * BOHR).astype(np.float32),
        "energy": np.array(curvature.energy),
    }


def _pushed(start: Start, mode: NDArray[np.float64]) -> Start:
    move = mode.reshape(-1, 3)
    return replace(start, positions=start.positions + PUSH * move / np.abs(move).max())


def _masses(z: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array(gfn2.MASSES)[z - 1]


def _start(job: Mapping[str, NDArray[Any]]) -> Start:
    bonds = np.asarray(job["bonds"], dtype=np.int64).reshape(-1, 2)
    positions = np.asarray(job["pos"], dtype=np.float64) / BOHR
    return Start(np.asarray(job["z"], dtype=np.int64), positions, bonds, float(job["charge"]))


def _bonded(start: Start) -> NDArray[np.bool_]:
    bonded = np.zeros((len(start.z), len(start.z)), dtype=bool)
    first, second = start.bonds.T
    bonded[first, second] = bonded[second, first] = True
    return bonded
