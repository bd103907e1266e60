"""A data set on disk: a folder of molecules and of the measurements that each of them has."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from molchord.api import Measurement, Molecule, Stores
from molchord.checksums import FileEntry, expect_file, verify_files
from molchord.data.manifest import MANIFEST, MOLECULES_FILE, ROW_GROUP, DataManifest, read_data_manifest
from molchord.data.splits import NO_SPLIT, assign, check_rule
from molchord.data.table import MeasurementTable
from molchord.errors import DataError, did_you_mean
from molchord.files import discard, one_line, sha256_file
from molchord.places import inside
from molchord.vocabulary import SPLITS

__all__ = ["DataSet", "MeasurementTable"]


@final
class DataSet:
    """Molecules, their splits and their measurements; read from disk on demand, pickled as its path.

    Args:
        path: Folder of the data set.
        split: Split rule without a table ("hash", "scaffold", "fold:I") to see the molecules by in place of the one in
            the folder; molecules that are in no split there stay in none.

    Raises:
        DataError: No data set, another version, or a damaged one; an unknown rule, or one that needs a table.

    Example:
        >>> import numpy as np
        >>> from molchord.api import Array, Measurement, Stores
        >>> stores = Stores(arrays={"shift": Array(unit="ppm", axis="peak")})
        >>> peaks = Measurement(arrays={"shift": np.array([18.0, 58.0])})
        >>> data = DataSet.from_measurements(["CCO", "C"], {"nmr": [peaks, None]}, stores={"nmr": stores})
        >>> len(data), data.stored, data.table("nmr").of(0).tolist(), data.table("nmr").of(1).tolist()
        (2, ('nmr',), [0], [])
    """

    def __init__(self, path: str | os.PathLike[str], *, split: str | None = None) -> None:
        self.path = Path(path)
        self.rule = split
        if split is not None and check_rule(split) is not None:
            raise DataError(f"split rule {split!r} needs a table; use `molchord data split`")
        self.manifest: DataManifest = read_data_manifest(self.path)
        with _sound(self.path):
            self._molecules = pq.ParquetFile(self.path / MOLECULES_FILE, memory_map=True)
        self._groups = lru_cache(maxsize=8)(partial(_group, self.path, self._molecules, self.manifest.files))
        self._tables: dict[str, MeasurementTable] = {}

    @classmethod
    def opened(cls, data: DataSet | str | os.PathLike[str]) -> DataSet:
        """Return a data set that is open already, or open its folder."""
        return data if isinstance(data, DataSet) else cls(data)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), split=self.rule), (self.path,)

    def __len__(self) -> int:
        return self.manifest.molecules

    def __repr__(self) -> str:
        return f"DataSet({str(self.path)!r}, {len(self)} molecules, {', '.join(self.stored) or 'no measurements'})"

    @property
    def stored(self) -> tuple[str, ...]:
        """Return the names of the plugins that have measurements here."""
        return tuple(self.manifest.tables)

    @cached_property
    def sha256(self) -> str:
        """Return the checksum of the manifest, which holds those of all other files."""
        return sha256_file(self.path / MANIFEST)

    @cached_property
    def split(self) -> NDArray[np.uint8]:
        """Return each molecule's index into `SPLITS` (255: in none), shape (molecules,)."""
        column = self._column("split")
        codes = np.full(len(self), NO_SPLIT, dtype=np.uint8)
        for code, name in enumerate(SPLITS):
            codes[column == name] = code
        if self.rule is not None:
            assigned = [assign(self.rule, *pair) for pair in zip(self.keys(), self.smiles(), strict=True)]
            moved = np.array([NO_SPLIT if name is None else SPLITS.index(name) for name in assigned], dtype=np.uint8)
            codes = np.where(codes == NO_SPLIT, codes, moved)
        return codes

    def rows(self, split: str | None = None) -> NDArray[np.int64]:
        """Return the rows of a split, or all rows.

        Raises:
            DataError: Unknown split.
        """
        if split is None:
            return np.arange(len(self), dtype=np.int64)
        if split not in SPLITS:
            raise DataError(f"split {split!r} is not known; {did_you_mean(split, SPLITS)}")
        return np.flatnonzero(self.split == [*SPLITS].index(split)).astype(np.int64)

    def molecule(self, row: int) -> Molecule:
        """Return the molecule in a row."""
        return next(self.molecules([row]))

    def molecules(self, rows: Iterable[int] | None = None) -> Iterator[Molecule]:
        """Yield the molecules of some rows, or all, in the order asked for."""
        for row in range(len(self)) if rows is None else rows:
            if not 0 <= row < len(self):
                raise IndexError(f"row {row} of {len(self)} molecules")
            number, place = divmod(int(row), ROW_GROUP)
            columns = self._groups(number)
            yield Molecule(
                key14=columns["key14"][place],
                smiles=columns["smiles"][place],
                formula=columns["formula"][place],
                exact_mass=columns["exact_mass"][place],
            )

    def keys(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> list[str]:
        """Return the key14 of some rows, or of all."""
        return self._text("key14", rows)

    def smiles(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> list[str]:
        """Return the canonical SMILES of some rows, or of all."""
        return self._text("smiles", rows)

    def formulas(self, rows: Sequence[int] | NDArray[np.int64] | None = None) -> list[str]:
        """Return the Hill formulas of some rows, or of all."""
        return self._text("formula", rows)

    def numeric(self, column: str) -> NDArray[np.float64]:
        """Return a numeric column of the molecules, NaN where unknown, shape (molecules,).

        Raises:
            DataError: Unknown column.
        """
        if column not in self.manifest.numeric:
            raise DataError(
                f"data set {str(self.path)!r} has no numeric column `{column}`; "
                f"{did_you_mean(column, self.manifest.numeric)}"
            )
        return np.asarray(self._column(column), dtype=np.float64)

    def table(self, name: str, stores: Stores | None = None, modality: object = None) -> MeasurementTable:
        """Return the measurements of a plugin.

        Args:
            name: Name of the plugin.
            stores: Declaration that the measurements must have.
            modality: Migrates measurements of another declaration, if it can.

        Raises:
            DataError: No such measurements, or another declaration.
        """
        if name not in self.manifest.tables:
            raise DataError(
                f"data set {str(self.path)!r} has no measurements {name!r}; {did_you_mean(name, self.stored)}"
            )
        if name not in self._tables:
            folder = name.replace(":", "-")
            files = {path.removeprefix(f"{folder}/"): entry for path, entry in self.manifest.files.items()}
            place = inside(self.path, folder, DataError)
            self._tables[name] = MeasurementTable(place, name, self.manifest.tables[name], files=files, owner=self)
        table = self._tables[name]
        return table if stores is None else table.check(stores, modality)

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            DataError: A file differs.
        """
        wrong = [*verify_files(self.path, self.manifest.files)]
        if wrong:
            raise DataError(f"data set {str(self.path)!r}: {', '.join(wrong)}; import it again")

    @classmethod
    def from_measurements(
        cls,
        smiles: Sequence[str],
        measurements: Mapping[str, Sequence[Measurement | Sequence[Measurement] | None]],
        path: str | os.PathLike[str] | None = None,
        *,
        stores: Mapping[str, Stores],
        splits: Sequence[str] | None = None,
        force: bool = False,
    ) -> Self:
        """Make a data set of measurements in memory.

        Molecules are merged by key14, so the rows are the distinct molecules in their order.

        Args:
            smiles: One SMILES per entry.
            measurements: For each plugin, one measurement, several or None per entry.
            path: Folder to be written; None: a temporary one that lives as long as this object.
            stores: The plugins' declarations.
            splits: "train", "val" or "test" per entry; None: the hash rule.
            force: Replace a data set at `path`.

        Raises:
            DataError: An entry cannot be used, or lengths differ.
            OutputExistsError: Something exists at `path` already.
        """
        from molchord.data.memory import write_measurements  # the writer needs RDKit, reading does not

        if path is not None:
            write_measurements(Path(path), smiles, measurements, stores, splits, force=force)
            return cls(path)
        temporary = Path(tempfile.mkdtemp(prefix="molchord-"))
        try:
            write_measurements(temporary / "data", smiles, measurements, stores, splits, force=False)
            made = cls(temporary / "data")
        except BaseException:
            discard(temporary)
            raise
        weakref.finalize(made, _remove, temporary, os.getpid())
        return made

    def _text(self, column: str, rows: Sequence[int] | NDArray[np.int64] | None) -> list[str]:
        asked = range(len(self)) if rows is None else [int(row) for row in rows]
        places: dict[int, list[int]] = defaultdict(list)
        for i, row in enumerate(asked):
            if not 0 <= row < len(self):
                raise IndexError(f"row {row} of {len(self)} molecules")
            places[row // ROW_GROUP].append(i)
        out = [""] * len(asked)
        for number in sorted(places):  # each row group is decoded once
            values = self._groups(number)[column]
            for i in places[number]:
                out[i] = values[asked[i] % ROW_GROUP]
        return out

    def _column(self, name: str) -> NDArray[Any]:
        expect_file(self.path / MOLECULES_FILE, self.manifest.files.get(MOLECULES_FILE), DataError, "import it again")
        with _sound(self.path):
            table = self._molecules.read(columns=[name], use_threads=False)
            return np.asarray(table.column(name).to_numpy())


def _group(path: Path, file: pq.ParquetFile, files: Mapping[str, FileEntry], number: int) -> dict[str, list[Any]]:
    """Decode one row group of the molecules."""
    columns = ["key14", "smiles", "formula", "exact_mass"]
    expect_file(path / MOLECULES_FILE, files.get(MOLECULES_FILE), DataError, "import it again")
    with _sound(path):
        table = file.read_row_group(number, columns=columns, use_threads=False)
        return {name: table.column(name).to_pylist() for name in columns}


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, KeyError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DataError(
            f"data set {str(path)!r}: {MOLECULES_FILE!r} is damaged: {one_line(error)}; import it again"
        ) from error


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked worker
        discard(folder)
