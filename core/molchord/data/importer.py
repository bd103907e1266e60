"""Import: files of spectra and tables of SMILES become a data set; what cannot be used goes to a report."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from pydantic import ValidationError
from tqdm import tqdm

from molchord.api import Modality, Reading, ReadingOptions, SampleError
from molchord.chem import molecule
from molchord.data.import_sources import chosen_files, found_file, named_by
from molchord.data.manifest import ArrayStorage, DataManifest
from molchord.data.readers import Reader, bare_name, entries_read, readers_of
from molchord.data.splits import check_rule, named_split
from molchord.data.spreadsheet import SMILES_COLUMN, read_rows
from molchord.data.stated import contradiction_of_molecule, stated_of
from molchord.data.table import accepted
from molchord.data.writer import DataSetWriter, molecules_schema, new_folder
from molchord.errors import DataError, did_you_mean
from molchord.files import sha256_file
from molchord.host import Host
from molchord.vocabulary import ORIGINS, REJECTED, Origin

SOURCES = "sources.csv"


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """The outcome of an import.

    Attributes:
        path: The data set.
        molecules: Number of molecules.
        measurements: Number of measurements by modality.
        rejected: Rows of ``rejected.csv``: entries and files that could not be used, with reasons.
        undecided: Files that no modality recognised (among the rejected).
        filtered: Measurements left out by `where`.
        beyond: Measurements left out because their molecule came after the limit.
    """

    path: Path
    molecules: int
    measurements: Mapping[str, int]
    rejected: int
    undecided: tuple[str, ...]
    filtered: int
    beyond: int

    def summary(self) -> str:
        """Return the report as one line."""
        parts = [f"{self.molecules} molecules"]
        parts += [f"{count} {name}" for name, count in self.measurements.items()]
        parts += [f"{self.filtered} left out by `where`"] if self.filtered else []
        parts += [f"{self.beyond} beyond the limit"] if self.beyond else []
        parts += [f"{self.rejected} rejected (see {REJECTED})"] if self.rejected else []
        return f"{self.path}: " + ", ".join(parts)


def import_files(
    paths: Sequence[Path],
    out: Path,
    *,
    host: Host,
    as_: Sequence[tuple[str, Path]] = (),
    table: Path | str | None = None,
    columns: Sequence[tuple[str, str]] = (),
    numeric: Sequence[str] = (),
    limit: int | None = None,
    split: str = "hash",
    where: Mapping[str, Mapping[str, Any]] | None = None,
    storage: Mapping[str, ArrayStorage | Mapping[str, Any]] | None = None,
    note: str = "",
    force: bool = False,
    progress: bool = False,
    options: ReadingOptions | None = None,
    origin: Origin | None = None,
) -> ImportReport:
    """Make a data set of files, which are merged by molecule.

    Files are taken in the order given: `paths`, then `as_`, then the table; of a folder what that does not name.

    Args:
        paths: Files and folders, each file offered to every modality.
        out: Folder of the data set.
        host: Installed plugins.
        as_: Files and folders with the modality that reads them, for files that do not name their own kind.
        table: Table with a column `smiles`; a row without spectra is a molecule without measurements.
        columns: (modality, column): the column names a spectrum file, beside the table or in a folder of `paths`.
        numeric: Columns of the table that become numeric columns of the molecules; the first value of each is kept.
        limit: Number of molecules at which no more are added (further measurements of those there still are).
        split: "hash", "scaffold" or "column:NAME" of the table, whose blank cells mean no split.
        where: Values that measurements must have, by modality and column.
        storage: Narrower types on disk by "modality.array", see `ArrayStorage`.
        note: What else the manifest should record about the sources.
        force: Replace a data set at `out`.
        progress: Show progress bars.
        options: How to read the files of `as_` and `columns` that are tables and do not say all themselves.
        origin: Where all measurements come from, in place of what files state; a curve that states none is measured.

    Raises:
        DataError: Nothing was imported, or an argument is wrong.
        OutputExistsError: Something exists at `out` and `force` is not given.
        PluginError: A modality is unknown, or cannot be chosen by its bare name.
    """
    column = check_rule(split)
    _check_options(limit, origin)
    table = _checked_table(table, [*(c for _, c in columns), *numeric, *([] if column is None else [column])], numeric)
    readers = readers_of(host, [name for name, _ in (*as_, *columns)], options)
    said = {"limit": limit, "where": dict(where or {}), "as": sorted({name for name, _ in as_}), "note": note}
    said |= {"origin": origin} if origin else {}
    with new_folder(out, force=force) as folder, ExitStack() as stack:
        work = _Import(folder, readers, numeric, limit, where or {}, storage or {}, progress, options, origin, stack)
        for file, label, only in chosen_files(paths, as_, readers, named_by(table, columns, paths)):
            work.file(file, label, only)
        if table is not None:
            work.table(table, columns, numeric, column, paths)
        manifest = work.finish(split, said)
    return work.report(out, manifest)


def _check_options(limit: int | None, origin: str | None) -> None:
    if limit is not None and limit < 1:
        raise DataError(f"limit is {limit}; give 1 or more")
    if origin is not None and origin not in ORIGINS:
        raise DataError(f"origin {origin!r} is not known; {did_you_mean(origin, ORIGINS)}")


def _checked_table(table: Path | str | None, needed: Sequence[str], numeric: Sequence[str]) -> Path | None:
    """Refuse a table that is wrong, or lacks a column, before any work; return where it is."""
    if table is None and needed:
        raise DataError("columns of a table are asked for without a table; give `--table FILE`")
    for name in numeric:
        if name in molecules_schema([]).names:
            raise DataError(f"numeric column `{name}` would hide the data set's own; rename it in the table")
    if table is None:
        return None
    next(read_rows(Path(table), needed), None)
    return Path(table)


def _storage(
    options: Mapping[str, ArrayStorage | Mapping[str, Any]], readers: Mapping[str, Reader]
) -> dict[str, dict[str, ArrayStorage]]:
    out: dict[str, dict[str, ArrayStorage]] = {}
    for key, value in options.items():
        name, _, array = key.rpartition(".")
        if name not in readers:
            raise DataError(f"storage option `{key}` names no modality; {did_you_mean(name, readers)}")
        try:
            out.setdefault(name, {})[array] = ArrayStorage.model_validate(value)
        except ValidationError as error:
            raise DataError(f"storage option `{key}`: {error.errors()[0]['msg']}") from error
    return out


@final
class _Import:
    """One import under way."""

    def __init__(
        self,
        folder: Path,
        readers: Mapping[str, Reader],
        numeric: Sequence[str],
        limit: int | None,
        where: Mapping[str, Mapping[str, Any]],
        storage: Mapping[str, ArrayStorage | Mapping[str, Any]],
        progress: bool,
        options: ReadingOptions | None,
        origin: Origin | None,
        stack: ExitStack,
    ) -> None:
        self._readers, self._limit, self._progress = readers, limit, progress
        self._storage = _storage(storage, readers)
        self._options, self._origin = options, origin
        self._where = {name: self._accepted(name, wanted) for name, wanted in where.items()}
        self._writer = DataSetWriter(folder, numeric)
        stack.callback(self._writer.close)
        self._rejected_file = stack.enter_context((folder / REJECTED).open("w", newline="", encoding="utf-8"))
        self._sources_file = stack.enter_context((folder / SOURCES).open("w", newline="", encoding="utf-8"))
        self._rejected = csv.writer(self._rejected_file)
        self._rejected.writerow(["file", "location", "modality", "reason"])
        self._sources = csv.writer(self._sources_file)
        self._sources.writerow(["source", "file", "bytes", "sha256"])
        self._numbers = Counter[str]()
        self._undecided: list[str] = []
        self._reasons: list[str] = []

    def file(self, path: Path, label: str, only: Sequence[Reader] | None) -> None:
        """Import a file with the readers given, or with those that recognise it."""
        readers = self._recognise(path, label) if only is None else only
        if not readers:
            self._undecided.append(label)
            reason = "no modality recognises this file; name one with `--as MODALITY PATH`, or install its plugin"
            self._reject(label, "", "", reason)
            return
        source = self._source(path, label)
        for reader in readers:
            self._read(path, label, reader, source, None, None if only is None else self._options)

    def table(
        self,
        path: Path,
        columns: Sequence[tuple[str, str]],
        numeric: Sequence[str],
        split: str | None,
        given: Sequence[Path],
    ) -> None:
        """Import a table of SMILES with the spectrum files that it names."""
        self._source(path, path.name)
        for line, cells in read_rows(path, []):
            place = f"line {line}"
            try:
                if cells is None:
                    raise SampleError(place, "the row has more or fewer cells than the header")
                numbers = {name: _number(name, cells[name]) for name in numeric if cells[name]}
                side = None if split is None else named_split(cells[split])
                named = [(bare_name(name), column) for name, column in columns if cells[column]]
                added = sum([self._cell(path, place, name, column, cells, given) for name, column in named])
                if named and not added:
                    continue
                row = self._writer.row(cells[SMILES_COLUMN], self._limit)
                if row is not None:
                    self._writer.describe(row, numbers, side)
            except SampleError as error:
                self._reject(path.name, place, "", error.reason)
            except DataError as error:
                raise DataError(f"table {str(path)!r}, {place}: {error}") from error

    def finish(self, split: str, options: Mapping[str, Any]) -> DataManifest:
        """Complete the data set."""
        self._rejected_file.close()
        self._sources_file.close()
        if self._writer.count == 0:
            raise DataError(
                f"nothing was imported: {self._numbers['rejected']} entries rejected and "
                f"{self._numbers['filtered']} left out by `where`; "
                + ("; ".join(self._reasons) or "no entry was found")
            )
        storage = {f"{m}.{a}": s.model_dump() for m, arrays in self._storage.items() for a, s in arrays.items()}
        reading = {} if self._options is None else {"reading": self._options.given}
        return self._writer.finish(split, {**options, **reading, "storage": storage}, self._numbers["rejected"])

    def report(self, out: Path, manifest: DataManifest) -> ImportReport:
        """Report the outcome."""
        return ImportReport(
            path=out,
            molecules=manifest.molecules,
            measurements={name: entry.measurements for name, entry in manifest.tables.items()},
            rejected=manifest.rejected,
            undecided=tuple(self._undecided),
            filtered=self._numbers["filtered"],
            beyond=self._numbers["beyond"],
        )

    def _recognise(self, path: Path, label: str) -> list[Reader]:
        found = []
        for reader in self._readers.values():
            try:
                if reader.modality.can_read(path):
                    found.append(reader)
            except Exception as error:  # one plugin's fault is not the end of the import
                self._reject(label, "", reader.name, f"the plugin failed: {type(error).__name__}: {error}")
        return found

    def _cell(
        self, table: Path, place: str, name: str, column: str, cells: Mapping[str, str], given: Sequence[Path]
    ) -> int:
        """Import the spectrum file that a table's cell names, and return the number of measurements added."""
        cell = cells[column]
        path = found_file(cell, table, given)
        if not path.is_file():
            self._reject(table.name, place, name, f"spectrum file {cell!r} does not exist")
            return 0
        source = self._source(path, cell)
        return self._read(path, cell, self._readers[name], source, cells[SMILES_COLUMN], self._options)

    def _read(
        self, path: Path, label: str, reader: Reader, source: int, smiles: str | None, options: ReadingOptions | None
    ) -> int:
        added = 0
        entries = entries_read(reader.modality, path, options)
        title = f"{label} as {reader.name}"
        for entry in tqdm(entries, desc=title, unit=" entries", disable=None if self._progress else True):
            if isinstance(entry, SampleError):
                self._reject(label, _relative(entry.id, path, label), reader.name, entry.reason)
                continue
            location = _relative(entry.location, path, label)
            try:
                added += self._add(entry, reader, source, location, smiles)
            except SampleError as error:
                self._reject(label, location, reader.name, error.reason)
        return added

    def _add(self, entry: Reading, reader: Reader, source: int, location: str, smiles: str | None) -> int:
        table = self._writer.table(reader.name, reader.record.stores, self._storage.get(reader.name, {}), reader.plugin)
        measurement = entry.measurement
        if self._origin is not None:
            measurement = replace(measurement, columns={**measurement.columns, "origin": self._origin})
        encoded = table.encode(measurement)
        for column, values in self._where.get(reader.name, {}).items():
            if encoded.columns[column] not in values:
                self._numbers["filtered"] += 1
                return 0
        text = entry.smiles if smiles is None else smiles
        if text is None:
            raise SampleError(
                location,
                "the entry names no SMILES; add it where the file's format has room, or give a table of molecules and "
                "their files (`--table`, `--column`)",
            )
        if None not in (smiles, entry.smiles) and molecule(text).key14 != molecule(str(entry.smiles)).key14:
            raise SampleError(location, f"the table says {smiles!r}, but the file says {entry.smiles!r}")
        _check_mass(reader.modality, entry, text, location)
        row = self._writer.row(text, self._limit)
        if row is None:
            self._numbers["beyond"] += 1
            return 0
        table.add(row, encoded, source, location)
        return 1

    def _accepted(self, name: str, wanted: Mapping[str, Any]) -> dict[str, list[float | str | None]]:
        if name not in self._readers:
            raise DataError(f"`where` names no modality: {name!r}; {did_you_mean(name, self._readers)}")
        stores = self._readers[name].record.stores
        for column in wanted:
            allowed = ("origin", *stores.columns)
            if column not in allowed:
                raise DataError(f"`where {name}.{column}`: no such column; {did_you_mean(column, allowed)}")
        return {column: accepted(name, column, stores, value) for column, value in wanted.items()}

    def _source(self, path: Path, label: str) -> int:
        number = self._numbers["sources"]
        self._numbers["sources"] += 1
        self._sources.writerow([number, label, path.stat().st_size, sha256_file(path)])
        return number

    def _reject(self, file: str, location: str, modality: str, reason: str) -> None:
        self._numbers["rejected"] += 1
        self._rejected.writerow([file, location, modality, reason])
        if len(self._reasons) < 3:
            self._reasons.append(" ".join(part for part in (file, location) if part) + f": {reason}")


def _check_mass(modality: Modality, entry: Reading, smiles: str, location: str) -> None:
    """Refuse a measurement whose ion is of another molecule."""
    stated = stated_of(modality, entry.measurement)
    if stated is not None and stated.mass is not None:
        why = contradiction_of_molecule(stated, molecule(smiles))
        if why is not None:
            raise SampleError(location, why)


def _relative(text: str, path: Path, label: str) -> str:
    return text.replace(str(path), label)


def _number(name: str, cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        raise SampleError(name, f"column `{name}` holds {cell!r}, which is not a number") from None
    if math.isinf(number):
        raise SampleError(name, f"column `{name}` holds {cell!r}; leave the cell blank where it is not known")
    return number
