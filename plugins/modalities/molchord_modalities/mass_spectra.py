"""Readers of tandem mass spectra: MGF, MSP (NIST, MassBank, MoNA, RIKEN) and text of two columns, plain or gzipped.

Files are streamed entry by entry. What a field is called differs between writers; names are compared in lower case
without punctuation, so `Precursor_type`, `PRECURSORTYPE` and `ADDUCT` are one field.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from molchord.api import Measurement, Reading, SampleError
from molchord.chem import from_inchi

__all__ = ["canonical_adduct", "collision_energy", "names_itself", "read"]

Layout = Literal["mgf", "msp", "columns"]

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
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_HEADER_OF_COLUMNS = re.compile(r'^"?m(?:/?z|ass)"?\s*[,;\t ]\s*"?(?:rel|int|abund)', re.IGNORECASE)
_SNIFFED_LINES = 400
_SNIFFED_CHARACTERS = 65_536


def names_itself(path: Path) -> bool:
    """Say whether a file's content is MGF, MSP or two columns headed m/z and intensity; reads its beginning only."""
    try:
        return _layout(path) is not None
    except SampleError:
        return False


def read(path: Path) -> Iterator[Reading | SampleError]:
    """Yield every entry of a file; a bad one as a `SampleError`.

    A file that is neither MGF nor MSP is read as one spectrum of two columns, m/z and intensity.

    Raises:
        SampleError: The file as a whole cannot be read.
    """
    split = {"mgf": _mgf_entries, "msp": _msp_entries, "columns": _column_entries}[_layout(path) or "columns"]
    count = 0
    try:
        for entry in split(_lines(path)):
            count += 1
            yield _reading(entry, f"{path.name}: entry {count}")
    except SampleError as error:
        if count == 0:
            raise
        yield error  # what stands before the damage is good
    if count == 0:
        raise SampleError(path.name, "holds no spectrum")


def collision_energy(text: str | None, instrument_type: str | None = None) -> tuple[float, float]:
    """Read a free-text collision energy as (eV, % of normalised energy); NaN where it is not given so.

    The two are not converted: that takes the precursor m/z, which would then be told to the encoder. Several energies
    or a ramp become their mean. A number without unit is in eV, on Fourier-transform instruments (type ending in
    ``FT``) and where the text says nominal in %. What depends on the mass, leaves a choice ("or") or is in kV (which is
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
    # a decimal comma has no space behind it and stands once; "20,40,130" is a list
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
    """Write an adduct as ``[M+H]+``, one spelling a species; None where nothing is said.

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


# --- files to entries ------------------------------------------------------------------------------------------------


@dataclass
class _Entry:
    """What one entry says, before it is judged; `problem` is the first thing wrong with it."""

    line: int
    fields: dict[str, str] = field(default_factory=dict)
    mz: list[float] = field(default_factory=list)
    intensity: list[float] = field(default_factory=list)
    declared: int | None = None
    problem: str | None = None

    def put(self, name: str, value: str) -> None:
        self.fields.setdefault(_plain(name), value.strip().strip('"'))

    def peak(self, number: int, tokens: list[str]) -> None:
        """Add one peak; further tokens are a charge or an annotation."""
        try:
            mz, intensity = float(tokens[0]), float(tokens[1])
        except (ValueError, IndexError):
            self.spoil(number, f"{' '.join(tokens)!r} is no pair of m/z and intensity")
            return
        if not (math.isfinite(mz) and math.isfinite(intensity) and mz > 0):
            self.spoil(number, f"m/z {mz!r} with intensity {intensity!r} is no peak")
            return
        self.mz.append(mz)
        self.intensity.append(intensity)

    def spoil(self, number: int, problem: str) -> None:
        if self.problem is None:
            self.problem = f"line {number}: {problem}"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _open(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield numbered lines without their ends; UTF-8, or Latin-1 where a line is not."""
    try:
        with _open(path) as file:
            for number, raw in enumerate(file, start=1):
                if b"\x00" in raw:
                    raise SampleError(path.name, f"is not text (line {number})")
                try:
                    text = raw.decode("utf-8-sig")
                except UnicodeDecodeError:
                    text = raw.decode("latin-1")
                yield number, text.strip()
    except (OSError, EOFError, zlib.error) as error:
        raise SampleError(path.name, f"cannot be read: {error}") from error


def _layout(path: Path) -> Layout | None:
    """Tell the layout from the first lines; None where nothing names it."""
    seen = 0
    for number, line in _lines(path):
        if line.upper() == "BEGIN IONS":
            return "mgf"
        if _plain(line.partition(":")[0]) == "numpeaks" and ":" in line:
            return "msp"
        if _HEADER_OF_COLUMNS.match(line):
            return "columns"
        seen += len(line)
        if number >= _SNIFFED_LINES or seen >= _SNIFFED_CHARACTERS:
            break
    return None


def _mgf_entries(lines: Iterator[tuple[int, str]]) -> Iterator[_Entry]:
    """Split at BEGIN IONS and END IONS; parameters before the first entry hold for all."""
    shared = _Entry(line=0)
    entry: _Entry | None = None
    for number, line in lines:
        if line.upper() == "BEGIN IONS":
            if entry is not None:
                entry.spoil(number, "BEGIN IONS before the entry's END IONS")
                yield entry
            entry = _Entry(line=number, fields={})
        elif line.upper() == "END IONS":
            if entry is not None:
                entry.fields = shared.fields | entry.fields
                yield entry
            entry = None
        elif line and line[0] not in "#;!/":
            _mgf_line(entry, shared, number, line)
    if entry is not None:
        entry.spoil(entry.line, "END IONS is missing")
        yield entry


def _mgf_line(entry: _Entry | None, shared: _Entry, number: int, line: str) -> None:
    name, equals, value = line.partition("=")
    if equals and not name[0].isdigit():
        (shared if entry is None else entry).put(name, value)
    elif entry is not None:
        entry.peak(number, re.split(r"[\s,;]+", line))


def _msp_entries(lines: Iterator[tuple[int, str]]) -> Iterator[_Entry]:
    """Split where a header follows peaks, or at blank lines behind peaks."""
    entry: _Entry | None = None
    for number, line in lines:
        name, colon, _ = line.partition(":")
        ended = entry is not None and entry.declared is not None
        starts_next = ended and (not line or (colon == ":" and _plain(name) in ("name", "title")))
        if starts_next and entry is not None:
            yield _counted(entry)
            entry = None
        if not line:
            continue
        if entry is None:
            entry = _Entry(line=number)
        _msp_line(entry, number, line)
    if entry is not None:
        yield _counted(entry)


def _msp_line(entry: _Entry, number: int, line: str) -> None:
    name, colon, value = line.partition(":")
    if entry.declared is not None:
        for tokens in _msp_peaks(line):
            entry.peak(number, tokens)
    elif not colon:
        entry.spoil(number, f"{line[:60]!r} is neither a field nor a peak")
    elif _plain(name) == "numpeaks":
        try:
            entry.declared = int(value)
        except ValueError:
            entry.declared = -1
            entry.spoil(number, f"the number of peaks {value.strip()!r} is no whole number")
    else:
        entry.put(name, value)
        if _plain(name).startswith("comment"):  # MoNA keeps fields there: "SMILES=CCO" "collision energy=35 %"
            for inner, text in re.findall(r'"([^"=]+)=([^"]*)"', value):
                entry.put(inner, text)


def _msp_peaks(line: str) -> Iterator[list[str]]:
    """Split a line of peaks: one a line with an annotation, or several parted by semicolons or in a row."""
    bare = re.sub(r'"[^"]*"', " ", line)
    for part in re.split(r"[;()]", bare):
        tokens = [token for token in re.split(r"[\s,:]+", part) if token]
        numeric = all(re.fullmatch(_NUMBER, token) for token in tokens)
        if numeric and len(tokens) > 2 and len(tokens) % 2 == 0:
            yield from (tokens[i : i + 2] for i in range(0, len(tokens), 2))
        elif tokens:
            yield tokens


def _counted(entry: _Entry) -> _Entry:
    if entry.declared is None:
        entry.spoil(entry.line, "the entry has no 'Num Peaks'")
    elif entry.declared != len(entry.mz):
        entry.spoil(entry.line, f"the entry declares {entry.declared} peaks and has {len(entry.mz)}")
    return entry


def _column_entries(lines: Iterator[tuple[int, str]]) -> Iterator[_Entry]:
    """Read one spectrum of two columns; ``# precursor_mz: 183.0`` and the like above it are its fields."""
    entry = _Entry(line=1)
    for number, line in lines:
        comment = re.match(r"^(?:#|//)\s*([\w /]+?)\s*[:=]\s*(.*)$", line)
        if comment:
            entry.put(comment[1], comment[2])
        elif line and not line.startswith(("#", "//")):
            tokens = _columns(line)
            header = not entry.mz and not re.fullmatch(_NUMBER, tokens[0])
            if not header:
                entry.peak(number, tokens)
    if entry.mz or entry.problem is not None:
        yield entry


def _columns(line: str) -> list[str]:
    if ";" in line or "\t" in line or re.search(r"\d\s+\d", line):  # then a comma is a decimal one
        line = line.replace(",", ".")
    return [token for token in re.split(r'[\s,;"]+', line) if token] or [line]


# --- entries to readings ---------------------------------------------------------------------------------------------


def _reading(entry: _Entry, location: str) -> Reading | SampleError:
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
    match = re.match(_NUMBER, text or "")
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
