"""Spectra as two columns of text: CSV and the exports of instruments."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from molchord.api import SampleError
from molchord_modalities.curve import length_unit, ordinate_kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Columns", "decode", "headings", "parse"]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Two columns of numbers.

    Attributes:
        x: Abscissa in the file's order.
        y: Ordinate.
        x_unit: What the header states as the abscissa's unit, None where it states none.
        y_unit: What the header states about the ordinate, None where it states nothing.
        smiles: The SMILES that a comment ``# smiles: CCO`` gives, or None.
        origin: "computed" where a comment ``# origin: computed`` says so, else "measured".
        header: What is above the first row of numbers, in lower case.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_unit: str | None
    y_unit: str | None
    smiles: str | None
    origin: str
    header: str


def decode(path: Path, limit: int = -1) -> str:
    """Return a file's text (UTF-8, UTF-16, or Latin-1; ``.gz`` unpacked).

    Args:
        path: The file.
        limit: Bytes to read, -1 for all.

    Raises:
        SampleError: It cannot be opened or unpacked, is empty, or is not text.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(limit)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SampleError(str(path), f"the file cannot be read ({reason}); check the path, or fetch it again") from None
    wide = _wide(raw)
    if wide is not None:
        text = raw.decode(wide, errors="replace")
    else:
        try:
            text = raw.decode("utf-8-sig", errors="strict" if limit < 0 else "ignore")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
    if not text.strip():
        raise SampleError(str(path), "the file is empty")
    if "\0" in text:
        raise SampleError(str(path), "the file is binary, not text")
    return text


def _wide(raw: bytes) -> str | None:
    """Return which UTF-16 a file is in: as its mark says, or every other byte of its beginning is zero."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    head = raw[:200]
    zeros = [head[start::2].count(0) for start in (0, 1)]
    most = len(head) // 2
    if most > 1 and max(zeros) > 0.9 * most and min(zeros) == 0:
        return "utf-16-be" if zeros[0] else "utf-16-le"
    return None


def headings(text: str) -> str:
    r"""Return what is above a table of numbers, in lower case; empty if the text is anything but such a table.

    A last line without its end may be cut off.

    Example:
        >>> headings("# from the bench\ncm-1,Absorbance\n400,0.1\n")
        '# from the bench\ncm-1,absorbance'
        >>> headings("BEGIN IONS\n100.1 20\nEND IONS\n\n")
        ''
    """
    lines = [line for _, line in _lines(text)]
    first = next((i for i, line in enumerate(lines) if _is_data(line)), len(lines))
    whole = lines if text.endswith("\n") else lines[:-1]
    if first == len(lines) or not all(_is_data(line) or _COMMENT.match(line) for line in whole[first:]):
        return ""
    return _impersonal(lines[:first])


def parse(text: str, name: str) -> Columns:
    r"""Read two columns; the separator is a comma, a semicolon, a tab or blanks, the decimal sign a point or a comma.

    Lines that start with ``#``, ``//``, ``%`` or ``!`` are comments; what is above the first row of numbers is
    the header. Titles say which column is the abscissa and, of more than two, which the ordinate. What instruments
    write below the table, from ``>>>>>End`` or ``##### Extended Information`` on, is not read.

    Args:
        text: The whole file.
        name: Names the file in errors.

    Raises:
        SampleError: No rows of numbers, a row that is not numbers, no single ordinate, or a wavelength without unit.

    Example:
        >>> columns = parse("Wellenzahl (cm-1);%T\n400,5;99,1\n401,5;98,0\n", "a.csv")
        >>> columns.x.tolist(), columns.y.tolist(), columns.x_unit, columns.y_unit
        ([400.5, 401.5], [99.1, 98.0], 'Wellenzahl (cm-1)', '%T')
    """
    header: list[str] = []
    above = 0
    rows: list[list[float]] = []
    for number, line in _lines(text):
        if _COMMENT.match(line) or not (rows or _is_data(line)):
            _refuse_numbers(line, f"{name}:{number}")
            header.append(line)
            above += not rows
            continue
        rows.append(_numbers(line, f"{name}:{number}"))
        if len(rows[-1]) != len(rows[0]):
            where = f"{name}:{number}"
            raise SampleError(
                where, f"the row has {len(rows[-1])} numbers, the first one {len(rows[0])}; was it cut off?"
            )
    if not rows:
        raise SampleError(name, "no row of two numbers was found; two columns were expected")
    titles = _titles(header, len(rows[0]))
    across = _abscissa_column(titles, name)
    chosen = _ordinate_column(titles, len(rows[0]), across, name)
    table = np.asarray(rows, dtype=np.float64)
    smiles = next((match.group(1) for line in header if (match := _SMILES.search(line))), None)
    general = [_stated(line) for line in header]
    x_unit = next((says for says in titles[across : across + 1] + general if length_unit(says) is not None), None)
    if x_unit is None and titles and re.search("wavelength|wellenl", titles[across].lower()):
        raise SampleError(name, f"the abscissa is titled {titles[across]!r}, without a unit; add '(nm)' or '(um)'")
    return Columns(
        x=table[:, across],
        y=table[:, chosen],
        x_unit=x_unit,
        y_unit=next((says for says in titles[chosen : chosen + 1] + general if ordinate_kind(says) is not None), None),
        smiles=smiles,
        origin="computed" if any(map(_COMPUTED.search, header)) else "measured",
        header=_impersonal(header[:above]),
    )


_COMMENT = re.compile(r"\s*(#|//|%|!)")
_COMPUTED = re.compile(r"^\s*[#/%!]+\s*origin\s*[:=]\s*computed\b", re.IGNORECASE)
_SMILES = re.compile(r"smiles\s*[:=]\s*(\S+)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?$")
_MISSING = ("nan", "-nan", "inf", "-inf", "na", "n/a", "#n/a", "")
_END = re.compile(r"\s*(\x1a|>+\s*end\b|\[end\]|#+\s*extended information|\[comments\])", re.IGNORECASE)
"""What ends a table: of DOS, Bruker, Horiba and JASCO."""
_PERSON = re.compile(r"\W*(operator|user|author|analyst|owner)\b", re.IGNORECASE)
_RUNNING = ("", "no", "no.", "nr", "nr.", "#", "index", "point", "row")
"""Titles of columns that count."""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines that are not blank, up to the table's end."""
    for number, line in enumerate(text.splitlines(), start=1):
        if _END.match(line):
            return
        if line.strip():
            yield number, line


def _impersonal(header: list[str]) -> str:
    """Return a header in lower case, without those who measured; some of them are called Raman."""
    return "\n".join(line for line in header if not _PERSON.match(line)).lower()


def _stated(line: str) -> str:
    """Return what a header line may say about units: of ``key: value`` the value, and only of a key about axes."""
    key, sign, value = re.sub(r"^\W+", "", line).partition("=" if "=" in line else ":")
    if not sign:
        return line
    about = re.search(r"unit|axis|ordinate|abscissa|label|title", key.lower()) or length_unit(key) or ordinate_kind(key)
    return value if about else ""


def _refuse_numbers(line: str, where: str) -> None:
    """Refuse a row of numbers that cannot be read as one, as with thousands signs; it is not a header.

    Raises:
        SampleError: It is one.
    """
    fields = re.split(r"[;\s]+", line.strip())
    if len(fields) > 1 and all(re.fullmatch(r"[\d.,+\-]*\d[\d.,+\-]*", field) for field in fields):
        raise SampleError(where, f"the row {line.strip()[:40]!r} is not two numbers; leave out thousands signs")


def _split(line: str) -> list[str]:
    """Split a row into its fields, a decimal comma turned into a point."""
    line = line.strip()
    if '"' in line:
        return [field.replace(",", ".") for field in _cells(line)]
    for separator in (";", "\t"):
        if separator in line:
            return [field.strip().replace(",", ".") for field in line.rstrip(separator).split(separator)]
    blanks = line.split()
    # "400,5 0,12" has decimal commas; "400.5, 0.12" and "400,0.12" are separated by them.
    if len(blanks) > 1 and not any(field.endswith(",") or field.startswith(",") for field in blanks):
        return [field.replace(",", ".") for field in blanks]
    return [field.strip() for field in line.rstrip(",").split(",")]


def _cells(line: str) -> list[str]:
    """Split a line whose fields may be in quotes."""
    bare = re.sub(r'"[^"]*"', "", line)
    separator = next((sign for sign in (";", "\t", ",") if sign in bare), " ")
    return [field.strip() for field in next(csv.reader([line], delimiter=separator), []) if field or separator != " "]


def _is_data(line: str) -> bool:
    if _COMMENT.match(line):
        return False
    fields = _split(line)
    numeric = [bool(_NUMBER.match(field)) for field in fields]
    return (
        len(fields) > 1
        and numeric[0]
        and all(ok or f.lower() in _MISSING for ok, f in zip(numeric, fields, strict=True))
    )


def _numbers(line: str, where: str) -> list[float]:
    values = []
    for field in _split(line):
        if _NUMBER.match(field):
            values.append(float(field))
        elif field.lower() in _MISSING:
            values.append(float("nan"))
        else:
            raise SampleError(where, f"{field[:40]!r} is not a number; every row must be two numbers")
    return values


def _titles(header: list[str], columns: int) -> list[str]:
    """Return the columns' titles if the last header line has as many fields as there are columns."""
    if not header:
        return []
    last = _COMMENT.sub("", header[-1], count=1) if header[-1].lstrip()[:1] in "#/!" else header[-1]
    titles = _cells(last.strip(" \r\n"))
    while len(titles) > columns and not titles[-1]:
        titles.pop()
    return titles if len(titles) == columns else []


def _abscissa_column(titles: list[str], name: str) -> int:
    """Return the first column that is titled with a wavenumber or a wavelength; without one, the first of all."""
    named = [i for i, title in enumerate(titles) if length_unit(title) and not ordinate_kind(title)]
    if not named and len(titles) > 2 and titles[0].lower() in _RUNNING:
        raise SampleError(name, f"none of the columns {titles!r} is titled as an abscissa; title one 'cm-1' or so")
    return named[0] if named else 0


def _ordinate_column(titles: list[str], columns: int, across: int, name: str) -> int:
    if columns == 2:
        return 1 - across
    others = [(i, title) for i, title in enumerate(titles) if i != across]
    named = [i for i, title in others if ordinate_kind(title) or "intensity" in title.lower()]
    if len(named) != 1:
        got = f"{len(named)} of them named as an ordinate" if titles else "without titles"
        raise SampleError(
            name, f"the table has {columns} columns, {got}; leave two, or title one 'absorbance' or the like"
        )
    return named[0]
