"""What a tandem mass spectrum states of its molecule's mass, by its precursor and adduct."""

from __future__ import annotations

import math
from collections.abc import Mapping

from molchord.api import SampleError, StatedMass
from molchord.chem import canonical_adduct, neutral_mass

__all__ = ["stated_mass"]

_POSITIVE = ("[M+H]+", "[M+Na]+", "[M+NH4]+", "[M+K]+", "[M+H-H2O]+", "[M+H-NH3]+", "[M]+", "[M+2H]2+", "[2M+H]+")
_NEGATIVE = ("[M-H]-", "[M+HCOO]-", "[M+CH3COO]-", "[M+Cl]-", "[M-CH3]-", "[M]-", "[M-2H]2-", "[2M-H]-")
_IONS = {"positive": _POSITIVE, "negative": _NEGATIVE, None: _POSITIVE + _NEGATIVE}
"""Ions that a spectrum may be of, by ion mode, the commonest first."""

_ROUNDED = {0: 0.7, 1: 0.12, 2: 0.015}
"""m/z by which a precursor of so few decimals may be wrong: rounded, or cut off."""
_MARGIN_PPM, _MARGIN = 20.0, 0.01
"""Error of any other in ppm and, added to it, m/z: wide, as the m/z may be the one that was isolated."""


def stated_mass(columns: Mapping[str, float | str | None]) -> StatedMass | None:
    """Return what the columns of a measurement state; None without a precursor m/z.

    Example:
        >>> found = stated_mass({"precursor_mz": 223.0745, "adduct": "[M+H]+", "ion_mode": "positive"})
        >>> found.adduct, round(found.mass, 4), round(found.masses["[M+Na]+"], 4), round(found.tolerance, 4)
        ('[M+H]+', 222.0672, 200.0853, 0.0145)
    """
    mz = columns.get("precursor_mz")
    if mz is None or math.isnan(float(mz)):
        return None
    mz, mode = float(mz), str(columns["ion_mode"]) if columns.get("ion_mode") else None
    adduct = canonical_adduct(str(columns["adduct"]) if columns.get("adduct") else None, mode)
    error = _error(mz)
    masses = {}
    for ion in dict.fromkeys([*([] if adduct is None else [adduct]), *_IONS[mode]]):
        try:
            masses[ion] = neutral_mass(mz, ion)
        except SampleError:  # the mass would be negative, or this adduct cannot be read
            continue
    # One of two charges is of twice the error, one of two molecules of half of it.
    tolerance = neutral_mass(mz + error, adduct) - masses[adduct] if adduct in masses else error
    return StatedMass(mz=mz, adduct=adduct, masses=masses, tolerance=tolerance)


def _error(mz: float) -> float:
    decimals = len(f"{mz:.4f}".rstrip("0").partition(".")[2])
    return _ROUNDED.get(decimals, _MARGIN + 1e-6 * _MARGIN_PPM * mz)
