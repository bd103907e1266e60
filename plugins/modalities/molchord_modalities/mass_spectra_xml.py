"""mzML 1.1 and mzXML files, read as they are parsed, one spectrum in memory at a time.

Sources: Martens et al., Mol. Cell. Proteomics 10 (2011) R110.000133 (mzML, with the terms of the PSI-MS vocabulary);
Pedrioli et al., Nat. Biotechnol. 22 (2004) 1459 (mzXML).
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from molchord.api import SampleError
from molchord_modalities.mass_spectra_entries import Entry, opened

__all__ = ["mzml_entries", "mzxml_entries"]

_MOST_BYTES = 64_000_000
"""Of one array; more can only be damage, and would fill the memory."""

Groups: TypeAlias = "Mapping[str, dict[str, str]]"
"""Values by accession that several elements of an mzML file refer to, by the group's id."""


def mzml_entries(path: Path) -> Iterator[Entry]:
    """Yield each spectrum of an mzML file; one whose arrays cannot be decoded says so.

    Raises:
        SampleError: The file is damaged; what is yielded before the damage is good.
    """
    groups: dict[str, dict[str, str]] = {}
    for element in _elements(path, "mzML"):
        if _name(element) == "referenceableParamGroup":
            groups[element.get("id", "")] = _values(element, {})
        elif _name(element) == "spectrum":
            yield _guarded(element, lambda spectrum, entry: _of_mzml(spectrum, entry, groups))
            element.clear()
        elif _name(element) == "chromatogram":
            element.clear()


def mzxml_entries(path: Path) -> Iterator[Entry]:
    """Yield each scan of an mzXML file, those inside another before it; one whose peaks cannot be decoded says so.

    Raises:
        SampleError: The file is damaged; what is yielded before the damage is good.
    """
    for element in _elements(path, "mzXML"):
        if _name(element) == "scan":
            yield _guarded(element, _of_mzxml)
            element.clear()


def _elements(path: Path, kind: str) -> Iterator[ElementTree.Element]:
    """Yield each element once it is complete."""
    try:
        with opened(path) as file:
            for _, element in ElementTree.iterparse(file):
                yield element
    except (ElementTree.ParseError, OSError, EOFError, zlib.error) as error:
        raise SampleError(path.name, f"is damaged {kind} ({error}); fetch or export it again") from error


def _guarded(element: ElementTree.Element, read: Callable[[ElementTree.Element, Entry], None]) -> Entry:
    entry = Entry(line=0)
    entry.put("title", element.get("id") or f"scan={element.get('num', '?')}")
    try:
        read(element, entry)
    except (ValueError, binascii.Error, zlib.error) as error:
        entry.problem = f"its peaks cannot be decoded ({error})"
    return entry


# --- mzML ------------------------------------------------------------------------------------------------------------

_LEVEL, _POSITIVE, _NEGATIVE = "MS:1000511", "MS:1000130", "MS:1000129"
_SELECTED_ION, _ISOLATED, _ENERGY, _NORMALISED = "MS:1000744", "MS:1000827", "MS:1000045", "MS:1000138"
_MZ, _INTENSITY = "MS:1000514", "MS:1000515"
_TYPES = {"MS:1000521": "<f4", "MS:1000523": "<f8", "MS:1000519": "<i4", "MS:1000522": "<i8"}
_COMPRESSIONS = {"MS:1000576": False, "MS:1000574": True}


def _of_mzml(spectrum: ElementTree.Element, entry: Entry, groups: Groups) -> None:
    said = _values(spectrum, groups)
    precursor = next((e for e in spectrum.iter() if _name(e) == "precursor"), None)
    ion = {} if precursor is None else _values(precursor, groups, deep=True)
    fields = {
        "mslevel": said.get(_LEVEL),
        "ionmode": "positive" if _POSITIVE in said else "negative" if _NEGATIVE in said else None,
        "precursormz": ion.get(_SELECTED_ION) or ion.get(_ISOLATED),
        "collisionenergy": _energy(ion),
    }
    _put(entry, fields)
    arrays: dict[str, NDArray[np.float64]] = {}
    for element in spectrum.iter():
        if _name(element) == "binaryDataArray":
            of = _values(element, groups)
            name = next((name for name in (_MZ, _INTENSITY) if name in of), None)
            if name is not None:
                arrays[name] = _decoded_mzml(element, of)
    if len(arrays) == 2:
        _peaks(entry, arrays[_MZ], arrays[_INTENSITY])


def _energy(ion: Mapping[str, str]) -> str | None:
    if ion.get(_ENERGY):
        return f"{ion[_ENERGY]} eV"
    return f"{ion[_NORMALISED]} %" if ion.get(_NORMALISED) else None


def _values(element: ElementTree.Element, groups: Groups, *, deep: bool = False) -> dict[str, str]:
    """Return the values of an element's terms by accession, those of the groups that it refers to included."""
    out: dict[str, str] = {}
    for child in element.iter() if deep else element:
        if _name(child) == "cvParam":
            out[child.get("accession", "")] = child.get("value", "")
        elif _name(child) == "referenceableParamGroupRef":
            out |= groups.get(child.get("ref", ""), {})
    return out


def _decoded_mzml(element: ElementTree.Element, of: Mapping[str, str]) -> NDArray[np.float64]:
    kind = next((_TYPES[name] for name in of if name in _TYPES), None)
    packed = next((_COMPRESSIONS[name] for name in of if name in _COMPRESSIONS), None)
    if kind is None or packed is None:
        raise ValueError("numbers packed otherwise than as zlib; export it without MS-Numpress")
    return _decoded(next((e.text for e in element if _name(e) == "binary"), None), kind, packed)


# --- mzXML -----------------------------------------------------------------------------------------------------------


def _of_mzxml(scan: ElementTree.Element, entry: Entry) -> None:
    energy = scan.get("collisionEnergy")
    precursor = next((e.text for e in scan if _name(e) == "precursorMz"), None)
    fields = {
        "mslevel": scan.get("msLevel"),
        "ionmode": {"+": "positive", "-": "negative"}.get(scan.get("polarity", "")),
        "precursormz": precursor,
        "collisionenergy": None if energy is None else f"{energy} eV",
    }
    _put(entry, fields)
    for element in scan:
        if _name(element) == "peaks":
            kind = ">f8" if element.get("precision") == "64" else ">f4"
            pairs = _decoded(element.text, kind, element.get("compressionType") == "zlib")
            if len(pairs) % 2:
                raise ValueError(f"{len(pairs)} numbers where pairs were expected")
            _peaks(entry, pairs[::2], pairs[1::2])


# --- both ------------------------------------------------------------------------------------------------------------


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _put(entry: Entry, fields: Mapping[str, str | None]) -> None:
    for name, value in fields.items():
        if value:
            entry.put(name, value)


def _decoded(text: str | None, kind: str, packed: bool) -> NDArray[np.float64]:
    data = base64.b64decode(text or "", validate=False)
    if packed and data:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(data, _MOST_BYTES)
        if unpacker.unconsumed_tail:
            raise ValueError(f"more than {_MOST_BYTES} bytes in one array")
    return np.frombuffer(data, dtype=kind).astype(np.float64)


def _peaks(entry: Entry, mz: NDArray[np.float64], intensity: NDArray[np.float64]) -> None:
    if len(mz) != len(intensity):
        raise ValueError(f"{len(mz)} m/z and {len(intensity)} intensities")
    if not (np.isfinite(mz).all() and np.isfinite(intensity).all() and (mz > 0).all()):
        raise ValueError("an m/z or intensity is not a positive, finite number")
    entry.mz, entry.intensity = mz.tolist(), intensity.tolist()
