"""Formulas that a fragment ion of a molecule may have, by its m/z."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from molchord.chem.adducts import ELECTRON, added_atoms
from molchord.chem.formulas import element_counts, hill

__all__ = ["FragmentFormula", "fragment_formulas"]

_MOST = 2_000_000
"""Formulas of heavy atoms that are looked through; a larger molecule's fragments are not named."""

_VALENCE_MINUS_TWO = {"H": -1, "F": -1, "Cl": -1, "Br": -1, "I": -1, "Na": -1, "K": -1, "Li": -1}
_VALENCE_MINUS_TWO |= {"C": 2, "Si": 2, "N": 1, "P": 1, "B": 1}
"""What an atom adds to twice the number of rings and double bonds; 0 for all others."""


@dataclass(frozen=True, kw_only=True)
class FragmentFormula:
    """A formula for the m/z of a fragment.

    Attributes:
        formula: Hill formula of the ion, without its charge.
        charge: 1 or -1.
        mz: What its m/z would be.
        ppm: How far the m/z found is above that, in millionths.
    """

    formula: str
    charge: int
    mz: float
    ppm: float

    def __str__(self) -> str:
        return f"{self.formula}{'+' if self.charge > 0 else '-'} ({self.ppm:+.1f} ppm)"


def fragment_formulas(mz: float, formula: str, adduct: str = "[M+H]+", ppm: float = 10.0) -> list[FragmentFormula]:
    """Return the formulas within a molecule's that a singly charged fragment of this m/z may have, the nearest first.

    A fragment has no atom that the ion lacks, which is the molecule with what its adduct adds, and no more hydrogens
    than its valences take. Masses are those of the commonest isotopes, less (or more) that of the electron.

    Args:
        mz: As measured.
        formula: Of the molecule.
        adduct: Of the ion that was fragmented; its last sign is that of the charge.
        ppm: How far off a formula may be, in millionths.

    Raises:
        SampleError: The formula cannot be read.

    Example:
        >>> [str(found) for found in fragment_formulas(105.0335, "C8H8O2")]
        ['C7H5O+ (+0.1 ppm)']
    """
    charge = -1 if adduct.rstrip(".* ").endswith("-") else 1
    most = Counter(element_counts(formula)) + added_atoms(adduct)
    elements, counts, heavy = _heavy(tuple(sorted(most.items())))
    neutral, reach = mz + charge * ELECTRON, ppm * 1e-6 * mz
    hydrogen = _masses()["H"]
    hydrogens = np.rint((neutral - heavy) / hydrogen)
    error = neutral - heavy - hydrogens * hydrogen
    two = np.array([_VALENCE_MINUS_TWO.get(element, 0) for element in elements], dtype=np.int64)
    unsaturation = 2 + counts @ two - hydrogens
    # An ion of even electrons has half a double bond less than a molecule.
    fits = (np.abs(error) <= reach) & (hydrogens >= 0) & (hydrogens <= most.get("H", 0)) & (unsaturation >= -1)
    found = []
    for row in np.flatnonzero(fits):
        atoms = dict(zip(elements, counts[row].tolist(), strict=True)) | {"H": int(hydrogens[row])}
        text = "".join(f"{element}{count}" for element, count in atoms.items() if count)
        if text:
            own = float(mz - error[row])
            found.append(FragmentFormula(formula=hill(text), charge=charge, mz=own, ppm=float(1e6 * (mz - own) / own)))
    return sorted(found, key=lambda one: (abs(one.ppm), one.formula))


@lru_cache(maxsize=16)
def _heavy(most: tuple[tuple[str, int], ...]) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.float64]]:
    """Return the elements but hydrogen, every choice of so many atoms of each or fewer, and the masses of these."""
    elements = tuple(element for element, _ in most if element != "H")
    sizes = [count + 1 for element, count in most if element != "H"]
    if np.prod(sizes, dtype=np.float64) > _MOST:
        sizes = [1] * len(sizes)
    counts = np.indices(sizes).reshape(len(sizes), -1).T.astype(np.int64)
    return elements, counts, counts @ np.array([_masses()[element] for element in elements])


@lru_cache(maxsize=1)
def _masses() -> dict[str, float]:
    from rdkit.Chem import GetPeriodicTable

    table = GetPeriodicTable()
    found = {table.GetElementSymbol(number): table.GetMostCommonIsotopeMass(number) for number in range(1, 119)}
    return found | {"D": 2.01410177812, "T": 3.0160492779}
