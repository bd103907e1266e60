"""Spectra as two columns of text: CSV and the exports of instruments."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from molchord.api import ReadingOptions, SampleError, open_unpacked
from molchord_modalities.curve import length_unit, ordinate_kind
from molchord_modalities.table_columns import (
    COMMENT,
    abscissa_column,
    cells,
    named_column,
    ordinate_columns,
    refuse_swapped,
    titles_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Columns", "decode", "headings", "parse", "tables"]


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
        title: Title of the ordinate's column, or its number where it has none.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_unit: str | None
    y_unit: str | None
    smiles: str | None
    origin: str
    header: str
    title: str


def decode(path: Path, limit: int = -1) -> str:
    """Return a file's text (UTF-8, UTF-16, or Latin-1; ``.gz`` unpacked).

    Args:
        path: The file.
        limit: Bytes to read, -1 for all.

    Raises:
        SampleError: It cannot be opened or unpacked, is empty, or is not text.
    """
    try:
        with open_unpacked(path) as file:
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
        raise SampleError(str(path), "the file is empty; export it again")
    if (what := _foreign(raw)) is not None or "\0" in text:
        raise SampleError(
            str(path), f"the file is {what or 'binary, not text'}; export JCAMP-DX or a table of two columns"
        )
    return text


def _foreign(raw: bytes) -> str | None:
    """Name what a file is that holds no numbers for sure, whatever it is called."""
    return next((what for start, what in _FOREIGN.items() if raw.startswith(start)), None)


_FOREIGN = {
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"GIF8": "a picture (GIF)",
    b"II*\0": "a picture (TIFF)",
    b"MM\0*": "a picture (TIFF)",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive or an office document",
}


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
    if first == len(lines) or not all(_is_data(line) or COMMENT.match(line) for line in whole[first:]):
        return ""
    return _impersonal(lines[:first])


def parse(text: str, name: str) -> Columns:
    r"""Read the one spectrum of a table; see `tables`.

    Example:
        >>> columns = parse("Wellenzahl (cm-1);%T\n400,5;99,1\n401,5;98,0\n", "a.csv")
        >>> columns.x.tolist(), columns.y.tolist(), columns.x_unit, columns.y_unit
        ([400.5, 401.5], [99.1, 98.0], 'Wellenzahl (cm-1)', '%T')
    """
    return tables(text, name)[0]


def tables(text: str, name: str, options: ReadingOptions | None = None) -> list[Columns]:
    r"""Read the columns of a table, one spectrum for each ordinate that the options ask for, or the only one.

    The separator is a comma, a semicolon, a tab or blanks, the decimal sign a point or a comma. Lines that start with
    ``#``, ``//``, ``%`` or ``!`` are comments; what is above the first row of numbers is the header. Titles say which
    column is the abscissa and, of more than two, which the ordinate. What instruments write below the table, from
    ``>>>>>End`` or ``##### Extended Information`` on, is not read.

    Args:
        text: The whole file.
        name: Names the file in errors.
        options: What a user says about it, which goes before what the header says.

    Raises:
        SampleError: No rows of numbers, a row that is not numbers, no single ordinate, or a wavelength without unit.

    Example:
        >>> first, second = tables("cm-1,one,two\n400,0.1,0.2\n401,0.3,0.4\n", "a.csv", ReadingOptions(column="all"))
        >>> second.title, second.y.tolist()
        ('two', [0.2, 0.4])
    """
    options = options or ReadingOptions()
    header, above, rows = _rows(text, name, options.skip)
    titles = titles_of(header[:above], len(rows[0]))
    if _comma_for_both(titles, rows, header[:above]):
        titles, rows = titles_of(header[:above], 2), [_paired(row) for row in rows]
    table = np.asarray([[float(field or "nan") for field in row] for row in rows], dtype=np.float64)
    chosen = named_column(titles, table.shape[1], options.column, name)
    across = abscissa_column(titles, table.shape[1], chosen, options, name)
    ordinates = ordinate_columns(titles, table.shape[1], across, chosen, options, name)
    if options.column is None and options.x_unit is None and not titles:
        refuse_swapped(table, name)
    smiles = next((match.group(1) for line in header if (match := _SMILES.search(line))), None)
    general = [_stated(line) for line in header]
    x_unit = options.x_unit
    if x_unit is None:
        x_unit = next((says for says in titles[across : across + 1] + general if length_unit(says) is not None), None)
    if x_unit is None and titles and re.search("wavelength|wellenl", titles[across].lower()):
        raise SampleError(
            name, f"the abscissa is titled {titles[across]!r}, without a unit; add '(nm)' or '(um)', or give `--x-unit`"
        )
    return [
        Columns(
            x=table[:, across],
            y=table[:, at],
            x_unit=x_unit,
            y_unit=options.y_unit
            or next((says for says in titles[at : at + 1] + general if ordinate_kind(says) is not None), None),
            smiles=smiles,
            origin="computed" if any(map(_COMPUTED.search, header)) else "measured",
            header=_impersonal(header[:above]),
            title=titles[at] if titles else str(at + 1),
        )
        for at in ordinates
    ]


_COMPUTED = re.compile(r"^\s*[#/%!]+\s*origin\s*[:=]\s*computed\b", re.IGNORECASE)
_SMILES = re.compile(r"smiles\s*[:=]\s*(\S+)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?$")
_MISSING = ("nan", "-nan", "inf", "-inf", "na", "n/a", "#n/a", "")
_END = re.compile(r"\s*(\x1a|>+\s*end\b|\[end\]|#+\s*extended information|\[comments\])", re.IGNORECASE)
"""What ends a table: of DOS, Bruker, Horiba and JASCO."""
_PERSON = re.compile(r"\W*(operator|user|author|analyst|owner)\b", re.IGNORECASE)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines that hold something, up to the table's end."""
    for number, line in enumerate(text.splitlines(), start=1):
        if _END.match(line):
            return
        if not all(word.lower() in _MISSING for word in re.split(r'[,;\s"]+', line)):
            yield number, line


def _rows(text: str, name: str, skip: int) -> tuple[list[str], int, list[list[str]]]:
    """Return the header with the comments, how many of its lines are above the table, and the cells of each row."""
    header: list[str] = []
    above = 0
    rows: list[list[str]] = []
    for number, line in _lines(text):
        where = f"{name}:{number}"
        if number <= skip:
            continue
        if COMMENT.match(line) or not (rows or _is_data(line)):
            _refuse_numbers(line, where)
            header.append(line)
            above += not rows
            continue
        rows.append(_cells_of(line, where))
        if len(rows[-1]) != len(rows[0]):
            counts = f"the row has {len(rows[-1])} numbers, the first one {len(rows[0])}"
            if len(rows) == 2:
                raise SampleError(where, f"{counts}; if the table starts here, give `--skip {number - 1}`")
            raise SampleError(where, f"{counts}; was it cut off?")
    if not rows:
        raise SampleError(name, "no row of two numbers was found; two columns were expected")
    return header, above, rows


def _comma_for_both(titles: list[str], rows: list[list[str]], header: list[str]) -> bool:
    """Say whether the comma is the separator and the decimal sign too: two titles above four columns of digits."""
    return (
        len(rows[0]) == 4
        and not titles
        and len(titles_of(header, 2)) == 2
        and all(re.fullmatch(r"[+-]?\d+", row[i]) and row[i + 1].isdigit() for row in rows for i in (0, 2))
    )


def _paired(row: list[str]) -> list[str]:
    return [f"{row[i]}.{row[i + 1]}" for i in (0, 2)]


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
        raise SampleError(
            where, f"the row {line.strip()[:40]!r} is not two numbers; leave out thousands signs, or `--skip` it"
        )


def _split(line: str) -> list[str]:
    """Split a row into its fields, a decimal comma turned into a point."""
    line = line.strip()
    if '"' in line:
        return [field.replace(",", ".") for field in cells(line)]
    for separator in (";", "\t"):
        if separator in line:
            return [field.strip().replace(",", ".") for field in line.rstrip(separator).split(separator)]
    blanks = line.split()
    # "400,5 0,12" has decimal commas; "400.5, 0.12" and "400,0.12" are separated by them.
    if len(blanks) > 1 and not any(field.endswith(",") or field.startswith(",") for field in blanks):
        return [field.replace(",", ".") for field in blanks]
    return [field.strip() for field in line.rstrip(",").split(",")]


def _is_data(line: str) -> bool:
    if COMMENT.match(line):
        return False
    fields = _split(line)
    numeric = [bool(_NUMBER.match(field)) for field in fields]
    return (
        len(fields) > 1
        and numeric[0]
        and all(ok or f.lower() in _MISSING for ok, f in zip(numeric, fields, strict=True))
    )


def _cells_of(line: str, where: str) -> list[str]:
    """Return the numbers of a row as they are written, "" where one is missing."""
    values = []
    for field in _split(line):
        if _NUMBER.match(field):
            values.append(field)
        elif field.lower() in _MISSING:
            values.append("")
        else:
            raise SampleError(where, f"{field[:40]!r} is not a number; every row must be two numbers")
    return values
