"""What a user hands to a run, read: spectrum files and measurements, SMILES and files of them."""

from __future__ import annotations

import csv
import gzip
import os
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from molchord.api import Derives, Measurement, Modality, Molecule, Reading, SampleError, Stores
from molchord.chemistry import molecule
from molchord.data.spreadsheet import SMILES, read_rows
from molchord.data.store import DataSet
from molchord.errors import DataError, QueryError

Given: TypeAlias = "str | Path | Measurement | Sequence[str | Path | Measurement]"
"""What can be embedded: a file, a measurement, several of them; SMILES for a modality made from the molecule."""


def measurements_of(plugin: Modality, given: Given, modality: str, stores: Stores) -> list[Measurement]:
    """Read what a user gives as measurements of one modality, whose declaration is `stores`.

    Raises:
        QueryError: A file cannot be read, a SMILES is refused, an object is no measurement, or nothing was given.

    Warns:
        UserWarning: Some entries of a file cannot be read.
    """
    several = isinstance(given, Iterable) and not isinstance(given, (str, Path, Measurement, Mapping))
    items: list[object] = list(given) if several else [given]  # type: ignore[arg-type]
    out: list[Measurement] = []
    for item in items:
        if isinstance(item, Measurement):
            out.append(item)
        elif not isinstance(item, (str, Path)):
            wrong = item if isinstance(given, (list, tuple)) else given
            raise QueryError(_not_a_measurement(wrong, modality, stores))
        elif isinstance(plugin, Derives) and not os.path.isfile(item):
            out.append(_derived(plugin, str(item)))
        else:
            out += _read(plugin, Path(item), modality)
    if not out:
        raise QueryError(f"no measurement of {modality!r} was given; give a file, a `Measurement` or a list of them")
    return out


def molecules_of(source: str | Path | DataSet | Iterable[str], failures: list[SampleError]) -> Iterator[Molecule]:
    """Yield molecules of SMILES, of a file of them, or of a data set; refused SMILES go to `failures`."""
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        source = DataSet(Path(source))
    if isinstance(source, DataSet):
        return source.molecules()
    if isinstance(source, (str, Path)):
        return _parsed(smiles_of(Path(source), failures), failures)
    return _parsed(source, failures)


def smiles_of(path: Path, failures: list[SampleError]) -> Iterator[str]:
    """Read SMILES from a text file (first word of each line) or a CSV or TSV file with a column ``smiles``.

    Rows of a table that have too many or too few cells go to `failures`.

    Raises:
        DataError: The file does not exist or is no text, or a table lacks the column.
    """
    if not path.is_file():
        raise DataError(f"file {str(path)!r} does not exist; give a file of SMILES or a data set")
    try:
        if path.name.removesuffix(".gz").endswith((".csv", ".tsv")):
            for line, row in read_rows(path, ()):
                if row is not None:
                    yield row[SMILES]
                else:
                    failures.append(SampleError(f"{path.name}:{line}", "the row has too many or too few cells"))
            return
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig") as lines:
            yield from (line.split()[0] for line in lines if line.strip())
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(
            f"file {str(path)!r} cannot be read as SMILES ({error}); give a text, CSV or TSV file of them"
        ) from error


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a small CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _not_a_measurement(given: object, modality: str, stores: Stores) -> str:
    names = ", ".join(
        repr(name) + (f" in {array.unit}" if array.unit != "1" else "") for name, array in stores.arrays.items()
    )
    return (
        f"{modality!r} was given as {type(given).__name__!r}, which does not say what its numbers are; give a file, or "
        f"wrap it as `mc.Measurement(arrays={{NAME: ...}})` with names of {names}"
    )


def _derived(plugin: Derives, smiles: str) -> Measurement:
    try:
        return plugin.derive(molecule(smiles))
    except SampleError as error:
        raise QueryError(f"molecule {smiles!r} cannot be embedded ({error.reason}); check the SMILES") from error


def _read(plugin: Modality, path: Path, modality: str) -> list[Measurement]:
    if not path.is_file():
        raise QueryError(f"file {str(path)!r} for {modality!r} does not exist; give the path of a spectrum file")
    try:
        entries = list(plugin.read(path))
    except SampleError as error:
        raise QueryError(
            f"file {str(path)!r} cannot be read as {modality!r} ({error.reason}); see `molchord plugins list`"
        ) from error
    good = [entry.measurement for entry in entries if isinstance(entry, Reading)]
    bad = [entry for entry in entries if isinstance(entry, SampleError)]
    if not good:
        reasons = "; ".join(entry.reason for entry in bad[:3])
        raise QueryError(
            f"file {str(path)!r} holds no usable {modality!r} measurement ({reasons or 'it is empty'}); "
            "give another file"
        )
    if bad:
        left = f"{len(bad)} of {len(entries)} entries of {str(path)!r} cannot be read as {modality!r}"
        warnings.warn(f"{left} ({bad[0]}); the others are taken", stacklevel=2)
    return good


def _parsed(lines: Iterable[str], failures: list[SampleError]) -> Iterator[Molecule]:
    for smiles in lines:
        try:
            yield molecule(smiles)
        except SampleError as error:
            failures.append(error)
