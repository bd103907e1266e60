"""Stated probabilities against what was true, of first hits and of "none of these"."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from molchord.absence import Absence, Background
from molchord.evaluate.absence import ABSENT, answers
from molchord.evaluate.calibration import confidences, logit_scorer
from molchord.evaluate.embedded import Embedded, candidate_pool, queries_of
from molchord.evaluate.pictures import Bin, Reliability
from molchord.retrieval.metrics import Interval

__all__ = ["FEWEST", "binned", "reliabilities", "wilson"]

FEWEST = 40
"""Queries of a set of spectra; of fewer nothing is stated."""

_SIZES = (20, 200)
"""Candidates of a search, drawn at random; a third one is among all."""


def reliabilities(
    embedded: Embedded,
    subset: tuple[str, ...],
    *,
    beta: Mapping[int, float],
    absence: Mapping[str, Absence],
    background: Background | None,
    split: str = "test",
    seed: int = 0,
) -> tuple[Reliability, ...]:
    """Search with each query of a set of spectra, and compare what is stated with what is true.

    Where "none of these" was fitted, a query is searched with among 20, among 200 and among all candidates, and a fifth
    of the searches, drawn at random, are without the query's molecule: the mixture that it was fitted for. Otherwise
    each query is searched with among all candidates, its molecule among them.

    Args:
        embedded: The embedded data set.
        subset: The modalities.
        beta: Confidence factor for each number of spectra.
        absence: What "none of these" is judged by, by the modalities joined by " + ".
        background: Molecules that it is judged by.
        split: Whose queries.
        seed: Of all draws.

    Returns:
        None at all where nothing was calibrated for such queries, or there are fewer than `FEWEST` of them.
    """
    queries = queries_of(embedded, subset, split, most=1)
    reachable = embedded.present[queries.molecule]
    if len(subset) not in beta or reachable.sum() < FEWEST:
        return ()
    fitted = absence.get(" + ".join(subset))
    if fitted is None or background is None:
        scorer = logit_scorer(embedded, queries, beta[len(subset)])
        pool = candidate_pool(embedded, queries, "all", split=split, seed=seed)
        stated, right = confidences(scorer, queries.truth(embedded), pool, len(embedded))
        bins = binned(stated[reachable], right[reachable], np.arange(int(reachable.sum())))
        return (Reliability(subset=subset, event="first hit", absent=0.0, bins=bins),)
    made = answers(
        embedded,
        background,
        subset,
        "none",
        embedded.tau or {},
        beta[len(subset)],
        split=split,
        sizes=_SIZES,
        seed=seed,
    )
    if made is None:
        return ()
    # A search with the molecule is followed by the one without it; one of the two is taken.
    pairs = np.arange(len(made.absent) // 2)
    taken = 2 * pairs + (np.random.default_rng(seed).random(len(pairs)) < ABSENT)
    none = np.array([fitted.probability(row, "none") for row in made.rows[taken]])
    absent = made.absent[taken]
    events = {"first hit": ((1 - none) * made.share[taken], made.right[taken]), "none of these": (none, absent)}
    return tuple(
        Reliability(
            subset=subset, event=event, absent=float(absent.mean()), bins=binned(stated, true, made.query[taken])
        )
        for event, (stated, true) in events.items()
    )


def binned(
    stated: NDArray[np.float64], true: NDArray[np.bool_], query: NDArray[np.int64], bins: int = 10
) -> tuple[Bin, ...]:
    """Put searches into bins of equal width by what was stated.

    Args:
        stated: (k,) probabilities.
        true: (k,) whether it was so.
        query: (k,) which query each search is of; searches of one query are not independent.
        bins: How many.

    Example:
        >>> [one] = binned(np.array([0.92, 0.98]), np.array([True, False]), np.array([0, 1]))
        >>> one.searches, round(one.stated, 2), one.found.value
        (2, 0.95, 0.5)
    """
    group = np.minimum((stated * bins).astype(np.int64), bins - 1)
    found = []
    for index in np.unique(group).tolist():
        here = group == index
        queries = len(np.unique(query[here]))
        found.append(
            Bin(
                low=index / bins,
                high=(index + 1) / bins,
                searches=int(here.sum()),
                queries=queries,
                stated=float(stated[here].mean()),
                found=wilson(float(true[here].mean()), queries),
            )
        )
    return tuple(found)


def wilson(share: float, count: int) -> Interval:
    """Return a share with its 95 % score interval (Wilson 1927), which is never empty, even where all or none are so.

    Example:
        >>> found = wilson(1.0, 10)
        >>> found.value, round(found.low, 3), found.high
        (1.0, 0.722, 1.0)
    """
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))
