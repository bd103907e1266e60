"""Which elements are counted."""

from __future__ import annotations

__all__ = ["ELEMENTS"]

ELEMENTS = (
    *("H", "B", "C", "N", "O", "F", "Na", "Mg", "Al", "Si", "P", "S"),
    *("Cl", "K", "Fe", "Co", "Cu", "Zn", "As", "Se", "Br", "Sn", "I", "Hg"),
)
"""Elements whose atoms are counted, in the order of the vector; a molecule with another one has no composition."""
