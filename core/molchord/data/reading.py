"""What a user hands to a run, read: spectrum files and measurements, SMILES and files of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from molchord.api import Derives, Measurement, Modality, Molecule, Reading, ReadingOptions, SampleError, Stores
from molchord.chem import molecule
from molchord.data.candidates import Listed, candidates_of, shipped_list
from molchord.data.spectrum_files import entries_of
from molchord.data.stated import key_of, refuse_several_samples
from molchord.data.store import DataSet
from molchord.errors import QueryError

MoleculeSource: TypeAlias = "str | Path | DataSet | Iterable[str]"
"""SMILES, a list of candidates (`data.candidates`), the name of a shipped one, or a data set or its folder."""

Item: TypeAlias = "str | Listed | Molecule | SampleError"
"""What is to become a molecule: a SMILES, a row of a list, a molecule of a data set, or a row that cannot be read."""

Given: TypeAlias = "str | Path | Measurement | Sequence[str | Path | Measurement]"
"""What can be embedded: a file, a measurement, several of them; SMILES for a modality made from the molecule."""


def measurements_of(
    plugin: Modality,
    given: Given,
    modality: str,
    stores: Stores,
    *,
    of_one: bool = False,
    options: ReadingOptions | None = None,
    same_sample: bool = False,
) -> list[Measurement]:
    """Read what a user gives as measurements of one modality, whose declaration is `stores`.

    Raises:
        QueryError: A file cannot be read, a SMILES is refused, an object is not a measurement, or nothing was given;
            with `of_one` and without `same_sample`, what is given states that it is of several molecules.

    Warns:
        UserWarning: Some entries of a file cannot be read.
    """
    several = isinstance(given, Iterable) and not isinstance(given, (str, Path, Measurement, Mapping))
    items: list[object] = list(given) if several else [given]  # type: ignore[arg-type]
    out: list[Reading] = []
    for number, item in enumerate(items, start=1):
        if isinstance(item, Measurement):
            out.append(Reading(measurement=item, smiles=None, location=f"measurement {number}"))
        elif not isinstance(item, (str, Path)):
            wrong = item if isinstance(given, (list, tuple)) else given
            raise QueryError(_not_a_measurement(wrong, modality, stores))
        elif isinstance(plugin, Derives) and not os.path.isfile(item):
            out.append(Reading(measurement=_derived(plugin, str(item)), smiles=None, location=str(item)))
        else:
            out += _read(plugin, Path(item), modality, of_one and not same_sample, options)
    if not out:
        raise QueryError(f"no measurement of {modality!r} was given; give a file, a `Measurement` or a list of them")
    if of_one and not same_sample:
        refuse_several_samples(plugin, modality, out)
    return [reading.measurement for reading in out]


def files_of(given: Given) -> list[Path]:
    """Return the files among what a user gives."""
    single = isinstance(given, (str, Path, Measurement, Mapping)) or not isinstance(given, Iterable)
    items: list[object] = [given] if single else list(given)  # type: ignore[arg-type]
    return [Path(item) for item in items if isinstance(item, (str, Path)) and os.path.isfile(item)]


def ruled_out(measurement: Measurement, where: Mapping[str, Any]) -> str | None:
    """Return the column by which a graph's `where` rules a measurement out; None where it does not.

    What a measurement does not state rules nothing out, and its origin never does: models of computed spectra are
    searched with measured ones.

    Example:
        >>> proton = Measurement(arrays={}, columns={"nucleus": "1H", "origin": "measured"})
        >>> ruled_out(proton, {"nucleus": "13C"}), ruled_out(proton, {"nucleus": ["1H", "19F"], "origin": "computed"})
        ('nucleus', None)
    """
    for column, wanted in where.items():
        value = measurement.columns.get(column)
        if column != "origin" and value is not None:
            admitted = wanted if isinstance(wanted, (list, tuple)) else [wanted]
            if value not in admitted:
                return column
    return None


def items_of(source: MoleculeSource) -> Iterator[Item]:
    """Yield what is to become molecules, as it is read: SMILES, a data set's molecules, rows that cannot be read."""
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        source = DataSet(Path(source))
    if isinstance(source, DataSet):
        return source.molecules()
    if isinstance(source, (str, Path)):
        return candidates_of(shipped_list(source) or Path(source))
    return _entries(source)


def parsed(items: Iterable[Item]) -> Iterator[Molecule | SampleError]:
    """Make molecules of SMILES; those that are refused become errors in their places."""
    for item in items:
        try:
            text = item.notation if isinstance(item, Listed) else item
            yield molecule(text) if isinstance(text, str) else text
        except SampleError as error:
            yield error


def molecules_of(source: MoleculeSource, failures: list[SampleError]) -> Iterator[Molecule]:
    """Yield molecules of SMILES, of a file of them, or of a data set; refused SMILES go to `failures`.

    Raises:
        DataError: The file does not exist or cannot be read, or a table lacks the column.
    """
    for found in parsed(items_of(source)):
        if isinstance(found, Molecule):
            yield found
        else:
            failures.append(found)


def _entries(source: Iterable[object]) -> Iterator[Item]:
    """Yield the entries of a list; what is no SMILES, such as a data frame's blank cell, is an error in its place."""
    for number, item in enumerate(source):
        if isinstance(item, (str, Listed, Molecule, SampleError)):
            yield item
        else:
            yield SampleError(f"entry {number}", f"it is {item!r}, which is no SMILES")


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


def _read(plugin: Modality, path: Path, modality: str, of_one: bool, options: ReadingOptions | None) -> list[Reading]:
    if not path.is_file():
        what = "is a folder or a pipe" if path.exists() else "does not exist"
        raise QueryError(f"file {str(path)!r} for {modality!r} {what}; give the path of a spectrum file")
    try:
        entries = entries_of(plugin, path, modality, options)
    except SampleError as error:
        reason = error.reason if error.id == str(path) else str(error)  # which may name the line
        raise QueryError(
            f"file {str(path)!r} cannot be read as {modality!r} ({reason}); correct it, or give another"
        ) from error
    readings = [entry for entry in entries if isinstance(entry, Reading)]
    bad = [entry for entry in entries if isinstance(entry, SampleError)]
    if not readings:
        reasons = "; ".join(entry.reason for entry in bad[:3])
        raise QueryError(
            f"file {str(path)!r} holds no usable {modality!r} measurement ({reasons or 'it is empty'}); "
            "give another file"
        )
    said = {reading.smiles for reading in readings if reading.smiles}
    if of_one and len(said) > 1 and (count := len({key_of(smiles) for smiles in said})) > 1:
        raise QueryError(
            f"file {str(path)!r} holds {modality!r} of {count} molecules; a query is of one: give a file of its "
            "measurements alone"
        )
    if bad:
        left = f"{len(bad)} of {len(entries)} entries of {str(path)!r} cannot be read as {modality!r}"
        warnings.warn(f"{left} ({bad[0]}); the others are taken", stacklevel=2)
    return readings
