"""What narrows the candidates of a search: a mass window and a sum formula."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from numbers import Real
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from molchord.errors import QueryError, SampleError

__all__ = ["Rows", "adjoined", "mass_window", "runs", "sought_formula"]

Rows: TypeAlias = "NDArray[np.int64] | range"
"""Ascending rows of a library."""

_RUN = 256


def mass_window(mass: float | None, ppm: float | None, da: float | None) -> tuple[float, float] | None:
    """Return the ends of a mass window in Da, both included; None where no window is given.

    Args:
        mass: Exact mass in Da.
        ppm: Half width in millionths of `mass`.
        da: Half width in Da.

    Raises:
        QueryError: A mass without a width, a width without a mass, two widths, or a number that makes no sense.

    Example:
        >>> mass_window(100.0, 10.0, None)
        (99.999, 100.001)
    """
    if mass is None and ppm is None and da is None:
        return None
    for name, value in (("mass", mass), ("ppm", ppm), ("da", da)):
        least = 0.0 if name != "mass" else math.ulp(0.0)
        if value is not None and not (isinstance(value, Real) and math.isfinite(value) and value >= least):
            raise QueryError(f"search failed: `{name}` is {value!r}, but must be a positive number")
    if mass is None or (ppm is None) == (da is None):
        raise QueryError(
            f"search failed: a mass filter needs `mass` and one of `ppm` and `da`, got mass={mass!r}, ppm={ppm!r}, "
            f"da={da!r}"
        )
    half = da if da is not None else mass * (ppm or 0.0) * 1e-6
    return mass - half, mass + half


def sought_formula(formula: str) -> str:
    """Return the formula that a search asks for in Hill order, with its charge sign after it as RDKit writes it.

    Raises:
        QueryError: The formula cannot be read.

    Example:
        >>> sought_formula("OH6C2"), sought_formula("H4N+"), sought_formula("C1H4")
        ('C2H6O', 'H4N+', 'CH4')
    """
    from molchord.chem import hill  # RDKit, which a search without a formula does without

    try:
        return hill(formula)
    except SampleError as error:
        raise QueryError(f"search failed: {error.reason}") from None


def runs(rows: Rows) -> list[Rows]:
    """Split rows into ranges, which are read without copying, where these are long on average; else keep them.

    Example:
        >>> runs(np.array([3, 5, 6]))
        [array([3, 5, 6])]
        >>> runs(np.delete(np.arange(1000), 400))
        [range(0, 400), range(401, 1000)]
    """
    if len(rows) == 0:
        return []
    if isinstance(rows, range):
        return [rows]
    ends = np.flatnonzero(np.diff(rows) > 1)
    if len(rows) < _RUN * (len(ends) + 1):
        return [rows]
    starts, stops = [0, *(ends + 1).tolist()], [*ends.tolist(), len(rows) - 1]
    return [range(int(rows[a]), int(rows[b]) + 1) for a, b in zip(starts, stops, strict=True)]


def adjoined(parts: Iterable[Rows]) -> Iterator[Rows]:
    """Yield the runs of rows, adjacent ones as one.

    Example:
        >>> list(adjoined([range(0, 3), range(3, 5), range(7, 9)]))
        [range(0, 5), range(7, 9)]
    """
    last: range | None = None
    for part in (run for rows in parts for run in runs(rows)):
        if isinstance(part, range) and last is not None and last.stop == part.start:
            last = range(last.start, part.stop)
            continue
        if last is not None:
            yield last
        last = part if isinstance(part, range) else None
        if last is None:
            yield part
    if last is not None:
        yield last
