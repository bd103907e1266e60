"""Spectra as two columns of text: CSV and the exports of instruments."""

from __future__ import annotations

import gzip
import re
import zlib
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
        header: What is above the first row of numbers, in lower case.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_unit: str | None
    y_unit: str | None
    smiles: str | None
    header: str


def decode(path: Path, limit: int = -1) -> str:
    """Return a file's text (UTF-8, UTF-16 with its mark, or Latin-1; ``.gz`` unpacked).

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
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = raw.decode("utf-16", errors="replace")
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


def headings(text: str) -> str:
    r"""Return what is above a table of numbers, in lower case; empty if the text is anything but such a table.

    A last line without its end may be cut off.

    Example:
        >>> headings("# from the bench\ncm-1,Absorbance\n400,0.1\n")
        '# from the bench\ncm-1,absorbance'
        >>> headings("BEGIN IONS\n100.1 20\nEND IONS\n\n")
        ''
    """
    lines = [line for line in text.splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if _is_data(line)), len(lines))
    whole = lines if text.endswith("\n") else lines[:-1]
    if first == len(lines) or not all(_is_data(line) or _COMMENT.match(line) for line in whole[first:]):
        return ""
    return "\n".join(lines[:first]).lower()


def parse(text: str, name: str) -> Columns:
    r"""Read two columns; the separator is a comma, a semicolon, a tab or blanks, the decimal sign a point or a comma.

    Lines that start with ``#``, ``//``, ``%`` or ``!`` are comments; what is above the first row of numbers is
    the header. Of more than two columns the one that the header names as an ordinate is taken.

    Args:
        text: The whole file.
        name: Names the file in errors.

    Raises:
        SampleError: No rows of numbers, a row that is not numbers, or no single ordinate.

    Example:
        >>> columns = parse("Wellenzahl (cm-1);%T\n400,5;99,1\n401,5;98,0\n", "a.csv")
        >>> columns.x.tolist(), columns.y.tolist(), columns.x_unit, columns.y_unit
        ([400.5, 401.5], [99.1, 98.0], 'Wellenzahl (cm-1)', '%T')
    """
    header: list[str] = []
    above = 0
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        if _COMMENT.match(line) or not (rows or _is_data(line)):
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
    chosen = _ordinate_column(titles, len(rows[0]), name)
    table = np.asarray(rows, dtype=np.float64)
    smiles = next((match.group(1) for line in header if (match := _SMILES.search(line))), None)
    x_says = titles[:1] + header
    y_says = titles[chosen : chosen + 1] + header
    return Columns(
        x=table[:, 0],
        y=table[:, chosen],
        x_unit=next((says for says in x_says if length_unit(says) is not None), None),
        y_unit=next((says for says in y_says if ordinate_kind(says) is not None), None),
        smiles=smiles,
        header="\n".join(header[:above]).lower(),
    )


_COMMENT = re.compile(r"\s*(#|//|%|!)")
_SMILES = re.compile(r"smiles\s*[:=]\s*(\S+)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?$")
_MISSING = ("nan", "-nan", "inf", "-inf", "na", "n/a", "")


def _split(line: str) -> list[str]:
    """Split a row into its fields, a decimal comma turned into a point."""
    line = line.strip()
    for separator in (";", "\t"):
        if separator in line:
            return [field.strip().replace(",", ".") for field in line.rstrip(separator).split(separator)]
    blanks = line.split()
    # "400,5 0,12" has decimal commas; "400.5, 0.12" and "400,0.12" are separated by them.
    if len(blanks) > 1 and not any(field.endswith(",") or field.startswith(",") for field in blanks):
        return [field.replace(",", ".") for field in blanks]
    return [field.strip() for field in line.rstrip(",").split(",")]


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
    titles = [
        field.strip().strip('"')
        for field in re.split(r"[;\t,]" if re.search(r"[;\t,]", last) else r"\s+", last.strip())
    ]
    return titles if len(titles) == columns else []


def _ordinate_column(titles: list[str], columns: int, name: str) -> int:
    if columns == 2:
        return 1
    named = [i for i, title in enumerate(titles) if i and (ordinate_kind(title) or "intensity" in title.lower())]
    if len(named) != 1:
        got = f"{len(named)} of them named as an ordinate" if titles else "without titles"
        raise SampleError(
            name, f"the table has {columns} columns, {got}; leave two, or title one 'absorbance' or the like"
        )
    return named[0]
