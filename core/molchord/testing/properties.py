"""Checks on properties."""

from __future__ import annotations

import math

from molchord.api import PropertyRecord
from molchord.testing.require import require
from molchord.testing.samples import molecules


def _values(record: PropertyRecord) -> list[list[float]]:
    """Return what a property built anew says of each of the kit's molecules."""
    made = record.build(record.config())
    return [[float(value) for value in made.of(molecule)] for molecule in molecules()]


def names_are_distinct(record: PropertyRecord) -> None:
    """Each name gets a probability of its own in a search, so there is one at least, and none twice.

    To mend it: give every value a name that says what the molecule has.
    """
    names = record.build(record.config()).names
    require(len(names) > 0, "`names` is empty")
    require(all(isinstance(name, str) and name.strip() for name in names), f"`names` has an empty name: {names!r}")
    require(len(set(names)) == len(names), f"`names` has one name twice: {names!r}")


def values_fit_names(record: PropertyRecord) -> None:
    """The probability of a name is the mean of its values over the hits, so each is from 0 to 1.

    To mend it: return one number for each name, 1 where the molecule has it and 0 where not.
    """
    names = record.build(record.config()).names
    for molecule, values in zip(molecules(), _values(record), strict=True):
        require(len(values) == len(names), f"{len(values)} values of {molecule.smiles} for {len(names)} names")
        require(
            all(math.isfinite(value) and 0 <= value <= 1 for value in values),
            f"a value of {molecule.smiles} is not from 0 to 1: {values}",
        )


def values_are_repeatable(record: PropertyRecord) -> None:
    """The same molecule has the same values, in a property built anew too.

    To mend it: draw nothing, and keep nothing between calls.
    """
    require(_values(record) == _values(record), "the same molecules get other values the second time")


def molecules_are_told_apart(record: PropertyRecord) -> None:
    """A property that says the same of every molecule passes all other checks, and says nothing.

    To mend it: ask for what some of the kit's sixteen molecules have and others have not.
    """
    values = _values(record)
    require(any(one != values[0] for one in values), "all molecules get the same values")


CHECKS = (names_are_distinct, values_fit_names, values_are_repeatable, molecules_are_told_apart)
