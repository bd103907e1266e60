"""Fits the probability of none of the candidates on validation queries, with and without their molecule among them.

That searches which cannot succeed show what a wrong first hit looks like is the target-decoy idea of proteomics (Elias
and Gygi, Nat. Methods 4, 207, 2007).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from molchord.absence import Absence, Background, Filter, first_hit_features
from molchord.evaluate.calibration import logits
from molchord.evaluate.embedded import Embedded, queries_of, subsets

__all__ = ["ABSENT", "Answers", "answers", "background_of", "fit_absence", "logistic_weights"]

_MOST_BEHIND = 1024
"""Molecules of the background."""

SIZES = (1, 2, 5, 20, 100, 500, 2000)
_PPM = 10e-6
ABSENT = 0.2
"""Share of the searches without their molecule that the fit is for."""

_FEWEST, _MOST = 40, 400
"""Queries of a set of spectra: with fewer nothing is fitted, more are drawn from."""


@final
@dataclass(frozen=True, kw_only=True)
class Answers:
    """Searches of which it is known whether they could succeed, k of them.

    Attributes:
        rows: (k, 5) features of the first hit.
        absent: (k,) whether the query's molecule was not among the candidates.
        right: (k,) whether the first hit is the query's molecule.
        share: (k,) share of the first hit among the candidates, by the softmax.
        query: (k,) which query each search is of.
    """

    rows: NDArray[np.float64]
    absent: NDArray[np.bool_]
    right: NDArray[np.bool_]
    share: NDArray[np.float64]
    query: NDArray[np.int64]


def background_of(embedded: Embedded, seed: int = 0) -> Background:
    """Return candidates that no validation or test query is of, drawn at random; of a small set there may be none."""
    held_out = embedded.in_split("val") | embedded.in_split("test")
    usable = np.flatnonzero(embedded.present & ~held_out)
    drawn = np.sort(np.random.default_rng(seed).permutation(usable)[:_MOST_BEHIND])
    vectors = embedded.candidates[torch.from_numpy(drawn)].cpu().float()
    return Background(key14=tuple(embedded.key14[row] for row in drawn.tolist()), vectors=vectors)


def fit_absence(
    embedded: Embedded,
    background: Background,
    tau: Mapping[str, float],
    beta: Mapping[int, float],
    *,
    split: str = "val",
    seed: int = 0,
) -> dict[str, Absence]:
    """Fit on the queries of a split, with and without their molecule among random candidates, isomers, equal masses.

    Args:
        embedded: The embedded data set.
        background: As `background_of` gives it.
        tau: Temperatures.
        beta: Confidence factor for each number of spectra.
        split: Whose queries.
        seed: Of all draws.

    Returns:
        By the query's modalities joined by " + ", where there are enough queries.
    """
    found: dict[str, Absence] = {}
    if len(background.key14) == 0:
        return found
    for subset in subsets(list(embedded.spectra)):
        if len(subset) not in beta:
            continue
        weights: dict[Filter, list[float]] = {}
        for narrowed in ("none", "formula", "mass"):
            made = answers(embedded, background, subset, narrowed, tau, beta[len(subset)], split=split, seed=seed)
            if made is not None and min(made.absent.sum(), (~made.absent).sum()) >= _FEWEST:
                weights[narrowed] = logistic_weights(made.rows, made.absent, _weight(made))
        if "none" in weights:
            found[" + ".join(subset)] = Absence(weights=weights)
    return found


def answers(
    embedded: Embedded,
    background: Background,
    subset: tuple[str, ...],
    narrowed: Filter,
    tau: Mapping[str, float],
    beta: float,
    *,
    split: str,
    sizes: tuple[int, ...] = SIZES,
    seed: int = 0,
) -> Answers | None:
    """Search with each query of a set of spectra twice for each pool: with its molecule among the candidates, without.

    The two searches of a pool follow each other in this order.

    Args:
        embedded: The embedded data set.
        background: As `background_of` gives it.
        subset: The modalities.
        narrowed: Candidates are drawn at random in each of the sizes, and all; or are those of one formula, or mass.
        tau: Temperatures.
        beta: Confidence factor for so many spectra.
        split: Whose queries.
        sizes: Numbers of random candidates.
        seed: Of all draws.

    Returns:
        None where there are too few queries.
    """
    queries = queries_of(embedded, subset, split, most=1)
    rng = np.random.default_rng(seed)
    reachable = np.flatnonzero(embedded.present[queries.molecule])
    chosen = np.sort(rng.permutation(reachable)[:_MOST])
    if len(chosen) < _FEWEST:
        return None
    vectors = {name: part[torch.from_numpy(chosen)].cpu() for name, part in queries.vectors(embedded).items()}
    values = beta * logits(vectors, embedded.candidates.cpu(), tau)
    behind = beta * logits(vectors, background.vectors, tau)
    total = beta * sum(1 / tau[name] for name in subset)
    place_of = {key: place for place, key in enumerate(background.key14)}
    formulas = np.array(embedded.formula)
    made = []
    for query, own in enumerate(queries.molecule[chosen].tolist()):
        for others in _pools(embedded, own, formulas, narrowed, sizes, rng):
            # As many candidates with the molecule as without, or their number would tell.
            for pool in (np.append(others[1:], own), others):
                best, first, share = _first(values[query], pool)
                seen = _without(behind[query], place_of.get(embedded.key14[best]))
                row = first_hit_features(first, first / total, len(pool), share, seen)
                made.append((row, pool is others, best == own, share, query))
    if not made:
        return None
    rows, absent, right, shares, asked = zip(*made, strict=True)
    return Answers(
        rows=np.stack(rows),
        absent=np.array(absent),
        right=np.array(right),
        share=np.array(shares),
        query=np.array(asked),
    )


def _first(values: Float[Tensor, " n"], pool: NDArray[np.int64]) -> tuple[int, float, float]:
    """Return the first hit of a pool, its value and its share by the softmax."""
    part = values[torch.from_numpy(pool)].double()
    place = int(part.argmax())
    return int(pool[place]), float(part[place]), float((part[place] - part.logsumexp(dim=0)).exp())


def _without(row: Tensor, place: int | None) -> Tensor:
    return row if place is None or len(row) == 1 else torch.cat([row[:place], row[place + 1 :]])


def _pools(
    embedded: Embedded,
    own: int,
    formulas: NDArray[np.str_],
    narrowed: Filter,
    sizes: tuple[int, ...],
    rng: np.random.Generator,
) -> Iterator[NDArray[np.int64]]:
    """Yield the candidates of each pool, one at least, the molecule itself not among them."""
    others = embedded.present.copy()
    others[own] = False
    if narrowed == "formula":
        others &= formulas == formulas[own]
    elif narrowed == "mass":
        mass = embedded.exact_mass[own]
        others &= np.abs(embedded.exact_mass - mass) <= _PPM * mass
    usable = rng.permutation(np.flatnonzero(others))
    if narrowed == "none":
        for size in sizes:
            if size < len(usable):
                yield rng.choice(usable, size, replace=False)
    if len(usable):
        yield usable


def logistic_weights(
    rows: Float[NDArray[np.float64], "k f"], absent: NDArray[np.bool_], weight: Float[NDArray[np.float64], " k"]
) -> list[float]:
    """Fit a logistic regression of what is absent, with a weak ridge; returns a weight per feature and a constant.

    Args:
        rows: Features of the first hits.
        absent: Whether the molecule was not among the candidates.
        weight: What each search counts; the sum is 1.
    """
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread[spread < 1e-9] = 1.0
    x = torch.from_numpy((rows - mean) / spread)
    y, each = torch.from_numpy(absent).double(), torch.from_numpy(weight)
    fitted = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([fitted], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logit = x @ fitted[:-1] + fitted[-1]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logit, y, reduction="none")
        loss = (each * losses).sum() + 1e-3 * fitted[:-1].square().sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    weights = fitted.detach().numpy()[:-1] / spread
    return [*map(float, weights), float(fitted.detach()[-1]) - float(weights @ mean)]


def _weight(made: Answers) -> NDArray[np.float64]:
    """Weigh the searches so that those without their molecule are `ABSENT` together."""
    weight = np.where(made.absent, ABSENT / made.absent.sum(), (1 - ABSENT) / (~made.absent).sum())
    return np.asarray(weight, dtype=np.float64)
