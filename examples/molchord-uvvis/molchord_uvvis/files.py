"""Files of UV/Vis curves: two columns of text, and npz archives of many curves."""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from molchord.api import Measurement, Reading, SampleError

__all__ = ["absorbance_of", "names_itself", "read"]

_ARCHIVE = ("raw_x", "raw_y", "raw_offsets")
"""Wavelengths in nm and log10 of the molar absorptivity of all curves end to end, and where each curve starts."""

_TABLE_SUFFIX = "_meta.csv"
"""Beside NAME.npz, NAME_meta.csv names the molecule of each curve in its column `smiles`."""

_LOWEST = 1e-4  # transmittance below which a detector sees nothing
_HEAD = 4096  # characters that show what a text is

_ORDINATES = {
    "log": r"\blog",
    "transmittance": r"transm|%\s*t\b",
    "absorbance": r"absorb|\babs\b|\ba\b|\ba\.?u\.?\b|extinction|epsilon|ε",
}
"""What a header calls the second column, looked for in this order."""


def names_itself(path: Path) -> bool:
    """Say whether a file is an archive of UV/Vis curves, or two columns headed as wavelength in nm and absorbance."""
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                return set(_ARCHIVE) <= set(archive.files)
        except (OSError, ValueError, zipfile.BadZipFile):
            return False
    try:
        header = _header(_text(path)[:_HEAD].splitlines())
    except SampleError:
        return False
    return bool(re.search(r"\bnm\b|nanomet", header)) and _ordinate(header) is not None


def read(path: Path) -> Iterator[Reading | SampleError]:
    """Yield every curve of a file.

    Raises:
        SampleError: The file as a whole cannot be read.
    """
    if path.suffix == ".npz":
        yield from _archive(path)
    else:
        yield _columns(_text(path), path.name)


def absorbance_of(values: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """Turn an ordinate into absorbance, up to a factor that is the same at every wavelength.

    Args:
        values: As the file has them.
        what: "absorbance" (or molar absorptivity), "log" (of either, to base 10) or "transmittance"; transmittance
            that exceeds 2 is in percent.

    Example:
        >>> absorbance_of(np.array([50.0, 10.0]), "transmittance").round(3).tolist()
        [0.301, 1.0]
    """
    if what == "log":
        return np.asarray(10.0**values)
    if what == "transmittance":
        percent = np.nanmax(values, initial=0.0) > 2
        return np.asarray(-np.log10(np.maximum(values / 100 if percent else values, _LOWEST)))
    return values


# --- npz -------------------------------------------------------------------------------------------------------------


def _archive(path: Path) -> Iterator[Reading | SampleError]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            x, y, offsets = (archive[name] for name in _ARCHIVE)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        needed = ", ".join(f"`{name}`" for name in _ARCHIVE)
        raise SampleError(path.name, f"the archive cannot be read ({error}); it needs the arrays {needed}") from None
    ends = offsets.astype(np.int64)
    sound = len(ends) > 0 and ends[0] == 0 and ends[-1] == len(x) == len(y) and bool((np.diff(ends) >= 0).all())
    if not sound:
        raise SampleError(path.name, f"`raw_offsets` do not fit {len(x)} wavelengths and {len(y)} ordinates")
    molecules = _molecules(path, len(ends) - 1)
    for i, (start, stop) in enumerate(pairwise(ends)):
        row, where = molecules[i], f"{path.name}:{i}"
        values = absorbance_of(y[start:stop].astype(np.float64), "log")
        found = _measurement(x[start:stop], values, row.get("solvent"), row.get("name"), where)
        yield (
            found
            if isinstance(found, SampleError)
            else Reading(measurement=found, smiles=row.get("smiles") or None, location=where)
        )


def _molecules(path: Path, count: int) -> list[Mapping[str, str]]:
    table = path.with_name(path.stem + _TABLE_SUFFIX)
    if not table.is_file():
        return [{}] * count
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != count or (rows and "smiles" not in rows[0]):
        raise SampleError(table.name, f"the table has {len(rows)} rows for {count} curves, or no column `smiles`")
    return list(rows)


# --- text ------------------------------------------------------------------------------------------------------------

_NUMBER = r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?"
_ROW = re.compile(rf"\s*({_NUMBER})(?:\s*[;\t]\s*|\s*,\s+|\s+|,)({_NUMBER})\s*;?\s*$")
_SMILES = re.compile(r"smiles\s*[:=]\s*(\S+)", re.IGNORECASE)


def _columns(text: str, name: str) -> Reading | SampleError:
    """Read two columns, parted by semicolon, tab, blank or comma; numbers may have a decimal comma."""
    lines = text.splitlines()
    header = _header(lines)
    what = _ordinate(header)
    if what is None:
        return SampleError(name, "the header does not name the second column; write 'wavelength (nm),absorbance'")
    if re.search(r"cm-1|cm\^-1|1/cm|\bev\b", header):
        return SampleError(name, "the first column is no wavelength in nm; convert it (1e7 / cm^-1, 1239.84 / eV)")
    x: list[float] = []
    y: list[float] = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#") or not line.strip():
            continue
        match = _ROW.match(line)
        if match is None and x:
            return SampleError(f"{name}:{number}", f"the row {line.strip()[:40]!r} is not two numbers; was it cut off?")
        if match is not None:
            x.append(float(match[1].replace(",", ".")))
            y.append(float(match[2].replace(",", ".")))
    if not x:
        return SampleError(name, "no row of two numbers was found")
    values = absorbance_of(np.array(y), what)
    found = _measurement(np.array(x), values, None, None, name)
    if isinstance(found, SampleError):
        return found
    smiles = _SMILES.search("\n".join(line for line in lines if line.startswith("#")))
    return Reading(measurement=found, smiles=smiles[1] if smiles else None, location=name)


def _header(lines: list[str]) -> str:
    """Return what stands above the numbers, in lower case; comments that give a SMILES apart."""
    first = next((i for i, line in enumerate(lines) if _ROW.match(line)), len(lines))
    return "\n".join(line for line in lines[:first] if not _SMILES.search(line)).lower()


def _ordinate(header: str) -> str | None:
    return next((what for what, pattern in _ORDINATES.items() if re.search(pattern, header)), None)


# --- both ------------------------------------------------------------------------------------------------------------


def _measurement(
    x: NDArray[np.floating], y: NDArray[np.floating], solvent: str | None, title: str | None, where: str
) -> Measurement | SampleError:
    if len(x) == 0 or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return SampleError(where, f"the curve of {len(x)} points is empty or has one that is not finite")
    if x.min() <= 0:
        return SampleError(where, f"the curve has a wavelength of {x.min():g} nm; wavelengths are above 0")
    return Measurement(
        arrays={"wavelength": x.astype(np.float32), "absorbance": y.astype(np.float32)},
        columns={"origin": "measured", "solvent": solvent or None, "title": title or None},
    )


def _text(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SampleError(path.name, f"the file is no UTF-8 text ({error}); save the curve as CSV") from None
    if not text.strip() or "\0" in text:
        raise SampleError(path.name, "the file is empty or binary, not two columns of numbers")
    return text
