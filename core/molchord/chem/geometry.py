"""Conformers by ETKDGv3, and the seeds that make them the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from molchord.api import SampleError
from molchord.chem.graphs import pieces
from molchord.chem.parsing import Mol, one_error

__all__ = ["FORCE_FIELD_STEPS", "conformer_seed", "conformers"]

FORCE_FIELD_STEPS = 500
"""Most steps that a conformer is relaxed for."""

_FRAGMENT_GAP = 10.0  # angstrom; how the parts of a salt are placed is unknown, so they stay out of each other's cutoff


def conformer_seed(purpose: str, key14: str, index: int | None = None) -> int:
    """Return the random seed of a molecule's conformer, the same on every machine.

    Args:
        purpose: What it is for; two purposes have different conformers.
        key14: The molecule's.
        index: Which of several.

    Example:
        >>> conformer_seed("conf", "VNWKTOKETHGBQD", 0), conformer_seed("simulate", "XLYOFNOQVPJJNP")
        (615689087, 801843468)
    """
    text = f"{purpose}:{key14}" if index is None else f"{purpose}:{key14}:{index}"
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) >> 1


def conformers(
    mol: Mol,
    seeds: Sequence[int],
    id: str,
    *,
    relax: Literal["mmff", "mmff_or_uff"] | None = None,
    attempts: int = 100,
) -> NDArray[np.float64]:
    """Make one conformer for each seed by ETKDGv3 (Wang et al., J. Chem. Inf. Model. 60, 2044, 2020).

    One that is not found from distances is tried again from random coordinates. Parts of a salt are put side by side.

    Args:
        mol: With all hydrogens as atoms.
        seeds: One per conformer; see `conformer_seed`.
        id: What an error names, such as the key14.
        relax: Force field that relaxes each conformer: MMFF94, which must have parameters; or UFF where it has none, or
            none where that has none either.
        attempts: A bound in attempts, not seconds, so that a slow machine gets the same conformers; 0: RDKit's own.

    Shape:
        (c, n, 3) in angstrom for c seeds and n atoms.

    Raises:
        SampleError: There is no conformer, or no parameter of MMFF94 where that is asked for.

    Example:
        >>> from molchord.chem import parse, with_hydrogens
        >>> conformers(with_hydrogens(parse("C")), [7], "methane").shape
        (1, 5, 3)
    """
    found = np.empty((len(seeds), mol.GetNumAtoms(), 3))
    with one_error(id, "RDKit makes no conformer"):
        for i, seed in enumerate(seeds):
            found[i] = _conformer(Chem.Mol(mol), seed, id, relax, attempts)
    return found


def _conformer(mol: Mol, seed: int, id: str, relax: str | None, attempts: int) -> NDArray[np.float64]:
    parameters: Any = rdDistGeom.ETKDGv3()
    parameters.randomSeed = seed
    parameters.maxIterations = attempts
    failed = rdDistGeom.EmbedMolecule(mol, parameters) != 0
    if failed:
        parameters.useRandomCoords = True
        failed = rdDistGeom.EmbedMolecule(mol, parameters) != 0
    if failed:
        raise SampleError(id, f"ETKDGv3 finds no conformer from seed {seed}; leave the molecule out")
    _set_apart(mol)
    if relax == "mmff" and rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=FORCE_FIELD_STEPS) == -1:
        raise SampleError(id, "MMFF94 has no parameters for this molecule; take its conformers as they are")
    if relax == "mmff_or_uff":
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=FORCE_FIELD_STEPS)
        elif rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
            rdForceFieldHelpers.UFFOptimizeMolecule(mol, maxIters=FORCE_FIELD_STEPS)
    positions: NDArray[np.float64] = mol.GetConformer().GetPositions()
    return positions


def _set_apart(mol: Mol) -> None:
    """Set the parts of a salt side by side along x: RDKit embeds each at the origin, so that they overlap."""
    parts = pieces(mol)
    if len(parts) == 1:
        return
    conformer = mol.GetConformer()
    positions = conformer.GetPositions()
    edge = 0.0
    for part in map(list, parts):
        positions[part, 0] += edge - positions[part, 0].min()
        edge = positions[part, 0].max() + _FRAGMENT_GAP
    conformer.SetPositions(positions)
