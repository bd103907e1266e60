"""Readers of tandem mass spectra: what an entry of a file holds becomes a measurement.

Files are streamed entry by entry. What a field is called differs between writers; names are compared in lower case
without punctuation, so `Precursor_type`, `PRECURSORTYPE` and `ADDUCT` are one field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from molchord.api import Measurement, Reading, SampleError
from molchord.chem import from_inchi
from molchord_modalities.mass_spectra_files import NUMBER, Entry, entries

__all__ = ["canonical_adduct", "collision_energy", "read"]

_FIELDS = {
    "smiles": ("smiles", "computedsmiles"),
    "inchi": ("inchi", "computedinchi"),
    "adduct": ("adduct", "precursortype", "iontype"),
    "ion_mode": ("ionmode", "polarity"),
    "energy": ("collisionenergy",),
    "precursor_mz": ("precursormz", "pepmass"),
    "instrument_type": ("instrumenttype",),
    "license": ("license", "licence"),
    "title": ("accession", "db", "spectrumid", "title", "name"),
    "level": ("mslevel", "mstype", "spectrumtype"),
    "charge": ("charge",),
}
"""What a measurement needs, and the names under which files give it, the first one present wins."""

_BLANK = frozenset({"", "na", "n/a", "nan", "none", "null", "unknown"})
_ADDUCT_ALIASES = {
    "[M+CH3COOH-H]-": "[M+CH3COO]-",
    "[M+OAc]-": "[M+CH3COO]-",
    "[M+C2H3O2]-": "[M+CH3COO]-",
    "[M+HCOOH-H]-": "[M+HCOO]-",
    "[M+HCO2]-": "[M+HCOO]-",
    "[M+CHO2]-": "[M+HCOO]-",
    "[M+FA-H]-": "[M+HCOO]-",
    "[M-H2O+H]+": "[M+H-H2O]+",
    "[M-NH3+H]+": "[M+H-NH3]+",
}
_SIGNS = str.maketrans("⁺⁻\u2212\u2013⁰¹²³⁴⁵⁶⁷⁸⁹", "+---0123456789")
_IONS = {"H": 1, "Na": 1, "K": 1, "Li": 1, "NH4": 1, "Cl": -1, "Br": -1, "HCOO": -1, "CH3COO": -1}
"""Charge that a part of an adduct brings with it."""
_ENERGY = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(%|nce|kev|e?v\b)?")


def read(path: Path) -> Iterator[Reading | SampleError]:
    """Yield every entry of a file; a bad one as a `SampleError`.

    A file that is neither MGF nor MSP is read as one spectrum of two columns, m/z and intensity.

    Raises:
        SampleError: The file as a whole cannot be read.
    """
    count = 0
    try:
        for entry in entries(path):
            count += 1
            yield _reading(entry, f"{path.name}: entry {count}")
    except SampleError as error:
        if count == 0:
            raise
        yield error  # what precedes the damage is good
    if count == 0:
        raise SampleError(path.name, "holds no spectrum")


def collision_energy(text: str | None, instrument_type: str | None = None) -> tuple[float, float]:
    """Read a free-text collision energy as (eV, % of normalised energy); NaN where it is not given so.

    The two are not converted: that takes the precursor m/z, which the encoder would then know. Several energies
    or a ramp become their mean. A number without unit is in eV, on Fourier-transform instruments (type ending in
    ``FT``) and where the text has nominal in %. What depends on the mass, leaves a choice ("or") or is in kV (which is
    how ions are accelerated) is unknown.

    Example:
        >>> collision_energy("Ramp 20-40 V"), collision_energy("35 % (nominal)"), collision_energy("MS2 HCD 35 NCE")
        ((30.0, nan), (nan, 35.0), (nan, 35.0))
        >>> collision_energy("NCE=25% 9eV"), collision_energy("[20,45]"), collision_energy("0.035 keV")
        ((9.0, 25.0), (32.5, nan), (35.0, nan))
    """
    unknown = (math.nan, math.nan)
    stated = re.split(r"\bwith\b", (text or "").lower())[0]
    if re.search(r"\bor\b|m/?z|scaled|kv\b", stated):
        return unknown
    stated = re.sub(r"\bms\^?\d\b|(\+/-|±)\s*[\d.]+", " ", stated)  # levels and tolerances are not energies
    # a decimal comma has no space after it and occurs once; "20,40,130" and "[20,45]" are lists
    if len(re.findall(r"\d,\d", stated)) == 1 and stated.count(",") == 1 and "[" not in stated:
        stated = re.sub(r"(\d),(\d)", r"\1.\2", stated)
    found = [(float(number) * (1000 if unit == "kev" else 1), unit) for number, unit in _ENERGY.findall(stated)]
    if not found:
        return unknown
    percent = [value for value, unit in found if unit in ("%", "nce")]
    volts = [value for value, unit in found if unit.endswith("v")]
    if percent and volts:
        return _mean(volts), _mean(percent)
    mean = _mean([value for value, _ in found])
    if percent or "nce" in stated or "nominal" in stated:
        return math.nan, mean
    fourier = (instrument_type or "").upper().endswith("FT")
    return (math.nan, mean) if fourier and not volts else (mean, math.nan)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def canonical_adduct(text: str | None, ion_mode: str | None = None) -> str | None:
    """Write an adduct as ``[M+H]+``, one spelling per species; None where nothing is said.

    Example:
        >>> canonical_adduct("M+H", "positive"), canonical_adduct("[M+HCOOH-H]-"), canonical_adduct("[M]+.")
        ('[M+H]+', '[M+HCOO]-', '[M]+')
    """
    if text is None:
        return None
    bare = re.sub(r"\s", "", text).translate(_SIGNS).rstrip("*.•")
    closed = re.fullmatch(r"\[(.+)\]([-+\d]*)|\((.+)\)([-+\d]*)", bare)
    if closed is not None:
        ion, charge = closed[1] or closed[3], closed[2] or closed[4] or ""
    else:  # in "M+C2H3+", without brackets, the digit is none of the charge
        ion, charge = re.fullmatch(r"(.*?)((?:[+-]+|[+-]\d)?)", bare).groups()  # type: ignore[union-attr]
    canonical = f"[{ion}]{_charge(charge) or _charge_of(ion, ion_mode)}"
    return _ADDUCT_ALIASES.get(canonical, canonical)


def _charge(text: str) -> str:
    """Write "+1", "1+", "+" as "+" and "++", "+2", "2+" as "2+"; "" for anything else."""
    match = re.fullmatch(r"(\d?)([+-])\2*(\d?)", text)
    if match is None:
        return ""
    number = match[1] or match[3] or str(text.count(match[2]))
    return match[2] if number == "1" else number + match[2]


def _charge_of(ion: str, ion_mode: str | None) -> str:
    """Return the charge that an ion's parts bring, if its sign is the mode's; else that sign, "" without a mode."""
    sign = {"positive": "+", "negative": "-"}.get(ion_mode or "", "")
    total = 0
    for part in re.finditer(r"([+-])(\d*)([A-Za-z]\w*)", ion):
        total += (1 if part[1] == "+" else -1) * int(part[2] or 1) * _IONS.get(part[3], 0)
    return _charge(f"{abs(total)}{sign}") if sign and total * (1 if sign == "+" else -1) > 0 else sign


def _reading(entry: Entry, location: str) -> Reading | SampleError:
    said = {name: _first(entry.fields, aliases) for name, aliases in _FIELDS.items()}
    if said["title"] is not None:
        location += f" ({said['title']})"
    if entry.problem is not None:
        return SampleError(location, entry.problem)
    if (said["level"] or "").lower() in ("1", "ms", "ms1"):
        return SampleError(location, f"is a spectrum of level {said['level']!r}, not a tandem one")
    mz, intensity = np.array(entry.mz), np.array(entry.intensity)
    kept = intensity > 0  # background subtraction leaves zeros and negative values
    if not kept.any():
        return SampleError(location, "has no peak with a positive intensity")
    order = np.argsort(mz[kept], kind="stable")
    mz, intensity = mz[kept][order], intensity[kept][order]
    arrays = {"mz": mz.astype(np.float32), "intensity": (intensity / intensity.max()).astype(np.float32)}
    ion_mode = _ion_mode(said["ion_mode"], canonical_adduct(said["adduct"]), said["charge"])
    volts, percent = collision_energy(said["energy"], said["instrument_type"])
    columns: dict[str, float | str | None] = {
        "adduct": canonical_adduct(said["adduct"], ion_mode),
        "ion_mode": ion_mode,
        "collision_energy": volts,
        "normalised_energy": percent,
        "energy_text": said["energy"],
        "precursor_mz": _positive(said["precursor_mz"]),
        "instrument_type": said["instrument_type"],
        "license": said["license"],
        "title": said["title"],
        "origin": "measured",
    }
    smiles = said["smiles"] or _from_inchi(said["inchi"])
    return Reading(measurement=Measurement(arrays=arrays, columns=columns), smiles=smiles, location=location)


def _first(fields: dict[str, str], aliases: tuple[str, ...]) -> str | None:
    for alias in aliases:
        value = fields.get(alias)
        if value is not None and value.lower() not in _BLANK:
            return value
    return None


def _positive(text: str | None) -> float:
    """Read the first number (MGF may append the intensity), its decimal comma too; NaN where there is none above 0."""
    match = re.match(NUMBER, re.sub(r"^(\d+),(\d+)(?=\s|$)", r"\1.\2", text or ""))
    value = float(match[0]) if match else math.nan
    return value if value > 0 else math.nan


def _ion_mode(mode: str | None, adduct: str | None, charge: str | None) -> str | None:
    if mode is not None and mode[0].lower() in "pn+-":
        return "positive" if mode[0].lower() in "p+" else "negative"
    for text in (adduct, charge):
        bare = (text or "").rstrip("*.")
        if bare.endswith("]"):
            continue
        if bare.endswith("+") or (text is charge and re.fullmatch(r"\+?[1-9]", bare)):
            return "positive"
        if bare.endswith("-") or (text is charge and re.fullmatch(r"-[1-9]", bare)):
            return "negative"
    return None


def _from_inchi(inchi: str | None) -> str | None:
    """Return a SMILES; none where the entry has no InChI, or one that cannot be read."""
    try:
        return None if inchi is None else from_inchi(inchi)
    except SampleError:
        return None
