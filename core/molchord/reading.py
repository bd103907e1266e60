"""What a user hands to a run, read: spectrum files and measurements, SMILES and files of them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from molchord.api import Derives, Measurement, Modality, Molecule, Reading, SampleError
from molchord.chemistry import molecule
from molchord.data.spreadsheet import SMILES, read_rows
from molchord.data.store import DataSet
from molchord.errors import DataError, QueryError

Given: TypeAlias = "str | Path | Measurement | Sequence[str | Path | Measurement]"
"""What can be embedded: a file, a measurement, several of them; SMILES for a modality made from the molecule."""


def measurements_of(plugin: Modality, given: Given, modality: str) -> list[Measurement]:
    """Read what a user gives as measurements of one modality.

    Raises:
        QueryError: A file cannot be read, a SMILES is refused, or nothing was given.
    """
    items = [given] if isinstance(given, (str, Path, Measurement)) else list(given)
    out: list[Measurement] = []
    for item in items:
        if isinstance(item, Measurement):
            out.append(item)
        elif isinstance(plugin, Derives) and not Path(item).is_file():
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
        return _parsed(smiles_of(Path(source)), failures)
    return _parsed(source, failures)


def smiles_of(path: Path) -> Iterator[str]:
    """Read SMILES from a text file (first word of each line) or a CSV or TSV file with a column ``smiles``.

    Raises:
        DataError: The file does not exist, or a table lacks the column.
    """
    if not path.is_file():
        raise DataError(f"file {str(path)!r} does not exist; give a file of SMILES or a data set")
    if path.name.removesuffix(".gz").endswith((".csv", ".tsv")):
        yield from (row[SMILES] for _, row in read_rows(path, ()) if row is not None)
        return
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        yield from (line.split()[0] for line in lines if line.strip())


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a small CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


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
    if not good:
        reasons = "; ".join(entry.reason for entry in islice((e for e in entries if isinstance(e, SampleError)), 3))
        raise QueryError(
            f"file {str(path)!r} holds no usable {modality!r} measurement ({reasons or 'it is empty'}); "
            "give another file"
        )
    return good


def _parsed(lines: Iterable[str], failures: list[SampleError]) -> Iterator[Molecule]:
    for smiles in lines:
        try:
            yield molecule(smiles)
        except SampleError as error:
            failures.append(error)
