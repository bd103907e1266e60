"""Tables of collision cross sections: C3SDB's CSV, and any other with the columns `adduct` and `ccs`."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path

import numpy as np

from molchord.api import Measurement, Reading, SampleError
from molchord_ccs.ions import INSTRUMENTS, IONS

__all__ = ["is_table", "measurement", "read"]

_COMMENT = re.compile(r"\s*#\s*smiles\s*[:=]\s*(\S+)", re.IGNORECASE)
_SMILES = ("smiles_parent", "smiles")
"""Columns that name the molecule, the better one first: C3SDB's parents are without counter-ions."""


def is_table(path: Path) -> bool:
    """Say whether a file's first row names the columns `adduct` and `ccs`."""
    try:
        rows = [line for line in _text(path, 4096).splitlines() if line.strip() and not line.startswith("#")]
    except SampleError:
        return False
    return bool(rows) and {"adduct", "ccs"} <= set(_titles(rows[0]))


def read(path: Path) -> Iterator[Reading | SampleError]:
    """Yield the cross sections of each molecule of a table as one measurement, and rows that cannot be used.

    A comment ``# smiles: CCO`` names the molecule of a table without such a column. Further columns, m/z among them,
    are not read.

    Raises:
        SampleError: The file as a whole cannot be read.
    """
    lines = _text(path).splitlines(keepends=True)
    said = next((match[1] for line in lines if (match := _COMMENT.match(line))), None)
    # Comments become blank lines, which the reader skips, so that lines keep their numbers.
    rows = csv.reader(StringIO("".join("\n" if line.startswith("#") else line for line in lines)))
    header = next((row for row in rows if row), [])
    titles = _titles(",".join(header))
    if not {"adduct", "ccs"} <= set(titles):
        raise SampleError(path.name, f"the columns are {header!r}; `adduct` and `ccs` (angstrom^2) are needed")
    found: dict[str | None, list[tuple[float, str, str]]] = defaultdict(list)
    first: dict[str | None, str] = {}
    for cells in rows:
        where = f"{path.name}:{rows.line_num}"
        if not cells:
            continue
        try:
            row = _row(titles, cells, where)
            value = _value(row, where)
            smiles = next((row[name] for name in _SMILES if row.get(name)), said)
            if smiles is None and set(_SMILES) & set(titles):
                raise SampleError(where, "the row names no molecule, as others of the table do; add its SMILES")
        except SampleError as error:
            yield error
            continue
        found[smiles].append((value, row["adduct"], row.get("ccs_type", "")))
        first.setdefault(smiles, where)
    if not first:
        raise SampleError(path.name, "the table has no row that can be used")
    for smiles, values in found.items():
        yield Reading(measurement=measurement(values), smiles=smiles, location=first[smiles])


def measurement(values: Sequence[tuple[float, str, str]]) -> Measurement:
    """Make a measurement of (cross section in angstrom^2, ion, instrument); repeats become their mean.

    Example:
        >>> arrays = measurement([(131.0, "[M+H]+", "DT"), (133.0, "[M+H]+", "DT"), (140.0, "[M+Na]+", "")]).arrays
        >>> arrays["ccs"].tolist(), arrays["ion"].tolist(), arrays["instrument"].tolist()
        ([132.0, 140.0], [1, 2], [1, 0])
    """
    repeats: dict[tuple[int, int], list[float]] = defaultdict(list)
    for value, ion, instrument in values:
        code = INSTRUMENTS.index(instrument) + 1 if instrument in INSTRUMENTS else 0
        repeats[IONS.index(ion) + 1, code].append(value)
    keys = sorted(repeats)
    return Measurement(
        arrays={
            "ccs": np.array([np.mean(repeats[key]) for key in keys], dtype=np.float32),
            "ion": np.array([ion for ion, _ in keys], dtype=np.uint8),
            "instrument": np.array([instrument for _, instrument in keys], dtype=np.uint8),
        },
        columns={"origin": "measured"},
    )


def _row(titles: Sequence[str], cells: Sequence[str], where: str) -> Mapping[str, str]:
    if len(cells) != len(titles):
        raise SampleError(where, f"the row has {len(cells)} cells, the header {len(titles)}; was it cut off?")
    return {title: cell.strip() for title, cell in zip(titles, cells, strict=True)}


def _value(row: Mapping[str, str], where: str) -> float:
    if row["adduct"] not in IONS:
        raise SampleError(where, f"the ion {row['adduct']!r} is not one of {', '.join(IONS)}")
    try:
        value = float(row["ccs"])
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise SampleError(where, f"the cross section is {row['ccs']!r}, not a positive number of angstrom^2")
    return value


def _titles(header: str) -> list[str]:
    return [title.strip().lower() for title in next(csv.reader([header.lstrip("\ufeff")]), [])]


def _text(path: Path, limit: int = -1) -> str:
    """Return a file's text, or the beginning of it; ``.gz`` is unpacked.

    Raises:
        SampleError: It cannot be opened or unpacked, or is not text.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            text = file.read(limit).decode("utf-8-sig", errors="strict" if limit < 0 else "ignore")
    except UnicodeDecodeError:
        raise SampleError(path.name, "the file is not UTF-8 text; save it as CSV in UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise SampleError(path.name, f"the file cannot be read ({error}); fetch it again") from None
    if not text.strip() or "\0" in text:
        raise SampleError(path.name, "the file is empty or binary, not a table")
    return text
