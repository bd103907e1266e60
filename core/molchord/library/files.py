"""The files of a library: manifest, shards, removed rows."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from molchord.api import Molecule
from molchord.checksums import FileEntry, check_header, check_sizes, expect_file, sealed, unsealed
from molchord.errors import QueryError, newer_version
from molchord.files import one_line, replace_file
from molchord.places import inside
from molchord.retrieval.scores import Block
from molchord.vocabulary import Storage

__all__ = [
    "GROUP",
    "MANIFEST",
    "MERGED",
    "CandidateRow",
    "Entry",
    "LibraryManifest",
    "LibraryShard",
    "MergedRow",
    "ShardEntry",
    "Storage",
    "check_library_sizes",
    "read_library_manifest",
    "read_merged",
    "read_removed",
    "write_library_manifest",
]

GROUP = 1024  # molecules of a parquet row group: what is read for one hit
MANIFEST, _REMOVED = "manifest.json", "removed.safetensors"
_AGAIN = "make the library again with `molchord embed`"
_SHARD = r"shard-[0-9]{5,}"
MERGED = "merged.csv"
"""Rows of a list that were left out since another one is the same molecule by its key14."""

_FACTS = ("key14", "smiles", "formula", "exact_mass")
_SHORT = ("short", "scale")


@final
@dataclass(frozen=True)
class Entry:
    """One candidate of a library: the molecule, its unit vector, and unit vectors of its own spectra per modality.

    Its name and other columns are those of the list that it comes from.
    """

    molecule: Molecule
    vector: NDArray[np.floating]
    spectra: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    name: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class CandidateRow:
    """What a library tells of one of its molecules: the name and the columns are those of the list it comes from."""

    molecule: Molecule
    name: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class MergedRow:
    """A row of a list that was left out since another one is the same molecule, or another protonation state of it."""

    key14: str
    smiles: str
    name: str
    formula: str
    exact_mass: float


class ShardEntry(BaseModel):
    """A shard in the manifest: the stem of its two files, its rows, and the range of its masses in Da.

    Attributes:
        arrays: Size and checksum of its safetensors file; None in a library of molchord 0.1.
        table: Those of its parquet file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=f"^{_SHARD}$")
    rows: int = Field(ge=1)
    lightest: float
    heaviest: float
    arrays: FileEntry | None = None
    table: FileEntry | None = None

    def files(self) -> dict[str, FileEntry]:
        """Return size and checksum of its files, by name."""
        both = {f"{self.name}.safetensors": self.arrays, f"{self.name}.parquet": self.table}
        return {name: entry for name, entry in both.items() if entry is not None}


class LibraryManifest(BaseModel):
    """What a library states about itself.

    Attributes:
        kind: Distinguishes a library from other folders.
        format: Version of the layout.
        run: What names the run that embedded it.
        candidate: The modality that the vectors are of.
        embedding_dim: Size of the vectors.
        spectra: Modalities whose vectors candidates may carry.
        storage: What a search scans; the fp32 vectors are kept in any case.
        shards: In the order they were written.
        duplicates: Entries left out since their key14 was there.
        unusable: Entries left out since a vector was not finite.
        removed: File of the rows that were taken out since; empty: there are none.
        files: Size and checksum of the files that are not of a shard.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["molchord library"] = "molchord library"
    format: Literal[1] = 1
    run: str
    candidate: str
    embedding_dim: int
    spectra: tuple[str, ...] = ()
    storage: Storage = "fp32"
    shards: tuple[ShardEntry, ...] = ()
    duplicates: int = 0
    unusable: int = 0
    removed: str = ""
    files: dict[str, FileEntry] = {}

    def checksums(self) -> dict[str, FileEntry]:
        """Return size and checksum of every file, by name."""
        return {name: entry for shard in self.shards for name, entry in shard.files().items()} | self.files


def read_library_manifest(path: Path) -> LibraryManifest:
    """Read a library's manifest.

    Raises:
        QueryError: The folder is not a library, is damaged, or is of another format.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise QueryError(f"library {str(path)!r} does not exist or has no {MANIFEST}; make one with `molchord embed`")
    try:
        content = file.read_bytes()
        newer_version("library", path, content, "format", 1, QueryError)
        return LibraryManifest.model_validate_json(unsealed(content))
    except ValidationError as error:
        wrong = error.errors()[0]
        raise QueryError(
            f"library {str(path)!r} cannot be read: in {MANIFEST}, `{'.'.join(map(str, wrong['loc']))}` is "
            f"{repr(wrong['input'])[:60]} ({wrong['msg']}); this version reads format 1, so make it again with "
            "`molchord embed`"
        ) from error
    except (OSError, ValueError) as error:
        raise QueryError(f"library {str(path)!r}: {MANIFEST} is damaged ({one_line(error)}); {_AGAIN}") from error


def write_library_manifest(folder: Path, manifest: LibraryManifest) -> None:
    """Replace the manifest of a library in one step."""
    replace_file(folder / MANIFEST, sealed(manifest.model_dump_json(indent=1)))


def check_library_sizes(path: Path, manifest: LibraryManifest) -> None:
    """Refuse a library of which a file is missing or has another size.

    Raises:
        QueryError: Naming the file.
    """
    check_sizes(path, manifest.checksums(), QueryError, _AGAIN)


def read_removed(path: Path, manifest: LibraryManifest) -> NDArray[np.int64]:
    """Return the removed rows of a library, ascending.

    Raises:
        QueryError: Their file is damaged.
    """
    file = inside(path, manifest.removed or _REMOVED, QueryError)
    if not manifest.removed and not file.is_file():
        return np.zeros(0, dtype=np.int64)
    expect_file(file, manifest.files.get(manifest.removed), QueryError, _AGAIN)
    try:
        rows = load_file(file)["rows"].astype(np.int64, casting="safe", copy=False)
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise QueryError(f"file {str(file)!r} is damaged ({one_line(error)}); {_AGAIN}") from error
    if len(rows) and (rows[0] < 0 or rows[-1] >= sum(shard.rows for shard in manifest.shards)):
        raise QueryError(f"file {str(file)!r} is damaged (it names rows that are not there); {_AGAIN}")
    return rows


def read_merged(path: Path, manifest: LibraryManifest) -> list[MergedRow]:
    """Return the named rows of a library's list that were merged with another, and those of another formula.

    Raises:
        QueryError: The file is damaged.
    """
    file = path / MERGED
    if MERGED not in manifest.files and not file.is_file():
        return []
    expect_file(file, manifest.files.get(MERGED), QueryError, _AGAIN)
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            return [
                MergedRow(row["key14"], row["smiles"], row["name"], row["formula"], float(row["exact_mass"]))
                for row in csv.DictReader(lines)
            ]
    except (OSError, UnicodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise QueryError(
            f"list {str(file)!r} is damaged ({error}); make the library again with `molchord embed`"
        ) from error


@final
class LibraryShard:
    """One shard, opened for reading; slices are views of the mapped file.

    Args:
        folder: The library's folder.
        shard: Its entry in the manifest.

    Raises:
        QueryError: A file is missing, damaged or not that of the entry.
    """

    def __init__(self, folder: Path, shard: ShardEntry) -> None:
        self._shard = shard
        self._arrays, self._table = (
            inside(folder, f"{shard.name}.{ending}", QueryError) for ending in ("safetensors", "parquet")
        )
        try:
            check_header(self._arrays)
            self._file = safe_open(self._arrays, framework="pt")
            self._names = frozenset(self._file.keys())  # type: ignore[no-untyped-call]
        except (OSError, SafetensorError) as error:
            raise QueryError(f"shard {str(self._arrays)!r} is damaged: {error}; {_AGAIN}") from error
        # After it was opened: what has its name now is what is open, or else another one, with another checksum.
        expect_file(self._arrays, shard.arrays, QueryError, _AGAIN)

    def keys(self) -> NDArray[Any]:
        """Return the key14 of every row as bytes."""
        return np.ascontiguousarray(self._read("key14").numpy()).view("S14")[:, 0]

    def masses(self) -> NDArray[np.float64]:
        """Return the exact masses in Da, ascending."""
        return self._read("mass").numpy()

    def formulas(self, start: int, stop: int) -> NDArray[Any]:
        """Return the formulas of some rows."""
        with self._parquet() as file:
            first, last = start // GROUP, (stop - 1) // GROUP
            column = file.read_row_groups(range(first, last + 1), columns=["formula"])["formula"]
            return np.asarray(column.to_numpy()[start - first * GROUP : stop - first * GROUP])

    def candidates(self, rows: Iterable[int]) -> dict[int, CandidateRow]:
        """Return the candidates of some rows of this shard."""
        found: dict[int, CandidateRow] = {}
        with self._parquet() as file:
            for group in sorted({row // GROUP for row in rows}):
                table = file.read_row_group(group)
                here = [row for row in rows if row // GROUP == group]
                values = table.take([row - group * GROUP for row in here]).to_pylist()
                found |= {row: _candidate(value) for row, value in zip(here, values, strict=True)}
        return found

    def gather(self, name: str, rows: NDArray[np.int64]) -> torch.Tensor:
        """Return some rows of one of this shard's arrays."""
        return self._read(name)[torch.from_numpy(rows)]

    def blocks(
        self, rows: NDArray[np.int64] | range, offset: int, spectra: Iterable[str], at_once: int
    ) -> Iterator[Block]:
        """Yield some rows in blocks; `rows` counts from 0, the index of a block from `offset`."""
        for start in range(int(rows[0]), int(rows[-1]) + 1, at_once):
            stop = min(start + at_once, int(rows[-1]) + 1)
            kept = None
            if isinstance(rows, np.ndarray):
                low, high = np.searchsorted(rows, [start, stop])
                if low == high:
                    continue
                kept = torch.from_numpy(rows[low:high] - start)
            index = torch.arange(start, stop)
            short, scale = (self._slice(name, start, stop, kept) if name in self._names else None for name in _SHORT)
            yield Block(
                index=offset + (index if kept is None else index[kept]),
                vectors=self._slice("vectors", start, stop, kept),
                order=self._slice("order", start, stop, kept),
                short=short,
                scale=scale,
                error=float(self._read("error")) if short is not None else 0.0,
                spectra={name: self._slice(f"spectrum.{name}", start, stop, kept) for name in spectra},
                spectra_present={name: self._slice(f"present.{name}", start, stop, kept) for name in spectra},
            )

    def _slice(self, name: str, start: int, stop: int, kept: torch.Tensor | None) -> torch.Tensor:
        with self._readable(self._arrays):
            part: torch.Tensor = self._file.get_slice(name)[start:stop]  # type: ignore[no-untyped-call]
            return part if kept is None else part[kept]

    def _read(self, name: str) -> torch.Tensor:
        with self._readable(self._arrays):
            tensor: torch.Tensor = self._file.get_tensor(name)  # type: ignore[no-untyped-call]
            return tensor

    @contextmanager
    def _parquet(self) -> Iterator[pq.ParquetFile]:
        """Open the table; it is not kept, since a library may have more shards than a process may open files."""
        with self._readable(self._table), pq.ParquetFile(self._table, memory_map=True) as file:
            expect_file(self._table, self._shard.table, QueryError, _AGAIN)
            yield file

    @contextmanager
    def _readable(self, path: Path) -> Iterator[None]:
        """Report damage that no checksum has shown, since an earlier version wrote none."""
        try:
            yield
        except (OSError, ValueError, KeyError, IndexError, SafetensorError, pa.ArrowException) as error:
            raise QueryError(f"file {str(path)!r} is damaged: {one_line(error)}; {_AGAIN}") from error


def _candidate(row: Mapping[str, Any]) -> CandidateRow:
    """Return a row of a shard's table; one of a list without names and columns has the four facts only."""
    columns = row.get("columns")
    return CandidateRow(
        Molecule(**{fact: row[fact] for fact in _FACTS}), row.get("name") or "", json.loads(columns) if columns else {}
    )
