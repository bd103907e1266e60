"""A library on disk: embedded candidates in memory-mapped shards, larger than memory, searched exactly.

A shard is a safetensors file (vectors, masses, keys; spectra where there are any) and a parquet file with the same rows
(key14, SMILES, formula, exact mass), both sorted by mass. ``manifest.json`` names the run that embedded it.
``removed.safetensors`` lists the rows that were taken out since.
"""

from __future__ import annotations

import math
import shutil
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeAlias, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import Molecule
from molchord.errors import QueryError, did_you_mean
from molchord.retrieval.filters import hill, mass_window
from molchord.retrieval.library_files import Entry, Manifest, Shard, Writer, read_manifest, read_removed, write_removed
from molchord.retrieval.scores import MODES, Block, TopK, geometric_mean, library_scores, pair_temperatures, scores

__all__ = ["Entry", "Hit", "Library", "Rows"]

_ROWS_AT_ONCE = 8192

Rows: TypeAlias = "NDArray[np.int64] | range"
"""Ascending rows of one shard, counted through the whole library."""


@final
@dataclass(frozen=True, kw_only=True)
class Hit:
    """One candidate that a search found.

    Attributes:
        rank: From 1.
        key14: First block of the InChIKey.
        smiles: Canonical SMILES.
        formula: Hill formula.
        exact_mass: Monoisotopic mass in Da.
        score: Geometric mean of the mapped similarities; NaN where a vector is not finite.
        cosines: Cosine of each of the query's modalities with the candidate.
        probability: Calibrated probability among the candidates that passed the filters, lowered by the query's
            doubts; None without a calibration for this number of spectra, and in library mode.
        proven: Whether no candidate left out can score higher: true, since the search is exhaustive; false where the
            first ones were re-ranked, since the others were not looked at again.
        rerank_score: Score by which a hit was re-ranked; None where it was not.
        features: What the re-ranker saw, by name; NaN where it cannot say.
        doubts: Why the query is doubtful, a sentence each, the same for all of its hits.
    """

    rank: int
    key14: str
    smiles: str
    formula: str
    exact_mass: float
    score: float
    cosines: Mapping[str, float]
    probability: float | None
    proven: bool = True
    rerank_score: float | None = None
    features: Mapping[str, float] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


@final
class Library:
    """A folder of embedded candidates.

    Attributes:
        path: The folder.
        manifest: What the folder says of itself.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.manifest: Manifest = read_manifest(self.path)
        self._removed = read_removed(self.path)

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
            shard_rows: Rows of a shard.
            force: Replace a library that is there.

        Raises:
            OutputExistsError: The folder exists and `force` is false.
            QueryError: `force` would replace a folder that is no library, or no entry could be used.

        Example:
            >>> ethanol = Molecule(key14="LFQSCWFLJHTTHZ", smiles="CCO", formula="C2H6O", exact_mass=46.0419)
            >>> entries = [Entry(ethanol, np.array([1.0, 0.0]))]
            >>> library = Library.create(None, entries, run="r", candidate="structure", embedding_dim=2)
            >>> [hit.smiles for hit in library.search({"ir": torch.tensor([0.6, 0.8])})]
            ['CCO']
        """
        folder = mkdtemp(prefix="molchord-library-") if path is None else None
        target = Path(path) if path is not None else Path(str(folder)) / "library"
        manifest = Manifest(run=run, candidate=candidate, embedding_dim=embedding_dim, spectra=tuple(spectra))
        try:
            with Writer.new(target, manifest, shard_rows, force=force) as writer:
                writer.write(entries)
            library = cls(target)
        except BaseException:
            if folder is not None:
                shutil.rmtree(folder)
            raise
        if folder is not None:
            weakref.finalize(library, shutil.rmtree, folder, ignore_errors=True)
        return library

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.manifest.shards) - len(self._removed)

    def __repr__(self) -> str:
        return f"Library({str(self.path)!r}, {len(self)} candidates)"

    def expect_run(self, run: str) -> None:
        """Refuse a library that another run embedded.

        Raises:
            QueryError: Naming both runs.
        """
        if run != self.manifest.run:
            raise QueryError(
                f"library {str(self.path)!r} was embedded by run {self.manifest.run!r}, but the search is by run "
                f"{run!r}; embed the candidates again with `molchord embed`"
            )

    # --- changing it

    def append(self, entries: Iterable[Entry], *, shard_rows: int = 65536) -> int:
        """Add entries as new shards; returns how many were new.

        A key14 that the library holds is not replaced, only counted; remove it first.
        """
        before = len(self)
        with Writer.more(self.path, self.manifest, self._removed, shard_rows) as writer:
            writer.write(entries)
        self.manifest = read_manifest(self.path)
        return len(self) - before

    def remove(self, keys: Iterable[str]) -> int:
        """Take candidates out by key14; returns how many were there. Their rows stay on disk, marked as removed."""
        wanted = np.array([key.encode() for key in keys], dtype="S14")
        rows = [
            start + np.flatnonzero(np.isin(self._shard(number).keys(), wanted))
            for number, start in enumerate(self._starts[:-1])
        ]
        gone = np.setdiff1d(np.concatenate([np.zeros(0, np.int64), *rows]), self._removed)
        self._removed = np.union1d(self._removed, gone).astype(np.int64)
        write_removed(self.path, self._removed)
        return len(gone)

    # --- reading it

    def filter(
        self,
        *,
        mass: float | None = None,
        ppm: float | None = None,
        da: float | None = None,
        formula: str | None = None,
    ) -> list[Rows]:
        """Return the rows, shard by shard, that pass a mass window and a formula: ranges where nothing else narrows.

        Args:
            mass: Exact mass in Da; needs `ppm` or `da`, the half width of the window, both ends included.
            ppm: Half width in millionths of `mass`.
            da: Half width in Da.
            formula: Sum formula in any order of elements.

        Raises:
            QueryError: A mass without a window, a window without a mass, a number that makes no sense, or a formula
                that cannot be read.
        """
        window = mass_window(mass, ppm, da)
        wanted = None if formula is None else hill(formula)
        return [self._filter_shard(number, window, wanted) for number in range(len(self.manifest.shards))]

    def molecules(self, rows: Iterable[int]) -> list[Molecule]:
        """Return the molecules of rows, reading no more than the row groups they lie in."""
        wanted = list(rows)
        found: dict[int, Molecule] = {}
        for number, start, local in self._by_shard(wanted):
            found |= {start + row: molecule for row, molecule in self._shard(number).molecules(local).items()}
        return [found[row] for row in wanted]

    def vectors(self, rows: Iterable[int]) -> Float[Tensor, "rows d"]:
        """Return the candidate vectors of rows."""
        wanted = list(rows)
        found: dict[int, Tensor] = {}
        for number, start, local in self._by_shard(wanted):
            found |= {start + row: vector for row, vector in self._shard(number).vectors(local).items()}
        return torch.stack([found[row] for row in wanted])

    def blocks(self, rows: Iterable[Rows], *, spectra: bool = False) -> Iterator[Block]:
        """Yield the candidates of filtered rows in blocks of bounded size.

        Args:
            rows: From `filter`, one entry a shard.
            spectra: Whether to read the candidates' own spectra too.
        """
        names = self.manifest.spectra if spectra else ()
        for number, part in enumerate(rows):
            if len(part) == 0:
                continue
            start = int(self._starts[number])
            local = range(part.start - start, part.stop - start) if isinstance(part, range) else part - start
            yield from self._shard(number).blocks(local, start, names, _ROWS_AT_ONCE)

    def search(
        self,
        query: Mapping[str, Float[Tensor, " d"]],
        *,
        k: int = 25,
        map: str = "gm-exp",
        mode: str = "blind",
        tau: Mapping[str, float] | None = None,
        pair_tau: Mapping[tuple[str, str], float] | None = None,
        same_modality: bool = False,
        mass: float | None = None,
        ppm: float | None = None,
        da: float | None = None,
        formula: str | None = None,
        calibration: Mapping[int, float] | None = None,
        device: str = "cpu",
    ) -> list[Hit]:
        """Return the k best candidates for one query, exactly; equal values are ordered by key14.

        Args:
            query: One unit vector a modality (pool several measurements with `retrieval.pooled`).
            k: How many hits; fewer where fewer candidates pass the filters.
            map: Map of the geometric mean.
            mode: ``blind`` or ``library``; the latter needs a library with spectra.
            tau: Temperature of each modality with the candidate; None means 1.
            pair_tau: Temperatures of pairs of spectra, for library mode.
            same_modality: Whether library mode compares spectra of one modality: right for measured references.
            mass: Exact mass in Da, with `ppm` or `da`.
            ppm: Half width of the mass window in ppm.
            da: Half width of the mass window in Da.
            formula: Sum formula.
            calibration: Number of spectra to the scale beta of the confidence.
            device: Where scores are computed.

        Raises:
            QueryError: The query does not fit the library, or no candidate passes the filters.
        """
        self._check_query(query, mode)
        rows = self.filter(mass=mass, ppm=ppm, da=da, formula=formula)
        pool = sum(len(part) for part in rows)
        if pool == 0:
            raise QueryError(
                f"search failed: no candidate of library {str(self.path)!r} ({len(self)} in all) passes the filters; "
                "widen the mass window, check the formula, or use another library"
            )
        vectors = {name: vector[None].to(device) for name, vector in query.items()}
        spectra = self.manifest.spectra if mode == "library" else ()
        pairs = pair_temperatures(query, tau, spectra=spectra, pair_tau=pair_tau, same_modality=same_modality)
        logit = _logit(vectors, pairs, calibration if mode == "blind" else None)
        best, total = TopK(k), -math.inf
        for block in self.blocks(rows, spectra=mode == "library"):
            moved = block.to(device)
            if mode == "blind":
                values = scores(vectors, moved.vectors, map=map, tau=tau)
            else:
                values = library_scores(
                    vectors,
                    moved.vectors,
                    moved.spectra,
                    map=map,
                    tau=tau,
                    pair_tau=pair_tau,
                    spectra_present=moved.spectra_present,
                    same_modality=same_modality,
                )
            best.update(values, moved.index, moved.order)
            if logit is not None:
                total = float(np.logaddexp(total, float((moved.vectors.double() @ logit).logsumexp(dim=0))))
        found = [geometric_mean(value, map=map, tau=list(pairs.values())) for value in best.values[0].tolist()]
        return self._hits(query, best.index[0].tolist(), found, None if logit is None else logit.cpu(), total)

    # --- helpers

    @property
    def _starts(self) -> NDArray[np.int64]:
        """Return the first row of every shard, and the end."""
        return np.cumsum([0, *(shard.rows for shard in self.manifest.shards)], dtype=np.int64)

    def _by_shard(self, rows: Iterable[int]) -> Iterator[tuple[int, int, list[int]]]:
        """Yield the number and first row of every shard concerned, and the rows counted from there."""
        wanted = np.asarray(list(rows), dtype=np.int64)
        shards = np.searchsorted(self._starts, wanted, side="right") - 1
        for number in np.unique(shards).tolist():
            start = int(self._starts[number])
            yield number, start, (wanted[shards == number] - start).tolist()

    def _shard(self, number: int) -> Shard:
        return Shard(self.path, self.manifest.shards[number].name)

    def _filter_shard(self, number: int, window: tuple[float, float] | None, formula: str | None) -> Rows:
        entry, start = self.manifest.shards[number], int(self._starts[number])
        first, last = 0, entry.rows
        if window is not None:
            if window[1] < entry.lightest or window[0] > entry.heaviest:
                return range(0)
            masses = self._shard(number).masses()
            first = int(np.searchsorted(masses, window[0], side="left"))
            last = int(np.searchsorted(masses, window[1], side="right"))
        gone = self._removed[(self._removed >= start + first) & (self._removed < start + last)] - start
        if first >= last or (formula is None and len(gone) == 0):
            return range(start + first, start + max(first, last))
        rows = np.arange(first, last)
        if formula is not None:
            rows = rows[self._shard(number).formulas(first, last) == formula]
        return start + np.setdiff1d(rows, gone)

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
            if vector.shape != (self.manifest.embedding_dim,):
                raise QueryError(
                    f"search failed: the vector of {name!r} has shape {tuple(vector.shape)!r}, but library "
                    f"{str(self.path)!r} holds {(self.manifest.embedding_dim,)!r}; use the run that embedded it"
                )
            if not bool(vector.isfinite().all()):
                raise QueryError(f"search failed: the embedding of {name!r} is not finite; check that spectrum")

    def _hits(
        self, query: Mapping[str, Tensor], rows: list[int], found: list[float], logit: Tensor | None, total: float
    ) -> list[Hit]:
        vectors = self.vectors(rows).double()
        entries = zip(found, self.molecules(rows), vectors, strict=True)
        return [
            Hit(
                rank=rank,
                key14=molecule.key14,
                smiles=molecule.smiles,
                formula=molecule.formula,
                exact_mass=molecule.exact_mass,
                score=score,
                cosines={name: float(part.cpu().double() @ vector) for name, part in query.items()},
                probability=None if logit is None else math.exp(float(logit @ vector) - total),
            )
            for rank, (score, molecule, vector) in enumerate(entries, start=1)
        ]


def _logit(
    vectors: Mapping[str, Tensor],
    pairs: Mapping[tuple[str, str | None], float],
    calibration: Mapping[int, float] | None,
) -> Tensor | None:
    """Return beta_M sum_m q_m / tau_m, whose product with a candidate is its logit; None where M is not calibrated."""
    if calibration is None or len(vectors) not in calibration:
        return None
    parts = [part[0].double() / pairs[name, None] for name, part in vectors.items()]
    return calibration[len(vectors)] * torch.stack(parts).sum(dim=0)
