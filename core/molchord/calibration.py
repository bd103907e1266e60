"""Temperatures and confidences fitted on validation queries.

The confidence of a candidate g is softmax over the pool of beta_M * sum_m cos_m / tau_m. Spectra of one molecule are not
independent, so the scale beta is fitted for each number M of spectra (temperature scaling, Guo et al. 2017, section 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from molchord.errors import DataError
from molchord.metrics import Pool, Scorer

__all__ = ["confidences", "fit_beta", "fit_tau", "logits"]

_MOST_ENTRIES = 2**25
_TAU_RANGE = (1e-3, 10.0)
_BETA_RANGE = (1e-3, 1e3)


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
    present: Mapping[str, Bool[Tensor, " q"]] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Fit one temperature a modality by the log-likelihood of the true candidates (convex in 1 / tau).

    Args:
        queries: Unit rows a modality, of validation molecules.
        candidates: Unit rows of a pool of the kind that figures are reported on.
        truth: Index of each query's true candidate.
        present: Which queries have each modality.
        seed: Of the draw of queries, where there are more than fit in memory.

    Returns:
        Temperatures within 0.001 and 10.

    Raises:
        DataError: There are no queries.
    """
    kept = _drawn(len(truth), len(candidates), seed)
    cosines = []
    for name, vectors in queries.items():
        cosine = vectors[kept].float() @ candidates.float().T
        mask = None if present is None else present.get(name)
        cosines.append(cosine if mask is None else torch.where(mask[kept][:, None], cosine, 0.0))
    target = truth[kept]
    log_scale = torch.full((len(cosines),), math.log(10.0), requires_grad=True)
    optimizer = torch.optim.LBFGS([log_scale], max_iter=50, line_search_fn="strong_wolfe")
    low, high = -math.log(_TAU_RANGE[1]), -math.log(_TAU_RANGE[0])

    def closure() -> Tensor:
        optimizer.zero_grad()
        scales = log_scale.clamp(low, high).exp()
        total = torch.stack([cosine * scale for cosine, scale in zip(cosines, scales, strict=True)]).sum(dim=0)
        loss = torch.nn.functional.cross_entropy(total, target)
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    fitted = (-log_scale.detach().clamp(low, high)).exp().tolist()
    return dict(zip(queries, fitted, strict=True))


def fit_beta(values: Float[Tensor, "q n"], truth: Int64[Tensor, " q"]) -> float:
    """Fit the scale beta of softmax(beta * values) by the likelihood of the true candidates, within 0.001 and 1000.

    Args:
        values: `logits` of validation queries, all with the same number of spectra.
        truth: Index of each query's true candidate.

    Raises:
        DataError: There are no queries.

    Example:
        >>> round(fit_beta(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0, 1])), 4)
        0.6931
    """
    if len(truth) == 0:
        raise DataError("calibration failed: there are no validation queries; calibrate on a split that has spectra")
    values = values.double()
    true = values.gather(1, truth[:, None])[:, 0]
    low, high = (math.log(end) for end in _BETA_RANGE)
    # The likelihood is concave in beta, so its derivative changes sign once.
    for _ in range(50):
        middle = (low + high) / 2
        expected = ((math.exp(middle) * values).softmax(dim=1) * values).sum(dim=1)
        low, high = (low, middle) if float((expected - true).mean()) > 0 else (middle, high)
    return math.exp((low + high) / 2)


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
        top, place, total = _streamed(lambda columns, rows=rows: _masked(scorer, pool, rows, columns), candidates)
        probability.append((top - total).exp().double().cpu().nan_to_num(0.0).numpy())
        correct.append((place.cpu() == truth[rows]).numpy())
    return np.concatenate(probability), np.concatenate(correct)


def _masked(scorer: Scorer, pool: Pool, rows: slice, columns: slice) -> Tensor:
    values = scorer(rows, columns)
    usable = pool.mask(rows, columns).to(values.device) & values.isfinite()
    return values.where(usable, -torch.inf)


def _streamed(
    block: Callable[[slice], Tensor], candidates: int, candidates_at_once: int = 8192
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the highest value, its column and the log-sum-exp of each row over all blocks."""
    tops, places, totals = [], [], []
    for start in range(0, candidates, candidates_at_once):
        values = block(slice(start, min(start + candidates_at_once, candidates)))
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
