"""Energies, relaxed geometries and Hessians of many molecules at once, in atomic units (Bohr, Hartree)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from molchord_simulators.aimnet2.hessian import derivatives
from molchord_simulators.aimnet2.network import Network
from molchord_simulators.aimnet2.valence import valence_hessian
from molchord_simulators.gfn2 import BOHR, Descent, Failed

__all__ = ["HARTREE", "Curvature", "Start", "curvatures", "relax"]

HARTREE = 27.211386245988
"""eV."""

CONVERGED = 6e-5  # Hartree/Bohr; at 1.5e-4 every fifth wavenumber is off by more than 0.5 cm^-1
ROUGH = 4e-4  # Hartree/Bohr, to where one member leads
SOFTEST = 0.005  # Hartree/Bohr^2
ROWS = 320  # atoms in a batch of a relaxation on a processor
_NUMBERS = 400_000  # derivatives of atoms by coordinates in a batch on a GPU, which fill some gigabytes
_LEVER = 0.8  # Bohr; what a coordinate must tell of a rigid motion so that its derivatives follow from the others

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Start:
    """A molecule: atomic numbers (n,), positions (n, 3) in Bohr, bonds (k, 2), charge in e."""

    z: NDArray[np.int64]
    positions: Array
    bonds: NDArray[np.int64]
    charge: float


@dataclass(frozen=True)
class Curvature:
    """Energy, gradient (3n,), Hessian (3n, 3n), the charges (n,) and their dipole moment's gradient (3, 3n)."""

    energy: float
    gradient: Array
    hessian: Array
    charges: Array
    dipole: Array


def relax(network: Network, starts: Sequence[Start]) -> list[Array | Failed]:
    """Return the nearest minimum (n, 3) of each molecule, or why there is none.

    The first member leads to near it, all of them to it.
    """
    out: list[Array | Failed] = [Failed("not relaxed")] * len(starts)
    order = sorted(range(len(starts)), key=lambda i: len(starts[i].z))
    for batch in _batches(order, starts, network):
        descents = {
            i: Descent(
                starts[i].z,
                starts[i].positions,
                valence_hessian(starts[i].z, starts[i].positions, starts[i].bonds),
                SOFTEST,
            )
            for i in batch
        }
        stages = [(network, CONVERGED)]
        if network.members > 1:
            stages.insert(0, (network.only(0), ROUGH))
        for surface, converged in stages:
            for descent in descents.values():
                descent.go_on(converged)
            for i, failure in _descend(surface, starts, descents).items():
                out[i] = failure
                del descents[i]
        out = [descents[i].trial if i in descents else found for i, found in enumerate(out)]
    return out


def _batches(order: Sequence[int], starts: Sequence[Start], network: Network) -> list[list[int]]:
    """Return the molecules in groups of like size."""
    rows = ROWS if network.device.type == "cpu" else 64 * ROWS
    out: list[list[int]] = []
    for i in order:
        if not out or (len(out[-1]) + 1) * len(starts[i].z) > rows:
            out.append([])
        out[-1].append(i)
    return out


def _descend(network: Network, starts: Sequence[Start], descents: dict[int, Descent]) -> dict[int, Failed]:
    """Lead all to their minimum; returns those that failed."""
    failures: dict[int, Failed] = {}
    while going := [i for i, descent in descents.items() if not descent.arrived and i not in failures]:
        energies, gradients = _gradients(network, [(starts[i], descents[i].trial) for i in going])
        for i, energy, gradient in zip(going, energies, gradients, strict=True):
            try:
                descents[i].take(energy, gradient)
            except Failed as failure:
                failures[i] = failure
    return failures


def _gradients(network: Network, molecules: Sequence[tuple[Start, Array]]) -> tuple[list[float], list[Array]]:
    longest = max(len(start.z) for start, _ in molecules)
    z = np.zeros((len(molecules), longest), dtype=np.int64)
    x = np.zeros((len(molecules), longest, 3))
    for row, (start, positions) in enumerate(molecules):
        z[row, : len(start.z)], x[row, : len(start.z)] = start.z, positions * BOHR
    charge = torch.tensor([start.charge for start, _ in molecules], dtype=network.dtype, device=network.device)
    leaf = torch.from_numpy(x).to(network.device, network.dtype).requires_grad_()
    energy = network(torch.from_numpy(z).to(network.device), leaf, charge).energy
    (gradient,) = torch.autograd.grad(energy.sum(), leaf)
    slopes = gradient.double().cpu().numpy() * (BOHR / HARTREE)
    return (
        (energy.detach().double().cpu().numpy() / HARTREE).tolist(),
        [slope[: len(start.z)].ravel() for slope, (start, _) in zip(slopes, molecules, strict=True)],
    )


def curvatures(network: Network, starts: Sequence[Start]) -> list[Curvature]:
    """Return the derivatives of each molecule where it is."""
    bases = [_rigid(start.positions) for start in starts]
    followed = [_followed(basis) for basis in bases]
    groups: dict[tuple[int, int], list[int]] = {}
    for i, start in enumerate(starts):
        groups.setdefault((len(start.z), len(followed[i])), []).append(i)
    found: dict[int, Curvature] = {}
    for members in groups.values():
        atoms, followed_each = len(starts[members[0]].z), len(followed[members[0]])
        size = 1 if network.device.type == "cpu" else max(1, _NUMBERS // (atoms * followed_each))
        for first in range(0, len(members), size):
            part = members[first : first + size]
            for i, one in zip(
                part, _some(network, [starts[i] for i in part], [followed[i] for i in part]), strict=True
            ):
                found[i] = one
    return [_completed(found[i], followed[i], bases[i], start) for i, start in enumerate(starts)]


def _some(network: Network, starts: Sequence[Start], columns: Sequence[NDArray[np.int64]]) -> list[Curvature]:
    """Return the derivatives by those coordinates."""
    z = torch.from_numpy(np.stack([start.z for start in starts])).to(network.device)
    x = torch.from_numpy(np.stack([start.positions * BOHR for start in starts])).to(network.device, network.dtype)
    charge = torch.tensor([start.charge for start in starts], dtype=network.dtype, device=network.device)
    d = derivatives(network, z, x, charge, torch.from_numpy(np.stack(columns)).to(network.device))
    energy, gradient, hessian, charges, dipole = (
        one.double().cpu().numpy() for one in (d.energy, d.gradient, d.hessian, d.charges, d.dipole)
    )
    unit = BOHR / HARTREE
    return [
        Curvature(float(energy[i]) / HARTREE, gradient[i] * unit, hessian[i] * (unit * BOHR), charges[i], dipole[i])
        for i in range(len(starts))
    ]


def _rigid(positions: Array) -> Array:
    """Return the translations and rotations (3n, 6) about the centre."""
    centred = _centred(positions)
    moves = [np.tile(axis, len(positions)) for axis in np.eye(3)]
    moves += [np.cross(axis, centred).ravel() for axis in np.eye(3)]
    return np.array(moves).T


def _centred(positions: Array) -> Array:
    return np.asarray(positions - positions.mean(axis=0))


def _followed(rigid: Array) -> NDArray[np.int64]:
    """Return the coordinates (k,) to follow: all but six, whose derivatives follow from rigid motions, or all.

    The six are those that rigid motions move most independently of one another (pivoted Gram-Schmidt).
    """
    rest, left = rigid.copy(), []
    for _ in range(6):
        size = np.linalg.norm(rest, axis=1)
        pivot = int(size.argmax())
        if size[pivot] < _LEVER:  # such as of linear molecules
            return np.arange(len(rigid))
        left.append(pivot)
        direction = rest[pivot] / size[pivot]
        rest = rest - np.outer(rest @ direction, direction)
    return np.setdiff1d(np.arange(len(rigid)), left)


def _completed(some: Curvature, followed: NDArray[np.int64], rigid: Array, start: Start) -> Curvature:
    """Return all derivatives, those by the other coordinates from what rigid motions must give.

    Energy and dipole turn with the molecule: H r = turned gradient and M r = charge or turned dipole, r a rigid motion.
    """
    size = len(rigid)
    if len(followed) == size:
        hessian, dipole = some.hessian, some.dipole
    else:
        centred = _centred(start.positions)
        left = np.setdiff1d(np.arange(size), followed)
        turned = np.zeros((size, 6))
        slope = some.gradient.reshape(-1, 3)
        moment = some.charges @ centred
        by_motion = np.zeros((3, 6))
        by_motion[:, :3] = some.charges.sum() * np.eye(3)
        for i, axis in enumerate(np.eye(3)):
            turned[:, 3 + i] = np.cross(axis, slope).ravel()
            by_motion[:, 3 + i] = np.cross(axis, moment)
        inverse = np.linalg.inv(rigid[left])
        hessian = np.zeros((size, size))
        hessian[np.ix_(followed, followed)] = some.hessian
        side = (turned[followed] - some.hessian @ rigid[followed]) @ inverse
        hessian[np.ix_(followed, left)], hessian[np.ix_(left, followed)] = side, side.T
        hessian[np.ix_(left, left)] = (turned[left] - side.T @ rigid[followed]) @ inverse
        dipole = np.zeros((3, size))
        dipole[:, followed] = some.dipole
        dipole[:, left] = (by_motion - some.dipole @ rigid[followed]) @ inverse
    return Curvature(some.energy, some.gradient, (hessian + hessian.T) / 2, some.charges, dipole)
