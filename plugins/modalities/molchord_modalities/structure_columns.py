"""The columns of a molecular graph: what an encoder gets of each atom and bond. Nothing heavy."""

from __future__ import annotations

from molchord.api import Category

__all__ = ["ATOM_COLUMNS", "BOND_COLUMNS", "ENVIRONMENTS", "environment_columns"]

_NO_YES = Category(("no", "yes"))

ATOM_COLUMNS: dict[str, Category] = {
    "degree": Category(("0", "1", "2", "3", "4", "5", "6")),
    "hydrogens": Category(("0", "1", "2", "3", "4")),
    "charge": Category(("-2", "-1", "0", "1", "2")),
    "radicals": Category(("0", "1", "2")),
    "aromatic": _NO_YES,
    "ring": _NO_YES,
    "ring3": _NO_YES,
    "ring4": _NO_YES,
    "ring5": _NO_YES,
    "ring6": _NO_YES,
}
"""Atom columns: neighbours, hydrogens on it, formal charge in e, radical electrons, aromaticity, ring membership."""

BOND_COLUMNS: dict[str, Category] = {
    "order": Category(("single", "double", "triple", "aromatic")),
    "ring": _NO_YES,
    "conjugated": _NO_YES,
}
"""Bond columns; an order that is not listed (dative, quadruple) has code 0."""

ENVIRONMENTS = 4096
"""Numbers that the Morgan environments of one radius are folded into."""


def environment_columns(radius: int) -> dict[str, Category]:
    """Return a column for the Morgan environment of each radius from 1 to this one.

    Example:
        >>> list(environment_columns(2))
        ['environment1', 'environment2']
    """
    folded = Category(tuple(map(str, range(ENVIRONMENTS))))
    return {f"environment{r}": folded for r in range(1, radius + 1)}
