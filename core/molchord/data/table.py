"""A measurement table: metadata in one Arrow file, arrays in safetensors shards, both memory-mapped."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from tokenize import TokenError
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from molchord.api import Measurement, Migrates, Real, Stores
from molchord.checksums import FileEntry, expect_file
from molchord.data.manifest import TableEntry, differences
from molchord.data.shards import Shard
from molchord.errors import DataError, did_you_mean
from molchord.files import one_line

MEASUREMENTS = "measurements.arrow"
BATCH = 4096  # rows of each record batch but the last, so that a row is found by division


@final
class MeasurementTable:
    """The measurements of one modality, memory-mapped; pickles as its path.

    Args:
        path: Folder of the table.
        name: Name under which the data set keeps it.
        entry: Its description in the manifest.
        stores: Today's declaration, where it is not the stored one.
        modality: Migrates measurements to `stores`.
        files: Size and checksum of its files, by their names in the folder; those of an earlier version may have none.
        owner: Kept alive as long as this table, such as a data set in a temporary folder.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        entry: TableEntry,
        stores: Stores | None = None,
        modality: Migrates | None = None,
        files: Mapping[str, FileEntry] | None = None,
        owner: object = None,
    ) -> None:
        self.path, self.name, self.entry = path, name, entry
        self._files = {} if files is None else dict(files)
        self._owner = owner
        self.stores = entry.stores() if stores is None else stores
        self._modality = modality
        self._stored = entry.stores()
        self._ends = list(accumulate(entry.shards))
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path / MEASUREMENTS)))
            self.molecule = _mapped(path / "molecule.npy", len(self))
            self._order = _mapped(path / "order.npy", len(self))
            self._start = _mapped(path / "start.npy", None)
            # Mapped, not copied: only headers are held.
            self._batch = lru_cache(maxsize=256)(partial(_batch, self._reader, path))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(
                f"measurement table {str(path)!r} is damaged: {one_line(error)}; import it again"
            ) from error
        for file in (MEASUREMENTS, "molecule.npy", "order.npy", "start.npy"):
            expect_file(path / file, self._files.get(file), DataError, "import it again")
        self._shard = lru_cache(maxsize=256)(partial(Shard, path, entry.arrays, self._files))

    def __reduce__(self) -> tuple[Any, ...]:
        stores = None if self.stores == self._stored else self.stores
        return type(self), (self.path, self.name, self.entry, stores, self._modality, self._files)

    def __len__(self) -> int:
        return self.entry.measurements

    def __repr__(self) -> str:
        return f"MeasurementTable({self.name!r}, {len(self)} measurements of {self.entry.molecules} molecules)"

    def of(self, row: int) -> NDArray[np.int64]:
        """Return the indices of a molecule's measurements, possibly none."""
        return np.asarray(self._order[self._start[row] : self._start[row + 1]])

    def present(self) -> NDArray[np.bool_]:
        """Return for each molecule whether it has a measurement, shape (molecules of the data set,)."""
        return np.diff(self._start) > 0

    def column(self, name: str) -> NDArray[Any]:
        """Return one metadata column: float64 (missing = NaN), or text objects (missing = None).

        Raises:
            DataError: Unknown column.
        """
        self._known(name)
        parts = [self._column(i, name) for i in range(self._reader.num_record_batches)]
        if isinstance(self._stored.columns.get(name), Real):
            return np.concatenate([np.zeros(0), *(p.to_numpy(zero_copy_only=False) for p in parts)])
        # Through a dictionary, so that equal texts are one object.
        texts = (p.dictionary_encode().to_numpy(zero_copy_only=False) for p in parts)
        return np.concatenate([np.zeros(0, dtype=object), *texts])

    def select(self, where: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Return which measurements have the given values; a value or a list of values per column, None is missing.

        Raises:
            DataError: Unknown column, or a text compared with a number.
        """
        chosen = np.ones(len(self), dtype=bool)
        for name, wanted in where.items():
            self._known(name)
            values = accepted(self.name, name, self._stored, wanted)
            for number in range(self._reader.num_record_batches):
                part = self._column(number, name)
                found = pc.is_in(part, value_set=pa.array(values, type=part.type))
                chosen[number * BATCH : number * BATCH + len(part)] &= found.to_numpy(zero_copy_only=False)
        return chosen

    def read(self, index: int) -> Measurement:
        """Read one measurement, in its declared units and types.

        Raises:
            IndexError: No such measurement.
            DataError: The shard is damaged.
            SampleError: It cannot be migrated to today's declaration.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"measurement {index} of {len(self)} in {self.name!r}")
        number = bisect_right(self._ends, index)
        first = self._ends[number] - self.entry.shards[number]
        arrays = self._shard(number).read(index - first)
        batch, row = self._batch(index // BATCH), index % BATCH
        columns = {name: batch.column(name)[row].as_py() for name in ("origin", *self._stored.columns)}
        measurement = Measurement(arrays=arrays, columns=columns)
        if self._modality is not None:
            return self._modality.migrate(measurement, self._stored)
        return measurement

    def location(self, index: int) -> str:
        """Return where in its source file a measurement was."""
        return str(self._column(index // BATCH, "_location")[index % BATCH].as_py())

    def check(self, stores: Stores, modality: object = None) -> MeasurementTable:
        """Return this table for a plugin's declaration: itself, or one whose measurements `modality` migrates.

        Raises:
            DataError: Stored under another declaration, and `modality` does not migrate.
        """
        if self._stored == stores:
            return self
        if isinstance(modality, Migrates):
            return MeasurementTable(self.path, self.name, self.entry, stores, modality, self._files, self._owner)
        raise DataError(
            f"measurements {self.name!r} in {str(self.path)!r} were written under another declaration "
            f"({self.entry.plugin} {self.entry.version}): {'; '.join(differences(self._stored, stores))}; "
            "import them again or use the plugin's version that wrote them"
        )

    def _known(self, name: str) -> None:
        allowed = ("origin", *self._stored.columns)
        if name not in allowed:
            raise DataError(f"measurements {self.name!r} have no column `{name}`; {did_you_mean(name, allowed)}")

    def _column(self, batch: int, name: str) -> pa.Array:
        return self._batch(batch).column(name)


def _mapped(path: Path, length: int | None) -> NDArray[np.int64]:
    try:
        array: NDArray[np.int64] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (SyntaxError, TokenError, EOFError) as error:  # numpy parses the header as Python
        raise ValueError(f"{path.name!r} has no good header: {error}") from error
    if array.dtype != np.int64 or array.ndim != 1 or length not in (None, len(array)):
        raise ValueError(f"{path.name!r} holds {array.shape} {array.dtype}")
    return array


def _batch(reader: pa.RecordBatchFileReader, path: Path, number: int) -> pa.RecordBatch:
    try:
        batch = reader.get_batch(number)
        batch.validate(full=True)  # Arrow trusts offsets in a file, which crashes where they are wrong
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"measurement table {str(path)!r} is damaged: {one_line(error)}; import it again") from error
    return batch


def accepted(table: str, name: str, stores: Stores, wanted: object) -> list[float | str | None]:
    """Return the values that a `where` accepts in a column, checked against the column's type.

    Raises:
        DataError: A text for a number's column, or the reverse.
    """
    values: list[Any] = list(wanted) if isinstance(wanted, (list, tuple, set, frozenset)) else [wanted]
    number = isinstance(stores.columns.get(name), Real)
    for value in values:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) if number else isinstance(value, str)
        if value is not None and not fits:
            kind = "numbers" if number else "text"
            raise DataError(f"column `{name}` of {table!r} holds {kind}, but {value!r} was asked for")
    return [float(v) if number and v is not None else v for v in values]
