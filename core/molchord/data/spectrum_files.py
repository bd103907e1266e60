"""Spectrum files read for a person to check: which modality a file names, and how its numbers were understood."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from molchord.api import (
    Inspects,
    Measurement,
    Modality,
    Reading,
    ReadingOptions,
    ReadsTables,
    SampleError,
    Stores,
)
from molchord.errors import PluginError, QueryError
from molchord.host import Host
from molchord.host.build import build

__all__ = ["Axes", "ReadSpectrum", "axes_of", "entries_of", "read_spectra", "refuse_other", "warnings_of"]

CURVE = "point"
"""Name of the ragged axis of arrays that are the points of a curve; what is on any other is a line of its own."""


class Axes(NamedTuple):
    """Names of the arrays that a spectrum is drawn over and up, and whether it is a curve."""

    x: str
    y: str | None
    curve: bool


@dataclass(frozen=True, kw_only=True)
class ReadSpectrum:
    """One spectrum of a file, as a modality understood it.

    Attributes:
        file: The file.
        location: Where in it.
        modality: Which modality read it.
        measurement: What it holds, in the units of `stores`.
        stores: What the modality declares about its measurements.
        smiles: The molecule's, if the file has it.
        understood: How it was read, in words by subject.
        warnings: What makes the answer to it uncertain, each the rest of a sentence about it; what keeps it from being
            searched with is the first one.
        raw: What the file holds where `measurement` was cleaned up; else None.
    """

    file: str
    location: str
    modality: str
    measurement: Measurement
    stores: Stores
    smiles: str | None
    understood: Mapping[str, str]
    warnings: tuple[str, ...]
    raw: Measurement | None = None

    def facts(self) -> dict[str, Any]:
        """Return what was understood as JSON values."""
        axes = axes_of(self.measurement, self.stores)
        about: dict[str, Any] = {"file": self.file, "location": self.location, "modality": self.modality}
        if axes is not None:
            x = np.asarray(self.measurement.arrays[axes.x], dtype=float)
            about |= {
                "points": len(x),
                "abscissa": axes.x,
                "unit": self.stores.arrays[axes.x].unit,
                "range": [float(x.min()), float(x.max())],
                "ordinate": axes.y,
                "ordinate_unit": None if axes.y is None else self.stores.arrays[axes.y].unit,
                "curve": axes.curve,
            }
        return about | {
            "smiles": self.smiles,
            "understood": dict(self.understood),
            "metadata": {name: value for name, value in self.measurement.columns.items() if _is_said(value)},
            "warnings": list(self.warnings),
        }


def read_spectra(
    path: str | Path, modality: str | None = None, options: ReadingOptions | None = None, *, host: Host
) -> list[ReadSpectrum | SampleError]:
    """Read a file with every modality that recognises it, or with one; a bad entry is an error in its place.

    No run is needed, and torch is not loaded by modalities that read without it.

    Args:
        path: The file.
        modality: The only modality to ask; None: all that are installed.
        options: How to read a table that does not say all itself.
        host: Installed plugins.

    Raises:
        QueryError: The file cannot be read, or no modality recognises it.
        PluginError: The modality is unknown.
    """
    path = Path(path)
    _refuse_what_is_no_file(path)
    names = dict.fromkeys([*([] if modality is None else [modality]), *host.names("modality")])
    built = {name: it for name in names if (it := _built(host, name, asked=name == modality)) is not None}
    if modality is not None:
        refuse_other(path, modality, built)
    asked = {
        name: it for name, it in built.items() if (_recognises(it, path) if modality is None else name == modality)
    }
    if not asked:
        raise QueryError(f"file {str(path)!r} {_unrecognised(path, host)}")
    out: list[ReadSpectrum | SampleError] = []
    for name, plugin in asked.items():
        try:
            out += _spectra(plugin, name, path, options, host)
        except SampleError as error:
            out.append(error)
    if not any(isinstance(one, ReadSpectrum) for one in out):
        raise QueryError(_refusal(path, asked, [one for one in out if isinstance(one, SampleError)]))
    return out


def entries_of(
    plugin: Modality, path: Path, modality: str, options: ReadingOptions | None = None
) -> list[Reading | SampleError]:
    """Read every entry of a file; each measurement knows where it was.

    Raises:
        SampleError: The file as a whole cannot be read, or the modality takes no options.
    """
    if options is None or not options.given:
        entries = plugin.read(path)
    elif isinstance(plugin, ReadsTables):
        entries = plugin.read_table(path, options)
    else:
        flags = " and ".join(f"`--{name.replace('_', '-')}`" for name in options.given)
        raise SampleError(
            str(path), f"modality {modality!r} takes no options of reading; leave {flags} out, or name the modality "
            "that is meant, as in `--x-unit MODALITY=um`",
        )  # fmt: skip
    return [_located(entry) if isinstance(entry, Reading) else entry for entry in entries]


def refuse_other(path: Path, modality: str, modalities: Mapping[str, Modality]) -> None:
    """Refuse a file that is given as one modality and names itself as another.

    Raises:
        QueryError: It does.
    """
    if _recognises(modalities[modality], path):
        return
    named = [name for name, plugin in modalities.items() if name != modality and _recognises(plugin, path)]
    if named:
        others = " and ".join(map(repr, named))
        raise QueryError(f"file {str(path)!r} names itself {others} and not {modality!r}; give it as {named[0]!r}")


def axes_of(measurement: Measurement, stores: Stores) -> Axes | None:
    """Return the arrays that a spectrum is drawn over and up; None where a measurement is none.

    The abscissa is the first array of numbers with a unit, the ordinate the next one on the same axis.

    Example:
        >>> from molchord.api import Array
        >>> stores = Stores(arrays={"mz": Array(unit="m/z", axis="peak"), "height": Array(unit="1", axis="peak")})
        >>> axes_of(Measurement(arrays={"mz": np.array([41.0]), "height": np.array([1.0])}), stores)
        Axes(x='mz', y='height', curve=False)
    """
    lines = [
        (name, array)
        for name, array in stores.arrays.items()
        if not array.shape and np.size(measurement.arrays.get(name, ())) and "int" not in array.dtype
    ]
    for at, (name, array) in enumerate(lines):
        if array.unit != "1":
            up = next((other for other, its in lines[at + 1 :] if its.axis == array.axis), None)
            return Axes(name, up, array.axis == CURVE)
    return None


def _spectra(
    plugin: Modality, name: str, path: Path, options: ReadingOptions | None, host: Host
) -> Iterator[ReadSpectrum | SampleError]:
    try:
        entries = entries_of(plugin, path, name, options)
    except SampleError:
        raise
    except Exception as error:  # a plugin may raise anything
        raise SampleError(str(path), f"the plugin failed: {type(error).__name__}: {error}") from error
    for entry in entries:
        if isinstance(entry, SampleError):
            yield entry
            continue
        yield ReadSpectrum(
            file=str(path),
            location=entry.location,
            modality=name,
            measurement=entry.measurement,
            stores=host.modality(name).stores,
            smiles=entry.smiles,
            understood=entry.understood,
            warnings=tuple(warnings_of(plugin, entry.measurement)),
        )


def warnings_of(plugin: Modality, measurement: Measurement) -> list[str]:
    """Return what makes the answer to a measurement uncertain, what keeps it from being searched with first."""
    try:
        plugin.transform(measurement, None)
        return [one.message for one in plugin.inspect(measurement)] if isinstance(plugin, Inspects) else []
    except SampleError as error:
        return [f"it cannot be searched with: {error.reason}"]
    except Exception as error:  # a plugin may raise anything
        return [f"the plugin failed: {type(error).__name__}: {error}"]


def _located(reading: Reading) -> Reading:
    return dataclasses.replace(reading, measurement=dataclasses.replace(reading.measurement, location=reading.location))


def _built(host: Host, name: str, *, asked: bool) -> Modality | None:
    """Build a modality with its default configuration; None where it fails and was not asked for by its name."""
    try:
        kind = host.find("modality", name).record.kinds[0]
        built: Modality = build("modality", name, kind, host=host).it
    except PluginError:
        if asked:
            raise
        return None
    return built


def _recognises(plugin: Modality, path: Path) -> bool:
    try:
        return plugin.can_read(path)
    except Exception:  # a plugin may raise anything; `plugins check` names it
        return False


def _refuse_what_is_no_file(path: Path) -> None:
    """Refuse what no modality need be asked about.

    Raises:
        QueryError: There is no file, or nothing in it.
    """
    if not path.is_file():
        what = "is a folder or a pipe" if path.exists() else "does not exist"
        raise QueryError(f"file {str(path)!r} {what}; give the path of a spectrum file")
    if path.stat().st_size == 0:
        raise QueryError(f"file {str(path)!r} is empty; export it again")


def _unrecognised(path: Path, host: Host) -> str:
    """Say what to do about a file that names itself as nothing."""
    with path.open("rb") as file:
        head = file.read(4096)
    known = [name for name in host.names("modality") if not host.find("modality", name).record.derives]
    if b"\0" in head and head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        name = f"name it with `--as` {' or '.join(known)}"
        return f"is binary and does not say what it is; {name}, or export it as text from the instrument's program"
    return f"does not say what it is; name it with `--as` {' or '.join(known)}"


def _refusal(path: Path, asked: Iterable[str], errors: list[SampleError]) -> str:
    """Say why nothing of a file could be read."""
    reason = "; ".join(dict.fromkeys(_reason(error, path) for error in errors[:3])) or "it holds no entry"
    return f"file {str(path)!r} cannot be read as {' or '.join(map(repr, asked))} ({reason})"


def _reason(error: SampleError, path: Path) -> str:
    place = error.id.removeprefix(str(path)).lstrip(":")
    return f"line {place}: {error.reason}" if place.isdigit() else error.reason


def _is_said(value: object) -> bool:
    return value not in (None, "") and not (isinstance(value, float) and math.isnan(value))
