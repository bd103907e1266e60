"""A library on disk: embedded candidates in memory-mapped shards, larger than memory, searched exactly.

A shard is a safetensors file (vectors, masses, keys; spectra where there are any) and a parquet file with the same rows
(key14, SMILES, formula, exact mass), both sorted by mass. ``manifest.json`` names the run that embedded it.
``removed-N.safetensors`` lists the rows that were taken out since. The manifest is written last and has the checksums
of all others, so a library is what its manifest says: a search looks first whether it is still the same one.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import Limits, Molecule
from molchord.checksums import verify_files
from molchord.deprecation import renamed
from molchord.errors import QueryError, did_you_mean
from molchord.files import discard
from molchord.library.files import CandidateRow, Entry, LibraryManifest
from molchord.library.filters import Rows, adjoined, allowed_elements, mass_window, sought_formula
from molchord.library.hits import Hit, hits_of
from molchord.library.indexes import EXACT, OpenIndex, index_names, open_index, verify_indexes, write_index
from molchord.library.rows import ROWS_AT_ONCE, LibraryRows
from molchord.library.writer import Writer, write_removed
from molchord.lock import only_writer
from molchord.retrieval.exact import Exact, Found, feed
from molchord.retrieval.library_mode import LibraryMode
from molchord.retrieval.scores import Block, check_query, joined, pair_temperatures
from molchord.vocabulary import MODES, PUBLISHED, Storage

__all__ = ["Entry", "Hit", "Library", "Rows"]

_Found = TypeVar("_Found")

QUERIES_AT_ONCE, VALUES_AT_ONCE = (256, 4096), (2**22, 2**29)
"""Queries that are searched at once, and their inner products with a block, on a CPU (its cache) and on a GPU."""


@final
class Library:
    """A folder of embedded candidates.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._rows = _opened(self.path)
        self._indexes: dict[str, OpenIndex] = {}
        self._held: Block | None = None

    @classmethod
    def create(
        cls,
        path: Path | str | None,
        entries: Iterable[Entry],
        *,
        run: str,
        candidate: str,
        embedding_dim: int,
        spectra: Iterable[str] = (),
        storage: Storage = "fp32",
        shard_rows: int = 65536,
        force: bool = False,
    ) -> Library:
        """Write a library from a stream of entries, holding one shard in memory at a time.

        Of entries with one key14 the first is kept; entries with a vector that is not finite are left out. Both are
        counted in the manifest.

        Args:
            path: The folder; None makes a temporary one that lives as long as the object.
            entries: Any number.
            run: What names the run that embedded them, for instance the hash of its weights and graph.
            candidate: The modality that the vectors are of.
            embedding_dim: Size of the vectors.
            spectra: Modalities whose vectors entries may carry; with any, library mode is possible.
            storage: What a search scans: "fp32", or "bf16" or "int8", which are written next to the fp32 vectors, half
                and a quarter of the size; the hits are the same, their probabilities to about a hundredth of them.
            shard_rows: Rows of a shard.
            force: Replace an existing library.

        Raises:
            OutputExistsError: The folder exists and `force` is false.
            QueryError: `force` would replace a folder that is not a library, or no entry could be used.

        Example:
            >>> ethanol = Molecule(key14="LFQSCWFLJHTTHZ", smiles="CCO", formula="C2H6O", exact_mass=46.0419)
            >>> entries = [Entry(ethanol, np.array([1.0, 0.0]))]
            >>> library = Library.create(None, entries, run="r", candidate="structure", embedding_dim=2)
            >>> [hit.smiles for hit in library.search({"ir": torch.tensor([0.6, 0.8])})]
            ['CCO']
        """
        folder = mkdtemp(prefix="molchord-library-") if path is None else None
        target = Path(path) if path is not None else Path(str(folder)) / "library"
        manifest = LibraryManifest(
            run=run, candidate=candidate, embedding_dim=embedding_dim, spectra=tuple(spectra), storage=storage
        )
        try:
            with only_writer(target), Writer.new(target, manifest, shard_rows, force=force) as writer:
                writer.write(entries)
            library = cls(target)
        except BaseException:
            if folder is not None:
                discard(folder)
            raise
        if folder is not None:
            weakref.finalize(library, discard, folder)
        return library

    @property
    def manifest(self) -> LibraryManifest:
        """Return the folder's manifest."""
        return self._rows.manifest

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Library({str(self.path)!r}, {len(self)} candidates)"

    def expect_run(self, run: str) -> None:
        """Refuse a library that another run embedded.

        Raises:
            QueryError: Naming both runs.
        """
        if run != self.manifest.run:
            raise QueryError(
                f"library {str(self.path)!r} was embedded by run {self.manifest.run[:12]!r}, but the search is by run "
                f"{run[:12]!r}; embed the candidates again with `molchord embed`"
            )

    # --- changing it

    def append(self, entries: Iterable[Entry], *, shard_rows: int = 65536) -> int:
        """Add entries as new shards; returns how many were new.

        A key14 that the library holds is not replaced, only counted; remove it first.
        """
        with only_writer(self.path):
            self._refresh()
            before = len(self)
            with Writer.more(self.path, self.manifest, self._rows.removed, shard_rows) as writer:
                writer.write(entries)
            self._reopen()
        return len(self) - before

    def remove(self, keys: Iterable[str]) -> int:
        """Take candidates out by key14; returns how many were there. Their rows stay on disk, marked as removed."""
        with only_writer(self.path):
            self._refresh()
            gone = self._rows.having(keys)
            if len(gone):
                write_removed(self.path, self.manifest, np.union1d(self._rows.removed, gone).astype(np.int64))
                self._reopen()
        return len(gone)

    def compact(self, *, storage: Storage | None = None, shard_rows: int = 65536) -> int:
        """Merge the shards into ones that are sorted by mass throughout, without the removed rows.

        Indexes go, since they know candidates by row; make them again.

        Args:
            storage: What a search shall scan; None: what it does now.
            shard_rows: Rows of a shard.

        Returns:
            How many removed rows were dropped.
        """
        with only_writer(self.path):
            self._refresh()
            lists = {name: entry for name, entry in self.manifest.files.items() if name.endswith(".csv")}
            update = {"shards": (), "removed": "", "files": lists, "storage": storage or self.manifest.storage}
            dropped = len(self._rows.removed)
            manifest = self.manifest.model_copy(update=update)
            with Writer.new(self.path, manifest, shard_rows, force=True) as writer:
                writer.keep(self.path.glob("*.csv"))
                writer.write(self._rows.by_mass())
            self._reopen()
        return dropped

    def verify(self) -> None:
        """Read every file again, those of its indexes included, and compare it with its checksum.

        Raises:
            QueryError: Naming each file that is not as it was written.
        """
        self._refresh()
        wrong = [*verify_files(self.path, self.manifest.checksums()), *verify_indexes(self.path)]
        if wrong:
            raise QueryError(f"library {str(self.path)!r} is damaged: {', '.join(wrong)}; restore it or embed it again")

    # --- reading it

    def filter(
        self,
        *,
        mass: float | None = None,
        ppm: float | None = None,
        da: float | None = None,
        formula: str | None = None,
        elements: str | Iterable[str] | None = None,
    ) -> list[Rows]:
        """Return the rows, shard by shard, that pass the filters: ranges where a mass window alone narrows.

        Args:
            mass: Exact mass in Da; `ppm` or `da` is the half width of the window, both ends included.
            ppm: Half width in millionths of `mass`.
            da: Half width in Da.
            formula: Sum formula in any order of elements.
            elements: The only elements that a candidate may hold, such as ``C,H,N,O``.

        Raises:
            QueryError: A window without a mass, a number that makes no sense, or a formula or an element that cannot
                be read.
        """
        window = mass_window(mass, ppm, da)
        sought = None if formula is None else sought_formula(formula)
        allowed = None if elements is None else allowed_elements(elements)
        return self._now(lambda: self._rows.filter(window, sought, allowed))

    def molecules(self, rows: Iterable[int]) -> list[Molecule]:
        """Return the molecules of rows, reading no more than the row groups they are in."""
        return self._still(lambda: self._rows.molecules(rows))

    def candidates(self, rows: Iterable[int]) -> list[CandidateRow]:
        """Return the molecules of rows with the names and columns of the list that they come from."""
        return self._still(lambda: self._rows.candidates(rows))

    def formulas(self) -> set[str]:
        """Return the formulas of all candidates, removed ones included."""
        return self._now(lambda: self._rows.formulas())

    def rows_of_formulas(self, formulas: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of candidates that have one of these formulas, ascending; removed ones too."""
        return self._rows.of_formulas(formulas)

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> Float[Tensor, "rows d"]:
        """Return the candidate vectors of rows."""
        return self._still(lambda: self._rows.gather("vectors", rows))

    def vectors_of(self, keys: Iterable[str]) -> dict[str, Float[Tensor, " d"]]:
        """Return the candidate vectors by key14, of those of the keys that the library holds."""
        wanted = list(keys)

        def found() -> dict[str, Tensor]:
            rows = self._rows.having(wanted)
            if len(rows) == 0:
                return {}
            held = self._rows.gather("key14", rows).numpy().view("S14")[:, 0]
            return dict(zip((key.decode() for key in held.tolist()), self.vectors(rows), strict=True))

        return self._now(found)

    def blocks(self, rows: Iterable[Rows], *, spectra: bool = False, at_once: int = ROWS_AT_ONCE) -> Iterator[Block]:
        """Yield the candidates of filtered rows in blocks of bounded size.

        Args:
            rows: From `filter`, one entry per shard.
            spectra: Whether to read the candidates' own spectra too.
            at_once: Rows of a block at most.
        """
        self._still(lambda: None)
        return self._rows.blocks(rows, self.manifest.spectra if spectra else (), at_once)

    def hold(self, device: str = "cpu") -> None:
        """Keep all vectors in the memory of a device, where blind searches on it find them without reading the disk.

        Args:
            device: Where; while they are put together it needs twice the room.
        """
        self._refresh()
        every = self._rows.every()
        longest = max(map(len, every))
        self._held = joined([block.to(device) for block in self.blocks(every, at_once=longest)])

    def hold_few(self, device: str = "cpu") -> None:
        """Keep all vectors in memory, as `hold` does, where they take 2 GiB at most."""
        if len(self) * self.manifest.embedding_dim * 4 <= 2**31:
            self.hold(device)

    # --- searching it

    @renamed("Library.find", map="fusion")
    def find(
        self,
        queries: Mapping[str, Float[Tensor, "q d"]],
        *,
        k: int = 25,
        fusion: str = "gm-exp",
        tau: Mapping[str, float] | None = None,
        present: Mapping[str, Bool[Tensor, " q"]] | None = None,
        mass: float | None = None,
        ppm: float | None = None,
        da: float | None = None,
        formula: str | None = None,
        elements: str | Iterable[str] | None = None,
        calibration: Mapping[int, float] | None = None,
        device: str = "cpu",
        index: str | None = None,
    ) -> Found:
        """Return the k best candidates for many queries at once, blind, as rows and ranking values (`scores`).

        Args:
            queries: Unit rows per modality.
            k: As for `search`, as are the arguments that are not listed here.
            fusion: Form of the geometric mean, but not ``published``.
            tau: Temperature of each modality.
            present: Which queries have each modality, each (q,) bool; None, or a modality left out, means all.
            mass: The same for all queries, as are `ppm`, `da`, `formula` and `elements`.
            ppm: Half width of the mass window in ppm.
            da: Half width of the mass window in Da.
            formula: Sum formula.
            elements: The only elements allowed.
            calibration: Number of spectra to the scale beta of the confidence, whose totals are then kept.
            device: Where scores are computed.
            index: Name of an index that proposes candidates; None or "exact": all are searched.

        Raises:
            QueryError: The queries do not fit the library, or no candidate passes the filters.

        Example:
            >>> ethanol = Molecule(key14="LFQSCWFLJHTTHZ", smiles="CCO", formula="C2H6O", exact_mass=46.0419)
            >>> entries = [Entry(ethanol, np.array([1.0, 0.0]))]
            >>> library = Library.create(None, entries, run="r", candidate="structure", embedding_dim=2)
            >>> found = library.find({"ir": torch.eye(2)})
            >>> found.rows.tolist(), found.values.tolist(), found.proven.tolist()
            ([[0], [0]], [[1.0], [0.0]], [True, True])
        """
        check_query(fusion, queries)
        if fusion == PUBLISHED:
            raise QueryError(
                "search failed: nothing bounds the score of fusion 'published', so it takes one query and no index; "
                "leave `index` out"
            )
        count = self._count(queries, present or {})

        def searched() -> Found:
            rows = self._pool(mass, ppm, da, formula, elements)
            proposing = None if index in (None, EXACT) else self._index(str(index))
            limits = self._limits(rows, mass_window(mass, ppm, da), formula) if proposing is not None else None
            found: list[Found] = []
            at_once = QUERIES_AT_ONCE[_is_cuda(device)]
            for start in range(0, count, at_once):
                part = slice(start, start + at_once)
                here = {name: mask[part].to(device) for name, mask in (present or {}).items()}
                tile = {name: vectors[part].to(device) for name, vectors in queries.items()}
                beta = None if calibration is None or proposing is not None else _beta(tile, here, calibration)
                search = Exact(tile, k, fusion=fusion, tau=tau, present=here, beta=beta)
                if proposing is None or limits is None:
                    feed(search, self._vector_blocks(rows, min(at_once, count - start), device), device)
                    found.append(search.found())
                else:
                    found.append(proposing.search(search, k, limits, self._scored_rows))
            return Found.joined(found)

        return self._now(searched)

    @renamed("Library.search", map="fusion")
    def search(
        self,
        query: Mapping[str, Float[Tensor, " d"]],
        *,
        k: int = 25,
        fusion: str = "gm-exp",
        mode: str = "blind",
        tau: Mapping[str, float] | None = None,
        pair_tau: Mapping[tuple[str, str], float] | None = None,
        same_modality: bool = False,
        mass: float | None = None,
        ppm: float | None = None,
        da: float | None = None,
        formula: str | None = None,
        elements: str | Iterable[str] | None = None,
        calibration: Mapping[int, float] | None = None,
        device: str = "cpu",
        index: str | None = None,
    ) -> list[Hit]:
        """Return the k best candidates for one query, exactly; equal values are ordered by key14.

        Args:
            query: One unit vector per modality (pool several measurements with `retrieval.pooled`).
            k: How many hits; fewer where fewer candidates pass the filters.
            fusion: Form of the geometric mean.
            mode: ``blind`` or ``library``; the latter needs a library with spectra.
            tau: Temperature of each modality with the candidate; None means 1.
            pair_tau: Temperatures of pairs of spectra, for library mode.
            same_modality: Whether library mode compares spectra of one modality: right for measured references.
            mass: Exact mass in Da, with `ppm` or `da`.
            ppm: Half width of the mass window in ppm.
            da: Half width of the mass window in Da.
            formula: Sum formula.
            elements: The only elements allowed.
            calibration: Number of spectra to the scale beta of the confidence.
            device: Where scores are computed.
            index: Name of an index of the library, which proposes the candidates to score; None or "exact": all are
                searched. Hits that a better candidate may be missing from are marked as not proven, and a probability
                needs a search of all.

        Raises:
            QueryError: The query does not fit the library, or no candidate passes the filters.
        """
        self._check_query(query, mode)
        limits: dict[str, Any] = {"mass": mass, "ppm": ppm, "da": da, "formula": formula, "elements": elements}
        if mode == "blind" and (fusion != PUBLISHED or index not in (None, EXACT)):
            several = {name: vector[None] for name, vector in query.items()}
            more: dict[str, Any] = {"tau": tau, "calibration": calibration, "device": device, "index": index}

            def blind() -> list[Hit]:
                found = self.find(several, k=k, fusion=fusion, **limits, **more)
                return self._hits(query, found, fusion, pair_temperatures(query, tau), calibration)

            return self._now(blind)
        if index not in (None, EXACT):
            raise QueryError(f"search failed: index {index!r} serves mode 'blind' only, got {mode!r}; leave it out")
        check_query(fusion, query)
        spectra = self.manifest.spectra if mode == "library" else ()
        pairs = pair_temperatures(
            query, tau, spectra=spectra, pair_tau=pair_tau, same_modality=same_modality, fusion=fusion
        )
        moved = {name: vector.to(device) for name, vector in query.items()}

        def one_by_one() -> list[Hit]:
            search = LibraryMode(moved, k, fusion=fusion, pairs=pairs)
            feed(search, self.blocks(self._pool(**limits), spectra=mode == "library"), device)
            return self._hits(query, search.found(), fusion, pairs, None)

        return self._now(one_by_one)

    # --- helpers

    def _reopen(self) -> None:
        """Read the folder again after a change of its shards."""
        self._rows = _opened(self.path)
        self._indexes.clear()
        self._held = None

    def _refresh(self) -> None:
        """Read the folder again if another process has changed it."""
        if self._rows.changed():
            self._reopen()

    def _now(self, act: Callable[[], _Found]) -> _Found:
        """Return what `act` finds in the library of now, once more where another process changes it meanwhile."""
        for last in (False, False, True):
            self._refresh()
            try:
                return self._still(act)
            except QueryError:
                if last or not self._rows.changed():
                    raise
        raise AssertionError  # the last one returns or raises

    def _still(self, act: Callable[[], _Found]) -> _Found:
        """Return what `act` finds by numbers of rows, which must still be those of the library that was searched."""
        try:
            found = act()
        except QueryError:
            if not self._rows.renumbered():
                raise
        else:
            if not self._rows.renumbered():
                return found
        raise QueryError(f"library {str(self.path)!r} was changed by another process meanwhile; search again")

    def _pool(
        self,
        mass: float | None = None,
        ppm: float | None = None,
        da: float | None = None,
        formula: str | None = None,
        elements: str | Iterable[str] | None = None,
    ) -> list[Rows]:
        """Return the rows that pass the filters, of which there are some."""
        rows = self.filter(mass=mass, ppm=ppm, da=da, formula=formula, elements=elements)
        if not any(len(part) for part in rows):
            raise QueryError(
                f"search failed: no candidate of library {str(self.path)!r} ({len(self)} in all) passes the filters; "
                "widen the mass window, check the formula, or use another library"
            )
        return rows

    def _vector_blocks(self, rows: Sequence[Rows], queries: int, device: str) -> Iterator[Block]:
        """Yield blocks as large as the inner products with so many queries may be."""
        at_once = max(1, VALUES_AT_ONCE[_is_cuda(device)] // queries)
        if self._held is not None and self._held.vectors.device == torch.empty(0, device=device).device:
            for part in adjoined(rows):
                for start in range(0, len(part), at_once):
                    some = part[start : start + at_once]
                    if isinstance(some, range):
                        yield self._held[some.start : some.stop]
                    else:
                        yield self._held[torch.from_numpy(some).to(device)]
        else:
            yield from self.blocks(rows, at_once=at_once)

    def _check_query(self, query: Mapping[str, Tensor], mode: str) -> None:
        if mode not in MODES:
            raise QueryError(f"search failed: unknown mode {mode!r}; {did_you_mean(mode, MODES)}")
        if mode == "library" and not self.manifest.spectra:
            raise QueryError(
                f"search failed: library {str(self.path)!r} holds no spectra, so library mode is not possible; search "
                "blind, or embed the candidates with their spectra"
            )
        if not query:
            raise QueryError("search failed: the query has no modality; give at least one spectrum")
        for name, vector in query.items():
            self._check_vectors(name, vector[None])

    def _count(self, queries: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> int:
        """Return how many queries there are, the same in each modality, with vectors that fit the library."""
        count = len(next(iter(queries.values())))
        for name, vectors in queries.items():
            mask = present.get(name)
            self._check_vectors(name, vectors if mask is None else vectors[mask.to(vectors.device)])
            if len(vectors) != count or count == 0:
                raise QueryError(
                    f"search failed: {name!r} has {len(vectors)} queries, but each modality needs as many rows as the "
                    "first, and one at least"
                )
        return count

    def _check_vectors(self, name: str, vectors: Tensor) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.manifest.embedding_dim:
            raise QueryError(
                f"search failed: the vector of {name!r} has shape {tuple(vectors.shape[1:])!r}, but library "
                f"{str(self.path)!r} holds {(self.manifest.embedding_dim,)!r}; use the run that embedded it"
            )
        if not bool(vectors.isfinite().all()):
            raise QueryError(f"search failed: the embedding of {name!r} is not finite; check that spectrum")

    def _hits(
        self,
        query: Mapping[str, Tensor],
        found: Found,
        fusion: str,
        pairs: Mapping[tuple[str, str | None], float],
        calibration: Mapping[int, float] | None,
    ) -> list[Hit]:
        rows = found.rows[0].tolist()
        hits = hits_of(query, found, self.candidates(rows), self.vectors(rows), fusion, pairs, calibration)
        return [self._with_merged(hit) for hit in hits] if self._rows.merged else hits

    def _with_merged(self, hit: Hit) -> Hit:
        """Return a hit with what its list says in the rows that were merged with it, by which it may have its name."""
        names = [row.name for row in self._rows.merged.get(hit.key14, ())]
        told = [row.name or row.smiles for row in self._rows.merged.get(hit.key14, ())]
        name = hit.name or next(filter(None, names), "")
        return dataclasses.replace(hit, name=name, merged=tuple(dict.fromkeys(one for one in told if one != name)))

    # --- its indexes

    def write_index(self, name: str, config: Mapping[str, Any] | None = None, *, force: bool = False) -> Path:
        """Make an index of the library, which proposes candidates to `search`; returns its folder.

        Args:
            name: Name of an index plugin.
            config: Its configuration.
            force: Replace an existing one.

        Raises:
            OutputExistsError: There is one, and `force` is not set.
            PluginError: There is no such plugin, its configuration is wrong, or a library that it needs is missing.
        """
        with only_writer(self.path):
            self._refresh()
            self._indexes.pop(name, None)
            return write_index(self.path, self.manifest, self._rows, name, config or {}, force=force)

    def info(self) -> dict[str, Any]:
        """Return what it holds, as JSON values."""
        self._refresh()
        m = self.manifest
        return {
            "path": str(self.path),
            "candidates": len(self),
            **m.model_dump(mode="json", include={"candidate", "embedding_dim", "run", "storage", "spectra"}),
            "shards": len(m.shards),
            "removed": len(self._rows.removed),
            "masses": [min(shard.lightest for shard in m.shards), max(shard.heaviest for shard in m.shards)],
            "megabytes": round(sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file()) / 1e6, 1),
            "indexes": self.indexes,
        }

    @property
    def indexes(self) -> list[str]:
        """Return the names of its indexes."""
        return index_names(self.path)

    def _index(self, name: str) -> OpenIndex:
        if name not in self._indexes:
            self._indexes[name] = open_index(self.path, self.manifest, name)
        return self._indexes[name]

    def _limits(self, rows: Sequence[Rows], window: tuple[float, float] | None, formula: str | None) -> Limits:
        every = all(len(part) == shard.rows for part, shard in zip(rows, self.manifest.shards, strict=True))
        return Limits(
            window=window,
            formula=None if formula is None else sought_formula(formula),
            removed=self._rows.removed,
            rows=None if every else np.concatenate([np.asarray(part, dtype=np.int64) for part in rows]),
        )

    def _scored_rows(self, rows: NDArray[np.int64]) -> Block:
        """Return rows as a search scores them."""
        vectors, order = self._rows.gather("vectors", rows), self._rows.gather("order", rows)
        return Block(index=torch.from_numpy(rows), vectors=vectors, order=order)


def _opened(path: Path) -> LibraryRows:
    """Read a library, once more where another process changes it between its manifest and its other files."""
    try:
        rows = LibraryRows(path)
        return LibraryRows(path) if rows.changed() else rows
    except QueryError:
        return LibraryRows(path)


def _is_cuda(device: str) -> bool:
    return torch.device(device).type == "cuda"


def _beta(queries: Mapping[str, Tensor], present: Mapping[str, Tensor], calibration: Mapping[int, float]) -> Tensor:
    """Return the scale of each query's logit, NaN where its number of spectra is not calibrated."""
    first = next(iter(queries.values()))
    every = torch.ones(len(first), dtype=torch.int64, device=first.device)
    counts = sum((present.get(name, every).long() for name in queries), start=torch.zeros_like(every))
    scales = [calibration.get(count, float("nan")) for count in counts.tolist()]
    return torch.tensor(scales, dtype=torch.float64, device=first.device)
