"""What narrows the candidates of a search: a mass window, a sum formula, the elements allowed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from molchord.errors import QueryError, SampleError

__all__ = ["PPM", "Rows", "adjoined", "allowed_elements", "made_of", "mass_window", "runs", "sought_formula"]

Rows: TypeAlias = "NDArray[np.int64] | range"
"""Ascending rows of a library."""

PPM = 10.0
"""Half width of a mass window where none is given."""

_RUN = 256


def mass_window(mass: float | None, ppm: float | None, da: float | None) -> tuple[float, float] | None:
    """Return the ends of a mass window in Da, both included; None where no window is given.

    Args:
        mass: Exact mass in Da.
        ppm: Half width in millionths of `mass`.
        da: Half width in Da.

    A mass alone means 10 ppm, what a calibrated instrument holds.

    Raises:
        QueryError: A width without a mass, two widths, or a number that makes no sense.

    Example:
        >>> mass_window(100.0, 20.0, None), mass_window(100.0, None, None)
        ((99.998, 100.002), (99.999, 100.001))
    """
    if mass is None and ppm is None and da is None:
        return None
    for name, value in (("mass", mass), ("ppm", ppm), ("da", da)):
        least = 0.0 if name != "mass" else math.ulp(0.0)
        if value is not None and not (isinstance(value, Real) and math.isfinite(value) and value >= least):
            raise QueryError(f"search failed: `{name}` is {value!r}, but must be a positive number")
    if mass is None or (ppm is not None and da is not None):
        raise QueryError(
            f"search failed: a mass filter needs `mass`, and at most one of `ppm` and `da`, got mass={mass!r}, "
            f"ppm={ppm!r}, da={da!r}"
        )
    half = da if da is not None else mass * (PPM if ppm is None else ppm) * 1e-6
    return mass - half, mass + half


def sought_formula(formula: str) -> str:
    """Return the formula that a search asks for in Hill order, with its charge sign after it as RDKit writes it.

    Spaces, subscripts and small letters are read as people mean them, where they can mean one thing only.

    Raises:
        QueryError: The formula cannot be read.

    Example:
        >>> sought_formula("OH6C2"), sought_formula("H4N+"), sought_formula("C2H4 Br2"), sought_formula("c2h4br2")
        ('C2H6O', 'H4N+', 'C2H4Br2', 'C2H4Br2')
    """
    # RDKit, which a search without a formula does without
    from molchord.chem import hill
    from molchord.chem.formulas import capitalised

    try:
        return hill(capitalised("".join(formula.translate(_PLAIN).split())))
    except SampleError as error:
        raise QueryError(f"search failed: {error.reason}") from None


_PLAIN = {0x2080 + digit: str(digit) for digit in range(10)} | {0x207A: "+", 0x207B: "-", 0x2212: "-"}
"""Subscript digits, superscript signs and the minus sign."""


def allowed_elements(elements: str | Iterable[str]) -> frozenset[str]:
    """Return the elements that a search allows.

    Args:
        elements: Their symbols, as a list or as text such as ``C,H,N,O``.

    Raises:
        QueryError: There is none, or one is not an element.

    Example:
        >>> sorted(allowed_elements("C, H O"))
        ['C', 'H', 'O']
    """
    from molchord.chem import element_counts

    symbols = elements.replace(",", " ").split() if isinstance(elements, str) else list(elements)
    if not symbols:
        raise QueryError("search failed: no element is allowed; name them such as C,H,N,O")
    for symbol in symbols:
        try:
            single = list(element_counts(symbol)) == [symbol]
        except SampleError:
            single = False
        if not single:
            raise QueryError(
                f"search failed: {symbol!r} among the elements allowed is not an element; write them such as C,H,N,O"
            )
    return frozenset(symbols)


def made_of(formulas: Sequence[str] | NDArray[Any], elements: frozenset[str]) -> NDArray[np.bool_]:
    """Return which formulas hold these elements only.

    Example:
        >>> made_of(["C2H6O", "CH3Br"], frozenset("CHO")).tolist()
        [True, False]
    """
    from molchord.chem import element_counts

    distinct, places = np.unique(np.asarray(formulas, dtype=object).astype(str), return_inverse=True)
    return np.array([element_counts(one).keys() <= elements for one in distinct.tolist()], dtype=np.bool_)[places]


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
