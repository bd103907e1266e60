"""Temperatures and confidences fitted on validation queries.

The confidence of a candidate is the softmax over the pool of beta_M * sum_m cos_m / tau_m. Spectra of one molecule are
not independent, so beta is fitted for each number M of spectra (temperature scaling, Guo et al. 2017, section 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from molchord.errors import DataError
from molchord.evaluate.embedded import Embedded, Queries, queries_of, subsets
from molchord.evaluate.pools import make_pool
from molchord.retrieval.metrics import Pool, Scorer

__all__ = ["calibrate", "confidences", "fit_beta", "fit_tau", "likeness", "logit_scorer", "logits"]

_MOST_ENTRIES = 2**25
_TAU_RANGE = (1e-3, 10.0)
_BETA_RANGE = (1e-3, 1e3)


def calibrate(
    embedded: Embedded, *, split: str = "val", pool: str = "all", refit_tau: bool = False, seed: int = 0
) -> tuple[dict[str, float], dict[int, float]]:
    """Fit temperatures and confidence scales on validation queries: tau per modality, beta per number of spectra.

    Args:
        embedded: The embedded data set; its `tau` is kept unless `refit_tau` is true or it has none. Where it is fitted
            anew, all queries of every subset of spectra count equally, and its `tau` is a weak prior.
        split: The split whose queries are fitted on.
        pool: The pool they are ranked in; ``test`` means the structures of `split`.
        refit_tau: Whether to fit the temperatures anew.
        seed: Of the draw of queries, where there are more than fit in memory.

    Raises:
        DataError: No molecule of the split has a spectrum, or the pool is not one of fixed members.
    """
    by_subset = [queries_of(embedded, subset, split) for subset in subsets(list(embedded.spectra))]
    by_subset = [queries for queries in by_subset if len(queries) > 0]
    if not by_subset:
        raise DataError(f"calibration failed: no molecule of split {split!r} has a spectrum; choose another split")
    members = _fixed_members(embedded, pool, split, seed)
    place = np.full(len(embedded), -1)
    place[members] = np.arange(len(members))
    candidates = embedded.candidates[torch.from_numpy(members)].cpu()
    tau = dict(embedded.tau or {})
    if refit_tau or not tau:
        most = _MOST_ENTRIES // len(members) // len(by_subset)
        found = [_reachable(embedded, queries, place, most, seed) for queries in by_subset]
        size = embedded.candidates.shape[1]
        # A spectrum that a subset lacks is a row of zeros: its cosine with every candidate is 0.
        stacked = {
            name: torch.cat([vectors.get(name, torch.zeros(len(truth), size)) for vectors, truth in found])
            for name in embedded.spectra
        }
        tau = fit_tau(stacked, candidates, torch.cat([truth for _, truth in found]), prior=embedded.tau, seed=seed)
    beta = {}
    for size in sorted({len(queries.subset) for queries in by_subset}):
        same = [queries for queries in by_subset if len(queries.subset) == size]
        most = _MOST_ENTRIES // len(members) // len(same)
        parts = [_reachable(embedded, queries, place, most, seed) for queries in same]
        truth = torch.cat([found for _, found in parts])
        if len(truth) > 0:
            beta[size] = fit_beta(torch.cat([logits(vectors, candidates, tau) for vectors, _ in parts]), truth)
    return tau, beta


def likeness(
    embedded: Embedded, *, split: str = "val", most: float = 0.05, points: int = 20
) -> dict[str, list[tuple[float, float]]]:
    """Return how dissimilar a query can be to its own molecule: the lower end of a distribution, whatever the pool.

    Similarity is the mean cosine of the query's spectra, weighted by 1 / tau, which is what blind ``gm-exp`` ranks by.
    A query whose best candidate is less similar than nearly all queries are to their own molecule is probably of a
    molecule that is not in the pool, or dissimilar to what the model was trained on.

    Args:
        embedded: The embedded data set.
        split: The split whose queries are looked at.
        most: Share at which the lower end stops.
        points: Most pairs a subset.

    Returns:
        By the query's modalities joined by " + ", where there are about ``2 / most`` queries or more: mean cosines,
        ascending, each with (k + 1) / (n + 1) of the n queries, of which k are no more like their molecule.

    Example:
        >>> from molchord.evaluate.embedded import Spectra
        >>> embedded = Embedded(
        ...     key14=["A", "B"], smiles=["C", "CC"], formula=["CH4", "C2H6"], exact_mass=np.array([16.031, 30.047]),
        ...     split=np.array([1, 1]), trained=np.zeros(2, bool), candidates=torch.eye(2), present=np.ones(2, bool),
        ...     spectra={"ir": Spectra(molecule=np.array([0, 1]), vectors=torch.eye(2))},
        ... )
        >>> likeness(embedded, most=0.7), likeness(embedded)
        ({'ir': [(1.0, 0.6666666666666666)]}, {})
    """
    lower = {}
    for subset in subsets(list(embedded.spectra)):
        queries = queries_of(embedded, subset, split)
        there = torch.from_numpy(embedded.present[queries.molecule])
        molecules = embedded.candidates[torch.from_numpy(queries.molecule)].float()
        weights = {name: 1 / (embedded.tau or {}).get(name, 1.0) for name in subset}
        total = torch.zeros(len(queries))
        for name, vectors in queries.vectors(embedded).items():
            total += weights[name] * (vectors.float() * molecules).sum(dim=1)
        similar = np.sort((total[there] / sum(weights.values())).double().numpy())
        count = int(most * (len(similar) + 1)) - 1
        if count < 1:
            continue
        ranks = np.unique(np.linspace(0, count - 1, points).round().astype(int))
        lower[" + ".join(subset)] = [(float(similar[k]), (int(k) + 2) / (len(similar) + 1)) for k in ranks]
    return lower


def logits(
    queries: Mapping[str, Float[Tensor, "q d"]],
    candidates: Float[Tensor, "n d"],
    tau: Mapping[str, float],
    present: Mapping[str, Bool[Tensor, " q"]] | None = None,
) -> Float[Tensor, "q n"]:
    """Return sum_m cos_m / tau_m over the modalities that each query has.

    Example:
        >>> logits({"ir": torch.eye(2)}, torch.eye(2), {"ir": 0.5})
        tensor([[2., 0.],
                [0., 2.]])
    """
    total = None
    for name, vectors in queries.items():
        part = vectors.float() / tau[name]
        if present is not None and name in present:
            part = torch.where(present[name][:, None], part, 0.0)
        total = part if total is None else total + part
    if total is None:
        raise DataError("confidence failed: the query has no modality; give at least one spectrum")
    return total @ candidates.float().T


def fit_tau(
    queries: Mapping[str, Float[Tensor, "q d"]],
    candidates: Float[Tensor, "n d"],
    truth: Int64[Tensor, " q"],
    *,
    prior: Mapping[str, float] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Fit one temperature per modality by the log-likelihood of the true candidates (convex in 1 / tau).

    Args:
        queries: Unit rows per modality, of validation molecules; zero rows where a query lacks the modality.
        candidates: Unit rows of a pool of the kind that metrics are reported on.
        truth: Index of each query's true candidate.
        prior: Temperatures to start from; that log tau is normal around them with variance 1 keeps a handful of queries
            from moving them far. None: no prior.
        seed: Of the draw of queries, where there are more than fit in memory.

    Returns:
        Temperatures within 0.001 and 10.

    Raises:
        DataError: There are no queries.
    """
    kept = _drawn(len(truth), len(candidates), seed)
    cosines = [vectors[kept].float() @ candidates.float().T for vectors in queries.values()]
    target = truth[kept]
    start = torch.tensor([-math.log(0.1 if prior is None else prior[name]) for name in queries])
    log_scale = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([log_scale], max_iter=50, line_search_fn="strong_wolfe")
    low, high = -math.log(_TAU_RANGE[1]), -math.log(_TAU_RANGE[0])

    def closure() -> Tensor:
        optimizer.zero_grad()
        scales = log_scale.clamp(low, high).exp()
        total = torch.stack([cosine * scale for cosine, scale in zip(cosines, scales, strict=True)]).sum(dim=0)
        loss = torch.nn.functional.cross_entropy(total, target)
        if prior is not None:
            loss = loss + (log_scale - start).square().sum() / 2 / len(target)
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    fitted = (-log_scale.detach().clamp(low, high)).exp().tolist()
    return dict(zip(queries, fitted, strict=True))


def fit_beta(values: Float[Tensor, "q n"], truth: Int64[Tensor, " q"]) -> float:
    """Fit the scale beta of softmax(beta * values) by the likelihood of the true candidates, and a weak prior at 1.

    Args:
        values: `logits` of validation queries, all with the same number of spectra.
        truth: Index of each query's true candidate.

    Raises:
        DataError: There are no queries.

    Example:
        >>> round(fit_beta(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0, 1])), 4)
        0.7509
    """
    if len(truth) == 0:
        raise DataError("calibration failed: there are no validation queries; calibrate on a split that has spectra")
    true = float(values.gather(1, truth[:, None]).double().mean())
    low, high = (math.log(end) for end in _BETA_RANGE)
    # The likelihood is concave in beta, so its derivative changes sign once. The weak prior (log beta is normal with
    # variance 10) keeps a handful of queries that are all right from claiming certainty. 30 halvings: 1e-8.
    for _ in range(30):
        middle = (low + high) / 2
        slope = _expected(values, math.exp(middle)) - true + 0.1 * middle / math.exp(middle) / len(truth)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp((low + high) / 2)


def _expected(values: Float[Tensor, "q n"], beta: float, entries_at_once: int = 2**20) -> float:
    """Return the mean over queries of sum_n softmax(beta * values)_n * values_n, in fp64 by blocks that fit a cache."""
    total = 0.0
    rows = max(1, entries_at_once // values.shape[1])
    for start in range(0, len(values), rows):
        exact = values[start : start + rows].double()
        total += float(((beta * exact).softmax(dim=1) * exact).sum())
    return total / len(values)


def logit_scorer(embedded: Embedded, queries: Queries, beta: float, *, device: str = "cpu") -> Scorer:
    """Return the scorer whose softmax over a pool is the confidence: beta times the logits of these queries."""
    tau = embedded.tau or {name: 1.0 for name in queries.subset}
    vectors = {name: rows.to(device) for name, rows in queries.vectors(embedded).items()}

    def scorer(rows: slice, columns: slice | Tensor) -> Tensor:
        query = {name: part[rows] for name, part in vectors.items()}
        return beta * logits(query, embedded.candidates[columns].to(device), tau)

    return scorer


def confidences(
    scorer: Scorer, truth: Int64[Tensor, " q"], pool: Pool, candidates: int, *, queries_at_once: int = 512
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the probability of each query's first hit in a pool, and whether that hit is the truth.

    Args:
        scorer: Gives beta_M times the logits of a block.
        truth: Index of the true candidate; -1 for none.
        pool: Which candidates count.
        candidates: How many candidates there are.
        queries_at_once: Rows of a block.
    """
    probability, correct = [np.zeros(0)], [np.zeros(0, dtype=np.bool_)]
    for start in range(0, len(truth), queries_at_once):
        rows = slice(start, min(start + queries_at_once, len(truth)))
        top, place, total = _streamed(scorer, pool, rows, candidates)
        probability.append((top - total).exp().double().cpu().nan_to_num(0.0).numpy())
        correct.append(((place.cpu() == truth[rows]) & top.isfinite().cpu()).numpy())
    return np.concatenate(probability), np.concatenate(correct)


def _streamed(
    scorer: Scorer, pool: Pool, rows: slice, candidates: int, candidates_at_once: int = 8192
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the highest value in the pool, its column and the log-sum-exp of each row over all blocks."""
    tops, places, totals = [], [], []
    for start in range(0, candidates, candidates_at_once):
        columns = slice(start, min(start + candidates_at_once, candidates))
        values = scorer(rows, columns)
        usable = pool.mask(rows, columns).to(values.device) & values.isfinite()
        values = values.where(usable, -torch.inf)
        top, place = values.max(dim=1)
        tops.append(top)
        places.append(place + start)
        totals.append(values.logsumexp(dim=1))
    best, which = torch.stack(tops).max(dim=0)
    return best, torch.stack(places).gather(0, which[None])[0], torch.stack(totals).logsumexp(dim=0)


def _drawn(queries: int, candidates: int, seed: int) -> Tensor:
    """Return the queries to fit on: all, or as many as keep a matrix of them within memory."""
    if queries == 0:
        raise DataError("calibration failed: there are no validation queries; calibrate on a split that has spectra")
    most = max(1, _MOST_ENTRIES // max(1, candidates))
    chosen = np.random.default_rng(seed).permutation(queries)[:most]
    return torch.from_numpy(np.sort(chosen))


def _fixed_members(embedded: Embedded, pool: str, split: str, seed: int) -> NDArray[np.int64]:
    made = make_pool(
        pool,
        molecule=np.zeros(0, dtype=np.int64),
        present=embedded.present,
        queried=embedded.in_split(split),
        held_out=embedded.in_split("test") | embedded.in_split("val"),
        trained=embedded.trained,
        formula=embedded.formula,
        mass=embedded.exact_mass,
        measured=embedded.exact_mass,
        seed=seed,
    )
    if made.isomers or made.with_mass:
        raise DataError(f"calibration failed: pool {pool!r} differs by query; allowed: 'all', 'test', 'unseen:N'")
    return np.flatnonzero(made.members.numpy())


def _reachable(
    embedded: Embedded, queries: Queries, place: NDArray[np.int64], most: int, seed: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the vectors of at most so many queries whose molecule is in the pool, and where it is there."""
    inside = np.flatnonzero(place[queries.molecule] >= 0)
    chosen = np.sort(np.random.default_rng(seed).permutation(inside)[: max(1, most)])
    rows = torch.from_numpy(chosen)
    vectors = {name: part[rows].cpu() for name, part in queries.vectors(embedded).items()}
    return vectors, torch.from_numpy(place[queries.molecule[chosen]])
