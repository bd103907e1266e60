"""Which pairs of a graph's modalities a loss contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeAlias

__all__ = ["Pair", "in_graph_order", "with_centre"]

Pair: TypeAlias = tuple[str, str]
"""Names of two modalities, in the order of the graph."""


def in_graph_order(pairs: Sequence[Pair], modalities: tuple[str, ...]) -> tuple[Pair, ...]:
    """Return pairs with the names of each in the order of the graph.

    Raises:
        ValueError: A pair does not name a modality of the graph.

    Example:
        >>> in_graph_order([("ir", "structure")], ("structure", "ir"))
        (('structure', 'ir'),)
    """
    for name in (name for pair in pairs for name in pair):
        _require_modality(name, modalities)
    first_second = [sorted(pair, key=modalities.index) for pair in pairs]
    return tuple((first, second) for first, second in first_second)


def with_centre(centre: str, modalities: tuple[str, ...]) -> tuple[Pair, ...]:
    """Return the pairs of one modality with each other one.

    Raises:
        ValueError: The graph has no such modality.

    Example:
        >>> with_centre("structure", ("structure", "ir", "raman"))
        (('structure', 'ir'), ('structure', 'raman'))
    """
    _require_modality(centre, modalities)
    return tuple(pair for pair in combinations(modalities, 2) if centre in pair)


def _require_modality(name: str, modalities: tuple[str, ...]) -> None:
    if name not in modalities:
        raise ValueError(f"loss got modality {name!r}; the graph has {list(modalities)}, name one of them")
