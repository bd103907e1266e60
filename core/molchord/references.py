"""Measurements of known molecules that a query is compared with, spectrum to spectrum."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import Compares, Measurement, Modality, Molecule, SampleError
from molchord.data.store import DataSet, MeasurementTable
from molchord.embedder import Embedder
from molchord.errors import DataError, QueryError

__all__ = ["Matches", "References", "identical", "similarity"]


_FEW = 0.2
"""Where a filter leaves a smaller part of the molecules, only their references are read."""


@final
@dataclass(frozen=True, kw_only=True)
class Matches:
    """What the references of one modality say of each of n molecules.

    Attributes:
        similarity: (n,) of the most similar reference of the molecule; NaN where it has none.
        measured: (n,) whether that reference is measured; anything where there is none.
        same: (n,) whether one of the references is the query itself, number for number.
    """

    similarity: Float[NDArray[np.float64], " n"]
    measured: NDArray[np.bool_]
    same: NDArray[np.bool_]


@final
class References:
    """A data set's measurements as references; read once, and kept in memory as long as this object lives.

    Args:
        embedder: The model whose modalities compare; what its graph calls for is taken, measured or computed.
        dataset: The data set.

    Attributes:
        dataset: The data set.
        structures: Candidate vectors of molecules that were embedded for a search, by key14.

    Raises:
        DataError: It has a measurement of none of the run's spectra.
    """

    def __init__(self, embedder: Embedder, dataset: DataSet) -> None:
        self.dataset = dataset
        self._embedder = embedder
        self._tables = dict(_tables(embedder, dataset))
        if not self._tables:
            raise DataError(
                f"data set {str(dataset.path)!r} has no reference for this run: it holds {', '.join(dataset.stored)}, "
                f"the run takes {', '.join(embedder.spectra)}"
            )
        self._kept: dict[str, _Kept] = {}
        self.structures: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Name the spectra of which there are references."""
        return tuple(self._tables)

    @cached_property
    def molecules(self) -> list[Molecule]:
        """The molecules of the references, n of them; some may have no reference of a query's modalities."""
        return list(self.dataset.molecules())

    def matches(
        self, query: Mapping[str, Sequence[Measurement]], among: NDArray[np.bool_] | None = None
    ) -> dict[str, Matches]:
        """Compare a query with the references of its modalities.

        Args:
            query: Measurements by modality; several of one are compared one by one, and the mean counts.
            among: (n,) molecules that matter; where they are few, the references of no other are read. None: all.

        Raises:
            QueryError: There is no reference of any of these modalities.
        """
        found = {
            name: self._matches(name, measurements, among)
            for name, measurements in query.items()
            if name in self._tables
        }
        if not found:
            raise QueryError(
                f"search failed: references {str(self.dataset.path)!r} hold {', '.join(map(repr, self._tables))}, and "
                f"the query is of {', '.join(map(repr, query))}; give references of the same kind"
            )
        return found

    def _matches(self, name: str, query: Sequence[Measurement], among: NDArray[np.bool_] | None) -> Matches:
        size = len(self.dataset)
        few = name not in self._kept and among is not None and among.sum() < _FEW * size
        kept = self._read(name, among) if few else self._opened(name)
        values = np.zeros(0)
        if kept.measurements:
            values = similarity(self._embedder, name, query, kept.measurements).mean(axis=0)
        best, measured, same = np.full(size, np.nan), np.zeros(size, dtype=bool), np.zeros(size, dtype=bool)
        for place in np.argsort(values, kind="stable"):  # the most similar one comes last and stays
            best[kept.molecule[place]], measured[kept.molecule[place]] = values[place], kept.measured[place]
        for one in query:
            same[kept.molecule[identical(one, kept.measurements)]] = True
        return Matches(similarity=best, measured=measured, same=same)

    def _opened(self, name: str) -> _Kept:
        if name not in self._kept:
            self._kept[name] = self._read(name, None)
        return self._kept[name]

    def _read(self, name: str, among: NDArray[np.bool_] | None) -> _Kept:
        """Read the references of a modality, those of some molecules or of all; unusable ones are left out."""
        table, chosen = self._tables[name]
        chosen = chosen if among is None else chosen & among[table.molecule]
        measurements, molecule = [], []
        for index in np.flatnonzero(chosen).tolist():
            try:
                measurement = table.read(index)
                self._embedder.modalities[name].transform(measurement, None)
            except SampleError:
                continue
            measurements.append(measurement)
            molecule.append(int(table.molecule[index]))
        return _Kept(
            measurements=measurements,
            molecule=np.array(molecule, dtype=np.int64),
            measured=np.array([one.origin == "measured" for one in measurements], dtype=bool),
        )


@final
@dataclass(frozen=True, kw_only=True)
class _Kept:
    measurements: list[Measurement]
    molecule: NDArray[np.int64]
    measured: NDArray[np.bool_]


def _tables(embedder: Embedder, dataset: DataSet) -> Iterator[tuple[str, tuple[MeasurementTable, NDArray[np.bool_]]]]:
    """Yield the measurements of each spectrum of the run and which its graph calls for, whatever their origin."""
    for name in embedder.spectra:
        node = embedder.graph.modalities[name]
        if node.data in dataset.stored:
            table = dataset.table(node.data, node.record.stores, embedder.modalities[name])
            chosen = table.select({key: value for key, value in node.where.items() if key != "origin"})
            if chosen.any():
                yield name, (table, chosen)


def similarity(
    embedder: Embedder, name: str, query: Sequence[Measurement], references: Sequence[Measurement]
) -> Float[NDArray[np.float64], "q n"]:
    """Compare measurements by the modality's own similarity, else by the cosine of the model's vectors.

    Args:
        embedder: The model.
        name: The modality.
        query: q measurements.
        references: n measurements; the modality keeps what it has made of the last ones that it got.

    Raises:
        QueryError: A measurement of the query cannot be used.
    """
    modality: Modality = embedder.modalities[name]
    try:
        if isinstance(modality, Compares):
            rows = [np.asarray(modality.similarity(one, references), dtype=np.float64) for one in query]
            return np.nan_to_num(np.stack(rows), nan=-1.0)
    except SampleError as error:
        raise QueryError(f"a measurement of {name!r} cannot be compared ({error.reason}); give another one") from error
    return np.asarray(embedder.embed(name, query).double() @ embedder.embed(name, references).double().T)


def identical(query: Measurement, references: Sequence[Measurement]) -> list[int]:
    """Return which references are the query itself, number for number, whatever it is called.

    Example:
        >>> one, other = (Measurement(arrays={"x": np.array([1.0, x])}) for x in (2.0, 3.0))
        >>> identical(one, [other, Measurement(arrays={"x": np.array([1.0, 2.0])}, columns={"title": "again"})])
        [1]
    """
    arrays = {key: np.asarray(value) for key, value in query.arrays.items() if len(value)}
    found = []
    for place, reference in enumerate(references):
        theirs = {key: value for key, value in reference.arrays.items() if len(value)}
        if theirs.keys() == arrays.keys() and all(_equal(arrays[key], np.asarray(theirs[key])) for key in arrays):
            found.append(place)
    return found


def _equal(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    """Compare in the coarser of the two precisions, as a file's numbers are stored rounded."""
    if one.shape != other.shape:
        return False
    coarser = min(one.dtype, other.dtype, key=lambda dtype: dtype.itemsize)
    return bool(np.array_equal(one.astype(coarser), other.astype(coarser)))


def structure_vectors(
    embedder: Embedder, molecules: Iterable[Molecule], known: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the candidate vectors of molecules by key14: those known, and others embedded where they can be."""
    wanted = list(molecules)
    found = {one.key14: known[one.key14] for one in wanted if one.key14 in known}
    modality = embedder.modalities[embedder.candidate]
    made, keys = [], []
    for one in wanted:
        if one.key14 in found:
            continue
        try:
            measurement = modality.derive(one)  # type: ignore[attr-defined]  # the candidate is a `Derives`
            modality.transform(measurement, None)
        except SampleError:
            continue
        made.append(measurement)
        keys.append(one.key14)
    vectors = embedder.embed(embedder.candidate, made) if made else torch.zeros(0, embedder.graph.embedding_dim)
    return {**found, **dict(zip(keys, vectors, strict=True))}
