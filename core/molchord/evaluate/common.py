"""Rows of different molecules do not compare: the same rows on the molecules that they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import final

import numpy as np
from numpy.typing import NDArray

from molchord.evaluate.results import Row
from molchord.retrieval.metrics import METRICS, Interval, bootstrap

__all__ = ["FEWEST_IN_COMMON", "Common", "in_common"]

FEWEST_IN_COMMON = 10
"""Molecules in common, below which rows are not compared."""


@final
@dataclass(frozen=True, kw_only=True)
class Common:
    """Rows on the same molecules.

    Attributes:
        molecules: How many.
        lines: The modalities of each row, with its metrics on these molecules by name.
    """

    molecules: int
    lines: tuple[tuple[tuple[str, ...], dict[str, Interval]], ...]


def in_common(rows: Sequence[Row], *, seed: int = 0) -> list[Common]:
    """Return rows on the molecules of all; where those are few, each row of several spectra with those of its parts.

    Empty where all rows are of the same molecules already, or none can be compared.

    Args:
        rows: Of one pool, one per set of spectra.
        seed: Of the bootstrap.
    """
    if len({frozenset(row.by_molecule[0].tolist()) for row in rows}) < 2:
        return []
    everyone = _shared(rows)
    if len(everyone) >= FEWEST_IN_COMMON:
        return [_on(rows, everyone, seed)]
    found = []
    for whole in rows:
        parts = [row for row in rows if set(row.subset) < set(whole.subset)]
        if parts and len(shared := _shared([whole, *parts])) >= FEWEST_IN_COMMON:
            found.append(_on([*parts, whole], shared, seed))
    return found


def _shared(rows: Sequence[Row]) -> NDArray[np.int64]:
    return reduce(np.intersect1d, [row.by_molecule[0] for row in rows])


def _on(rows: Sequence[Row], molecules: NDArray[np.int64], seed: int) -> Common:
    lines = []
    for row in rows:
        own, values = row.by_molecule
        metrics = dict(zip(METRICS, bootstrap(values[np.isin(own, molecules)], seed=seed), strict=True))
        lines.append((row.subset, metrics))
    return Common(molecules=len(molecules), lines=tuple(lines))
