"""Geometries and harmonic spectra of a batch of molecules: AIMNet2, with Raman activities from GFN2-xTB's fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from molchord_simulators import gfn2
from molchord_simulators.aimnet2.network import Network
from molchord_simulators.aimnet2.surface import Curvature, Start, curvatures, relax
from molchord_simulators.gfn2 import BOHR, Failed

__all__ = ["compute"]

SADDLE = -60.0  # cm^-1; below is pushed off, soft torsions of a learned surface may stay slightly imaginary
LOWEST = -100.0  # cm^-1, that a molecule may keep
PUSHES, PUSH = 3, 0.3  # Bohr, of the atom that moves most

Spectrum = dict[str, NDArray[Any]]


def compute(network: Network, jobs: Sequence[Mapping[str, NDArray[Any]]], *, raman: bool = True) -> list[Spectrum | Failed]:
    """Relax molecules and compute their spectra, as `gfn2.compute` does one; what fails takes its place."""
    out: list[Spectrum | Failed] = [Failed("not computed")] * len(jobs)
    starts = {i: _start(job) for i, job in enumerate(jobs)}
    for attempt in range(PUSHES + 1):
        geometries = dict(zip(starts, relax(network, list(starts.values())), strict=True))
        found: dict[int, Start] = {}
        for i, geometry in geometries.items():
            if isinstance(geometry, Failed):
                out[i] = geometry
            elif gfn2.rearranged(starts[i].z, geometry, _bonded(starts[i])):
                out[i] = Failed("bonds changed during the relaxation")
            else:
                found[i] = replace(starts[i], positions=geometry)
        starts = {}
        for (i, start), curvature in zip(found.items(), curvatures(network, list(found.values())), strict=True):
            wavenumber, modes = gfn2.normal_modes(curvature.hessian, _masses(start), start.positions)
            if wavenumber[0] < SADDLE and attempt < PUSHES:
                starts[i] = _pushed(start, modes[:, 0])
            elif wavenumber[0] < LOWEST:
                out[i] = Failed(f"imaginary mode at {wavenumber[0]:.0f} cm^-1")
            else:
                try:
                    out[i] = _spectrum(start, curvature, wavenumber, modes, raman)
                except Failed as failure:
                    out[i] = failure
        if not starts:
            break
    return out


def _spectrum(start: Start, curvature: Curvature, wavenumber: NDArray[np.float64], modes: NDArray[np.float64], raman: bool) -> Spectrum:
    spectra = {"freq": wavenumber, "ir": gfn2.infrared(curvature.dipole @ modes)}
    if raman:
        fields = gfn2.Calculated(start.z, int(start.charge)).field_derivatives(start.positions)
        spectra["raman"] = gfn2.raman(fields[1] @ modes)
    if not all(np.isfinite(values).all() for values in spectra.values()):
        raise Failed("the spectrum is not finite")
    return {"z": start.z.astype(np.uint8), "pos": (start.positions * BOHR).astype(np.float32), **{name: values.astype(np.float32) for name, values in spectra.items()}}


def _pushed(start: Start, mode: NDArray[np.float64]) -> Start:
    move = mode.reshape(-1, 3)
    return replace(start, positions=start.positions + PUSH * move / np.abs(move).max())


def _masses(start: Start) -> NDArray[np.float64]:
    return np.array(gfn2.MASSES)[start.z - 1]


def _start(job: Mapping[str, NDArray[Any]]) -> Start:
    bonds = np.asarray(job["bonds"], dtype=np.int64).reshape(-1, 2)
    positions = np.asarray(job["pos"], dtype=np.float64) / BOHR
    return Start(np.asarray(job["z"], dtype=np.int64), positions, bonds, float(job["charge"]))


def _bonded(start: Start) -> NDArray[np.bool_]:
    bonded = np.zeros((len(start.z), len(start.z)), dtype=bool)
    first, second = start.bonds.T
    bonded[first, second] = bonded[second, first] = True
    return bonded
