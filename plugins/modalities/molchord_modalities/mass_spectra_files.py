"""Entries of files of mass spectra, plain or gzipped, before they are judged: which layout, and layouts of lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from molchord.api import SampleError
from molchord_modalities.jcamp import is_jcamp
from molchord_modalities.mass_spectra_entries import NUMBER, Entry, head_of, lines_of, plain, with_points
from molchord_modalities.mass_spectra_jcamp import jcamp_entries, names_jcamp
from molchord_modalities.mass_spectra_sirius import names_sirius, sirius_entries
from molchord_modalities.mass_spectra_xml import mzml_entries, mzxml_entries

__all__ = ["entries", "names_itself"]

_HEADER_OF_COLUMNS = re.compile(r'^"?m(?:/?z|ass)"?\s*[,;\t ]\s*"?(?:rel|int|abund)', re.IGNORECASE)
_SNIFFED_LINES = 400
_SNIFFED_CHARACTERS = 65_536


def names_itself(path: Path) -> bool:
    """Return whether a file's beginning names one of the layouts, or two columns headed m/z and intensity."""
    try:
        return _layout(path) is not None
    except SampleError:
        return False


def entries(path: Path) -> Iterator[Entry]:
    """Yield what each entry of a file holds; a file that names no layout is one entry of two columns.

    Raises:
        SampleError: The file as a whole cannot be read; what is yielded before the damage is good.
    """
    layout = _layout(path)
    if layout is None and is_jcamp(head_of(path)):
        layout = "jcamp"  # of another kind, which its reader names
    if layout in _WHOLE:
        return _WHOLE[layout](path)
    return _LINES[layout or "columns"](lines_of(path))


def _layout(path: Path) -> str | None:
    """Determine the layout from the file's beginning; None where nothing names it.

    Raises:
        SampleError: It is text of another kind, though it may hold lines of two numbers.
    """
    head = head_of(path)
    if head.lstrip().startswith("<"):
        kind = re.search(r"<(?:indexed)?(mzML|mzXML|msRun)\b", head, re.IGNORECASE)
        if kind is None:
            raise SampleError(
                path.name, "is XML, but neither mzML nor mzXML; write it as one of them, or as MGF or MSP"
            )
        return "mzml" if kind[1].lower() == "mzml" else "mzxml"
    if is_jcamp(head):
        return "jcamp" if names_jcamp(head) else None
    return _layout_of_lines(path)


def _layout_of_lines(path: Path) -> str | None:
    seen = 0
    for number, line in lines_of(path):
        if line.upper() == "BEGIN IONS":
            return "mgf"
        if seen == 0 and line.startswith("ACCESSION:"):
            return "massbank"
        if names_sirius(line):
            return "sirius"
        if plain(line.partition(":")[0]) == "numpeaks" and ":" in line:
            return "msp"
        if _HEADER_OF_COLUMNS.match(line):
            return "columns"
        seen += len(line)
        if number >= _SNIFFED_LINES or seen >= _SNIFFED_CHARACTERS:
            break
    return None


def _mgf_entries(lines: Iterator[tuple[int, str]]) -> Iterator[Entry]:
    """Split at BEGIN IONS and END IONS; parameters before the first entry hold for all."""
    shared = Entry(line=0)
    entry: Entry | None = None
    for number, line in lines:
        if line.upper() == "BEGIN IONS":
            if entry is not None:
                entry.spoil(number, "BEGIN IONS before the entry's END IONS")
                yield entry
            entry = Entry(line=number, fields={})
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


def _mgf_line(entry: Entry | None, shared: Entry, number: int, line: str) -> None:
    name, equals, value = line.partition("=")
    if equals and not name[:1].isdigit():
        (shared if entry is None else entry).put(name, value)
    elif entry is not None:
        entry.peak(number, re.split(r"[\s,;]+", with_points(line)))


def _msp_entries(lines: Iterator[tuple[int, str]]) -> Iterator[Entry]:
    """Split where a header follows peaks, or at blank lines after peaks."""
    entry: Entry | None = None
    for number, line in lines:
        name, colon, _ = line.partition(":")
        ended = entry is not None and entry.declared is not None
        starts_next = ended and (not line or (colon == ":" and plain(name) in ("name", "title")))
        if starts_next and entry is not None:
            yield _counted(entry)
            entry = None
        if not line:
            continue
        if entry is None:
            entry = Entry(line=number)
        _msp_line(entry, number, line)
    if entry is not None:
        yield _counted(entry)


def _msp_line(entry: Entry, number: int, line: str) -> None:
    name, colon, value = line.partition(":")
    if entry.declared is not None:
        for tokens in _msp_peaks(line):
            entry.peak(number, tokens)
    elif not colon:
        entry.spoil(number, f"{line[:60]!r} is neither a field nor a peak")
    elif plain(name) == "numpeaks":
        try:
            entry.declared = int(value)
        except ValueError:
            entry.declared = -1
            entry.spoil(number, f"the number of peaks {value.strip()!r} is not a whole number")
    else:
        entry.put(name, value)
        if plain(name).startswith("comment"):  # MoNA keeps fields there: "SMILES=CCO" "collision energy=35 %"
            for inner, text in re.findall(r'"([^"=]+)=([^"]*)"', value):
                entry.put(inner, text)


def _msp_peaks(line: str) -> Iterator[list[str]]:
    """Split a line of peaks: one per line with an annotation, or several parted by semicolons or in a row."""
    bare = with_points(re.sub(r'"[^"]*"', " ", line).strip())
    for part in re.split(r"[;()]", bare):
        tokens = [token for token in re.split(r"[\s,:]+", part) if token]
        numeric = all(re.fullmatch(NUMBER, token) for token in tokens)
        if numeric and len(tokens) > 2 and len(tokens) % 2 == 0:
            yield from (tokens[i : i + 2] for i in range(0, len(tokens), 2))
        elif tokens:
            yield tokens


def _massbank_entries(lines: Iterator[tuple[int, str]]) -> Iterator[Entry]:
    """Split MassBank records at the line that ends each, ``//``."""
    entry: Entry | None = None
    for number, line in lines:
        if line == "//" and entry is not None:
            yield _counted(entry)
            entry = None
        elif line and line != "//":
            if entry is None:
                entry = Entry(line=number)
            _massbank_line(entry, number, line)
    if entry is not None:
        entry.spoil(entry.line, "the record's last line '//' is missing; was it cut off?")
        yield entry


def _massbank_line(entry: Entry, number: int, line: str) -> None:
    """Read ``CH$SMILES: CCO``, ``MS$FOCUSED_ION: PRECURSOR_TYPE [M+H]+`` or, after the number of peaks, a peak."""
    name, colon, value = line.partition(": ")
    if not colon:
        if entry.declared is not None:
            entry.peak(number, line.split())
        return  # a line of annotations
    group, _, field_ = name.rpartition("$")
    if group in ("AC", "MS") and field_ in ("MASS_SPECTROMETRY", "FOCUSED_ION"):
        field_, _, value = value.strip().partition(" ")
    if plain(field_) == "numpeak":
        _msp_line(entry, number, f"Num Peaks:{value}")
    else:
        entry.put("inchi" if name == "CH$IUPAC" else field_, value)


def _counted(entry: Entry) -> Entry:
    if entry.declared is None:
        entry.spoil(entry.line, "the entry has no 'Num Peaks'")
    elif entry.declared != len(entry.mz):
        entry.spoil(entry.line, f"the entry declares {entry.declared} peaks and has {len(entry.mz)}")
    return entry


def _column_entries(lines: Iterator[tuple[int, str]]) -> Iterator[Entry]:
    """Read one spectrum of two columns; ``# precursor_mz: 183.0`` and the like above it are its fields.

    Of more columns, titles indicate which two are read; one of scans must not hold several.
    """
    entry = Entry(line=1)
    places: tuple[int, int] = (0, 1)
    scan: int | None = None
    scans: set[str] = set()
    for number, line in lines:
        comment = re.match(r"^(?:#|//)\s*([\w /]+?)\s*[:=]\s*(.*)$", line)
        if comment:
            entry.put(comment[1], comment[2])
        elif line and not line.startswith(("#", "//")):
            tokens = _columns(line)
            if not entry.mz and not re.fullmatch(NUMBER, tokens[0]):
                places, scan = _places(line)
                continue
            if scan is not None:
                scans |= set(tokens[scan : scan + 1])
                if len(scans) > 1:
                    entry.spoil(number, f"the peaks are of several scans ({', '.join(sorted(scans))}); leave one")
            entry.peak(number, [*(tokens[at] for at in places if at < len(tokens))])
    if entry.mz or entry.problem is not None:
        yield entry


def _places(header: str) -> tuple[tuple[int, int], int | None]:
    """Return where a line of titles has m/z and intensity, the first two where it does not say, and where scans."""
    titles = [title.strip(' "').lower() for title in re.split(r"[,;\t]|\s{2,}", header)]
    at = {
        name: next((i for i, title in enumerate(titles) if re.match(pattern, title)), None)
        for name, pattern in (("mz", r"m/?z|mass"), ("intensity", "int|rel|abund"), ("scan", "scan|spectrum"))
    }
    mz, intensity = at["mz"], at["intensity"]
    return (0, 1) if mz is None or intensity is None else (mz, intensity), at["scan"]


def _columns(line: str) -> list[str]:
    if ";" in line or "\t" in line or re.search(r"\d\s+\d", line):  # then a comma is a decimal one
        line = line.replace(",", ".")
    return [token for token in re.split(r'[\s,;"]+', line) if token] or [line]


_WHOLE: dict[str | None, Callable[[Path], Iterator[Entry]]] = {
    "jcamp": jcamp_entries,
    "mzml": mzml_entries,
    "mzxml": mzxml_entries,
}
_LINES: dict[str, Callable[[Iterator[tuple[int, str]]], Iterator[Entry]]] = {
    "mgf": _mgf_entries,
    "msp": _msp_entries,
    "massbank": _massbank_entries,
    "sirius": sirius_entries,
    "columns": _column_entries,
}
"""Readers by layout, of whole files and of lines."""
