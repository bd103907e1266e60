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
    "[M-2H]--": "[M-2H]2-",
    "[M+2H]++": "[M+2H]2+",
}


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
        >>> collision_energy("Ramp 20-40 V"), collision_energy("35 % (nominal)"), collision_energy("HCD 35 NCE")
        ((30.0, nan), (nan, 35.0), (nan, 35.0))
    """
    unknown = (math.nan, math.nan)
    lowered = (text or "").lower()
    stated = re.split(r"\bwith\b", lowered)[0]
    if re.search(r"\bor\b|m/?z|scaled|kv\b", stated):
        return unknown
    # a decimal comma has no space after it and occurs once; "20,40,130" is a list
    if len(re.findall(r"\d,\d", stated)) == 1 and stated.count(",") == 1:
        stated = re.sub(r"(\d),(\d)", r"\1.\2", stated)
    numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", stated)]
    if not numbers:
        return unknown
    mean = sum(numbers) / len(numbers)
    if "%" in stated or "nce" in stated or "nominal" in stated:
        return math.nan, mean
    if re.search(r"e?v\b", stated):
        return mean, math.nan
    fourier = (instrument_type or "").upper().endswith("FT")
    return (math.nan, mean) if fourier else (mean, math.nan)


def canonical_adduct(text: str | None, ion_mode: str | None = None) -> str | None:
    """Write an adduct as ``[M+H]+``, one spelling per species; None where nothing is said.

    Example:
        >>> canonical_adduct("M+H", "positive"), canonical_adduct("[M+HCOOH-H]-"), canonical_adduct("[M]+.")
        ('[M+H]+', '[M+HCOO]-', '[M]+')
    """
    if text is None:
        return None
    bare = re.sub(r"\s", "", text).rstrip("*.•")
    if not bare.startswith("["):
        sign = bare[-1] if bare[-1:] in ("+", "-") else {"positive": "+", "negative": "-"}.get(ion_mode or "", "")
        bare = f"[{bare.rstrip('+-')}]{sign}"
    elif bare.endswith("]"):
        bare += {"positive": "+", "negative": "-"}.get(ion_mode or "", "")
    return _ADDUCT_ALIASES.get(bare, bare)


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
    ion_mode = _ion_mode(said["ion_mode"], said["adduct"], said["charge"])
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
    """Read the first number (MGF may append the intensity); NaN where there is none above 0."""
    match = re.match(NUMBER, text or "")
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
