"""The rows of a library, read from its shards in place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import IndexedRows, Molecule
from molchord.errors import QueryError
from molchord.library.files import (
    MANIFEST,
    CandidateRow,
    Entry,
    LibraryManifest,
    LibraryShard,
    MergedRow,
    check_library_sizes,
    read_library_manifest,
    read_merged,
    read_removed,
)
from molchord.library.filters import Rows, made_of, runs
from molchord.retrieval.scores import Block

__all__ = ["ROWS_AT_ONCE", "LibraryRows"]

ROWS_AT_ONCE = 8192

_Numbers: TypeAlias = Sequence[int] | NDArray[np.int64]


@final
class LibraryRows:
    """The rows of a library, counted through all shards; those that were removed count, but are found by no filter.

    Args:
        path: The library's folder.

    Attributes:
        manifest: The folder's manifest.
        removed: Removed rows, ascending.
        size: Length of a vector.
    """

    def __init__(self, path: Path) -> None:
        self.state = _state(path)
        self.manifest: LibraryManifest = read_library_manifest(path)
        check_library_sizes(path, self.manifest)
        self.removed: NDArray[np.int64] = read_removed(path, self.manifest)
        self.size = self.manifest.embedding_dim
        self._path = path
        self._starts = np.cumsum([0, *(shard.rows for shard in self.manifest.shards)], dtype=np.int64)
        self._open: dict[str, LibraryShard] = {}
        self._made_of: dict[tuple[int, frozenset[str]], NDArray[np.bool_]] = {}

    def changed(self) -> bool:
        """Return whether the library on the disk is another one by now; it takes microseconds."""
        return _state(self._path) != self.state

    def renumbered(self) -> bool:
        """Return whether rows on the disk have other numbers by now; those added or removed leave the others theirs."""
        if not self.changed():
            return False
        shards = read_library_manifest(self._path).shards
        return shards[: len(self.manifest.shards)] != self.manifest.shards

    @cached_property
    def merged(self) -> Mapping[str, Sequence[MergedRow]]:
        """The rows of the list that were merged with another, by its key14."""
        found: dict[str, list[MergedRow]] = {}
        for row in read_merged(self._path, self.manifest):
            found.setdefault(row.key14, []).append(row)
        return found

    def __len__(self) -> int:
        return int(self._starts[-1]) - len(self.removed)

    def __iter__(self) -> Iterator[IndexedRows]:
        """Yield the candidates as an index is made of them."""
        for part in self.filter():
            for start in range(0, len(part), ROWS_AT_ONCE):
                rows = np.asarray(part[start : start + ROWS_AT_ONCE], dtype=np.int64)
                molecules = self.molecules(rows)
                yield IndexedRows(
                    rows=rows,
                    vectors=self.gather("vectors", rows).numpy(),
                    exact_mass=np.array([molecule.exact_mass for molecule in molecules]),
                    formula=[molecule.formula for molecule in molecules],
                )

    def every(self) -> list[range]:
        """Return all rows, shard by shard, removed ones too."""
        ends = self._starts.tolist()
        return [range(start, stop) for start, stop in pairwise(ends)]

    def filter(
        self,
        window: tuple[float, float] | None = None,
        formula: str | None = None,
        elements: frozenset[str] | None = None,
    ) -> list[Rows]:
        """Return the rows, shard by shard, within a mass window in Da, of a Hill formula, and of no other elements.

        A molecule whose list held another protonation state too passes by the mass and the formula of either.
        """
        parts = [self._filter_shard(number, window, formula, elements) for number in range(len(self.manifest.shards))]
        if window is None and formula is None:
            return parts
        also = [
            row
            for row, form in self._other_forms
            if (window is None or window[0] <= form.exact_mass <= window[1])
            and (formula is None or form.formula == formula)
            and (elements is None or bool(made_of([form.formula], elements)[0]))
        ]
        for number, _, local in self._by_shard(np.setdiff1d(also, self.removed)):
            rows = int(self._starts[number]) + local
            parts[number] = rows if len(parts[number]) == 0 else np.union1d(np.asarray(parts[number]), rows)
        return parts

    def having(self, keys: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of these key14 that were not removed."""
        wanted = np.array([key.encode() for key in keys], dtype="S14")
        rows = [
            start + np.flatnonzero(np.isin(self._shard(number).keys(), wanted))
            for number, start in enumerate(self._starts[:-1])
        ]
        return np.setdiff1d(np.concatenate([np.zeros(0, np.int64), *rows]), self.removed)

    def candidates(self, rows: Iterable[int]) -> list[CandidateRow]:
        """Return the candidates of rows, reading no more than the row groups they are in."""
        wanted = list(rows)
        found: dict[int, CandidateRow] = {}
        for number, _, local in self._by_shard(wanted):
            start = int(self._starts[number])
            found |= {start + row: one for row, one in self._shard(number).candidates(local.tolist()).items()}
        return [found[row] for row in wanted]

    def molecules(self, rows: Iterable[int]) -> list[Molecule]:
        """Return the molecules of rows, as `candidates` does."""
        return [candidate.molecule for candidate in self.candidates(rows)]

    def formulas(self) -> set[str]:
        """Return the formulas of all candidates."""
        shards = [(self._shard(number), shard.rows) for number, shard in enumerate(self.manifest.shards)]
        return {formula for shard, rows in shards for formula in np.unique(shard.formulas(0, rows)).tolist()}

    def of_formulas(self, formulas: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of candidates that have one of these formulas, ascending; removed ones too."""
        wanted = list(formulas)
        found = [
            start + np.flatnonzero(np.isin(self._shard(number).formulas(0, shard.rows).astype(str), wanted))
            for number, (shard, start) in enumerate(zip(self.manifest.shards, self._starts.tolist(), strict=False))
        ]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def gather(self, name: str, rows: _Numbers) -> Tensor:
        """Return one of the shards' arrays for rows in any order, at least one."""
        parts = [(places, self._shard(number).gather(name, local)) for number, places, local in self._by_shard(rows)]
        out = parts[0][1].new_empty((len(rows), *parts[0][1].shape[1:]))
        for places, part in parts:
            out[torch.from_numpy(places)] = part
        return out

    def blocks(self, rows: Iterable[Rows], spectra: Iterable[str], at_once: int) -> Iterator[Block]:
        """Yield filtered rows in blocks, with the candidates' own spectra of these modalities."""
        names = list(spectra)
        for number, (start, whole) in enumerate(zip(self._starts.tolist(), rows, strict=False)):
            for part in runs(whole):
                local = range(part.start - start, part.stop - start) if isinstance(part, range) else part - start
                yield from self._shard(number).blocks(local, start, names, at_once)

    def by_mass(self) -> Iterator[Entry]:
        """Yield all entries, lightest first."""
        live = np.concatenate([np.asarray(part, dtype=np.int64) for part in self.filter()])
        if len(live) == 0:
            return
        keys = self.gather("key14", live).numpy().view("S14")[:, 0]
        live = live[np.lexsort((keys, self.gather("mass", live).numpy()))]
        for start in range(0, len(live), ROWS_AT_ONCE):
            rows = live[start : start + ROWS_AT_ONCE]
            vectors = self.gather("vectors", rows).numpy()
            spectra = {name: self.gather(f"spectrum.{name}", rows).numpy() for name in self.manifest.spectra}
            there = {name: self.gather(f"present.{name}", rows).numpy() for name in spectra}
            for i, one in enumerate(self.candidates(rows)):
                own = {name: part[i] for name, part in spectra.items() if there[name][i]}
                yield Entry(one.molecule, vectors[i], own, one.name, one.columns)

    # --- helpers

    def _shard(self, number: int) -> LibraryShard:
        shard = self.manifest.shards[number]
        if shard.name not in self._open:
            self._open[shard.name] = LibraryShard(self._path, shard)
            if shard.arrays is None and self.renumbered():  # a checksum would tell
                del self._open[shard.name]
                raise QueryError(f"library {str(self._path)!r} was changed by another process meanwhile; search again")
        return self._open[shard.name]

    def _by_shard(self, rows: _Numbers) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield the number of every shard concerned, places in `rows`, and the rows there counted from its start."""
        wanted = np.asarray(rows, dtype=np.int64)
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(shards).tolist():
            places = np.flatnonzero(shards == number)
            yield number, places, wanted[places] - self._starts[number]

    @cached_property
    def _other_forms(self) -> list[tuple[int, MergedRow]]:
        """Return the merged rows whose formula is another than that of the row that stayed, with the latter."""
        if not self.merged:
            return []
        rows = self.having(self.merged).tolist()
        stayed = zip(rows, self.molecules(rows), strict=True)
        return [
            (row, form)
            for row, molecule in stayed
            for form in self.merged[molecule.key14]
            if form.formula != molecule.formula
        ]

    def _filter_shard(
        self, number: int, window: tuple[float, float] | None, formula: str | None, elements: frozenset[str] | None
    ) -> Rows:
        entry, start = self.manifest.shards[number], int(self._starts[number])
        first, last = 0, entry.rows
        if window is not None:
            if window[1] < entry.lightest or window[0] > entry.heaviest:
                return range(0)
            masses = self._shard(number).masses()
            first = int(np.searchsorted(masses, window[0], side="left"))
            last = int(np.searchsorted(masses, window[1], side="right"))
        ends = np.searchsorted(self.removed, [start + first, start + last])
        gone = self.removed[ends[0] : ends[1]] - start
        if first >= last or (formula is None and elements is None and len(gone) == 0):
            return range(start + first, start + max(first, last))
        rows = np.arange(first, last)
        if formula is not None:
            rows = rows[self._shard(number).formulas(first, last) == formula]
        if elements is not None:
            rows = rows[self._admitted(number, elements)[rows]]
        return start + np.setdiff1d(rows, gone)

    def _admitted(self, number: int, elements: frozenset[str]) -> NDArray[np.bool_]:
        """Return which rows of a shard hold these elements only; it is asked for again by each search."""
        key = (number, elements)
        if key not in self._made_of:
            self._made_of[key] = made_of(self._shard(number).formulas(0, self.manifest.shards[number].rows), elements)
        return self._made_of[key]


def _state(path: Path) -> tuple[int, ...] | None:
    """Return what differs after every change of a library, since each ends with a new manifest; None: there is none."""
    try:
        found = (path / MANIFEST).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
