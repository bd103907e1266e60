"""Files of NMR peak lists: JSON lines, tables of shifts, and (in `jcamp`) JCAMP-DX peak tables."""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from molchord.api import Measurement, Reading, SampleError
from molchord_nmr import MULTIPLICITIES, NUCLEI, jcamp

__all__ = ["measurement", "multiplicity_code", "names_itself", "read"]

_NAMES = {"quin": "quint", "p": "quint", "sex": "sext", "sep": "sept", "hept": "sept", "h": "sept"}
_DEPT = {"c": "s", "ch": "d", "ch2": "t", "ch3": "q"}
"""What DEPT says of a carbon: how many hydrogens it has, which is what splits it."""

_HEAD = 4096  # bytes that show what a file is


def names_itself(path: Path) -> bool:
    """Say whether a file is one of NMR peak lists, by its beginning."""
    try:
        head = _text(path, _HEAD)
    except SampleError:
        return False
    if jcamp.is_peak_table(head):
        return True
    if head.lstrip().startswith("{"):
        first = head.lstrip().splitlines()[0]
        return '"nucleus"' in first and '"shifts"' in first
    header = next((line.lower() for line in head.splitlines() if _is_row(line)), "")
    # Raman spectroscopists have shifts too, but no nuclei.
    return "shift" in _cells(header, _separator(header)) and "nucleus" in head.lower()


def read(path: Path) -> Iterator[Reading | SampleError]:
    """Yield every peak list of a file.

    Raises:
        SampleError: The file as a whole cannot be read.
    """
    text = _text(path)
    if text.lstrip().startswith("##"):
        for entry in jcamp.parse(text, path.name):
            yield entry if isinstance(entry, SampleError) else _checked(entry, path.name)
    elif text.lstrip().startswith("{"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield _json_line(line, f"{path.name}:{number}")
    else:
        yield from _table(text, path.name)


def measurement(
    shifts: Sequence[float],
    patterns: Sequence[str | None],
    nuclei: Sequence[float],
    *,
    nucleus: str | None,
    field: float | None,
    solvent: str | None,
    where: str,
) -> Measurement:
    """Make a measurement, peaks of one shift and pattern put together.

    Args:
        shifts: In ppm.
        patterns: How each peak is split, as people write it; None or "" where it is not known.
        nuclei: How many nuclei each peak stands for, NaN where it is not known.
        nucleus: Such as "13C".
        field: Frequency of this nucleus in MHz.
        solvent: As the source names it.
        where: Names the entry in errors.

    Raises:
        SampleError: There is no peak, or something of one is no such thing.

    Example:
        >>> shifts, patterns = [1.25, 1.25, 3.75], ["t", "T", "q"]
        >>> alike = measurement(shifts, patterns, [1, 1, 2], nucleus="1H", field=None, solvent=None, where="x")
        >>> alike.arrays["shift"].tolist(), alike.arrays["nuclei"].tolist()
        ([1.25, 3.75], [2.0, 2.0])
    """
    if nucleus not in NUCLEI:
        known = ", ".join(NUCLEI)
        raise SampleError(where, f"the nucleus is {nucleus!r}, not one of {known}; name it in the file")
    if not len(shifts) == len(patterns) == len(nuclei):
        counts = f"{len(shifts)} shifts, {len(patterns)} patterns and {len(nuclei)} counts"
        raise SampleError(where, f"the list has {counts}; each peak needs one of each")
    if len(shifts) == 0:
        raise SampleError(where, "the list has no peak")
    peaks: dict[tuple[float, int], float] = defaultdict(float)
    for shift, pattern, count in zip(shifts, patterns, nuclei, strict=True):
        if not math.isfinite(shift):
            raise SampleError(where, f"the list has the shift {shift!r}, which is no number of ppm")
        peaks[float(shift), multiplicity_code(pattern, where)] += count
    order = sorted(peaks)
    return Measurement(
        arrays={
            "shift": np.array([shift for shift, _ in order], dtype=np.float32),
            "multiplicity": np.array([code for _, code in order], dtype=np.uint8),
            "nuclei": np.array([peaks[key] for key in order], dtype=np.float32),
        },
        columns={"origin": "measured", "nucleus": nucleus, "field": field, "solvent": solvent},
    )


def multiplicity_code(pattern: str | None, where: str) -> int:
    """Return the code of a splitting pattern, 0 where none is given.

    Capitals, broadness and the names of DEPT make no difference; a pattern of its own kind, such as "ddt", is "m".

    Raises:
        SampleError: It is no pattern.

    Example:
        >>> [MULTIPLICITIES[multiplicity_code(text, "x") - 1] for text in ("Q", "CH3", "br s", "sep", "ddt")]
        ['q', 'q', 's', 'sept', 'm']
    """
    word = re.sub(r"[\s.,]", "", (pattern or "").lower())
    word = re.sub(r"^(broad|br|b)(?=[sdtqm]|$)|br$", "", word)
    word = _DEPT.get(word, _NAMES.get(word, word))
    if word == "":
        return 0
    if not re.fullmatch(r"[a-z']{1,12}", word):
        raise SampleError(where, f"the multiplicity {pattern!r} is no pattern such as 's', 'dd' or 'm'")
    return MULTIPLICITIES.index(word if word in MULTIPLICITIES else "m") + 1


# --- JSON lines ------------------------------------------------------------------------------------------------------


def _json_line(line: str, where: str) -> Reading | SampleError:
    """Read one list: `nucleus`, `shifts`, and where they are known `mult`, `smiles`, `field_mhz`, `solvent`."""
    try:
        entry = json.loads(line)
        shifts = [float(shift) for shift in entry["shifts"]]
        found = measurement(
            shifts,
            entry.get("mult") or [None] * len(shifts),
            [1.0] * len(shifts),  # each atom is listed, so equal shifts count
            nucleus=entry["nucleus"],
            field=_frequency(entry.get("field_mhz")),
            solvent=entry.get("solvent"),
            where=where,
        )
        return Reading(measurement=found, smiles=entry.get("smiles"), location=where)
    except SampleError as error:
        return error
    except KeyError as error:
        return SampleError(where, f"the line has no {error}; a list needs `nucleus` and `shifts`")
    except (ValueError, TypeError, AttributeError) as error:
        return SampleError(where, f"the line is no peak list ({error}); was it cut off?")


def _frequency(text: object) -> float | None:
    """Return a frequency in MHz; None for words such as "Unreported"."""
    try:
        value = float(str(text))
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


# --- tables ----------------------------------------------------------------------------------------------------------

_COMMENT = re.compile(r"\s*#\s*(?:(\w+)\s*[:=]\s*(.*\S))?")


def _table(text: str, name: str) -> Iterator[Reading | SampleError]:
    """Read a table with the column `shift`, and `multiplicity`, `nuclei`, `nucleus` where there; a list a nucleus.

    Comments above it, such as ``# nucleus: 13C``, say what is the same for all rows.
    """
    lines = text.splitlines()
    said = {match[1].lower(): match[2] for line in lines if (match := _COMMENT.match(line)) and match[1]}
    rows = [(number, line) for number, line in enumerate(lines, 1) if _is_row(line)]
    if not rows:
        raise SampleError(name, "the file holds no table; a header with the column `shift` was expected")
    separator = _separator(rows[0][1])
    titles = [title.lower() for title in _cells(rows[0][1], separator)]
    if "shift" not in titles:
        raise SampleError(name, f"the header {rows[0][1].strip()[:60]!r} has no column `shift` (chemical shift in ppm)")
    lists: dict[str | None, list[Mapping[str, str]]] = defaultdict(list)
    for number, line in rows[1:]:
        cells = _cells(line, separator)
        if len(cells) != len(titles):
            raise SampleError(
                f"{name}:{number}", f"the row has {len(cells)} cells, the header {len(titles)}; was it cut off?"
            )
        row = dict(zip(titles, cells, strict=True)) | {"line": str(number)}
        lists[row.get("nucleus") or said.get("nucleus")].append(row)
    if not lists:
        raise SampleError(name, "the table has no row")
    for nucleus, peaks in lists.items():
        try:
            yield _listed(peaks, nucleus, said, separator, name)
        except SampleError as error:
            yield error


def _listed(
    rows: Sequence[Mapping[str, str]], nucleus: str | None, said: Mapping[str, str], separator: str, name: str
) -> Reading:
    def number(row: Mapping[str, str], column: str) -> float:
        text = row[column] if separator == "," else row[column].replace(",", ".")
        try:
            return float(text.lower().removesuffix("h") if column == "nuclei" else text)
        except ValueError:
            raise SampleError(f"{name}:{row['line']}", f"`{column}` is {row[column]!r}, not a number") from None

    found = measurement(
        [number(row, "shift") for row in rows],
        [row.get("multiplicity") for row in rows],
        [number(row, "nuclei") if row.get("nuclei") else math.nan for row in rows],
        nucleus=nucleus,
        field=_frequency(said.get("field")),
        solvent=said.get("solvent"),
        where=f"{name}:{rows[0]['line']}",
    )
    return Reading(measurement=found, smiles=said.get("smiles"), location=f"{name}:{rows[0]['line']}")


def _is_row(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _separator(header: str) -> str:
    return next((sign for sign in ("\t", ";", ",") if sign in header), ",")


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]


# --- JCAMP-DX, and any file ------------------------------------------------------------------------------------------


def _checked(table: jcamp.PeakTable, name: str) -> Reading | SampleError:
    where = f"{name}:{table.line}"
    try:
        found = measurement(
            table.shifts,
            table.patterns,
            [math.nan] * len(table.shifts),  # heights of lines are no integrals
            nucleus=table.nucleus,
            field=table.field,
            solvent=table.solvent,
            where=where,
        )
    except SampleError as error:
        return error
    return Reading(measurement=found, smiles=table.smiles, location=where)


def _text(path: Path, limit: int = -1) -> str:
    """Return a file's text, or the beginning of it; ``.gz`` is unpacked.

    Raises:
        SampleError: It cannot be opened or unpacked, is empty, or is not text.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            text = file.read(limit).decode("utf-8-sig", errors="strict" if limit < 0 else "ignore")
    except UnicodeDecodeError:
        raise SampleError(path.name, "the file is not UTF-8 text; save its peak list as CSV in UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SampleError(path.name, f"the file cannot be read ({error}); fetch it again") from None
    if not text.strip() or "\0" in text:
        raise SampleError(path.name, "the file is empty or binary, not a peak list")
    return text
