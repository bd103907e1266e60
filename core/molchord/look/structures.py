"""Structures as drawings, all of a list at one scale."""

from __future__ import annotations

from collections.abc import Sequence

from molchord.chem.depictions import depictions

__all__ = ["structure_svgs"]


def structure_svgs(smiles: Sequence[str], width: float = 200.0, height: float = 140.0) -> list[str]:
    """Draw molecules as SVG text in the page's colours, one bond length for all; empty where one cannot be drawn.

    Args:
        smiles: The molecules.
        width: Pixels at most.
        height: Pixels at most.
    """
    return depictions(smiles, width, height)
