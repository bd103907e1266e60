"""What the files of a sample hold: each is read as the spectrum that its name, a table or its content says it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, final

import numpy as np

from molchord.api import Measurement, Reading, SampleError
from molchord.data.reading import ruled_out
from molchord.data.spectrum_files import entries_of
from molchord.data.stated import key_of, refuse_several_samples
from molchord.embedder import Embedder
from molchord.errors import QueryError
from molchord.identify.samples import Asked, Sample, SpectrumFile

__all__ = [
    "Failure",
    "Read",
    "SpectrumEntry",
    "Unknown",
    "entries_of_file",
    "entry_meant",
    "sentence_of",
    "told",
    "unknowns_of",
]

_APART = "a sample is one molecule: give them names of their own, or tell them apart in a samples table"

_WAYS_OUT = "write what it is before its suffix, as in NAME.{first}.csv, or in a column `modality` of a samples table"


@final
@dataclass(frozen=True, kw_only=True)
class Failure:
    """A sample, or a part of it, without an answer, and why."""

    sample: str
    files: tuple[str, ...]
    reason: str


@final
@dataclass(frozen=True, kw_only=True)
class Unknown:
    """The spectra of one sample.

    Attributes:
        id: What the sample is called.
        files: What its files are called.
        spectra: Measurements by modality.
        read: What was read, a sentence per measurement.
        asked: What is known of it besides.
        left: What could not be read of files that could.
        before: Measurements before clean-up, of the modalities that were cleaned up.
    """

    id: str
    files: tuple[str, ...]
    spectra: Mapping[str, Sequence[Measurement]]
    read: tuple[str, ...]
    asked: Asked
    left: tuple[str, ...] = ()
    before: Mapping[str, Sequence[Measurement]] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class SpectrumEntry:
    """An entry of a file, and what it is a spectrum of."""

    file: SpectrumFile
    modality: str
    reading: Reading


Read: TypeAlias = tuple[list[SpectrumEntry], list[SampleError]]
"""Entries of a file, and why others cannot be read."""


def unknowns_of(
    embedder: Embedder, sample: Sample, read: Callable[[Embedder, SpectrumFile], Read] | None = None
) -> Iterator[Unknown | Failure]:
    """Read the files of a sample: one unknown, or one per entry of its only file; a file that fails fails the sample.

    A sample of several files of which some cannot be read is no answer of the others: it would look like one of all.

    Args:
        embedder: The model.
        sample: The files.
        read: Reads a file, for callers that keep what was read; None: `entries_of_file`.
    """
    read = read or entries_of_file
    labels = tuple(file.label for file in sample.files)
    entries: list[SpectrumEntry] = []
    errors: list[SampleError] = []
    try:
        for file in sample.files:
            good, bad = read(embedder, file)
            entries += good
            errors += bad
    except SampleError as error:
        yield Failure(sample=sample.id, files=labels, reason=sentence_of(error))
        return
    several = max(_counts(entries).values(), default=0) > 1
    if several and len(sample.files) == 1 and not sample.together:
        for number, entry in enumerate(entries, start=1):
            yield _unknown(f"{sample.id}#{number}", sample, [entry], ())
        for unread in errors:
            yield Failure(sample=sample.id, files=labels, reason=sentence_of(unread))
        return
    reason = _two_molecules(embedder, entries)
    if reason is not None:
        yield Failure(sample=sample.id, files=labels, reason=reason)
        return
    left = tuple(f"not read: {sentence_of(unread)}" for unread in errors)
    yield _unknown(sample.id, sample, entries, left)


def _unknown(id: str, sample: Sample, entries: Sequence[SpectrumEntry], left: tuple[str, ...]) -> Unknown:
    spectra: dict[str, list[Measurement]] = {}
    for entry in entries:
        spectra.setdefault(entry.modality, []).append(entry.reading.measurement)
    return Unknown(
        id=id,
        files=tuple(dict.fromkeys(entry.file.label for entry in entries)),
        spectra=spectra,
        read=tuple(map(told, entries)),
        asked=sample.asked,
        left=left,
    )


def _counts(entries: Sequence[SpectrumEntry]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry.modality] = counts.get(entry.modality, 0) + 1
    return counts


# --- one file --------------------------------------------------------------------------------------------------------


def entries_of_file(embedder: Embedder, file: SpectrumFile) -> Read:
    """Return the entries of a file, or the one that is meant, and those that cannot be read.

    Raises:
        SampleError: No entry can be read, or what the file is cannot be told.
    """
    names = [file.modality] if file.modality is not None else _claims(embedder, file)
    good: dict[str, SpectrumEntry] = {}
    bad: dict[str, SampleError] = {}
    for name in names:
        found, failed = _entries(embedder, file, name)
        where = embedder.graph.modalities[name].where
        chosen = [one for one in found if ruled_out(one.measurement, where) is None]
        for number, reading in enumerate(chosen if chosen or len(names) > 1 else found):
            place = reading.location or str(number)
            if place in good and good[place].modality != name:
                raise SampleError(
                    file.label,
                    f"it can be {good[place].modality!r} or {name!r}; {_WAYS_OUT.format(first=name)}",
                )
            good[f"{place} {number}" if place in good else place] = SpectrumEntry(file, name, reading)
        bad |= {error.reason: error for error in failed}
    errors = list(bad.values())
    if not good:
        reason = errors[0].reason if errors else "it holds no spectrum"
        raise SampleError(file.label, f"it cannot be read as {' or '.join(map(repr, names))} ({reason})")
    return entry_meant(file, (list(good.values()), errors))


def entry_meant(file: SpectrumFile, read: Read) -> Read:
    """Return of what a file holds the one entry that is meant, or all where none is named.

    Raises:
        SampleError: There is no such entry.
    """
    if file.entry is None:
        return read
    meant = read[0][file.entry - 1 : file.entry]
    if not meant:
        raise SampleError(file.label, f"it has {len(read[0])} entries, and entry {file.entry} is asked for")
    return meant, []


def _claims(embedder: Embedder, file: SpectrumFile) -> list[str]:
    """Return the spectra of the run that a file can be: several only where one reader serves them all.

    Raises:
        SampleError: There is none, or readers of different kinds claim it.
    """
    found = []
    failed = ""
    for name in embedder.spectra:
        try:
            if embedder.modalities[name].can_read(file.path):
                found.append(name)
        except Exception as error:  # one plugin's fault is not the end of the batch
            told = error.reason if isinstance(error, SampleError) else f"{type(error).__name__}: {error}"
            failed = failed or f" (the reader of {name!r} failed: {' '.join(str(told).split())})"
    if not found:
        if os.path.getsize(file.path) == 0:
            raise SampleError(file.label, "it is empty; save the spectrum again")
        names = ", ".join(map(repr, embedder.spectra))
        raise SampleError(
            file.label,
            f"its content does not say which of {names} it is{failed}; {_WAYS_OUT.format(first=embedder.spectra[0])}",
        )
    if len({embedder.graph.modalities[name].record.name for name in found}) > 1:
        claims = " and ".join(map(repr, found))
        raise SampleError(file.label, f"{claims} both claim it; {_WAYS_OUT.format(first=found[0])}")
    return found


def _entries(embedder: Embedder, file: SpectrumFile, name: str) -> tuple[list[Reading], list[SampleError]]:
    """Read a file to its end, or to where its reader gives up."""
    good: list[Reading] = []
    bad: list[SampleError] = []
    try:
        plugin, options = embedder.modalities[name], file.options
        described = options is not None and bool(options.given)
        for entry in entries_of(plugin, file.path, name, options) if described else plugin.read(file.path):
            if isinstance(entry, Reading):
                good.append(entry)
            else:
                bad.append(entry)
    except Exception as error:  # one plugin's fault is not the end of the batch
        reason = (
            error.reason if isinstance(error, SampleError) else f"its reader failed: {type(error).__name__}: {error}"
        )
        after = f"after entry {len(good) + len(bad)}: " if good or bad else ""
        bad.append(SampleError(file.label, after + " ".join(reason.split())))
    return good, [SampleError(file.label, _placed(error, file)) for error in bad]


def _placed(error: SampleError, file: SpectrumFile) -> str:
    """Return the reason, with the place where that says more than the file."""
    place = error.id.replace(str(file.path), "").strip(" :")
    return error.reason if place in ("", file.label, file.path.name) else f"{place}: {error.reason}"


# --- what was read ---------------------------------------------------------------------------------------------------


def _two_molecules(embedder: Embedder, entries: Sequence[SpectrumEntry]) -> str | None:
    """Say why entries cannot be of one sample; None where they can."""
    said: dict[str, str] = {}
    for name in dict.fromkeys(entry.modality for entry in entries):
        readings = [replace(entry.reading, location=entry.file.label) for entry in entries if entry.modality == name]
        try:
            refuse_several_samples(embedder.modalities[name], name, readings)
        except QueryError as error:
            return f"{str(error).partition(';')[0]}; {_APART}"
        said |= {key_of(one.smiles): one.location for one in readings if one.smiles}
    if len(said) > 1:
        labels = " and ".join(map(repr, dict.fromkeys(said.values())))
        return f"{labels}: the files name {len(said)} different molecules; {_APART}"
    return None


def told(entry: SpectrumEntry) -> str:
    """Return what was read of a file, as a sentence."""
    arrays = entry.reading.measurement.arrays
    parts = []
    lengths = [len(array) for array in map(np.asarray, arrays.values()) if array.ndim]
    if lengths:
        parts.append(f"{max(lengths)} points")
    for name, values in arrays.items():
        numbers = np.asarray(values)
        if numbers.ndim == 1 and len(numbers) and numbers.dtype.kind == "f" and len(parts) < 2:
            parts.append(f"{name} {np.nanmin(numbers):.6g} to {np.nanmax(numbers):.6g}")
    place = entry.reading.location.replace(str(entry.file.path), "").removeprefix(entry.file.path.name).strip(" :,")
    where = f", {'line ' if place.isdigit() else ''}{place}" if place else ""
    return f"{entry.modality}: {entry.file.label}{where} ({', '.join(parts) or 'read'})"


def sentence_of(error: SampleError) -> str:
    """Return why a file, or a part of it, cannot be read, with what it is called."""
    return f"{error.id!r}: {error.reason}"
