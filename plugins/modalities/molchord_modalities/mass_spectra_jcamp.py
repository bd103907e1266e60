"""Mass spectra in JCAMP-DX: peak tables, and the pages of NTUPLES, each a scan.

Source: Lampen et al., JCAMP-DX for mass spectrometry, Appl. Spectrosc. 48 (1994) 1545.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from molchord.api import SampleError
from molchord_modalities import jcamp
from molchord_modalities.mass_spectra_entries import NUMBER, Entry, lines_of

__all__ = ["jcamp_entries", "names_jcamp"]

_TABLES = ("PEAKTABLE", "XYPOINTS", "XYDATA", "DATATABLE")
_MOST_CHARACTERS = 200_000_000
"""More in one file can only be damage, and would fill the memory."""


def names_jcamp(head: str) -> bool:
    """Return whether a file's beginning is JCAMP-DX that declares a mass spectrum."""
    return jcamp.is_jcamp(head) and any("MASS" in kind for kind in jcamp.data_types(head))


def jcamp_entries(path: Path) -> Iterator[Entry]:
    """Yield each table of peaks of a file.

    Raises:
        SampleError: It declares no mass spectrum, or what is not one.
    """
    text, size = [], 0
    for _, line in lines_of(path):
        size += len(line) + 1
        if size > _MOST_CHARACTERS:
            raise SampleError(path.name, f"is longer than {_MOST_CHARACTERS} characters; split it")
        text.append(line)
    whole = "\n".join(text)
    kinds = jcamp.data_types(whole)
    if not any("MASS" in kind for kind in kinds):
        kind = next((kind for kind in kinds if kind != "LINK"), "no stated data type")
        raise SampleError(path.name, f"is JCAMP-DX of {kind!r}, not of a mass spectrum; give it as what it is")
    for records, ended in jcamp.blocks(whole):
        labels = {record.label: record.value for record in records}
        if "LINK" in labels.get("DATATYPE", "").upper():
            continue  # the blocks in it come by themselves
        if "MASS" in labels.get("DATATYPE", "").upper():
            yield from _of_block(records, labels, ended)


def _of_block(records: Sequence[jcamp.Record], labels: Mapping[str, str], ended: bool) -> Iterator[Entry]:
    """Yield the tables of one block, each with the page that it is on."""
    title, page, points, tables = labels.get("TITLE", ""), "", labels.get("NPOINTS", ""), 0
    for record in records:
        if record.label == "PAGE":
            page, points = record.value, ""
        elif record.label == "NPOINTS":
            points = record.value
        elif record.label in _TABLES:
            tables += 1
            entry = Entry(line=record.line)
            entry.put("title", f"{title}, {page}" if page else title)
            entry.put("compoundname", title)
            _conditions(entry, labels)
            if not ended:
                entry.spoil(records[0].line, "the block has no `##END=`; the file was cut off, fetch it again")
            _peaks(entry, record, points, _factors(labels, record.label))
            yield entry
    if tables == 0:
        entry = Entry(line=records[0].line)
        entry.spoil(records[0].line, "the block has no table of peaks; `PEAK TABLE`, `XYPOINTS` or `NTUPLES` is read")
        yield entry


def _conditions(entry: Entry, labels: Mapping[str, str]) -> None:
    """Keep what a block says of the measurement; private labels, which start with ``$``, as others name them."""
    mode = labels.get(".IONIZATIONMODE", "").strip()
    if mode[-1:] in ("+", "-"):
        entry.put("ionmode", "positive" if mode.endswith("+") else "negative")
    for label, value in labels.items():
        if label.startswith(("$", ".")) and value:
            entry.put(label, value)


def _factors(labels: Mapping[str, str], table: str) -> tuple[float, float]:
    """Return what m/z and intensity are to be multiplied by; those of NTUPLES are named by their symbols."""
    if table != "DATATABLE":
        given = (labels.get("XFACTOR"), labels.get("YFACTOR"))
    else:
        symbols = [part.strip().upper() for part in labels.get("SYMBOL", "X,Y").split(",")]
        factors = dict(zip(symbols, labels.get("FACTOR", "").split(","), strict=False))
        given = (factors.get("X"), factors.get("Y"))
    x, y = (float(text) if re.fullmatch(NUMBER, (text or "").strip()) else 1.0 for text in given)  # type: ignore[arg-type]
    return x, y


def _peaks(entry: Entry, table: jcamp.Record, points: str, factors: tuple[float, float]) -> None:
    form = re.sub(r"\s", "", table.lines[0]).upper()
    if not form.startswith("(XY..XY)"):
        entry.spoil(table.line, f"the table is {form!r}, a curve; peaks are '(XY..XY)', so write it as centroids")
        return
    for offset, line in enumerate(table.lines[1:], start=1):
        number = table.line + offset
        odd = re.search(r"[^-+0-9.eE,;()\s]", line)
        if odd is not None:
            entry.spoil(number, f"the table holds {odd[0]!r}, which is not part of a number")
            return
        values = [float(text) for text in re.findall(NUMBER, line)]
        if len(values) % 2:
            entry.spoil(number, f"the line has {len(values)} numbers, an odd count; pairs were expected")
            return
        for mz, intensity in zip(values[::2], values[1::2], strict=True):
            entry.peak(number, [repr(mz * factors[0]), repr(intensity * factors[1])])
    said = re.fullmatch(r"\d+", points.strip())
    if said is not None and int(said[0]) != len(entry.mz):
        entry.spoil(table.line, f"the table has {len(entry.mz)} peaks, `NPOINTS` says {points}")
