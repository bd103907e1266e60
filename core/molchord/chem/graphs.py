"""Atoms and bonds: hydrogens, parts, connectivity, numbers of the elements."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from molchord.chem.parsing import Mol

__all__ = ["bare_match", "covalent_radius", "isotope_mass", "pieces", "with_hydrogens"]


def with_hydrogens(mol: Mol) -> Mol:
    """Return a molecule with its hydrogens as atoms, after all others.

    Example:
        >>> from molchord.chem import parse
        >>> with_hydrogens(parse("C")).GetNumAtoms()
        5
    """
    return Chem.AddHs(mol)


def pieces(mol: Mol, cut: int | None = None) -> tuple[tuple[int, ...], ...]:
    """Return the atoms of each connected part, ascending.

    Args:
        mol: A molecule or salt.
        cut: Index of a bond that is taken as broken.

    Example:
        >>> from molchord.chem import parse
        >>> pieces(parse("[Na+].CC(=O)[O-]")), pieces(parse("CCO"), cut=1)
        (((0,), (1, 2, 3, 4)), ((0, 1), (2,)))
    """
    whole = mol if cut is None else Chem.FragmentOnBonds(mol, [cut], addDummies=False)
    return tuple(tuple(part) for part in Chem.GetMolFrags(whole))


def bare_match(
    elements: NDArray[np.integer[Any]],
    bonds: NDArray[np.integer[Any]],
    other_elements: NDArray[np.integer[Any]],
    other_bonds: NDArray[np.integer[Any]],
) -> NDArray[np.int64] | None:
    """Find which atom of one graph each atom of another is, by elements and connectivity alone; None: they differ.

    Orders and charges are not compared, as another Kekulé form may draw them otherwise.

    Shape:
        Atomic numbers (n,) and bonds (e, 2) of either give (n,), the place in the first of each atom of the second.

    Example:
        >>> bare_match(np.array([8, 6]), np.array([[0, 1]]), np.array([6, 8]), np.array([[0, 1]])).tolist()
        [1, 0]
    """
    match = _bare(elements, bonds).GetSubstructMatch(_bare(other_elements, other_bonds))
    return np.array(match, dtype=np.int64) if len(match) == len(elements) == len(other_elements) else None


def _bare(elements: NDArray[np.integer[Any]], bonds: NDArray[np.integer[Any]]) -> Mol:
    graph = Chem.RWMol()
    for element in elements.tolist():
        atom = Chem.Atom(element)
        atom.SetNoImplicit(True)
        graph.AddAtom(atom)
    for first, second in bonds.tolist():
        graph.AddBond(first, second, Chem.BondType.SINGLE)
    return graph.GetMol()


def isotope_mass(element: int) -> float:
    """Return the mass in Da of the commonest isotope of an atomic number.

    Example:
        >>> isotope_mass(6)
        12.0
    """
    return float(Chem.GetPeriodicTable().GetMostCommonIsotopeMass(element))


def covalent_radius(element: int) -> float:
    """Return the covalent radius in angstrom of an atomic number.

    Example:
        >>> covalent_radius(6)
        0.76
    """
    return float(Chem.GetPeriodicTable().GetRcovalent(element))
