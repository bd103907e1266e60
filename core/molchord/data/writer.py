"""Writing a data set: measurement tables shard by shard, molecules merged by key14 on disk, not in memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from molchord.api import Measurement, Molecule, Real, SampleError, Stores
from molchord.checksums import sealed
from molchord.chem import molecule
from molchord.data.manifest import (
    DATA_FORMAT,
    MANIFEST,
    MOLECULES_FILE,
    ROW_GROUP,
    SCHEMA_VERSION,
    ArrayStorage,
    DataManifest,
    TableEntry,
    check_version,
    declare,
    file_entries,
)
from molchord.data.shards import Encoded, encode, shard_name, write_shard
from molchord.data.splits import assign
from molchord.data.table import BATCH, MEASUREMENTS
from molchord.errors import DataError, OutputExistsError
from molchord.files import remove, replace_file, replace_folder
from molchord.lock import only_writer

SHARD_BYTES = 64 * 2**20


@final
class TableWriter:
    """Writes a measurement table, one shard in memory at a time.

    Args:
        path: Folder to be made.
        name: Name of the modality.
        stores: Its declaration.
        storage: Narrower types by array name.
        plugin: Qualified name and version of the plugin, for the manifest.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        stores: Stores,
        storage: Mapping[str, ArrayStorage],
        plugin: tuple[str, str],
    ) -> None:
        self.path, self.name, self.stores, self._plugin = path, name, stores, plugin
        self.arrays, self._columns = declare(name, stores, storage)
        self._pending: list[dict[str, NDArray[Any]]] = []
        self._bytes = 0
        self._shards: list[int] = []
        path.mkdir(parents=True)
        self._rows = RowWriter(path, stores)

    def encode(self, measurement: Measurement) -> Encoded:
        """Check a measurement before it is added; see `encode`."""
        return encode(measurement, self.arrays, self.stores)

    def add(self, row: int, measurement: Encoded, source: int, location: str) -> None:
        """Append a measurement of the molecule in `row`, read from the source file numbered `source`."""
        self._rows.add(row, measurement.columns, source, location)
        self._pending.append(measurement.arrays)
        self._bytes += sum(a.nbytes for a in measurement.arrays.values())
        if self._bytes >= SHARD_BYTES:
            self._flush()

    def finish(self, molecules: int) -> TableEntry:
        """Write what is pending and the index over `molecules` molecules, and return the manifest's entry."""
        if self._pending:
            self._flush()
        present = self._rows.finish(molecules)
        return TableEntry(
            plugin=self._plugin[0],
            version=self._plugin[1],
            measurements=sum(self._shards),
            molecules=present,
            shards=tuple(self._shards),
            arrays=self.arrays,
            columns=self._columns,
        )

    def close(self) -> None:
        """Close the files of a table that is not finished."""
        self._rows.close()

    def _flush(self) -> None:
        write_shard(self.path / shard_name(len(self._shards)), self._pending, self.arrays)
        self._shards.append(len(self._pending))
        self._pending, self._bytes = [], 0


@final
class RowWriter:
    """Writes the metadata of a measurement table and its index by molecule."""

    def __init__(self, path: Path, stores: Stores) -> None:
        self._path = path
        kinds = {name: pa.float64() if isinstance(c, Real) else pa.utf8() for name, c in stores.columns.items()}
        own = {"_molecule": pa.int64(), "_source": pa.int32(), "_location": pa.utf8(), "origin": pa.utf8()}
        self._schema = pa.schema(own | kinds)
        self._file = pa.OSFile(str(path / MEASUREMENTS), "wb")
        self._writer = pa.ipc.new_file(self._file, self._schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, row: int, columns: Mapping[str, float | str | None], source: int, location: str) -> None:
        """Append one row."""
        self._rows.append({"_molecule": row, "_source": source, "_location": location, **columns})
        if len(self._rows) == BATCH:
            self._flush()

    def finish(self, molecules: int) -> int:
        """Write the index and return how many molecules have a measurement."""
        if self._rows:
            self._flush()
        self.close()
        reader = pa.ipc.open_file(pa.memory_map(str(self._path / MEASUREMENTS)))
        parts = [reader.get_batch(i).column("_molecule").to_numpy() for i in range(reader.num_record_batches)]
        molecule = np.concatenate([np.zeros(0, dtype=np.int64), *parts])
        counts = np.bincount(molecule, minlength=molecules)
        np.save(self._path / "molecule.npy", molecule, allow_pickle=False)
        np.save(self._path / "order.npy", np.argsort(molecule, kind="stable"), allow_pickle=False)
        np.save(self._path / "start.npy", np.concatenate([[0], np.cumsum(counts)]), allow_pickle=False)
        return int((counts > 0).sum())

    def close(self) -> None:
        """Close the file, if it is not closed yet."""
        if not self._file.closed:
            self._writer.close()
            self._file.close()

    def _flush(self) -> None:
        self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows = []


@final
class DataSetWriter:
    """Writes a data set into an empty folder; molecules are merged by key14 in a database on disk.

    Args:
        folder: Empty folder.
        numeric: Names of further numeric columns of the molecules.
    """

    def __init__(self, folder: Path, numeric: Sequence[str] = ()) -> None:
        self.folder = folder
        self.count = 0
        self._numeric = tuple(numeric)
        self._tables: dict[str, TableWriter] = {}
        self._database = folder / "molecules.sqlite"
        self._sql = sqlite3.connect(self._database, isolation_level=None)
        self._sql.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536; BEGIN;"
            "CREATE TABLE molecules (row INTEGER PRIMARY KEY, key14 TEXT UNIQUE, smiles TEXT, formula TEXT,"
            " exact_mass REAL, further INTEGER DEFAULT 0, split TEXT, numbers TEXT DEFAULT '{}');"
            "CREATE TABLE spellings (smiles TEXT PRIMARY KEY, row INTEGER, reason TEXT) WITHOUT ROWID;"
        )

    def table(
        self,
        name: str,
        stores: Stores,
        storage: Mapping[str, ArrayStorage] | None = None,
        plugin: tuple[str, str] = ("", ""),
    ) -> TableWriter:
        """Return the writer of a modality's table, made at the first call."""
        if name not in self._tables:
            self._tables[name] = TableWriter(self.folder / name.replace(":", "-"), name, stores, storage or {}, plugin)
        return self._tables[name]

    def row(self, smiles: str, limit: int | None = None) -> int | None:
        """Return the row of a SMILES' molecule, a new one if need be; None where it already holds `limit` molecules.

        Raises:
            SampleError: The SMILES cannot be used.
        """
        known = self._sql.execute("SELECT row, reason FROM spellings WHERE smiles = ?", (smiles,)).fetchone()
        if known is not None:
            if known[1] is not None:
                raise SampleError(smiles, known[1])
            return None if known[0] is None else int(known[0])
        try:
            found = molecule(smiles)
        except SampleError as error:
            self._sql.execute("INSERT INTO spellings VALUES (?, NULL, ?)", (smiles, error.reason))
            raise
        row = self._merge(found, limit)
        self._sql.execute("INSERT INTO spellings VALUES (?, ?, NULL)", (smiles, row))
        return row

    def _merge(self, found: Molecule, limit: int | None) -> int | None:
        known = self._sql.execute("SELECT row, smiles FROM molecules WHERE key14 = ?", (found.key14,)).fetchone()
        if known is not None:
            if known[1] != found.smiles:
                self._sql.execute("UPDATE molecules SET further = further + 1 WHERE row = ?", (known[0],))
            return int(known[0])
        if limit is not None and self.count >= limit:
            return None
        values = (self.count, found.key14, found.smiles, found.formula, found.exact_mass)
        self._sql.execute("INSERT INTO molecules (row, key14, smiles, formula, exact_mass) VALUES (?,?,?,?,?)", values)
        self.count += 1
        return self.count - 1

    def describe(self, row: int, numbers: Mapping[str, float], split: str | None = None) -> None:
        """Set numeric columns and the split cell of a molecule; what was set before stays.

        Raises:
            SampleError: The split differs from the one given before.
        """
        old, before = self._sql.execute("SELECT numbers, split FROM molecules WHERE row = ?", (row,)).fetchone()
        if split is not None and before not in (None, split):
            raise SampleError(f"row {row}", f"the molecule is in split {before!r} already, not in {split!r}")
        merged = json.dumps({**numbers, **json.loads(old)})
        kept = split if before is None else before
        self._sql.execute("UPDATE molecules SET numbers = ?, split = ? WHERE row = ?", (merged, kept, row))

    def finish(self, split: str, options: Mapping[str, Any], rejected: int = 0) -> DataManifest:
        """Write tables, molecules and manifest; `split` is a rule of `splits.assign` or "given".

        Raises:
            DataError: There is no molecule.
        """
        if self.count == 0:
            raise DataError("a data set needs at least one molecule")
        tables = {name: table.finish(self.count) for name, table in self._tables.items()}
        for name in [name for name, entry in tables.items() if entry.measurements == 0]:
            del tables[name]
            remove(self._tables[name].path)
        self._write_molecules(split)
        (further,) = self._sql.execute("SELECT count(*) FROM molecules WHERE further > 0").fetchone()
        self.close()
        remove(self._database)
        manifest = DataManifest(
            format=DATA_FORMAT,
            schema_version=SCHEMA_VERSION,
            written_by=version("molchord"),
            molecules=self.count,
            further_smiles=further,
            rejected=rejected,
            split=split,
            numeric={"exact_mass": "Da", **dict.fromkeys(self._numeric, "")},
            tables=dict(sorted(tables.items())),
            options=dict(options),
            files=file_entries(self.folder),
        )
        replace_file(self.folder / MANIFEST, sealed(manifest.model_dump_json(indent=1)))
        return manifest

    def close(self) -> None:
        """Close all files; the folder is then complete, or to be deleted."""
        self._sql.close()
        for table in self._tables.values():
            table.close()

    def _write_molecules(self, split: str) -> None:
        schema = molecules_schema(self._numeric)
        rows = self._sql.execute(
            "SELECT key14, smiles, formula, exact_mass, split, numbers FROM molecules ORDER BY row"
        )
        with pq.ParquetWriter(self.folder / MOLECULES_FILE, schema, compression="zstd") as writer:
            while part := rows.fetchmany(ROW_GROUP):
                records = [
                    {
                        **{"key14": key14, "smiles": smiles, "formula": formula, "exact_mass": mass},
                        "split": assign(split, key14, smiles, named),
                        **json.loads(numbers),
                    }
                    for key14, smiles, formula, mass, named, numbers in part
                ]
                writer.write_table(pa.Table.from_pylist(records, schema=schema), row_group_size=ROW_GROUP)


def molecules_schema(numeric: Sequence[str]) -> pa.Schema:
    """Return the columns of ``molecules.parquet``."""
    text = [(name, pa.utf8()) for name in ("key14", "smiles", "formula")]
    return pa.schema([*text, ("exact_mass", pa.float64()), ("split", pa.utf8()), *((n, pa.float64()) for n in numeric)])


@contextmanager
def new_folder(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Fill the folder of a data set, which is put in place when the block ends well; see `replace_folder`.

    Args:
        path: Where the data set is to be.
        force: Replace an existing data set.

    Raises:
        OutputExistsError: Something exists and `force` is not given.
        DataError: Something other than a data set exists.
        FolderInUseError: Another process writes one there.
    """
    with only_writer(path):
        if path.exists():
            if not force:
                raise OutputExistsError(path)
            if not (path / MANIFEST).is_file():
                raise DataError(f"output {str(path)!r} is not a data set and is not replaced; choose another folder")
            check_version(path, (path / MANIFEST).read_text(encoding="utf-8", errors="replace"))
        with replace_folder(path) as folder:
            yield folder
