"""Sum formulas as text."""

from __future__ import annotations

import functools
import re

from molchord.api import SampleError

__all__ = ["average_mass", "capitalised", "element_counts", "formula_mass", "hill"]


def element_counts(formula: str) -> dict[str, int]:
    """Count the atoms of each element in a sum formula, in the order written; a charge after it is not counted.

    Raises:
        SampleError: The formula cannot be read, or holds what is not an element.

    Example:
        >>> element_counts("CH3CH2OH"), element_counts("H4N+")
        ({'C': 2, 'H': 6, 'O': 1}, {'H': 4, 'N': 1})
    """
    counts: dict[str, int] = {}
    for element, number in re.findall(r"([A-Z][a-z]?)(\d*)", _parts(formula)[0]):
        counts[element] = counts.get(element, 0) + int(number or 1)
    unknown = sorted(set(counts) - _symbols())
    if unknown:
        raise SampleError(
            formula, f"formula {formula!r} holds {unknown[0]!r}, which is not an element; check its capitals"
        )
    return counts


@functools.cache
def _symbols() -> frozenset[str]:
    """Return the symbols of all elements, and those of deuterium and tritium."""
    from rdkit.Chem import GetPeriodicTable

    table = GetPeriodicTable()
    return frozenset({"D", "T"} | {table.GetElementSymbol(number) for number in range(1, 119)})


def formula_mass(formula: str) -> float:
    """Return the monoisotopic mass in Da of a sum formula; a charge after it, and its electrons, are not counted.

    Raises:
        SampleError: The formula cannot be read, or holds what is not an element.

    Example:
        >>> round(formula_mass("C9H6O2"), 4)  # coumarin
        146.0368
    """
    from rdkit.Chem import GetPeriodicTable

    table = GetPeriodicTable()
    return float(sum(n * table.GetMostCommonIsotopeMass(element) for element, n in element_counts(formula).items()))


def average_mass(formula: str) -> float:
    """Return the average mass in Da of a sum formula, by the natural abundances of its isotopes.

    Raises:
        SampleError: The formula cannot be read, or holds what is not an element.

    Example:
        >>> round(average_mass("C9H6O2"), 3), round(average_mass("CHCl3"), 2)  # coumarin, chloroform
        (146.145, 119.38)
    """
    from rdkit.Chem import GetPeriodicTable

    table = GetPeriodicTable()
    return float(sum(n * table.GetAtomicWeight(element) for element, n in element_counts(formula).items()))


def hill(formula: str) -> str:
    """Return a sum formula in Hill order, with its charge sign after it as RDKit writes it.

    Raises:
        SampleError: The formula cannot be read.

    Example:
        >>> hill("OH6C2"), hill("H4N+"), hill("C1H4")
        ('C2H6O', 'H4N+', 'CH4')
    """
    counts = element_counts(formula)
    first = [element for element in ("C", "H") if "C" in counts and element in counts]
    ordered = [*first, *sorted(set(counts) - set(first))]
    return "".join(e + (str(counts[e]) if counts[e] > 1 else "") for e in ordered) + _parts(formula)[1]


def capitalised(formula: str) -> str:
    """Return a formula of small letters with its capitals, where they can stand in one way only; others as they are.

    Letters without any number are taken for a word.

    Raises:
        SampleError: The letters can be read in more than one way, as those of `co2`, or in none.

    Example:
        >>> capitalised("c9h8o4"), capitalised("C9H8O4")
        ('C9H8O4', 'C9H8O4')
    """
    if formula != formula.lower() or not re.search("[0-9]", formula):
        return formula
    return re.sub("[a-z]+", lambda letters: _read(letters[0], formula), formula)


def _read(letters: str, formula: str) -> str:
    """Return the one way to read small letters as elements."""
    found: list[list[str]] = [[""]] + [[] for _ in letters]
    for end in range(1, len(letters) + 1):
        for size in (1, 2):
            symbol = letters[end - size : end].capitalize()
            if size <= end and symbol in _symbols():
                found[end] += [way + symbol for way in found[end - size]]
    if len(found[-1]) != 1:
        can = " or ".join(map(repr, found[-1][:3])) or "no elements"
        raise SampleError(formula, f"formula {formula!r} cannot be read: {letters!r} can be {can}; write its capitals")
    return found[-1][0]


def _parts(formula: str) -> tuple[str, str]:
    """Return the elements and the charge of a formula."""
    match = re.fullmatch(r"((?:[A-Z][a-z]?\d*)+)([+-]\d*)?", formula.strip())
    if match is None:
        raise SampleError(formula, f"formula {formula!r} cannot be read; write it such as 'C9H8O4'")
    return match[1], match[2] or ""
