"""Lists of candidates as people keep them: SMILES with names, tables, SD files, InChI; names and columns come along."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, final

import pyarrow as pa
import pyarrow.parquet as pq

from molchord.chem import from_molblock
from molchord.data.spreadsheet import delimiter_of, opened_text, plain_title, structure_title
from molchord.errors import DataError, SampleError

__all__ = ["Listed", "candidates_of", "missing_list", "shipped_list"]

NAME_TITLES = (
    "name", "title", "compound", "compoundname", "moleculename", "commonname", "preferredname", "chemicalname",
    "iupacname", "synonym", "id",
)  # fmt: skip
"""Titles of a column of names, in small letters and without what separates words; the first wins."""

LISTS = Path(__file__).parents[1] / "lists"
"""Candidate lists that come with molchord."""

_SNIFFED = 200  # lines that are looked at for the marks of an SD file


@final
@dataclass(frozen=True, kw_only=True)
class Listed:
    """One row of a list of candidates.

    Attributes:
        notation: SMILES or InChI.
        name: What the list calls it; empty where it does not.
        columns: All its other cells, by title, as text.
    """

    notation: str
    name: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


def shipped_list(word: str | Path) -> Path | None:
    """Return the file of a list that comes with molchord, such as ``ordinary``; a file of that name wins over it.

    Example:
        >>> shipped_list("ordinary").name, shipped_list("mine.csv")
        ('ordinary.csv.gz', None)
    """
    path = LISTS / f"{word}.csv.gz"
    bare = Path(word).name == str(word) and not Path(word).exists()
    return path if bare and path.is_file() else None


def missing_list(name: str | Path) -> str | None:
    """Say that there is neither a file nor a shipped list of this name; None where there is one.

    Example:
        >>> missing_list("ordinary") is None
        True
    """
    if Path(name).exists() or shipped_list(name) is not None:
        return None
    known = ", ".join(sorted(repr(path.name.partition(".")[0]) for path in LISTS.glob("*.csv.gz")))
    return (
        f"file {str(name)!r} does not exist; give a file of SMILES or a data set, or name a list that comes with "
        f"molchord: {known}"
    )


def candidates_of(path: Path) -> Iterator[Listed | SampleError]:
    r"""Yield the rows of a list as they are read; one that cannot be read is an error in its place.

    What it is shows in its content: an SD file, a table with a column of SMILES or InChI, or a SMILES or InChI in each
    line with a name behind it. Only Parquet is known by its suffix.

    Raises:
        DataError: The file is not there, or cannot be read as any of them.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mine.smi"
        >>> _ = path.write_text("CCO ethyl alcohol\n")
        >>> [(row.notation, row.name) for row in candidates_of(path)]
        [('CCO', 'ethyl alcohol')]
    """
    if not path.is_file():
        raise DataError(missing_list(path) or f"{str(path)!r} is not a file; give a file of SMILES or a data set")
    try:
        if path.name.lower().endswith(".parquet"):
            yield from _parquet(path)
            return
        with opened_text(path) as file:
            yield from _text(path, file)
    except (OSError, EOFError, zlib.error, UnicodeError, csv.Error, pa.ArrowException) as error:
        raise DataError(
            f"file {str(path)!r} cannot be read as SMILES ({error}); give a text, CSV, TSV, SD or Parquet file of them"
        ) from error


def _text(path: Path, file: IO[str]) -> Iterator[Listed | SampleError]:
    start = list(islice(file, _SNIFFED))
    lines = chain(start, file)
    if any(line.startswith(("M  END", "$$$$")) or line.rstrip().endswith(("V2000", "V3000")) for line in start):
        yield from _sd_file(path, lines)
        return
    first = start[0].lstrip("\ufeff") if start else ""
    titles = _cells(first)
    name = path.name.lower().removesuffix(".gz")
    if structure_title(titles) is not None and (len(titles) > 1 or len(first.split()) == 1):
        yield from _table(path, lines)
    elif name.endswith((".csv", ".tsv")):
        raise DataError(f"table {str(path)!r} needs one column `smiles`; its columns are {titles!r}")
    elif structure_title(first.split()[:1]) is not None:
        yield from _words(islice(lines, 1, None))
    else:
        yield from _words(lines)


def _words(lines: Iterator[str]) -> Iterator[Listed]:
    for line in lines:
        words = line.split(None, 1)
        if words and not words[0].startswith("#"):
            rest = words[1] if len(words) > 1 else ""
            # What CXSMILES adds to a SMILES is between bars.
            rest = rest[1:].partition("|")[2] if rest.startswith("|") else rest
            yield Listed(notation=words[0], name=" ".join(rest.split()))


# --- tables ----------------------------------------------------------------------------------------------------------


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter_of(line)), [])]


def _table(path: Path, lines: Iterator[str]) -> Iterator[Listed | SampleError]:
    first = next(lines).lstrip("\ufeff")
    titles = _cells(first)
    _check_titles(path, titles)
    reader = csv.reader(lines, delimiter=delimiter_of(first))
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        place = f"{path.name}:{reader.line_num + 1}"
        if len(cells) != len(titles):
            yield SampleError(place, "the row has too many or too few cells")
        else:
            yield _listed(place, dict(zip(titles, (cell.strip() for cell in cells), strict=True)))


def _parquet(path: Path) -> Iterator[Listed | SampleError]:
    with pq.ParquetFile(path) as file:
        titles = list(file.schema_arrow.names)
        _check_titles(path, titles)
        row = 0
        for batch in file.iter_batches():
            for values in batch.to_pylist():
                row += 1
                # A number is no structure; elsewhere it is what a cell of text would say.
                texts = {t: "" if v is None else v if isinstance(v, str) else str(v) for t, v in values.items()}
                title = structure_title(titles)
                if title is not None and not isinstance(values[title], str):
                    texts[title] = ""
                yield _listed(f"{path.name}:{row}", texts)


def _check_titles(path: Path, titles: Sequence[str]) -> None:
    title = structure_title(titles)
    if title is None or [plain_title(one) for one in titles].count(plain_title(title)) != 1:
        raise DataError(f"table {str(path)!r} needs one column `smiles`; its columns are {list(titles)!r}")


def _listed(place: str, cells: Mapping[str, str]) -> Listed | SampleError:
    """Return a row of a table; where its SMILES is blank, its InChI will do."""
    columns = {title: text for title, text in cells.items() if title}
    notation = ""
    while not notation and (title := structure_title(list(columns))) is not None:
        notation = columns.pop(title)
    if not notation:
        return SampleError(place, "the row has no SMILES")
    plain = {plain_title(title): title for title in reversed(list(columns))}
    found = next((plain[title] for title in NAME_TITLES if title in plain), None)
    name = columns.pop(found) if found is not None else ""
    return Listed(notation=notation, name=name, columns={title: text for title, text in columns.items() if text})


# --- SD files --------------------------------------------------------------------------------------------------------


def _sd_file(path: Path, lines: Iterator[str]) -> Iterator[Listed | SampleError]:
    entry: list[str] = []
    number = 0
    for line in chain(lines, ["$$$$"]):
        line = line.rstrip("\r\n")
        if not line.startswith("$$$$"):
            entry.append(line)
        elif any(one.strip() for one in entry):
            number += 1
            yield _sd_entry(f"{path.name}: entry {number}", entry)
            entry = []


def _sd_entry(place: str, lines: Sequence[str]) -> Listed | SampleError:
    end = next((n for n, line in enumerate(lines, start=1) if line.startswith("M  END")), None)
    if end is None:
        return SampleError(place, "it has no line `M  END`, so it is cut off")
    try:
        notation = from_molblock("\n".join(lines[:end]) + "\n", place)
    except SampleError as error:
        return error
    columns: dict[str, str] = {}
    title = None
    for line in lines[end:]:
        if line.startswith(">") and "<" in line:
            title = line[line.index("<") + 1 :].rpartition(">")[0]
        elif title is not None and line.strip():
            columns[title] = f"{columns[title]} {line.strip()}" if title in columns else line.strip()
    plain = {plain_title(one): one for one in reversed(list(columns))}
    found = next((plain[one] for one in NAME_TITLES if one in plain), None)
    name = lines[0].strip() or (columns.pop(found) if found is not None else "")
    return Listed(notation=notation, name=name, columns=columns)
