"""Re-ranking measured: weights fitted on validation queries, then the first k candidates of other queries re-ranked.

Next to it are the features alone, without the model's score, over all candidates of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import Measurement, Molecule
from molchord.errors import DataError
from molchord.evaluate.embedded import Embedded, Queries, candidate_pool, model_scorer, queries_of, subsets
from molchord.evaluate.pools import CandidatePool
from molchord.rerank.rerank import Reranking
from molchord.rerank.weights import Weights, combined_scores, fit_weights
from molchord.retrieval.metrics import TIE, Scorer
from molchord.retrieval.scores import TopK

__all__ = ["FirstCandidates", "Reads", "Reranked", "features_scorer", "fit_reranking", "reranked_scorer"]

Reads: TypeAlias = Mapping[str, Callable[[int], Sequence[Measurement]]]
"""What reads the measurements of a row of `Embedded.spectra`, per modality."""

_MOST_ENTRIES = 2**22
"""Queries times candidates that the weights of the features alone are fitted on at most."""


@final
@dataclass(frozen=True, kw_only=True)
class Reranked:
    """A re-ranker with its weights, ready to be measured.

    Attributes:
        reranking: The re-ranker.
        read: Reads a query's measurements.
        weights: By pool, then by the query's modalities joined by " + "; what is missing is not re-ranked.
        alone: Likewise, those of the features alone; what is missing gets no such row.
        left_out: What is not re-ranked, and why.
        split: Whose queries the weights were fitted on.
    """

    reranking: Reranking
    read: Reads
    weights: Mapping[str, Mapping[str, Weights]]
    alone: Mapping[str, Mapping[str, Weights]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    split: str = "val"

    @property
    def system(self) -> str:
        """Return the name of its rows."""
        return f"model + {self.reranking.name}, k {self.reranking.k}"

    def notes(self) -> tuple[str, ...]:
        """Return what was left out, so far, and the candidates that nothing could be computed for."""
        failures = {} if self.reranking.computed is None else self.reranking.computed.failures
        counted = [
            f"re-ranking: {len(failures)} candidates without a computed measurement count as average "
            f"(the first, {key}: {reason})"
            for key, reason in [*failures.items()][:1]
        ]
        return (*self.left_out, *counted)


@final
@dataclass(frozen=True, kw_only=True)
class FirstCandidates:
    """The first k candidates of q queries.

    Attributes:
        values: Ranking value of the first stage; -inf where a pool has fewer than k.
        index: Their molecules; -1 where there is none.
        features: As the re-ranker gives them; NaN where there is no candidate.
        truth: Whether a candidate is the query's own molecule. As ties count against the model, a molecule that ties
            with one beyond the first k is beyond them too, so it is not among these.
        slope: What turns a ranking value into a logit.
    """

    values: Float[NDArray[np.float64], "q k"]
    index: Int64[NDArray[np.int64], "q k"]
    features: Float[NDArray[np.float64], "q k f"]
    truth: Bool[NDArray[np.bool_], "q k"]
    slope: float


def fit_reranking(
    embedded: Embedded,
    reranking: Reranking,
    read: Reads,
    *,
    pools: Sequence[str],
    calibration: Mapping[int, float] | None = None,
    split: str = "val",
    seed: int = 0,
    most_spectra: int = 32,
    alone: bool = False,
) -> Reranked:
    """Fit the weights for every subset of modalities against every pool, on the queries of a split.

    Args:
        embedded: The embedded data set.
        reranking: The re-ranker.
        read: Reads a query's measurements.
        pools: Names of pools; ``test`` means the structures of the split fitted on.
        calibration: Number of spectra to beta; None: 1.
        split: Whose queries are fitted on.
        seed: Of the draws that make pools.
        most_spectra: Most queries per molecule.
        alone: Fit weights of the features alone too.

    Raises:
        DataError: Nothing can be re-ranked, with the first reason.
        PluginError: The re-ranker or the simulator fails.
    """
    weights: dict[str, dict[str, Weights]] = {pool: {} for pool in pools}
    by_features: dict[str, dict[str, Weights]] = {pool: {} for pool in pools}
    notes = []
    for subset in subsets(list(embedded.spectra)):
        name = " + ".join(subset)
        queries = queries_of(embedded, subset, split, most=most_spectra)
        refusal = _refusal(reranking, queries, read) if len(queries) else f"split {split!r} has no query"
        for pool in pools if refusal is None else ():
            made = candidate_pool(embedded, queries, pool, split=split, seed=seed)
            only = _fit_alone(embedded, queries, made, reranking, read, seed) if alone else None
            by_features[pool] |= {} if only is None else {name: only}
            first = _first(embedded, queries, made, reranking, read, calibration)
            rows = np.flatnonzero(first.truth.any(axis=1))
            if len(rows) == 0:
                notes.append(f"{name}: not re-ranked in pool {pool}: no {split} query is among the first candidates")
                continue
            logits = first.slope * first.values[rows]
            truth = first.truth[rows].argmax(axis=1)
            weights[pool][name] = fit_weights(logits, first.features[rows], truth, reranking.names(subset))
        if refusal is not None:
            notes.append(f"{name}: not re-ranked: {refusal}")
    if not any(weights.values()):
        raise DataError(f"re-ranking failed: {notes[0] if notes else 'there is no spectrum'}")
    lacking = embedded.present & ~_judged(embedded, reranking, tuple(embedded.spectra)) if alone else np.zeros(0)
    if lacking.any() and any(by_features.values()):
        notes.append(f"{reranking.name} alone: {lacking.sum()} candidates without a computed measurement rank last")
    return Reranked(
        reranking=reranking, read=read, weights=weights, alone=by_features, left_out=tuple(notes), split=split
    )


def reranked_scorer(
    embedded: Embedded,
    queries: Queries,
    pool: CandidatePool,
    by: Reranked,
    weights: Weights,
    calibration: Mapping[int, float] | None = None,
) -> Scorer:
    """Score candidates so that the first k of each query are in their new order, above all others.

    Values stay on the scale of the first stage's, so that the tolerance of ties means the same.

    Args:
        embedded: The embedded data set.
        queries: Measured queries.
        pool: The pool that decides which candidates are the first ones.
        by: The re-ranker.
        weights: For this subset and pool.
        calibration: As for the fit.

    Raises:
        DataError: A query must not be re-ranked.
    """
    refusal = _refusal(by.reranking, queries, by.read)
    if refusal is not None:
        raise DataError(refusal)
    first = _first(embedded, queries, pool, by.reranking, by.read, calibration)
    base = model_scorer(embedded, queries, fusion="gm-exp", mode="blind")
    pairs = zip(first.slope * first.values, first.features, strict=True)
    new = np.stack([combined_scores(logits, features, weights) for logits, features in pairs]) / first.slope
    there = first.index >= 0
    lowest = np.where(there, new, np.inf).min(axis=1)
    last = np.where(there, first.values, np.inf).min(axis=1)
    # The others keep their order and their distances, one below the lowest of the first k.
    shift = torch.from_numpy(np.where(there.any(axis=1), lowest - last - 1.0, 0.0))
    beyond = (first.index == queries.molecule[:, None]) & ~first.truth
    values, index = torch.from_numpy(new), torch.from_numpy(np.where(beyond, -1, first.index))

    def scorer(rows: slice, columns: slice | Tensor) -> Tensor:
        out = base(rows, columns).double() + shift[rows, None]
        asked = torch.arange(columns.start, columns.stop) if isinstance(columns, slice) else columns
        for value, place in zip(values[rows].T, index[rows].T, strict=True):
            out = torch.where(place[:, None] == asked, value[:, None], out)
        return out

    return scorer


def features_scorer(
    embedded: Embedded, queries: Queries, pool: CandidatePool, by: Reranked, weights: Weights | None
) -> Scorer:
    """Score candidates by the features alone; those that nothing is computed for rank below all others.

    Args:
        embedded: The embedded data set.
        queries: Measured queries.
        pool: The candidates whose features are compared with each other.
        by: The re-ranker; what its data sets hold counts, nothing is computed on the spot.
        weights: From `Reranked.alone`; None: by the first feature, as it is.
    """
    judged = _judged(embedded, by.reranking, queries.subset)

    @lru_cache(maxsize=512)  # a block of queries; kept, since it is scored against block after block of candidates
    def values(row: int) -> Tensor:
        kept, features = _pool_features(embedded, queries, pool, by.reranking, by.read, judged, row)
        found = features[:, 0] if weights is None else combined_scores(np.zeros(len(kept)), features, weights)
        known = np.isfinite(found)
        out = np.full(len(embedded), found[known].min(initial=0.0) - 1.0)
        out[kept[known]] = found[known]
        return torch.from_numpy(out)

    def scorer(rows: slice, columns: slice | Tensor) -> Tensor:
        return torch.stack([values(row)[columns] for row in range(*rows.indices(len(queries)))])

    return scorer


# --- helpers ---------------------------------------------------------------------------------------------------------


def _first(
    embedded: Embedded,
    queries: Queries,
    pool: CandidatePool,
    reranking: Reranking,
    read: Reads,
    calibration: Mapping[int, float] | None,
) -> FirstCandidates:
    """Find the first k candidates of every query in a pool, and their features."""
    scorer = model_scorer(embedded, queries, fusion="gm-exp", mode="blind")
    # One more than k shows what ties with the one beyond.
    values, index = _top(scorer, pool, queries, embedded, reranking.k + 1)
    beyond = values[:, reranking.k :].max(axis=1, initial=-np.inf)
    values, index = values[:, : reranking.k], index[:, : reranking.k]
    truth = (index == queries.molecule[:, None]) & (values > beyond[:, None] + TIE)
    molecules = {int(i): _molecule(embedded, int(i)) for i in np.unique(index[index >= 0])}
    if reranking.computed is not None:
        reranking.computed.of([*molecules.values()])  # all at once, so that a simulation can use every core
    features = np.full((*index.shape, len(reranking.names(queries.subset))), np.nan)
    for row, places in enumerate(index):
        kept = places >= 0
        if kept.any():
            query = _query(queries, row, read)
            features[row, kept] = reranking.features(query, [molecules[int(i)] for i in places[kept]])
    tau = embedded.tau or {name: 1.0 for name in queries.subset}
    beta = (calibration or {}).get(len(queries.subset), 1.0)
    slope = beta * sum(1.0 / tau[name] for name in queries.subset)
    return FirstCandidates(values=values, index=index, features=features, truth=truth, slope=slope)


def _judged(embedded: Embedded, reranking: Reranking, subset: Sequence[str]) -> NDArray[np.bool_]:
    """Return the candidates that a data set holds a computed measurement of, all where the re-ranker needs none."""
    if reranking.computed is None:
        return np.ones(len(embedded), dtype=np.bool_)
    found = reranking.computed.stored([_molecule(embedded, row) for row in range(len(embedded))])
    return np.array([not found_.keys().isdisjoint(subset) for found_ in found], dtype=np.bool_)


def _pool_features(
    embedded: Embedded,
    queries: Queries,
    pool: CandidatePool,
    reranking: Reranking,
    read: Reads,
    judged: NDArray[np.bool_],
    row: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return a query's candidates among those judged, and their features, (candidates, f)."""
    member = pool.mask(slice(row, row + 1), slice(0, len(embedded)))[0].numpy()
    kept = np.flatnonzero(member & judged)
    if len(kept) == 0:
        return kept, np.zeros((0, len(reranking.names(queries.subset))))
    molecules = [_molecule(embedded, int(i)) for i in kept]
    return kept, reranking.features(_query(queries, row, read), molecules, simulate=False)


def _fit_alone(
    embedded: Embedded, queries: Queries, pool: CandidatePool, reranking: Reranking, read: Reads, seed: int
) -> Weights | None:
    """Fit weights of the features alone, over the whole pool; None where no query has its molecule among those judged.

    Where there are more queries than fit in memory, some are drawn.
    """
    judged = _judged(embedded, reranking, queries.subset)
    most = max(1, _MOST_ENTRIES // max(1, int(pool.members.sum())))
    drawn = np.sort(np.random.default_rng(seed).permutation(len(queries))[:most])
    parts = [_pool_features(embedded, queries, pool, reranking, read, judged, int(row)) for row in drawn]
    usable = [
        (kept == molecule, features)
        for molecule, (kept, features) in zip(queries.molecule[drawn], parts, strict=True)
        if molecule in kept
    ]
    if not usable:
        return None
    names = reranking.names(queries.subset)
    width = max(len(own) for own, _ in usable)
    # Equal logits leave the features alone to distinguish candidates; -inf fills up smaller pools.
    logits = np.stack([np.pad(np.zeros(len(own)), (0, width - len(own)), constant_values=-np.inf) for own, _ in usable])
    features = np.stack([np.pad(found, ((0, width - len(found)), (0, 0))) for _, found in usable])
    return fit_weights(logits, features, np.array([own.argmax() for own, _ in usable]), names)


def _top(
    scorer: Scorer, pool: CandidatePool, queries: Queries, embedded: Embedded, k: int, at_once: int = 8192
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return values and molecules of the first k of the pool, (q, k): -inf and -1 where there are fewer."""
    found = []
    for first in range(0, len(queries), 512):
        rows, best = slice(first, min(first + 512, len(queries))), TopK(k)
        for start in range(0, len(embedded), at_once):
            columns = slice(start, min(start + at_once, len(embedded)))
            member = pool.mask(rows, columns)
            best.update(scorer(rows, columns).where(member, -torch.inf), torch.arange(columns.start, columns.stop))
        found.append((best.values.double(), best.index))
    values, index = (torch.cat(part).numpy() for part in zip(*found, strict=True))
    return values, np.where(np.isfinite(values), index, -1)


def _query(queries: Queries, row: int, read: Reads) -> dict[str, Sequence[Measurement]]:
    return {name: read[name](int(queries.measurement[name][row])) for name in queries.subset}


def _refusal(reranking: Reranking, queries: Queries, read: Reads) -> str | None:
    found = (reranking.refusal(_query(queries, row, read)) for row in range(len(queries)))
    return next((sentence for sentence in found if sentence is not None), None)


def _molecule(embedded: Embedded, row: int) -> Molecule:
    return Molecule(
        key14=embedded.key14[row],
        smiles=embedded.smiles[row],
        formula=embedded.formula[row],
        exact_mass=float(embedded.exact_mass[row]),
    )
