"""Which files an import takes: those given, those of folders, and those that a table names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from molchord.data.readers import Reader, bare_name
from molchord.data.spreadsheet import read_rows
from molchord.errors import DataError

__all__ = ["chosen_files", "found_file", "named_by"]


def named_by(table: Path | None, columns: Sequence[tuple[str, str]], given: Sequence[Path]) -> set[Path]:
    """Return the table and the files that it names, which a folder does not offer once more."""
    if table is None:
        return set()
    cells = [cells[column] for _, cells in read_rows(table, []) if cells is not None for _, column in columns]
    return {table.resolve(), *(found_file(cell, table, given).resolve() for cell in cells if cell)}


def found_file(cell: str, table: Path, given: Sequence[Path]) -> Path:
    """Return where a file named by a table is: beside the table, or else in one of the folders given."""
    places = [folder / cell for folder in (table.parent, *given)]
    return next((place for place in places if place.is_file()), places[0])


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield files with the names under which they are reported, which do not reveal where on the machine they are."""
    if path.is_file():
        yield path, path.name
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts):
                yield file, file.relative_to(path.parent).as_posix()
    else:
        raise DataError(f"file {str(path)!r} does not exist; nothing was imported")


def chosen_files(
    paths: Sequence[Path], as_: Sequence[tuple[str, Path]], readers: Mapping[str, Reader], named: set[Path]
) -> list[tuple[Path, str, list[Reader] | None]]:
    """Return the files with their labels and, of those whose modality is named, what reads them."""
    forced = [(file, label, [readers[bare_name(name)]]) for name, path in as_ for file, label in _files(path)]
    taken = {file.resolve() for file, _, _ in forced}
    left = {path: taken | named if path.is_dir() else taken for path in paths}
    offered = [
        (file, label, None) for path in paths for file, label in _files(path) if file.resolve() not in left[path]
    ]
    _refuse_repeats([file for file, _, _ in (*offered, *forced)])
    return [*offered, *forced]


def _refuse_repeats(files: Sequence[Path]) -> None:
    for file, count in Counter(file.resolve() for file in files).items():
        if count > 1:
            raise DataError(f"file {str(file)!r} is given {count} times; its spectra would be imported as often")
