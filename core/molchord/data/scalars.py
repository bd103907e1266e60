"""Numbers known of molecules that join towers (`scalar_features`): columns of a data set, and their masses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from molchord.api import Molecule
from molchord.chem import average_mass
from molchord.data.store import DataSet

__all__ = ["MASS", "WEIGHT", "scalar_table", "scalars_of_mass", "scalars_of_molecule"]

MASS = "exact_mass"
"""Monoisotopic mass in Da."""

WEIGHT = "molecular_weight"
"""Average mass in Da, "without isotopic considerations" (VibraCLIP, Rocabert-Oriols et al. 2025)."""

_WEIGHT_OF_MASS = 1.0006
"""Average by monoisotopic mass of organic molecules; chlorine and bromine raise it to 1.005 and more."""


def scalar_table(dataset: DataSet, names: Sequence[str]) -> NDArray[np.float32]:
    """Return the scalar features of every molecule, (molecules, features), NaN where unknown."""
    table = np.empty((len(dataset), len(names)), dtype=np.float32)
    for column, name in enumerate(names):
        derived = name == WEIGHT and name not in dataset.manifest.numeric
        table[:, column] = [average_mass(f) for f in dataset.formulas()] if derived else dataset.numeric(name)
    return table


def scalars_of_molecule(molecule: Molecule, names: Sequence[str]) -> list[float]:
    """Return the scalar features that follow from a molecule itself, NaN for the others.

    Example:
        >>> ethanol = Molecule(key14="LFQSCWFLJHTTHZ", smiles="CCO", formula="C2H6O", exact_mass=46.0419)
        >>> [round(number, 3) for number in scalars_of_molecule(ethanol, ["exact_mass", "molecular_weight"])]
        [46.042, 46.069]
    """
    known = {MASS: molecule.exact_mass} | ({WEIGHT: average_mass(molecule.formula)} if WEIGHT in names else {})
    return [known.get(name, np.nan) for name in names]


def scalars_of_mass(mass: float | None) -> dict[str, float]:
    """Return the scalar features of an unknown of which the exact mass is known; its weight is estimated.

    Example:
        >>> scalars_of_mass(None), round(scalars_of_mass(46.0419)["molecular_weight"], 2)
        ({}, 46.07)
    """
    return {} if mass is None else {MASS: mass, WEIGHT: mass * _WEIGHT_OF_MASS}
