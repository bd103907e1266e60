"""Quality warnings where a query contradicts itself: its spectra state another mass than what was asked for.

Of 5,338 spectra of MassBank that state their ion, 6 (0.1 %) contradict their own molecule, all by the isotope that was
isolated; of pairs with a random other molecule, 99.9 % do. So where one query in twenty is mistaken, 2 % of those that
contradict themselves are right, which is the confidence factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from molchord.api import Measurement, Modality, QualityWarning, StatedMass
from molchord.data.stated import agree, stated_of
from molchord.errors import QueryError
from molchord.library.filters import mass_window, sought_formula

__all__ = ["contradictions", "precursor_mass"]

CONTRADICTED = 0.02
"""What is left of the probability where a spectrum contradicts the mass or formula asked for, or another spectrum."""


def contradictions(
    modalities: Mapping[str, Modality],
    measurements: Mapping[str, Sequence[Measurement]],
    *,
    mass: float | None = None,
    ppm: float | None = None,
    da: float | None = None,
    formula: str | None = None,
) -> list[QualityWarning]:
    """Return a warning for each spectrum that contradicts mass, formula or another spectrum, one of each at most.

    Args:
        modalities: What each plugin built.
        measurements: Of the query, by modality.
        mass: Exact mass asked for in Da, with `ppm` or `da` as `Library.search` takes them.
        ppm: Half width of its window in ppm.
        da: Half width in Da.
        formula: Sum formula asked for.

    Raises:
        QueryError: Mass or formula cannot be read, or exclude each other.

    Example:
        >>> from molchord.host import installed
        >>> msms = installed().find("modality", "msms").record
        >>> built = {"msms": msms.build(msms.config(), "peaks")}
        >>> acetamiprid = Measurement(arrays={}, columns={"precursor_mz": 223.0745, "adduct": "[M+H]+"})
        >>> found = contradictions(built, {"msms": [acetamiprid]}, mass=146.0368)
        >>> print(found[0].message.partition(":")[0], found[0].confidence_factor)
        the mass asked for, 146.0368, contradicts the precursor of 'msms' 0.02
        >>> contradictions(built, {"msms": [acetamiprid]}, formula="C10H11ClN4")
        []
    """
    stated = [*_stated(modalities, measurements)]
    window, composition = mass_window(mass, ppm, da) if mass is not None else None, _formula_mass(formula)
    if window is not None and composition is not None and not window[0] - 0.002 <= composition <= window[1] + 0.002:
        raise QueryError(
            f"search failed: formula {formula!r} has mass {composition:.4f}, which is not within {window[0]:.4f} to "
            f"{window[1]:.4f}; correct one of them, or leave one out"
        )
    found: list[QualityWarning] = []
    if mass is not None and window is not None:
        found += _first(_of_mass(name, one, mass, window[1] - mass) for name, one in stated)
    if composition is not None:
        what = f"the formula asked for, {formula} of {composition:.4f} Da,"
        found += _first(_of_number(name, one, composition, 0.0, what) for name, one in stated)
    return found + _first(_of_each_other(stated[0], other) for other in stated[1:])


def precursor_mass(modalities: Mapping[str, Modality], measurements: Mapping[str, Sequence[Measurement]]) -> float:
    """Return the mass in Da that the ions of a query state.

    Raises:
        QueryError: None states its m/z, one does not state which ion it is, or they state different masses.
    """
    stated = [*_stated(modalities, measurements)]
    if not stated:
        raise QueryError("no spectrum of the query states the m/z of its ion; give the mass, or m/z and adduct")
    masses = []
    for name, one in stated:
        if one.mass is None:
            said = "does not state" if one.adduct is None else f"says {one.adduct!r}, which does not tell,"
            raise QueryError(
                f"the precursor of {name!r}, m/z {one.mz:.8g}, {said} which ion it is; give it: --mz {one.mz:.8g} "
                f"--adduct {next(iter(one.masses), '[M+H]+')!r}, in Python the mass"
            )
        masses.append(one.mass)
        if not agree(stated[0][1], one):
            raise QueryError(
                f"the precursors of the query state molecules of {masses[0]:.4f} and {one.mass:.4f} Da; search for "
                "each alone, or give the mass"
            )
    return sum(masses) / len(masses)


def _stated(
    modalities: Mapping[str, Modality], measurements: Mapping[str, Sequence[Measurement]]
) -> Iterator[tuple[str, StatedMass]]:
    for name, several in measurements.items():
        for one in several:
            stated = stated_of(modalities[name], one)
            if stated is not None:
                yield name, stated


def _first(found: Iterator[QualityWarning | None]) -> list[QualityWarning]:
    """Return the warning that takes the most; several measurements of one ion say the same."""
    warnings = [warning for warning in found if warning is not None]
    return [min(warnings, key=lambda warning: warning.confidence_factor)] if warnings else []


def _of_mass(name: str, stated: StatedMass, mass: float, half: float) -> QualityWarning | None:
    """Compare the mass asked for; that of the ion is the commonest mistake."""
    is_ion = abs(mass - stated.mz) <= half + stated.tolerance
    if is_ion and not (stated.mass is not None and abs(stated.mass - mass) <= half + stated.tolerance):
        ion = stated.adduct or next(iter(stated.masses), "[M+H]+")
        message = (
            f"the mass asked for, {mass:.4f}, is the m/z of the ion of {name!r}, not the mass of its molecule; write "
            f"--mz {stated.mz:.8g} --adduct {ion!r}, in Python the mass" + _as_ion(stated, ion)
        )
        return QualityWarning(message, CONTRADICTED)
    return _of_number(name, stated, mass, half, f"the mass asked for, {mass:.4f},")


def _as_ion(stated: StatedMass, ion: str) -> str:
    return f" {stated.masses[ion]:.4f}" if ion in stated.masses else ""


def _of_number(name: str, stated: StatedMass, mass: float, half: float, what: str) -> QualityWarning | None:
    """Compare a mass with what is stated, or with all ions that a spectrum may be of."""
    fits = stated.ions(mass, half)
    if stated.mass is not None:
        if stated.adduct in fits:
            return None
        other = f", though it would fit as {fits[0]}" if fits else ""
        message = (
            f"{what} contradicts the precursor of {name!r}: m/z {stated.mz:.8g} of {stated.adduct} is of a molecule of "
            f"{stated.mass:.4f} Da{other}; search by the precursor (`--use-precursor`, in Python `use_precursor=True`)"
        )
        return QualityWarning(message, CONTRADICTED)
    if not stated.masses or (fits and fits[0] == next(iter(stated.masses))):
        return None
    if fits:
        message = f"{what} fits the precursor of {name!r}, m/z {stated.mz:.8g}, as {fits[0]} only; is it that ion?"
        return QualityWarning(message, 1.0)
    message = (
        f"{what} contradicts the precursor of {name!r}: m/z {stated.mz:.8g} is no common ion of such a molecule; check "
        "the mass, or state the ion (`--mz` and `--adduct`)"
    )
    return QualityWarning(message, CONTRADICTED)


def _of_each_other(a: tuple[str, StatedMass], b: tuple[str, StatedMass]) -> QualityWarning | None:
    (one, first), (other, second) = a, b
    if agree(first, second):
        return None
    which = f"two spectra of {one!r}" if one == other else f"the spectra of {one!r} and {other!r}"
    said = [f"m/z {s.mz:.8g}" + (f" of {s.adduct}" if s.adduct else "") for s in (first, second)]
    return QualityWarning(f"{which} are of different molecules: {said[0]} and {said[1]}", CONTRADICTED)


def _formula_mass(formula: str | None) -> float | None:
    if formula is None:
        return None
    from molchord.chem import formula_mass

    return formula_mass(sought_formula(formula))
