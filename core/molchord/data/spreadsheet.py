"""Tables of SMILES with further columns: comma, semicolon or tab separated text in any usual encoding, also gzipped."""

from __future__ import annotations

import codecs
import csv
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from molchord.errors import DataError, did_you_mean
from molchord.unpacking import open_unpacked

SMILES_COLUMN = "smiles"

STRUCTURE_TITLES = (
    "smiles", "canonicalsmiles", "isomericsmiles", "structuresmiles", "cansmiles", "openeyesmiles", "smi", "inchi",
    "standardinchi", "stdinchi", "inchistring",
)  # fmt: skip
"""Titles of a column of structures in small letters and without what separates words, the first wins."""


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str] | None]]:
    r"""Yield (line, cells by column) of a table with a SMILES column; None for cells where a row has too many or few.

    Args:
        path: Table; the SMILES column is the one named "smiles" in any case, or else "canonical_smiles", "InChI" or
            the like, and is called "smiles" in the result.
        columns: Further columns that it must have.

    Raises:
        DataError: The table cannot be read, or lacks a column.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "t.csv"
        >>> _ = path.write_text("SMILES;file\nCCO;a.jdx\n")
        >>> list(read_rows(path, ["file"]))
        [(2, {'smiles': 'CCO', 'file': 'a.jdx'})]
    """
    if not path.is_file():
        raise DataError(f"table {str(path)!r} does not exist")
    try:
        with opened_text(path) as file:
            yield from _rows(path, file, columns)
    except (OSError, EOFError, zlib.error, UnicodeError, csv.Error) as error:
        raise DataError(f"table {str(path)!r} cannot be read: {error}") from error


def opened_text(path: Path) -> IO[str]:
    r"""Open a text for reading, gzipped or not: UTF-8, UTF-16 with or without its mark, else Windows' Latin letters.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "t.csv"
        >>> _ = path.write_bytes("naïve".encode("latin-1"))
        >>> with opened_text(path) as file:
        ...     file.read()
        'naïve'

    Raises:
        OSError: It cannot be read.
        UnicodeError: It is not text.
    """
    codecs.register_error("molchord.latin", _latin)
    with open_unpacked(path) as file:
        encoding = _encoding(file.read(4096))
    return io.TextIOWrapper(open_unpacked(path), encoding=encoding, errors="molchord.latin", newline="")


def _encoding(start: bytes) -> str:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    pairs = len(start) // 2
    # Half of the bytes of Latin letters in UTF-16 are zero; text in other encodings has none.
    if pairs and start[1::2].count(0) > 0.7 * pairs:
        return "utf-16-le"
    if pairs and start[0::2].count(0) > 0.7 * pairs:
        return "utf-16-be"
    if any(byte < 9 for byte in start):
        raise UnicodeError("it is not text")
    return "utf-8-sig"


def _latin(error: UnicodeError) -> tuple[str, int]:
    """Read bytes that are not UTF-8 as Windows does in western Europe."""
    if not isinstance(error, UnicodeDecodeError) or not error.encoding.startswith("utf-8"):
        raise error
    part = error.object[error.start : error.end]
    return part.decode("cp1252", errors="replace"), error.end


def structure_title(titles: Sequence[str]) -> str | None:
    """Return the title of the column that holds structures; None where there is none.

    Example:
        >>> structure_title(["Name", "Canonical_SMILES", "InChI"])
        'Canonical_SMILES'
    """
    plain = [plain_title(title) for title in titles]
    found = next((title for title in STRUCTURE_TITLES if title in plain), None)
    return None if found is None else titles[plain.index(found)]


def plain_title(title: str) -> str:
    """Return a title in small letters, without what separates words."""
    return "".join(letter for letter in title.lower() if letter.isalnum())


def delimiter_of(line: str) -> str:
    """Return what separates the cells of a header."""
    return max(",;\t", key=line.count)


def _rows(path: Path, file: IO[str], columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str] | None]]:
    first = file.readline()
    delimiter = delimiter_of(first)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    title = structure_title(header)
    smiles = [name for name in header if title is not None and plain_title(name) == plain_title(title)]
    if len(smiles) != 1:
        raise DataError(f"table {str(path)!r} needs one column `{SMILES_COLUMN}`; its columns are {header!r}")
    for name in columns:
        if header.count(name) != 1:
            hint = f"it has {header.count(name)}" if name in header else did_you_mean(name, header)
            raise DataError(f"table {str(path)!r} needs one column `{name}`; {hint}")
    names = [SMILES_COLUMN if name == smiles[0] else name for name in header]
    reader = csv.reader(file, delimiter=delimiter)
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        row = {name: cell.strip() for name, cell in zip(names, cells, strict=False)}
        yield reader.line_num + 1, row if len(cells) == len(names) else None
