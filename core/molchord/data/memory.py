"""Measurements in memory as a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from molchord.api import Measurement, SampleError, Stores
from molchord.data.splits import named_split
from molchord.data.writer import DataSetWriter, new_folder
from molchord.errors import DataError, did_you_mean

Measured = Measurement | Sequence[Measurement] | None


def write_measurements(
    path: Path,
    smiles: Sequence[str],
    measurements: Mapping[str, Sequence[Measured]],
    stores: Mapping[str, Stores],
    splits: Sequence[str] | None,
    *,
    force: bool,
) -> None:
    """Write a data set of measurements in memory; see `DataSet.from_measurements`.

    Raises:
        DataError: An entry cannot be used, or lengths differ.
        OutputExistsError: Something exists at `path` already.
    """
    if isinstance(smiles, str):
        raise DataError(f"SMILES were given as the text {smiles!r}; give a list of them")
    for name, entries in measurements.items():
        if name not in stores:
            raise DataError(f"measurements {name!r} have no declaration in `stores`; {did_you_mean(name, stores)}")
        _same_length(f"measurements {name!r}", len(entries), len(smiles))
    if splits is not None:
        _same_length("splits", len(splits), len(smiles))
    with new_folder(path, force=force) as folder:
        writer = DataSetWriter(folder)
        try:
            for i, text in enumerate(smiles):
                split = None if splits is None else named_split(splits[i])
                _add(writer, i, text, {name: entries[i] for name, entries in measurements.items()}, stores, split)
            writer.finish("hash" if splits is None else "column:splits", {"source": "memory"})
        finally:
            writer.close()


def _add(
    writer: DataSetWriter,
    index: int,
    smiles: str,
    entries: Mapping[str, Measured],
    stores: Mapping[str, Stores],
    split: str | None,
) -> None:
    where = f"entry {index} ({smiles!r})"
    try:
        row = writer.row(smiles)
        if row is None:
            return
        writer.describe(row, {}, split)
        for name, entry in entries.items():
            where = f"entry {index} ({smiles!r}) of {name!r}"
            table = writer.table(name, stores[name])
            for one in [entry] if isinstance(entry, Measurement) else entry or ():
                table.add(row, table.encode(one), 0, f"entry {index}")
    except SampleError as error:
        raise DataError(f"{where}: {error.reason}") from error


def _same_length(what: str, got: int, wanted: int) -> None:
    if got != wanted:
        raise DataError(f"{what} hold {got} entries for {wanted} SMILES; give one an entry, None where there is none")
