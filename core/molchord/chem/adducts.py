"""The mass of a molecule from the m/z of an ion of it."""

from __future__ import annotations

import re

from molchord.api import SampleError
from molchord.chem.formulas import element_counts

__all__ = ["neutral_mass"]

ELECTRON = 0.000548579909
"""Mass of an electron in Da (CODATA 2018)."""

_NAMES = {
    "ACN": "C2H3N", "FA": "CH2O2", "HAC": "C2H4O2", "AC": "C2H3O2", "MEOH": "CH4O", "DMSO": "C2H6OS", "TFA": "C2HF3O2"
}  # fmt: skip
"""What vendors write for solvents and their acids, as formulas."""

_ADDUCT = re.compile(r"\[?(\d*)M((?:[+-]\d*[A-Za-z][A-Za-z0-9]*)*)\]?(?:(\d*)([+-])(\d*)|([+-]+))?\.?\*?")
_PART = re.compile(r"([+-])(\d*)([A-Za-z][A-Za-z0-9]*)")


def neutral_mass(mz: float, adduct: str) -> float:
    """Return the monoisotopic mass in Da of the molecule whose ion has this m/z.

    Args:
        mz: Mass over charge of the ion's monoisotopic peak.
        adduct: Such as ``[M+H]+``, ``[2M+Na]+``, ``[M+2H]2+``, ``[M+H-H2O]+``, ``[M+FA-H]-``, ``[M]+.``.

    Raises:
        SampleError: The adduct cannot be read, or has no charge, or the mass would not be positive.

    Example:
        >>> round(neutral_mass(195.0877, "[M+H]+"), 3)  # caffeine
        194.08
    """
    match = _ADDUCT.fullmatch(adduct.replace(" ", "").replace("\u2212", "-"))
    if match is None or not (match[4] or match[6]):
        raise SampleError(adduct, f"adduct {adduct!r} cannot be read; write it such as '[M+H]+' or '[2M-H]-'")
    signs = match[4] or match[6]
    charge = (len(signs) if match[6] else int(match[3] or match[5] or 1)) * (1 if signs[0] == "+" else -1)
    if charge == 0:
        raise SampleError(adduct, f"adduct {adduct!r} has no charge, so it has no m/z")
    added = sum(
        (1 if sign == "+" else -1) * int(times or 1) * _mass(part, adduct)
        for sign, times, part in _PART.findall(match[2])
    )
    mass = (mz * abs(charge) + charge * ELECTRON - added) / int(match[1] or 1)
    if not mass > 0:
        raise SampleError(adduct, f"an ion {adduct!r} of m/z {mz:g} leaves no mass for the molecule")
    return mass


def _mass(part: str, adduct: str) -> float:
    """Return the monoisotopic mass of what is added or lost."""
    from rdkit.Chem import GetPeriodicTable

    table = GetPeriodicTable()
    try:
        counts = element_counts(_NAMES.get(part.upper(), part))
    except SampleError as error:
        raise SampleError(adduct, f"adduct {adduct!r} cannot be read: {error.reason}") from None
    return float(sum(count * table.GetMostCommonIsotopeMass(element) for element, count in counts.items()))
