"""From RDKit's molecule to the arrays of a graph, and what positions must be like."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from molchord.api import SampleError
from molchord.chem import Mol
from molchord_modalities.structure_columns import ATOM_COLUMNS, BOND_COLUMNS

__all__ = ["check_positions", "described", "elements_only"]

_COINCIDENT = 1e-3  # angstrom; far below any distance of two nuclei


def elements_only(mol: Mol, id: str) -> Mol:
    """Refuse a molecule with an atom that is not an element, such as ``*``."""
    if any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
        raise SampleError(id, "the SMILES has an atom that is not an element")
    return mol


def described(molecule: Mol) -> dict[str, NDArray[Any]]:
    """Return elements, bonds and the codes of the columns."""
    atoms = [_codes(ATOM_COLUMNS, _atom_values(atom)) for atom in molecule.GetAtoms()]
    bonds = [_codes(BOND_COLUMNS, _bond_values(bond)) for bond in molecule.GetBonds()]
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    return {
        "elements": np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()], dtype=np.uint8),
        "atom": np.array(atoms, dtype=np.uint8).reshape(-1, len(ATOM_COLUMNS)),
        "bonds": np.array(ends, dtype=np.int32).reshape(-1, 2),
        "bond": np.array(bonds, dtype=np.uint8).reshape(-1, len(BOND_COLUMNS)),
    }


def _codes(columns: dict[str, Any], values: dict[str, str]) -> list[int]:
    return [column.code(values[name]) for name, column in columns.items()]


def _no_yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _atom_values(atom: Any) -> dict[str, str]:
    return {
        "degree": str(atom.GetDegree()),
        "hydrogens": str(atom.GetTotalNumHs(includeNeighbors=True)),
        "charge": str(atom.GetFormalCharge()),
        "radicals": str(atom.GetNumRadicalElectrons()),
        "aromatic": _no_yes(atom.GetIsAromatic()),
        "ring": _no_yes(atom.IsInRing()),
    } | {f"ring{size}": _no_yes(atom.IsInRingSize(size)) for size in (3, 4, 5, 6)}


def _bond_values(bond: Any) -> dict[str, str]:
    return {
        "order": bond.GetBondType().name.lower(),
        "ring": _no_yes(bond.IsInRing()),
        "conjugated": _no_yes(bond.GetIsConjugated()),
    }


def check_positions(conformers: NDArray[np.floating[Any]], id: str) -> None:
    """Refuse positions that no distance or angle can be computed of; (c, n, 3) in angstrom.

    Raises:
        SampleError: A position is not finite, or two atoms of a conformer coincide.
    """
    if not np.isfinite(conformers).all():
        raise SampleError(id, "positions are not all finite")
    for positions in conformers.astype(np.float64):
        arrows = positions[:, None] - positions[None]
        near = np.einsum("ijk,ijk->ij", arrows, arrows) < _COINCIDENT**2
        near[np.diag_indices(len(near))] = False
        if near.any():
            first, second = np.argwhere(near)[0].tolist()
            raise SampleError(id, f"atoms {first + 1} and {second + 1} coincide")
