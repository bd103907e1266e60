"""Ions of molecules: one spelling per adduct, and the mass of a molecule from the m/z of an ion of it."""

from __future__ import annotations

import re
from collections import Counter

from molchord.api import SampleError
from molchord.chem.formulas import element_counts, formula_mass

__all__ = ["ELECTRON", "added_atoms", "canonical_adduct", "neutral_mass"]

ELECTRON = 0.000548579909
"""Mass of an electron in Da (CODATA 2018)."""

_ACIDS = {"HCOOH": "HCOO", "CH3COOH": "CH3COO"}
"""Acids of eluents, and what is left of them in `[M+acid-H]-`."""

_SPELLINGS = {
    "HCOO": ("CHO2", "HCO2", "COOH", "FORMATE"),
    "CH3COO": ("C2H3O2", "CH3CO2", "OAC", "AC", "ACETATE"),
    "HCOOH": ("FA", "HFA", "CH2O2", "HCO2H"),
    "CH3COOH": ("HAC", "C2H4O2", "CH3CO2H", "HOAC"),
    "ACN": ("CH3CN", "C2H3N"),
    "MeOH": ("CH3OH", "CH4O"),
    "DMSO": ("C2H6OS",),
    "TFA": ("CF3COOH", "C2HF3O2"),
    "IsoProp": ("IPA", "C3H8O"),
    "H": ("H1",),
}
"""What is added or lost, and how else it is written, in capitals."""

_PART_NAMES = {other: name for name, others in _SPELLINGS.items() for other in (name.upper(), *others)}
_FORMULAS = {"ACN": "C2H3N", "MeOH": "CH4O", "DMSO": "C2H6OS", "TFA": "C2HF3O2", "IsoProp": "C3H8O"}
_CHARGES = {"H": 1, "Na": 1, "K": 1, "Li": 1, "NH4": 1, "Cl": -1, "Br": -1, "HCOO": -1, "CH3COO": -1}
"""Charge that a part of an adduct brings with it."""

_SIGNS = str.maketrans("⁺⁻\u2212\u2013⁰¹²³⁴⁵⁶⁷⁸⁹", "+---0123456789")
_ION = re.compile(r"(\d*)M((?:[+-]\d*[A-Za-z][A-Za-z0-9]*)*)")
_PART = re.compile(r"([+-])(\d*)([A-Za-z][A-Za-z0-9]*)")
_CANONICAL = re.compile(rf"\[{_ION.pattern}\](\d*)([+-])")


def canonical_adduct(text: str | None, ion_mode: str | None = None) -> str | None:
    """Write an adduct as ``[M+H]+``, one spelling per ion; None where nothing is said.

    What is added comes before what is lost, hydrogen first, and dots of radicals are left out. Where the charge is not
    written, it is that of the parts, else one of the mode's sign.

    Args:
        text: As people and instruments write it: ``M+H``, ``(M+H)+``, ``[M+H]1+``, ``MH+``, ``[M+FA-H]-``. What is not
            such is returned in brackets, with its charge.
        ion_mode: "positive", "negative" or None.

    Example:
        >>> canonical_adduct("M+H"), canonical_adduct("[M+HCOOH-H]-"), canonical_adduct("[M]+.")
        ('[M+H]+', '[M+HCOO]-', '[M]+')
        >>> canonical_adduct("M-H2O+H", "positive"), canonical_adduct("M+2H", "positive"), canonical_adduct("M", None)
        ('[M+H-H2O]+', '[M+2H]2+', '[M]')
    """
    bare = re.sub(r"[\s*.•·^]", "", text or "").translate(_SIGNS)
    bare = re.sub(r"\((\d?[+-]\d?)\)$", r"\1", bare)
    closed = re.fullmatch(r"\[(.+)\]([-+\d]*)|\((.+)\)([-+\d]*)", bare)
    if not bare:
        return None
    if closed is not None:
        ion, charge = closed[1] or closed[3], closed[2] or closed[4] or ""
    else:  # in "M+C2H3+", without brackets, the digit is none of the charge
        ion, charge = re.fullmatch(r"(.*?)((?:[+-]+|[+-]\d)?)", bare).groups()  # type: ignore[union-attr]
    if not charge and ion[-1:] in "+-":  # "[M+H+]"
        ion, charge = ion[:-1], ion[-1:]
    ion = re.sub(r"^(\d*M)(H|Na|K|Li|NH4)$", r"\1+\2", ion)
    match = _ION.fullmatch(ion)
    if match is None:
        return f"[{ion}]{_charge(charge) or _sign(ion_mode)}"
    parts = _parts(match[2])
    times = "" if match[1] == "1" else match[1]
    return f"[{times}M{_written(parts)}]{_charge(charge) or _charge_of(parts, ion_mode)}"


def neutral_mass(mz: float, adduct: str) -> float:
    """Return the monoisotopic mass in Da of the molecule whose ion has this m/z.

    Args:
        mz: Mass over charge of the ion's monoisotopic peak.
        adduct: Such as ``[M+H]+``, ``[2M+Na]+``, ``[M+2H]2+``, ``[M+H-H2O]+``, ``[M+FA-H]-``, ``[M]+.``, in any
            spelling that `canonical_adduct` takes.

    Raises:
        SampleError: The adduct cannot be read, or has no charge, or the mass would not be positive.

    Example:
        >>> round(neutral_mass(195.0877, "[M+H]+"), 3)  # caffeine
        194.08
    """
    match = _CANONICAL.fullmatch(canonical_adduct(adduct) or "")
    if match is None:
        raise SampleError(adduct, f"adduct {adduct!r} cannot be read; write it such as '[M+H]+' or '[2M-H]-'")
    charge = int(match[3] or 1) * (1 if match[4] == "+" else -1)
    if charge == 0:
        raise SampleError(adduct, f"adduct {adduct!r} has no charge, so it has no m/z")
    added = sum(count * _mass(name, adduct) for name, count in _parts(match[2]).items())
    mass = (mz * abs(charge) + charge * ELECTRON - added) / int(match[1] or 1)
    if not mass > 0:
        raise SampleError(adduct, f"an ion {adduct!r} of m/z {mz:g} leaves no mass for the molecule")
    return mass


def added_atoms(adduct: str) -> Counter[str]:
    """Count the atoms that an adduct adds to its molecule, by element; none where it cannot be read.

    Example:
        >>> dict(added_atoms("[M+ACN+H]+")), dict(added_atoms("[M-H2O+H]+"))
        ({'H': 4, 'C': 2, 'N': 1}, {'H': 1})
    """
    match = _CANONICAL.fullmatch(canonical_adduct(adduct) or "")
    atoms: Counter[str] = Counter()
    for name, count in _parts(match[2] if match else "").items():
        try:
            added = element_counts(_FORMULAS.get(name, name)) if count > 0 else {}
        except SampleError:
            continue
        atoms.update({element: number * count for element, number in added.items()})
    return atoms


def _parts(text: str) -> Counter[str]:
    """Count what is added, and below zero what is lost; an acid without its proton is one part."""
    parts: Counter[str] = Counter()
    for sign, times, name in _PART.findall(text):
        parts[_PART_NAMES.get(name.upper(), name)] += (1 if sign == "+" else -1) * int(times or 1)
    for acid, rest in _ACIDS.items():
        if parts[acid] == 1 and parts["H"] == -1:
            parts[acid], parts["H"], parts[rest] = 0, 0, 1
    return Counter({name: count for name, count in parts.items() if count})


def _written(parts: Counter[str]) -> str:
    """Write the parts: added ones before lost ones, hydrogen first."""
    ordered = sorted(parts, key=lambda name: (parts[name] < 0, name != "H", name))
    return "".join(
        ("+" if parts[name] > 0 else "-") + (str(abs(parts[name])) if abs(parts[name]) > 1 else "") + name
        for name in ordered
    )


def _charge(text: str) -> str:
    """Write "+1", "1+", "+" as "+" and "++", "+2", "2+" as "2+"; "" for anything else."""
    match = re.fullmatch(r"(\d?)([+-])\2*(\d?)", text)
    if match is None:
        return ""
    number = match[1] or match[3] or str(text.count(match[2]))
    return match[2] if number == "1" else number + match[2]


def _sign(ion_mode: str | None) -> str:
    return {"positive": "+", "negative": "-"}.get(ion_mode or "", "")


def _charge_of(parts: Counter[str], ion_mode: str | None) -> str:
    """Return the charge that an ion's parts bring, unless its sign is not the mode's; then that sign."""
    total = sum(count * _CHARGES.get(name, 0) for name, count in parts.items())
    brought = "" if total == 0 else "+" if total > 0 else "-"
    sign = _sign(ion_mode) or brought
    return _charge(f"{abs(total)}{sign}") if brought == sign != "" else sign


def _mass(part: str, adduct: str) -> float:
    """Return the monoisotopic mass of what is added or lost."""
    try:
        return formula_mass(_FORMULAS.get(part, part))
    except SampleError as error:
        raise SampleError(adduct, f"adduct {adduct!r} cannot be read: {error.reason}") from None
