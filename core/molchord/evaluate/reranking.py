"""Re-ranking measured: weights fitted on validation queries, then the first k candidates of other queries re-ranked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import Measurement, Molecule
from molchord.errors import DataError
from molchord.evaluate.embedded import Embedded, Queries, candidate_pool, model_scorer, queries_of, subsets
from molchord.evaluate.metrics import Scorer
from molchord.evaluate.pools import CandidatePool
from molchord.retrieval.rerank import Reranking
from molchord.retrieval.rerank_weights import Weights, combine, fit_weights
from molchord.retrieval.scores import TopK

__all__ = ["FirstCandidates", "Reranked", "fit_reranking", "reranked_scorer"]


@final
@dataclass(frozen=True, kw_only=True)
class Reranked:
    """A re-ranker with its weights, ready to be measured.

    Attributes:
        reranking: The re-ranker.
        read: Reads a measurement of a modality by its index in `Embedded.spectra`.
        weights: By pool, then by the query's modalities joined by " + "; what is missing is not re-ranked.
        left_out: What is not re-ranked, and why.
        split: Whose queries the weights were fitted on.
    """

    reranking: Reranking
    read: Mapping[str, Callable[[int], Measurement]]
    weights: Mapping[str, Mapping[str, Weights]]
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
        slope: What turns a ranking value into a logit.
    """

    values: Float[NDArray[np.float64], "q k"]
    index: Int64[NDArray[np.int64], "q k"]
    features: Float[NDArray[np.float64], "q k f"]
    slope: float


def fit_reranking(
    embedded: Embedded,
    reranking: Reranking,
    read: Mapping[str, Callable[[int], Measurement]],
    *,
    pools: Sequence[str],
    calibration: Mapping[int, float] | None = None,
    split: str = "val",
    seed: int = 0,
    most_spectra: int = 32,
) -> Reranked:
    """Fit the weights for every subset of modalities against every pool, on the queries of a split.

    Args:
        embedded: The embedded data set.
        reranking: The re-ranker.
        read: Reads a measurement of a modality by its index in `Embedded.spectra`.
        pools: Names of pools; ``test`` means the structures of the split fitted on.
        calibration: Number of spectra to beta; None: 1.
        split: Whose queries are fitted on.
        seed: Of the draws that make pools.
        most_spectra: Most queries a molecule.

    Raises:
        DataError: Nothing can be re-ranked, with the first reason.
        PluginError: The re-ranker or the simulator fails.
    """
    weights: dict[str, dict[str, Weights]] = {pool: {} for pool in pools}
    notes = []
    for subset in subsets(list(embedded.spectra)):
        name = " + ".join(subset)
        queries = queries_of(embedded, subset, split, most=most_spectra)
        refusal = _refusal(reranking, queries, read) if len(queries) else f"split {split!r} has no query"
        for pool in pools if refusal is None else ():
            made = candidate_pool(embedded, queries, pool, split=split, seed=seed)
            first = _first(embedded, queries, made, reranking, read, calibration)
            place = first.index == queries.molecule[:, None]
            rows = np.flatnonzero(place.any(axis=1))
            if len(rows) == 0:
                notes.append(f"{name}: not re-ranked in pool {pool}: no {split} query is among the first candidates")
                continue
            logits = first.slope * first.values[rows]
            found = fit_weights(logits, first.features[rows], place[rows].argmax(axis=1), reranking.names(subset))
            weights[pool][name] = found
        if refusal is not None:
            notes.append(f"{name}: not re-ranked: {refusal}")
    if not any(weights.values()):
        raise DataError(f"re-ranking failed: {notes[0] if notes else 'there is no spectrum'}")
    return Reranked(reranking=reranking, read=read, weights=weights, left_out=tuple(notes), split=split)


def reranked_scorer(
    embedded: Embedded,
    queries: Queries,
    pool: CandidatePool,
    by: Reranked,
    weights: Weights,
    calibration: Mapping[int, float] | None = None,
) -> Scorer:
    """Score candidates so that the first k of each query stand in their new order, above all others.

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
    base = model_scorer(embedded, queries, map="gm-exp", mode="blind")
    pairs = zip(first.slope * first.values, first.features, strict=True)
    new = np.stack([combine(logits, features, weights) for logits, features in pairs]) / first.slope
    there = first.index >= 0
    lowest = np.where(there, new, np.inf).min(axis=1)
    last = np.where(there, first.values, np.inf).min(axis=1)
    # The others keep their order and their distances, one below the lowest of the first k.
    shift = torch.from_numpy(np.where(there.any(axis=1), lowest - last - 1.0, 0.0))
    values, index = torch.from_numpy(new), torch.from_numpy(first.index)

    def scorer(rows: slice, columns: slice | Tensor) -> Tensor:
        out = base(rows, columns).double() + shift[rows, None]
        asked = torch.arange(columns.start, columns.stop) if isinstance(columns, slice) else columns
        for value, place in zip(values[rows].T, index[rows].T, strict=True):
            out = torch.where(place[:, None] == asked, value[:, None], out)
        return out

    return scorer


# --- helpers ---------------------------------------------------------------------------------------------------------


def _first(
    embedded: Embedded,
    queries: Queries,
    pool: CandidatePool,
    reranking: Reranking,
    read: Mapping[str, Callable[[int], Measurement]],
    calibration: Mapping[int, float] | None,
) -> FirstCandidates:
    """Find the first k candidates of every query in a pool, and their features."""
    values, index = _top(
        model_scorer(embedded, queries, map="gm-exp", mode="blind"), pool, queries, embedded, reranking.k
    )
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
    return FirstCandidates(values=values, index=index, features=features, slope=slope)


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


def _query(
    queries: Queries, row: int, read: Mapping[str, Callable[[int], Measurement]]
) -> dict[str, list[Measurement]]:
    return {name: [read[name](int(queries.measurement[name][row]))] for name in queries.subset}


def _refusal(reranking: Reranking, queries: Queries, read: Mapping[str, Callable[[int], Measurement]]) -> str | None:
    found = (reranking.refusal(_query(queries, row, read)) for row in range(len(queries)))
    return next((sentence for sentence in found if sentence is not None), None)


def _molecule(embedded: Embedded, row: int) -> Molecule:
    return Molecule(
        key14=embedded.key14[row],
        smiles=embedded.smiles[row],
        formula=embedded.formula[row],
        exact_mass=float(embedded.exact_mass[row]),
    )
