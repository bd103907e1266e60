"""How well single pairs are told apart: the figures of a binary classifier, to be seen beside Top-k.

A spectrum meets its own structure and one other, drawn at random; which of the two pairs is the right one says little
of a search, in which it meets thousands ("Molecular Vision", PNNL 2024: 90.48 % of pairs and 0.397 % Top-5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from molchord.evaluate.embedded import Embedded, Queries
from molchord.retrieval.metrics import Scorer

__all__ = ["PairMetrics", "auroc", "pair_metrics", "told_apart"]

_AT_ONCE = 512  # queries


@final
@dataclass(frozen=True, kw_only=True)
class PairMetrics:
    """Figures of as many right pairs as wrong ones.

    Attributes:
        pairs: Right pairs, as many as wrong ones.
        accuracy: Share of the pairs on the right side of a threshold that was chosen on other molecules' pairs.
        auroc: Chance that a right pair scores higher than a wrong one, of another query too; ties count half.
        auprc: Average precision.
    """

    pairs: int
    accuracy: float
    auroc: float
    auprc: float

    def text(self) -> str:
        """Return the figures as text."""
        return f"accuracy {100 * self.accuracy:.1f} %, AUROC {self.auroc:.4f}, AUPRC {self.auprc:.4f}"


def told_apart(scorer: Scorer, embedded: Embedded, queries: Queries, split: str, *, seed: int) -> PairMetrics | None:
    """Score each query with its own candidate and with one other of the split; None where there is no other.

    Args:
        scorer: The model's.
        embedded: The embedded data set.
        queries: The queries.
        split: Whose molecules the other candidates are of.
        seed: Of the draw of the others.
    """
    members = np.flatnonzero(embedded.in_split(split) & embedded.present)
    rows = np.flatnonzero(embedded.present[queries.molecule])
    if len(members) < 2 or len(rows) == 0:
        return None
    own = queries.molecule[rows]
    place = np.searchsorted(members, own)
    drawn = np.random.default_rng(seed).integers(len(members) - 1, size=len(rows))
    other = members[drawn + (drawn >= place)]  # any but the own one
    scores = np.full((2, len(queries)), np.nan)
    for side, candidates in enumerate((own, other)):
        target = np.zeros(len(queries), dtype=np.int64)
        target[rows] = candidates
        for start in range(0, len(queries), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            values = scorer(some, torch.from_numpy(target[some])).diagonal()
            scores[side, some] = values.double().cpu().numpy()
    right, wrong = scores[:, rows]
    finite = np.isfinite(right) & np.isfinite(wrong)
    if not finite.any():
        return None
    return pair_metrics(right[finite], wrong[finite], own[finite])


def pair_metrics(right: NDArray[np.float64], wrong: NDArray[np.float64], molecule: NDArray[np.int64]) -> PairMetrics:
    """Return the figures of scores of right and of wrong pairs.

    Args:
        right: (q,) score of each query with its own candidate.
        wrong: (q,) score of each with another.
        molecule: (q,) which molecule each query is of; the threshold of each half of the molecules is the best one of
            the other half.

    Example:
        >>> numbers = pair_metrics(np.array([0.9, 0.8, 0.1]), np.array([0.2, 0.0, 0.3]), np.arange(3))
        >>> round(numbers.auroc, 4), round(numbers.auprc, 4)
        (0.7778, 0.8667)
    """
    values = np.concatenate([right, wrong])
    positive = np.repeat([True, False], len(right))
    _, code = np.unique(molecule, return_inverse=True)
    half = np.tile(code % 2 == 1, 2)
    correct = np.empty(len(values), dtype=np.bool_)
    for side in (False, True):
        chosen, judged = half != side, half == side
        if not chosen.any():  # there is one molecule
            chosen = judged
        correct[judged] = (values[judged] >= _threshold(values[chosen], positive[chosen])) == positive[judged]
    precision, recall = _curve(values, positive)
    return PairMetrics(
        pairs=len(right),
        accuracy=float(correct.mean()),
        auroc=auroc(right, wrong),
        auprc=float(np.sum(np.diff(recall, prepend=0.0) * precision)),
    )


def auroc(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float:
    """Return the chance that a score of `right` is above one of `wrong`; equal ones count half.

    Example:
        >>> auroc(np.array([0.9, 0.3]), np.array([0.3, 0.1]))
        0.875
    """
    ordered = np.sort(wrong)
    below, level = np.searchsorted(ordered, right, "left"), np.searchsorted(ordered, right, "right")
    return float((below + level).mean() / (2 * len(wrong)))


def _threshold(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the score from which pairs are best called right; of equals the highest."""
    order = np.argsort(-values, kind="stable")
    gained = np.cumsum(np.where(positive[order], 1, -1))
    last = np.append(np.diff(values[order]) != 0, True)  # of equal scores all are called right, or none
    gained = np.where(last, gained, -1)
    best = int(gained.argmax())
    return float(values[order][best]) if gained[best] > 0 else float("inf")


def _curve(values: NDArray[np.float64], positive: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precision and recall at each distinct score, from the highest down."""
    order = np.argsort(-values, kind="stable")
    last = np.append(np.diff(values[order]) != 0, True)
    found = np.cumsum(positive[order])[last]
    return found / (np.flatnonzero(last) + 1), found / positive.sum()
