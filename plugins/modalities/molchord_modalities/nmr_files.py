"""Files of NMR peak lists: which there are, tables, JSON lines and predicted lists; not JCAMP-DX and SDF."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from molchord.api import Reading, SampleError
from molchord_modalities import jcamp, nmr_jcamp, nmr_npz, nmr_sdf, spectrum_text
from molchord_modalities.nmr_lists import PeakList, frequency_of, nucleus_of, without_nucleus

__all__ = ["names_itself", "read"]

_HEAD = 1 << 16  # bytes that show what a file is; the tags of an SD file come behind a molecule


def names_itself(path: Path) -> bool:
    """Return whether a file is one of NMR peak lists, by its beginning or the names of its arrays."""
    if path.suffix == ".npz":
        return nmr_npz.names_itself(path)
    try:
        head = spectrum_text.decode(path, _HEAD)
    except SampleError:
        return False
    if head.lstrip().startswith("{"):
        first = head.lstrip().splitlines()[0]
        return '"nucleus"' in first and '"shifts"' in first
    return nmr_jcamp.names_itself(head) or nmr_sdf.names_itself(head) or _is_table(head)


def read(path: Path) -> Iterator[Reading | SampleError]:
    """Yield every peak list of a file.

    Raises:
        SampleError: The file as a whole cannot be read.
    """
    if path.suffix == ".npz":
        yield from nmr_npz.read(path)
        return
    text, name = spectrum_text.decode(path), path.name
    if text.lstrip().startswith("{"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield _json_line(line, f"{name}:{number}")
        return
    if nmr_sdf.is_sdf(text):
        lists: Iterator[PeakList | SampleError] = nmr_sdf.parse(text, name)
    elif jcamp.is_jcamp(text):
        lists = nmr_jcamp.parse(text, name)
    else:
        lists = _table(text, name)
    for entry in lists:
        try:
            yield entry if isinstance(entry, SampleError) else entry.reading()
        except SampleError as error:  # the lists that follow may be sound
            yield error


# --- JSON lines ------------------------------------------------------------------------------------------------------


def _json_line(line: str, where: str) -> Reading | SampleError:
    """Read one list: `nucleus`, `shifts` of each atom, and where known `mult`, `smiles`, `field_mhz`, `solvent`."""
    try:
        entry = json.loads(line)
        wrong = [name for name in ("smiles", "solvent") if not isinstance(entry.get(name), str | None)]
        if wrong:
            raise SampleError(where, f"`{wrong[0]}` is {entry[wrong[0]]!r}, not a text")
        shifts = [float(shift) for shift in entry["shifts"]]
        return PeakList(
            shifts=shifts,
            patterns=entry.get("mult") or [None] * len(shifts),
            counts=[1.0] * len(shifts),  # each atom is listed, so equal shifts count
            nucleus=entry["nucleus"],
            frequency=frequency_of(entry.get("field_mhz")),
            solvent=entry.get("solvent"),
            smiles=entry.get("smiles"),
            where=where,
        ).reading()
    except SampleError as error:
        return error
    except KeyError as error:
        return SampleError(where, f"the line has no {error}; a list needs `nucleus` and `shifts`")
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        return SampleError(where, f"the line is not a peak list ({error}); was it cut off?")


# --- tables ----------------------------------------------------------------------------------------------------------

_COMMENT = re.compile(r"\s*#\s*(?:(\w+)\s*[:=]\s*(.*\S))?")
_TITLES = {
    "shift": ("shift", "shifts", "chemical shift", "delta", "δ", "ppm", "\u03bd"),
    "multiplicity": ("multiplicity", "mult", "pattern", "dept", "class"),
    "nuclei": ("nuclei", "integral", "integration", "number of nuclei", "h's"),
    "nucleus": ("nucleus",),
    "smiles": ("smiles",),
}
"""Columns that are read, each with the titles that name it."""


def _is_table(head: str) -> bool:
    """Return whether a text's beginning is a table with a column of shifts that names a nucleus anywhere.

    Raman spectroscopists have shifts too, but no nuclei.
    """
    rows = [line for line in head.splitlines() if _is_row(line)]
    if not rows:
        return False
    titles, nucleus = _columns(_cells(rows[0], _separator(rows)))
    said = any(match[1] == "nucleus" for match in map(_COMMENT.match, head.lower().splitlines()) if match)
    return "shift" in titles and ("nucleus" in titles or nucleus is not None or said)


def _columns(cells: Sequence[str]) -> tuple[dict[str, int], str | None]:
    """Return which column holds what, and the nucleus that the title of the shifts names.

    Example:
        >>> _columns(["13C shift (ppm)", "DEPT"])
        ({'shift': 0, 'multiplicity': 1}, '13C')
    """
    found: dict[str, int] = {}
    nucleus = None
    for index, cell in enumerate(cells):
        title = re.sub(r"[(\[].*", "", cell).strip(" .").lower()
        named, bare = nucleus_of(title), without_nucleus(title)
        if named and not bare:
            bare = "shift"  # a column titled "13C" holds shifts
        meaning = next((name for name, titles in _TITLES.items() if bare in titles), None)
        if meaning is not None and meaning not in found:
            found[meaning] = index
            if meaning == "shift":
                nucleus = named
    return found, nucleus


def _table(text: str, name: str) -> Iterator[PeakList | SampleError]:
    """Read a table: a list for each nucleus and molecule in it.

    Comments above it, such as ``# nucleus: 13C``, state what is the same for all rows.
    """
    lines = text.splitlines()
    said = {match[1].lower(): match[2] for line in lines if (match := _COMMENT.match(line)) and match[1]}
    rows = [(number, line) for number, line in enumerate(lines, 1) if _is_row(line)]
    if not rows:
        raise SampleError(name, "the file holds no table; a header with the column `shift` was expected")
    separator = _separator([line for _, line in rows])
    titles = _cells(rows[0][1], separator)
    columns, nucleus = _columns(titles)
    if "shift" not in columns:
        raise SampleError(name, f"the header {rows[0][1].strip()[:60]!r} has no column `shift` (chemical shift in ppm)")
    lists: dict[tuple[str | None, str | None], list[dict[str, str]]] = defaultdict(list)
    for number, line in rows[1:]:
        cells = _cells(line, separator)
        if len(cells) != len(titles):
            counts = f"the row has {len(cells)} cells, the header {len(titles)}"
            raise SampleError(f"{name}:{number}", f"{counts}; was it cut off?")
        row = {meaning: cells[index] for meaning, index in columns.items()} | {"line": str(number)}
        lists[row.get("nucleus") or nucleus or said.get("nucleus"), row.get("smiles") or said.get("smiles")].append(row)
    if not lists:
        raise SampleError(name, "the table has no row")
    for (which, smiles), peaks in lists.items():
        try:
            yield _listed(peaks, which, smiles, said, separator, name)
        except SampleError as error:
            yield error


def _listed(
    rows: Sequence[Mapping[str, str]],
    nucleus: str | None,
    smiles: str | None,
    said: Mapping[str, str],
    separator: str,
    name: str,
) -> PeakList:
    def number(row: Mapping[str, str], column: str) -> float:
        # Where commas separate, one within a cell, which is in quotes there, is a decimal one too.
        text = row[column].replace(",", ".").replace("\u2212", "-")
        ends = _RANGE.fullmatch(text) if column == "shift" else None
        if ends is not None:  # of a multiplet
            return (float(ends[1]) + float(ends[2])) / 2
        try:
            return float(text.lower().removesuffix("h") if column == "nuclei" else text)
        except ValueError:
            raise SampleError(f"{name}:{row['line']}", f"`{column}` is {row[column]!r}, not a number") from None

    return PeakList(
        shifts=[number(row, "shift") for row in rows],
        patterns=[row.get("multiplicity") for row in rows],
        counts=[number(row, "nuclei") if row.get("nuclei") else math.nan for row in rows],
        nucleus=nucleus,
        frequency=frequency_of(said.get("frequency") or said.get("field")),
        solvent=said.get("solvent"),
        smiles=smiles,
        where=f"{name}:{rows[0]['line']}",
    )


_RANGE = re.compile(r"(-?\d+\.?\d*)\s*(?:-|\u2013|\.\.|to)\s*(-?\d+\.?\d*)")


def _is_row(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _separator(rows: Sequence[str]) -> str:
    """Return what separates cells: a sign in the header, or blanks where the row below has some; "": one column."""
    signs = (sign for sign in ("\t", ";", ",") if sign in rows[0])
    return next(signs, " " if len(rows) > 1 and len(rows[1].split()) > 1 else "")


def _cells(line: str, separator: str) -> list[str]:
    if separator in ("", " "):
        return line.split() if separator else [line.strip()]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]
