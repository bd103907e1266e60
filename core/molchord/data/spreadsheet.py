"""Tables of SMILES with further columns: comma, semicolon or tab separated text, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from molchord.errors import DataError, did_you_mean

SMILES_COLUMN = "smiles"


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str] | None]]:
    r"""Yield (line, cells by column) of a table with a SMILES column; None for cells where a row has too many or few.

    Args:
        path: Table; the SMILES column is the one named "smiles" in any case, and is called that in the result.
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
        with _open(path) as file:
            yield from _rows(path, file, columns)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"table {str(path)!r} cannot be read: {error}") from error


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _rows(path: Path, file: IO[str], columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str] | None]]:
    first = file.readline()
    delimiter = max(",;\t", key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
    smiles = [name for name in header if name.lower() == SMILES_COLUMN]
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
