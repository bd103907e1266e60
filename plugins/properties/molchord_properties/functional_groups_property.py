"""Looks for functional groups in molecules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from molchord.api import Molecule
from molchord.chem import substructures

__all__ = ["FunctionalGroups"]


@final
class FunctionalGroups:
    """Patterns of atoms by name.

    Args:
        groups: SMARTS by name.

    Raises:
        SampleError: A pattern is no SMARTS.

    Example:
        >>> from molchord.chem import molecule
        >>> groups = FunctionalGroups({"nitrile": "[NX1]#[CX2]", "thiol": "[#16X2H]"})
        >>> groups.names, groups.of(molecule("CC#N"))
        (('nitrile', 'thiol'), [1.0, 0.0])
    """

    def __init__(self, groups: Mapping[str, str]) -> None:
        self._groups = dict(groups)
        substructures("C", list(self._groups.values()))  # patterns that cannot be read are refused at once

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the groups."""
        return tuple(self._groups)

    def of(self, molecule: Molecule) -> list[float]:
        """Return 1 for each group that a molecule has, 0 for the others.

        Raises:
            SampleError: The SMILES cannot be read.
        """
        return [float(has) for has in substructures(molecule.smiles, list(self._groups.values()), molecule.key14)]
