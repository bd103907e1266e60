"""Ranks against a pool, the metrics made of them, and their intervals over molecules.

The rank of a query is the number of pool candidates whose score is not strictly below the true one's, itself included:
scores within 1e-6 of it, and scores that are not a number, count against the model. A true score that is not finite, or
a true candidate outside the pool, is a miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from molchord.errors import DataError
from molchord.retrieval.scores import scores

__all__ = [
    "KS",
    "METRICS",
    "Counts",
    "Interval",
    "Members",
    "Pool",
    "Scorer",
    "blind_mrr",
    "bootstrap",
    "calibration_error",
    "expected_metrics",
    "mean_by_molecule",
    "paired_difference",
    "paired_tanimoto",
    "query_metrics",
    "tally",
]

KS = (1, 5, 10, 25)
METRICS = (*(f"top{k}" for k in KS), "mrr", "tanimoto")
TIE = 1e-6

Scorer: TypeAlias = Callable[[slice, "slice | Tensor"], Tensor]
"""Scores of some queries (a slice) for some candidates (a slice, or int64 indices), shape (queries, candidates)."""


@runtime_checkable
class Pool(Protocol):
    """Which candidates are ranked for which query."""

    def mask(self, queries: slice, candidates: slice | Tensor) -> Tensor:
        """Return membership as bool, (queries or 1, candidates)."""
        ...


@dataclass(frozen=True)
class Members:
    """A pool of fixed members, the same for every query; `member` is (n,) bool."""

    member: Tensor

    def mask(self, queries: slice, candidates: slice | Tensor) -> Tensor:
        """Return one row of membership."""
        return self.member[candidates][None, :]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How each query's true candidate ranks in one pool; arrays of length q.

    Attributes:
        above: Other candidates that score higher by more than 1e-6.
        level: Other candidates within 1e-6, or with a score that is not a number.
        size: Candidates in the pool, the true one included where it belongs.
        found: Whether the true candidate is in the pool with a finite score.
        rival: Index of the best other candidate with a finite score (the first one of equals), -1 for none.
    """

    above: NDArray[np.int64]
    level: NDArray[np.int64]
    size: NDArray[np.int64]
    found: NDArray[np.bool_]
    rival: NDArray[np.int64]

    @property
    def rank(self) -> NDArray[np.float64]:
        """Return the rank of each query, infinite for a miss."""
        return np.where(self.found, 1.0 + self.above + self.level, np.inf)


def tally(
    scorer: Scorer,
    truth: Int64[Tensor, " q"],
    pools: Sequence[Pool],
    candidates: int,
    *,
    queries_at_once: int = 512,
    candidates_at_once: int = 8192,
) -> list[Counts]:
    """Count, for every pool at once, the candidates that rank above or level with each query's true one.

    Args:
        scorer: Called block by block, so that memory does not grow with queries times candidates.
        truth: Index of the true candidate; -1 where there is none.
        pools: Any number.
        candidates: How many candidates there are.
        queries_at_once: Rows of a block.
        candidates_at_once: Columns of a block.

    Raises:
        DataError: There are no candidates.

    Example:
        >>> values = torch.tensor([[0.1, 0.9, 0.9], [0.3, 0.2, 0.1]])
        >>> block = lambda rows, columns: values[rows][:, columns]
        >>> everyone = Members(torch.ones(3, dtype=torch.bool))
        >>> tally(block, torch.tensor([1, 0]), [everyone], 3)[0].rank.tolist()
        [2.0, 1.0]
    """
    if candidates == 0:
        raise DataError("evaluation failed: there is no candidate to rank; check that candidates could be embedded")
    parts: list[list[tuple[Tensor, ...]]] = [[] for _ in pools]
    for start in range(0, len(truth), queries_at_once):
        rows = slice(start, min(start + queries_at_once, len(truth)))
        for part, counts in zip(
            parts, _tally_rows(scorer, truth, pools, candidates, rows, candidates_at_once), strict=True
        ):
            part.append(counts)
    return [_joined(part) for part in parts]


def _tally_rows(
    scorer: Scorer, truth: Tensor, pools: Sequence[Pool], candidates: int, rows: slice, candidates_at_once: int
) -> list[tuple[Tensor, ...]]:
    here = truth[rows].cpu()
    # The true scores come from the diagonal of a block of their own, so that they round as the others do.
    target = scorer(rows, here.clamp(min=0)).diagonal()
    finite = target.isfinite() & (here >= 0).to(target.device)
    counts = [_Running(len(here), target.device) for _ in pools]
    for start in range(0, candidates, candidates_at_once):
        columns = slice(start, min(start + candidates_at_once, candidates))
        values = scorer(rows, columns)
        own = (here[:, None] == torch.arange(columns.start, columns.stop)).to(values.device)
        for pool, running in zip(pools, counts, strict=True):
            running.add(values, target[:, None], pool.mask(rows, columns).to(values.device), own, start)
    return [(r.above, r.level, r.size, finite & r.inside, r.rival) for r in counts]


class _Running:
    """Counts of one pool for some queries while the candidates stream by."""

    def __init__(self, queries: int, device: torch.device) -> None:
        self.above, self.level, self.size = (torch.zeros(queries, dtype=torch.int64, device=device) for _ in range(3))
        self.inside = torch.zeros(queries, dtype=torch.bool, device=device)
        self.rival = torch.full((queries,), -1, dtype=torch.int64, device=device)
        self.best: Tensor | None = None

    def add(self, values: Tensor, target: Tensor, mask: Tensor, own: Tensor, start: int) -> None:
        self.size += mask.expand(values.shape).sum(dim=1)
        self.inside |= (mask & own).any(dim=1)
        others = mask & ~own
        above = others & (values > target + TIE)
        # Not strictly below: this keeps a NaN, which `values >= target - TIE` would drop.
        level = others & ~(values < target - TIE) & ~above
        self.above += above.sum(dim=1)
        self.level += level.sum(dim=1)
        best, place = values.where(others & values.isfinite(), -torch.inf).max(dim=1)
        if self.best is None:
            self.best = torch.full_like(best, -torch.inf)
        better = best > self.best
        self.best = best.where(better, self.best)
        self.rival = (place + start).where(better, self.rival)


def _joined(parts: Sequence[tuple[Tensor, ...]]) -> Counts:
    def column(i: int, dtype: torch.dtype) -> NDArray[np.generic]:
        return torch.cat([part[i] for part in parts] or [torch.zeros(0, dtype=dtype)]).cpu().numpy()

    above, level, size, rival = (column(i, torch.int64).astype(np.int64) for i in (0, 1, 2, 4))
    return Counts(above=above, level=level, size=size, found=column(3, torch.bool).astype(np.bool_), rival=rival)


# --- metrics per query -----------------------------------------------------------------------------------------------


def query_metrics(counts: Counts, tanimoto: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the metrics of each query, ties against the model.

    Args:
        counts: From `tally`.
        tanimoto: (q,) similarity of each query's best other candidate to the truth; it is the first hit's unless the
            truth itself has rank 1.

    Shape:
        (q, metrics), in the order of `METRICS`.
    """
    rank = counts.rank
    tops = [rank <= k for k in KS]
    return np.column_stack([*tops, 1.0 / rank, np.where(rank == 1, 1.0, tanimoto)]).astype(np.float64)


def expected_metrics(counts: Counts) -> NDArray[np.float64]:
    """Return the expected metrics of each query when ties are broken at random; the Tanimoto column is NaN.

    With g candidates above and t level (the truth included), the rank is uniform on g + 1 ... g + t.

    Example:
        >>> one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
        >>> two_tied = Counts(above=zero, level=one, size=one + 1, found=one > 0, rival=zero)
        >>> expected_metrics(two_tied)[0, [0, 1, 4]].tolist()
        [0.5, 1.0, 0.75]
    """
    tied = 1 + counts.level
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int((counts.above + tied).max(initial=0)) + 1))])
    tops = [np.clip(k - counts.above, 0, tied) / tied for k in KS]
    reciprocal = (harmonic[counts.above + tied] - harmonic[counts.above]) / tied
    out = np.column_stack([*tops, reciprocal, np.full(len(tied), np.nan)])
    out[~counts.found, :-1] = 0.0
    return out


def paired_tanimoto(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the Tanimoto similarity of packed fingerprints row by row; 0 where both are empty.

    Shape:
        Two times (n, bytes) in, (n,) out.

    Example:
        >>> paired_tanimoto(np.array([[3]], np.uint8), np.array([[1]], np.uint8)).tolist()
        [0.5]
    """
    both = np.bitwise_count(a & b).sum(axis=1, dtype=np.float64)
    return np.asarray(both / np.maximum(np.bitwise_count(a | b).sum(axis=1, dtype=np.float64), 1.0))


# --- over molecules --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A metric with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


def mean_by_molecule(
    values: NDArray[np.float64], molecule: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Average the queries of each molecule; returns the molecules, ascending, and their means.

    Example:
        >>> mean_by_molecule(np.array([[0.0], [1.0], [1.0]]), np.array([7, 7, 3]))[1].tolist()
        [[1.0], [0.5]]
    """
    rows, group = np.unique(molecule, return_inverse=True)
    sums = np.zeros((len(rows), values.shape[1]))
    np.add.at(sums, group, values)
    return rows, sums / np.bincount(group, minlength=len(rows))[:, None]


def bootstrap(values: NDArray[np.float64], *, resamples: int = 1000, seed: int = 0) -> list[Interval]:
    """Return the mean of every column with its 95 % percentile interval over resampled molecules (rows).

    Example:
        >>> bootstrap(np.ones((5, 1)))
        [Interval(value=1.0, low=1.0, high=1.0)]
    """
    if len(values) == 0:
        return [Interval(np.nan, np.nan, np.nan)] * values.shape[1]
    means = np.concatenate([values[rows].mean(axis=1) for rows in _resampled(len(values), resamples, seed)])
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return [Interval(float(v), float(a), float(b)) for v, a, b in zip(values.mean(axis=0), low, high, strict=True)]


def paired_difference(
    first: tuple[NDArray[np.int64], NDArray[np.float64]],
    second: tuple[NDArray[np.int64], NDArray[np.float64]],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Interval]:
    """Return first minus second for every metric, with a paired bootstrap over the molecules.

    Args:
        first: Molecules and their means, as from `mean_by_molecule`.
        second: The same of the other row.
        resamples: Number of resamples.
        seed: Of the resampling.

    Raises:
        DataError: The two rows are not of the same molecules.
    """
    if not np.array_equal(first[0], second[0]):
        raise DataError(
            f"paired difference failed: the rows are of {len(first[0])} and {len(second[0])} molecules that are not "
            "the same; compare rows of one subset and one split"
        )
    return bootstrap(first[1] - second[1], resamples=resamples, seed=seed)


def _resampled(count: int, resamples: int, seed: int, at_once: int = 20) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, at_once):
        yield rng.integers(count, size=(min(at_once, resamples - start), count))


def calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017, eq. 3): mean |accuracy - confidence| over equal bins.

    Example:
        >>> calibration_error(np.array([0.9, 0.9]), np.array([True, False]))
        0.4
    """
    if len(confidence) == 0:
        return float("nan")
    group = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(group, weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


# --- while training --------------------------------------------------------------------------------------------------


def blind_mrr(
    queries: Mapping[str, Float[Tensor, "q d"]],
    present: Mapping[str, Bool[Tensor, " q"]],
    candidates: Float[Tensor, "n d"],
    truth: Int64[Tensor, " q"],
    tau: Mapping[str, float] | None = None,
) -> float:
    """Return the mean reciprocal rank of blind ``gm-exp`` search, each query with all the modalities it has.

    Args:
        queries: Unit rows per modality.
        present: Which queries have each modality; a query without any is left out.
        candidates: Unit rows of the pool; a row with a number that is not finite is not a member of it.
        truth: Index of each query's true candidate; -1, or a row that is not a member, is a miss.
        tau: Temperature per modality; None means 1.

    Raises:
        DataError: No query has any modality.

    Example:
        >>> both = torch.ones(2, dtype=torch.bool)
        >>> blind_mrr({"ir": torch.eye(2)}, {"ir": both}, torch.eye(2), torch.tensor([0, 0]))
        0.75
    """
    kept = torch.stack([present[name] for name in queries]).any(dim=0).nonzero()[:, 0] if queries else truth[:0]
    if len(kept) == 0:
        raise DataError(
            "validation failed: no validation molecule has a measurement of a modality that is searched with; choose "
            "another split, or validate on the loss"
        )
    vectors = {name: rows[kept] for name, rows in queries.items()}
    masks = {name: present[name][kept] for name in queries}

    def scorer(rows: slice, columns: slice | Tensor) -> Tensor:
        here = columns if isinstance(columns, slice) else columns.to(candidates.device)
        return scores(
            {name: part[rows] for name, part in vectors.items()},
            candidates[here],
            tau=tau,
            present={name: mask[rows] for name, mask in masks.items()},
        )

    pool = Members(candidates.isfinite().all(dim=1).cpu())
    counts = tally(scorer, truth[kept].cpu(), [pool], len(candidates))[0]
    return float(np.mean(1.0 / counts.rank))
