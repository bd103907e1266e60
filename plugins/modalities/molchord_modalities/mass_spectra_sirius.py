"""SIRIUS ``.ms`` files: a compound with its mass spectra, each below a line that starts with ``>``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from molchord_modalities.mass_spectra_entries import Entry, plain, with_points

__all__ = ["names_sirius", "sirius_entries"]

_SPECTRA = {"ms1": "1", "ms1merged": "1", "ms1peaks": "1", "ms2": "2", "ms2merged": "2", "ms2peaks": "2"}
"""Lines that start a spectrum, and its level."""

_FIELDS = {"parentmass": "precursormz", "ionization": "adduct", "ion": "adduct", "compound": "compoundname"}
"""What SIRIUS calls what others call otherwise."""


def names_sirius(line: str) -> bool:
    """Return whether a file's first line that is no comment starts a compound."""
    return re.match(r">\s*(compound|parentmass|formula|ionization)\b", line, re.IGNORECASE) is not None


def sirius_entries(lines: Iterator[tuple[int, str]]) -> Iterator[Entry]:
    """Yield each spectrum with the fields of its compound, wherever among its spectra they are."""
    fields, spectra = Entry(line=0), list[Entry]()
    for number, line in lines:
        if not line or line.startswith("#"):
            continue
        if not line.startswith(">"):
            if spectra:
                spectra[-1].peak(number, re.split(r"[\s,;]+", with_points(line)))
            else:
                fields.spoil(number, f"{line[:60]!r} is a peak of no spectrum; it stands above '>ms2' and '>collision'")
            continue
        name, _, value = line[1:].strip().partition(" ")
        key = plain(name)
        if key == "compound" and (fields.fields or spectra):
            yield from _of_compound(fields, spectra)
            fields, spectra = Entry(line=number), []
        if key in _SPECTRA or key == "collision":
            spectra.append(Entry(line=number, fields={"mslevel": _SPECTRA.get(key, "2")}))
            if key == "collision":
                spectra[-1].put("collisionenergy", value)
        else:
            fields.put(_FIELDS.get(key, key), value)
    yield from _of_compound(fields, spectra)


def _of_compound(fields: Entry, spectra: list[Entry]) -> Iterator[Entry]:
    for entry in spectra:
        entry.fields = fields.fields | entry.fields
        entry.problem = fields.problem or entry.problem
        yield entry
