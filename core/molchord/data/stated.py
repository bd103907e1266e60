"""What measurements state of their molecule: mass, SMILES, name; and whether several are of one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from molchord.api import Measurement, Modality, Molecule, Reading, SampleError, StatedMass, StatesMass
from molchord.chem import molecule
from molchord.errors import QueryError

__all__ = ["agree", "contradiction_of_molecule", "key_of", "refuse_several_samples", "stated_of"]

_HEAVIER = (1.00335, 1.99705)
"""Da by which 13C and 37Cl are heavier than their lightest isotopes; 81Br by nearly as much as the latter."""
_MOST_HEAVIER = 6


def stated_of(plugin: Modality, measurement: Measurement) -> StatedMass | None:
    """Return what a measurement states of its mass; None where it, or its modality, states nothing."""
    return plugin.stated_mass(measurement) if isinstance(plugin, StatesMass) else None


def agree(a: StatedMass, b: StatedMass) -> bool:
    """Return whether two measurements may be of one molecule, by the ions that they state or may be of.

    Example:
        >>> proton = StatedMass(mz=195.088, adduct="[M+H]+", masses={"[M+H]+": 194.080}, tolerance=0.01)
        >>> sodium = StatedMass(mz=217.070, adduct="[M+Na]+", masses={"[M+Na]+": 194.080}, tolerance=0.01)
        >>> other = StatedMass(mz=154.086, adduct="[M+H]+", masses={"[M+H]+": 153.079}, tolerance=0.01)
        >>> agree(proton, sodium), agree(proton, other)
        (True, False)
    """
    first, second = (list(s.masses.values()) if s.mass is None else [s.mass] for s in (a, b))
    near = any(abs(x - y) <= a.tolerance + b.tolerance for x in first for y in second)
    return near or not (first and second)


def contradiction_of_molecule(stated: StatedMass | None, target: Molecule) -> str | None:
    """Return why a measurement cannot be of a molecule; None where its ion is not stated, or is one of it.

    Precursors of heavier isotopes, as of chlorine and bromine, are of it.

    Example:
        >>> stated = StatedMass(mz=189.16, adduct="[M+H]+", masses={"[M+H]+": 188.1527}, tolerance=0.01)
        >>> contradiction_of_molecule(stated, molecule("O"))
        'm/z 189.16 of [M+H]+ is of a molecule of 188.1527 Da, but H2O has 18.0106; correct one of them'
    """
    if stated is None or stated.mass is None:
        return None
    isotopes = [0.0, *(n * heavier for heavier in _HEAVIER for n in range(1, _MOST_HEAVIER + 1))]
    if any(abs(stated.mass - target.exact_mass - shift) <= stated.tolerance for shift in isotopes):
        return None
    return (
        f"m/z {stated.mz:.8g} of {stated.adduct} is of a molecule of {stated.mass:.4f} Da, but {target.formula} has "
        f"{target.exact_mass:.4f}; correct one of them"
    )


def refuse_several_samples(plugin: Modality, modality: str, readings: Sequence[Reading]) -> None:
    """Refuse measurements that are to be of one sample, where two of them state that they are not.

    They do by SMILES; by name, where there is none; by the mass of their molecule; by the m/z of their ions, where that
    is not stated.

    Raises:
        QueryError: Two do; the sentence names them.
    """
    first: dict[str, tuple[Reading, Any]] = {}
    for reading in readings:
        for fact, value in _facts(plugin, reading).items():
            other, before = first.setdefault(fact, (reading, value))
            why = None if other is reading else _DIFFERENCES[fact](before, value)
            if why is not None:
                raise QueryError(
                    f"{modality!r} was given as {other.location!r} and {reading.location!r}, which {why}; search for "
                    "each alone, or state that they are of one sample (`--same-sample`, in Python `same_sample=True`)"
                )


def _facts(plugin: Modality, reading: Reading) -> dict[str, Any]:
    """Return what a reading states of its molecule, by what it is compared as."""
    stated = stated_of(plugin, reading.measurement)
    named = {"smiles": reading.smiles} if reading.smiles else {"name": reading.name} if reading.name else {}
    return named | ({} if stated is None else {"mass": stated})


def _other_molecule(one: str, other: str) -> str | None:
    return None if key_of(one) == key_of(other) else f"state different molecules ({one} and {other})"


def _other_name(one: str, other: str) -> str | None:
    return None if _plain(one) == _plain(other) else f"name different molecules ({one!r} and {other!r})"


def _other_mass(one: StatedMass, other: StatedMass) -> str | None:
    if one.mass is not None and other.mass is not None:
        return None if agree(one, other) else f"state molecules of {one.mass:.4f} and {other.mass:.4f} Da"
    if abs(one.mz - other.mz) <= one.tolerance + other.tolerance:
        return None
    return f"have precursors of m/z {one.mz:.8g} and {other.mz:.8g}"


_DIFFERENCES: dict[str, Callable[[Any, Any], str | None]] = {
    "smiles": _other_molecule,
    "name": _other_name,
    "mass": _other_mass,
}
"""Says by what two measurements are of different molecules, by fact."""


def key_of(smiles: str) -> str:
    """Return the key14 of a SMILES; the text itself where it is none."""
    try:
        return molecule(smiles).key14
    except SampleError:
        return smiles


def _plain(name: str) -> str:
    """Return the name of a molecule without what writers add: ``Caffeine M+H``, ``Caffeine; LC-ESI-QTOF; MS2``."""
    return re.sub(r"\s+\[?\d*M[+-].*$", "", name.partition(";")[0].strip()).casefold()
