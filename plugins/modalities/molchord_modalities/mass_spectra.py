"""Readers of tandem mass spectra: what an entry of a file holds becomes a measurement.

Files are streamed entry by entry. What a field is called differs between writers; names are compared in lower case
without punctuation, so `Precursor_type`, `PRECURSORTYPE` and `ADDUCT` are one field.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from molchord.api import Measurement, Reading, SampleError
from molchord.chem import canonical_adduct, from_inchi
from molchord_modalities.mass_spectra_entries import NUMBER, Entry
from molchord_modalities.mass_spectra_files import entries

__all__ = ["collision_energy", "read"]

_FIELDS = {
    "smiles": ("smiles", "computedsmiles"),
    "inchi": ("inchi", "computedinchi"),
    "adduct": ("adduct", "precursortype", "iontype", "ionization"),
    "ion_mode": ("ionmode", "polarity"),
    "energy": ("collisionenergy",),
    "precursor_mz": ("precursormz", "pepmass"),
    "instrument_type": ("instrumenttype",),
    "license": ("license", "licence"),
    "title": ("accession", "db", "spectrumid", "title", "name", "compoundname"),
    "name": ("chname", "compoundname", "name"),
    "level": ("mslevel", "mstype", "spectrumtype"),
    "charge": ("charge",),
}
"""What a measurement needs, and the names under which files give it, the first one present wins."""

_BLANK = frozenset({"", "na", "n/a", "nan", "none", "null", "unknown"})
_TANDEM = 2
"""Level of the spectra that are read."""

_ENERGY = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(%|nce|kev|e?v\b)?")


def read(path: Path) -> Iterator[Reading | SampleError]:
    """Yield every entry of a file; a bad one as a `SampleError`.

    A file that names no layout is read as one spectrum of two columns, m/z and intensity. Spectra of other levels than
    2 are counted, and reported together at the end.

    Raises:
        SampleError: The file as a whole cannot be read.
    """
    count = 0
    others: Counter[int] = Counter()
    try:
        for entry in entries(path):
            count += 1
            level = _level(_first(entry.fields, _FIELDS["level"]))
            if level == _TANDEM:
                yield _reading(entry, f"{path.name}: entry {count}")
            else:
                others[level] += 1
    except SampleError as error:
        if count == 0:
            raise
        yield error  # what precedes the damage is good
    if count == 0:
        raise SampleError(path.name, "holds no spectrum")
    if others:
        levels = " and ".join(f"{n} of level {level}" for level, n in sorted(others.items()))
        yield SampleError(
            path.name, f"{levels} of its {count} spectra are left out; tandem spectra, of level 2, are read"
        )


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


def _reading(entry: Entry, location: str) -> Reading | SampleError:
    said = {name: _first(entry.fields, aliases) for name, aliases in _FIELDS.items()}
    if said["title"] is not None:
        location += f" ({said['title']})"
    if entry.problem is not None:
        return SampleError(location, entry.problem)
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
    measurement = Measurement(arrays=arrays, columns=columns)
    return Reading(measurement=measurement, smiles=smiles, location=location, name=said["name"])


def _level(text: str | None) -> int:
    """Read "2", "MS2", "ms^3", "MS/MS", "MS"; what says nothing of a level is a tandem spectrum.

    Example:
        >>> [_level(text) for text in ("MS1", "MS", "MS2", "MSn", "3", "Centroid", None)]
        [1, 1, 2, 2, 3, 2, 2]
    """
    match = re.fullmatch(r"(?:ms)?\W*(\d)?", (text or "?").strip().lower())
    if match is None or text is None:
        return _TANDEM
    return int(match[1] or 1)


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
