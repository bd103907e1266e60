"""Fits how measured or computed references count beside the model's own opinion, and when none is right.

Validation queries are searched in three ways: with their molecule among the candidates and another of its spectra among
the references, with the molecule alone, and with neither. References are those of a tenth, a half or all of the
molecules, so that hits with and without one compete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from molchord.absence import Background, Filter
from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.errors import DataError
from molchord.evaluate.absence import logistic_weights
from molchord.evaluate.compared import FEWEST_COMPARED, ReferenceSearches, compare, reference_searches
from molchord.evaluate.embedded import subsets
from molchord.evaluate.embedding import EmbeddedData, Perturb
from molchord.reference_weights import ReferenceWeights, merged_features, odds, terms
from molchord.vocabulary import ORIGINS, Origin

__all__ = ["ReferenceAnswers", "fit_references", "fit_weights_of_references", "reference_answers"]

_SIZES = (5, 20, 100, 500)
_KNOWN = (0.1, 0.5, 1.0)
"""Shares of the molecules that have references."""

_ABSENT = 0.2
"""Share of the searches without their molecule that the fit is for; half of the others have it among the references."""

_TOGETHER = 2
"""Spectra of a query that weights are fitted for together at most; those of more are put together from single ones."""

_PPM = 10e-6


@final
@dataclass(frozen=True, kw_only=True)
class ReferenceAnswers:
    """Searches of which it is known whether they could succeed, k of them.

    Attributes:
        rows: (k, 8) features of the first hit.
        absent: (k,) whether the molecule was not among the candidates.
        referenced: (k,) whether it had a reference.
        right: (k,) whether the first hit is it.
        share: (k,) share of the first hit.
    """

    rows: NDArray[np.float64]
    absent: NDArray[np.bool_]
    referenced: NDArray[np.bool_]
    right: NDArray[np.bool_]
    share: NDArray[np.float64]


def fit_references(
    embedder: Embedder,
    dataset: DataSet,
    found: EmbeddedData,
    background: Background | None,
    tau: Mapping[str, float],
    beta: Mapping[int, float],
    *,
    perturb: Perturb | None = None,
    split: str = "val",
    seed: int = 0,
) -> dict[Origin, dict[str, ReferenceWeights]]:
    """Fit on the queries of a split, with the measurements of the same molecules as references.

    Args:
        embedder: The model.
        dataset: The data set.
        found: The data set, embedded; queries that `perturb` changed included.
        background: Of the run; None: it has none.
        tau: Temperatures.
        beta: Confidence factor for each number of spectra.
        perturb: What made the queries of stored measurements; a query that nothing changed is no reference of its own.
        split: Whose queries.
        seed: Of all draws.

    Returns:
        By origin of the references, then by the query's modalities joined by " + ", where there are enough queries with
        a reference of their molecule.

    Raises:
        DataError: There are not enough for any.
    """
    out: dict[Origin, dict[str, ReferenceWeights]] = {}
    compared = compare(embedder, dataset, found, perturb=perturb, split=split, seed=seed)
    origins: tuple[Origin, ...] = ORIGINS
    for origin, subset in product(origins, subsets(list(compared))):
        if len(subset) > _TOGETHER:
            continue
        made = reference_searches(found.embedded, compared, background, tau, beta, subset, origin, split=split)
        weights = None if made is None else fit_weights_of_references(made, subset, seed)
        if weights is not None:
            out.setdefault(origin, {})[" + ".join(subset)] = weights
    if not out:
        raise DataError(
            f"references of {str(dataset.path)!r} cannot be calibrated: fewer than {FEWEST_COMPARED} queries have "
            "another spectrum of their molecule; give a data set with several measurements of a molecule"
        )
    return out


def reference_answers(
    searches: ReferenceSearches,
    weights: ReferenceWeights,
    narrowed: Filter,
    *,
    sizes: Sequence[int] = _SIZES,
    seed: int = 0,
) -> ReferenceAnswers | None:
    """Search with each query in the three ways for each pool; None where there is no search.

    Args:
        searches: The queries.
        weights: How references count.
        narrowed: What narrowed the candidates.
        sizes: Numbers of random candidates, where nothing did.
        seed: Of all draws.
    """
    made = []
    for query, pool, own, likeness, absent in _searches(searches, narrowed, sizes, seed):
        worth = np.sum([weights.worth(name, values) for name, values in likeness.items()], axis=0)
        has = np.any([np.isfinite(values) for values in likeness.values()], axis=0)
        prior = weights.balance * odds(int(has.sum()), len(pool)) * has
        scores = weights.logit * searches.logits[query, pool] + worth + prior
        first = int(scores.argmax())
        share = float(np.exp(scores[first] - np.logaddexp.reduce(scores)))
        value = float(searches.logits[query, pool[first]])
        row = merged_features(
            value, value / searches.total, len(pool), share, torch.from_numpy(searches.behind[query]),
            first=worth[first] if has[first] else np.nan,
            best=worth[has].max() if has.any() else np.nan,
        )  # fmt: skip
        place = np.flatnonzero(pool == own)
        known = not absent and bool(has[place[0]])
        made.append((row, absent, known, not absent and first == place[0], share))
    if not made:
        return None
    rows, absents, referenced, right, shares = zip(*made, strict=True)
    return ReferenceAnswers(
        rows=np.stack(rows), absent=np.array(absents), referenced=np.array(referenced),
        right=np.array(right), share=np.array(shares),
    )  # fmt: skip


def fit_weights_of_references(
    searches: ReferenceSearches, subset: tuple[str, ...], seed: int = 0
) -> ReferenceWeights | None:
    """Fit the scores by the likelihood of the molecules that are there, then none of these by who came first.

    Args:
        searches: The queries of a set of spectra.
        subset: The modalities.
        seed: Of the draws of candidates and of who has references.

    Returns:
        None where there are too few searches for "none of these".
    """
    names = [name for name in subset if name in searches.likeness]
    found, count = _conditional_logit(searches, names, seed)
    spectra = {name: (float(found[2 + 2 * i]), float(found[3 + 2 * i])) for i, name in enumerate(names)}
    weights = ReferenceWeights(
        logit=float(found[0]), balance=float(found[1]), spectra=spectra, queries=searches.queries, fitted_on=count
    )
    none: dict[Filter, list[float]] = {}
    filters: tuple[Filter, ...] = ("none", "formula", "mass")
    for narrowed in filters:
        made = reference_answers(searches, weights, narrowed, seed=seed)
        if made is None or min(made.absent.sum(), made.referenced.sum()) < FEWEST_COMPARED:
            continue
        none[narrowed] = logistic_weights(made.rows, made.absent, _weight(made))
    return weights.model_copy(update={"none": none}) if "none" in none else None


# --- helpers


def _weight(made: ReferenceAnswers) -> NDArray[np.float64]:
    """Weigh the searches so that a fifth is without the molecule, and half of the others with a reference of it."""
    known, alone = made.referenced, ~made.referenced & ~made.absent
    weight = np.zeros(len(made.rows))
    for kind, share in ((made.absent, _ABSENT), (known, (1 - _ABSENT) / 2), (alone, (1 - _ABSENT) / 2)):
        weight[kind] = share / max(1, kind.sum())
    return weight


def _conditional_logit(searches: ReferenceSearches, names: Sequence[str], seed: int) -> tuple[NDArray[np.float64], int]:
    """Fit the weights of a softmax over candidates, with a weak prior that the structure counts as it is."""
    rows, weight = [], []
    for narrowed, sizes in (("none", (20, 100)), ("formula", ())):
        for query, pool, own, likeness, absent in _searches(searches, narrowed, sizes, seed):  # type: ignore[arg-type]
            if absent or len(pool) < 2:
                continue
            has = np.any([np.isfinite(likeness[name]) for name in names], axis=0)
            prior = odds(int(has.sum()), len(pool)) * has
            columns = [np.stack([searches.logits[query, pool], prior], axis=1)]
            columns += [terms(likeness[name]) for name in names]
            place = int(np.flatnonzero(pool == own)[0])
            order = np.append(place, np.delete(np.arange(len(pool)), place))  # the molecule comes first
            rows.append(np.concatenate(columns, axis=1)[order])
            weight.append(bool(has[place]))
    longest, width = max(map(len, rows)), rows[0].shape[1]
    table, there = np.zeros((len(rows), longest, width)), np.zeros((len(rows), longest), dtype=bool)
    for i, part in enumerate(rows):
        table[i, : len(part)], there[i, : len(part)] = part, True
    known = np.array(weight)
    each = torch.from_numpy(np.where(known, 0.5 / max(1, known.sum()), 0.5 / max(1, (~known).sum())))
    x, mask = torch.from_numpy(table), torch.from_numpy(there)
    # Nearer never counts less, nor does a better structure: these weights are the exponentials of what is fitted.
    positive = torch.tensor([i == 0 or (i > 2 and i % 2 == 1) for i in range(width)])
    prior = torch.tensor([0.0, 1.0, *([0.0] * (width - 2))], dtype=torch.float64)
    fitted = prior.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([fitted], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = (x @ torch.where(positive, fitted.exp(), fitted)).masked_fill(~mask, -torch.inf)
        loss = (each * (total.logsumexp(dim=1) - total[:, 0])).sum() + 1e-3 * (fitted - prior).square().sum()
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return torch.where(positive, fitted.exp(), fitted).detach().numpy(), len(rows)


def _searches(
    searches: ReferenceSearches, narrowed: Filter, sizes: Sequence[int], seed: int
) -> Iterator[tuple[int, NDArray[np.int64], int, dict[str, Float[NDArray[np.float64], " n"]], bool]]:
    """Yield query, pool, its molecule, the pool's likenesses and whether the molecule is not in the pool."""
    rng = np.random.default_rng(seed)
    whole, formulas = searches.embedded, np.array(searches.embedded.formula)
    for query, own in enumerate(searches.molecule.tolist()):
        others = np.ones(len(whole), dtype=bool)
        if narrowed == "formula":
            others = formulas == formulas[own]
        elif narrowed == "mass":
            others = np.abs(whole.exact_mass - whole.exact_mass[own]) <= _PPM * whole.exact_mass[own]
        others[own] = False
        usable = rng.permutation(np.flatnonzero(others))
        for size in [min(size, len(usable)) for size in sizes] if narrowed == "none" else [len(usable)]:
            if size == 0:
                continue
            drawn = usable[:size]
            known = rng.random(size) < rng.choice(_KNOWN)
            for pool, with_reference in (
                (np.append(drawn[1:], own), True), (np.append(drawn[1:], own), False), (drawn, False),
            ):  # fmt: skip
                absent = pool is drawn
                shown = known if absent else np.append(known[1:], with_reference)
                likeness = {
                    name: np.where(shown, part[query, pool], np.nan) for name, part in searches.likeness.items()
                }
                if with_reference and not any(np.isfinite(part[-1]) for part in likeness.values()):
                    continue
                yield query, pool, own, likeness, absent
