"""Baselines that need no training: mass alone, a fixed ranking, nearest training spectrum, a modality's own similarity.

Each is a `molchord.retrieval.metrics.Scorer`. The random baseline needs none: it is what ties give on average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import Compares, Measurement
from molchord.retrieval.metrics import Counts, Scorer

__all__ = [
    "fixed_ranking",
    "mass_alone",
    "nearest_by_cosine",
    "nearest_by_similarity",
    "neighbours_of",
    "own_similarity",
    "peak_coincidence",
    "random_counts",
]

_REFERENCES_AT_ONCE = 1024


def random_counts(counts: Counts) -> Counts:
    """Turn the counts of any scorer into those of a random one: all candidates of the pool are level."""
    others = np.maximum(counts.size - 1, 0)
    return Counts(above=np.zeros_like(others), level=others, size=counts.size, found=counts.found, rival=counts.rival)


def mass_alone(mass: NDArray[np.float64], measured: NDArray[np.float64]) -> Scorer:
    """Rank by the distance of the exact mass from the measured one, in Da.

    Args:
        mass: (n,) exact masses of the candidates.
        measured: (q,) measured masses of the queries.

    Example:
        >>> mass_alone(np.array([10.0, 12.0]), np.array([11.5]))(slice(0, 1), slice(0, 2))
        tensor([[-1.5000, -0.5000]], dtype=torch.float64)
    """
    candidates, queries = torch.from_numpy(mass), torch.from_numpy(measured)
    return lambda rows, columns: -(candidates[columns][None, :] - queries[rows][:, None]).abs()


def fixed_ranking(values: NDArray[np.float64], queries: int) -> Scorer:
    """Rank every query's candidates identically, such as by a model that sees no spectrum.

    Args:
        values: (n,) score of each candidate; NaN where it has none.
        queries: How many queries there are.
    """
    table = torch.from_numpy(values)
    return lambda rows, columns: table[columns][None, :].expand(len(range(*rows.indices(queries))), -1)


def neighbours_of(fingerprints: NDArray[np.uint8], neighbours: Sequence[NDArray[np.int64]]) -> Scorer:
    """Rank candidates by Tanimoto similarity to the molecule of the nearest training spectrum.

    Args:
        fingerprints: (n, bytes) packed fingerprints of all molecules.
        neighbours: For each modality of the query, (q,) the molecule of the nearest training spectrum, or -1; with
            several modalities the similarities are averaged.
    """
    from molchord.chem import tanimoto

    def scorer(rows: slice, columns: slice | Tensor) -> Tensor:
        candidates = fingerprints[columns if isinstance(columns, slice) else columns.numpy()]
        parts = []
        for neighbour in neighbours:
            here = neighbour[rows]
            values = torch.from_numpy(tanimoto(fingerprints[here], candidates))
            parts.append(values.where(torch.from_numpy(here >= 0)[:, None], torch.nan))
        return torch.stack(parts).mean(dim=0)

    return scorer


def nearest_by_cosine(
    queries: Float[Tensor, "q p"], training: Float[Tensor, "t p"], *, at_once: int = 1024
) -> NDArray[np.int64]:
    """Return the index of the training spectrum with the highest cosine to each query spectrum.

    Args:
        queries: Spectra on one grid, or binned; not necessarily of unit length.
        training: The same of the training set.
        at_once: Query rows at a time.

    Example:
        >>> nearest_by_cosine(torch.tensor([[1.0, 0.1]]), torch.eye(2)).tolist()
        [0]
    """
    unit = torch.nn.functional.normalize(training, dim=1)
    blocks = [(queries[i : i + at_once] @ unit.T).argmax(dim=1) for i in range(0, len(queries), at_once)]
    return torch.cat([torch.zeros(0, dtype=torch.int64), *blocks]).numpy().astype(np.int64)


def nearest_by_similarity(
    modality: Compares, queries: Sequence[Measurement], read: Callable[[int], Measurement], training: Sequence[int]
) -> NDArray[np.int64]:
    """Return, for each query, the training measurement that the modality's own similarity puts first.

    Args:
        modality: Offers `similarity`.
        queries: The query measurements.
        read: Reads a measurement by its index; references are read in blocks, never all at once.
        training: Indices of the training measurements.

    Shape:
        (q,) indices out of `training`, -1 where no similarity is finite.
    """
    best = np.full(len(queries), -np.inf)
    found = np.full(len(queries), -1, dtype=np.int64)
    for start in range(0, len(training), _REFERENCES_AT_ONCE):
        chunk = training[start : start + _REFERENCES_AT_ONCE]
        references = [read(int(i)) for i in chunk]
        for row, query in enumerate(queries):
            values = np.nan_to_num(np.asarray(modality.similarity(query, references), dtype=np.float64), nan=-np.inf)
            top = int(values.argmax())
            if values[top] > best[row]:
                best[row], found[row] = values[top], chunk[top]
    return found


def own_similarity(
    modality: Compares,
    read: Callable[[int], Measurement],
    *,
    queries: NDArray[np.int64],
    references: NDArray[np.int64],
    molecule: NDArray[np.int64],
    candidates: int,
) -> Scorer:
    """Rank candidates by the best similarity of their own spectra to the query; the query itself is never a reference.

    Args:
        modality: Offers `similarity`.
        read: Reads a measurement by its index.
        queries: (q,) measurement index of each query.
        references: Measurement indices that may serve as references.
        molecule: (k,) molecule of every measurement.
        candidates: Number of molecules; one without a reference scores -inf.
    """
    cache: dict[tuple[int, int], Tensor] = {}

    def table(rows: slice) -> Tensor:
        measured = [(int(i), read(int(i))) for i in queries[rows]]
        best = np.full((len(measured), candidates), -np.inf, dtype=np.float32)
        for start in range(0, len(references), _REFERENCES_AT_ONCE):
            chunk = references[start : start + _REFERENCES_AT_ONCE]
            loaded = [read(int(i)) for i in chunk]
            for row, (index, query) in enumerate(measured):
                values = np.asarray(modality.similarity(query, loaded), dtype=np.float32)
                others = chunk != index
                np.fmax.at(best[row], molecule[chunk[others]], values[others])
        return torch.from_numpy(best)

    def scorer(rows: slice, columns: slice | Tensor) -> Tensor:
        key = (rows.start, rows.stop)
        if key not in cache:
            cache.clear()
            cache[key] = table(rows)
        return cache[key][:, columns]

    return scorer


def peak_coincidence(
    queries: Mapping[str, Sequence[NDArray[np.floating]]],
    candidates: Mapping[str, Sequence[NDArray[np.floating]]],
    width: float,
) -> Scorer:
    """Rank candidates by how well the positions of their peaks match those of the query, without any learning.

    Every set of positions is a comb of Gaussian teeth; the score is the mean cosine of the combs over the pairs of a
    query's modality with another modality of the candidate.

    Args:
        queries: Peak positions by modality, q each.
        candidates: Peak positions by modality, n each; a candidate without any peak scores -inf.
        width: Standard deviation of a tooth.

    Example:
        >>> ir = {"ir": [np.array([900.0, 1700.0])]}
        >>> raman = {"raman": [np.array([1000.0]), np.array([900.0, 1700.0])]}
        >>> peak_coincidence(ir, raman, 2.0)(slice(0, 1), slice(0, 2)).round(decimals=3)
        tensor([[0., 1.]])
    """
    every = [part for table in (queries, candidates) for parts in table.values() for part in parts if len(part)]
    low, high = min((p.min() for p in every), default=0.0), max((p.max() for p in every), default=0.0)
    start, bins = low - _TEETH * width, math.ceil((high - low) / width) + 2 * _TEETH + 1
    pairs = [(mine, other) for mine in queries for other in candidates if mine != other]
    all_columns = torch.arange(max(map(len, candidates.values()), default=0))

    def scorer(rows: slice, columns: slice | Tensor) -> Tensor:
        asked = {name: _combs(parts[rows], start, bins, width) for name, parts in queries.items()}
        chosen = all_columns[columns].tolist()
        combs = {name: _combs([parts[i] for i in chosen], start, bins, width) for name, parts in candidates.items()}
        # A comb without teeth is a zero row, whose cosines do not count.
        found = torch.stack([asked[mine] @ combs[other].T for mine, other in pairs])
        has = torch.stack([combs[other].any(dim=1)[None].expand(found.shape[1:]) for _, other in pairs])
        return (found.sum(dim=0) / has.sum(dim=0)).where(has.any(dim=0), -torch.inf)

    return scorer


_TEETH = 4
"""Widths on either side of a position at which a tooth ends."""


def _combs(parts: Sequence[NDArray[np.floating]], start: float, bins: int, width: float) -> Float[Tensor, "n bins"]:
    """Return a comb of unit length for each set of positions, on a grid of steps of one width; zeros where empty."""
    out = np.zeros((len(parts), bins), dtype=np.float32)
    rows = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    places = (np.concatenate([np.zeros(0), *parts]) - start) / width
    nearest = places.round().astype(np.int64)
    for offset in range(-_TEETH + 1, _TEETH):
        np.add.at(out, (rows, nearest + offset), np.exp(-((nearest + offset - places) ** 2) / 2))
    return torch.nn.functional.normalize(torch.from_numpy(out), dim=1)
