"""How the likeness of a query to a candidate's reference spectra counts beside what the model says of its structure.

With l the structure's logit (beta times the sum of cosines over temperatures), a candidate's score is
``logit * l``, and where it has a reference of some modalities m, ``balance * log(without / with)
+ sum_m (constant + near * -log(1 - s_m))`` more: s_m is the similarity of the best of them, and there
are so many candidates without and with a reference. Every second molecule is taken to be among the references, however
few these are. The softmax of the scores shares the probability out. So a candidate without a reference is judged by its
structure alone, and one whose reference is unlike the query falls behind. The weights are fitted on validation queries
(`evaluate.references`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from molchord.absence import Filter, first_hit_features
from molchord.vocabulary import Origin

__all__ = ["ReferenceWeights", "merged_features", "odds", "terms", "weights_for"]

_DEFAULT = (-2.5, 2.0)
"""Weights of a modality's references where none were fitted: they give an order, and no probability above one half."""

_DEFAULT_STRUCTURE = 0.5

_NEAREST = 2e-3
"""Where the distance 1 - s is cut: repeated measurements are no nearer."""


@final
class ReferenceWeights(BaseModel):
    """Weights for the queries of one set of spectra and for references of one origin.

    Attributes:
        logit: What the logit of the structure counts.
        balance: What the share of candidates without a reference counts, see above.
        spectra: Constant and near weight of each modality's references.
        none: Weights of the logistic regression of "none of these", one for each of `merged_features` and a constant,
            by filter; empty: not fitted.
        queries: What the queries of the fit were.
        fitted_on: How many searches it was fitted on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    logit: float
    balance: float = 1.0
    spectra: dict[str, tuple[float, float]]
    none: dict[Filter, list[float]] = {}
    queries: Origin = "measured"
    fitted_on: int = 0

    def worth(self, modality: str, similarity: Float[NDArray[np.float64], " n"]) -> Float[NDArray[np.float64], " n"]:
        """Return what references of a modality add to the scores; 0 where there is none (NaN).

        Example:
            >>> weights = ReferenceWeights(logit=1.0, spectra={"ir": (-3.0, 2.0)})
            >>> weights.worth("ir", np.array([0.0, 1 - np.exp(-2), np.nan])).round(6).tolist()
            [-3.0, 1.0, 0.0]
        """
        return np.asarray(terms(similarity) @ np.array(self.spectra[modality]))

    def probability_of_none(self, row: NDArray[np.float64], narrowed: Filter) -> float | None:
        """Return the probability that no candidate is the molecule; None where it was not fitted.

        Args:
            row: As `merged_features` gives it.
            narrowed: What narrowed the candidates; the weights of no filter serve where it has none of its own.
        """
        weights = self.none.get(narrowed) or self.none.get("none")
        if weights is None:
            return None
        return float(1 / (1 + np.exp(-np.clip(row @ weights[:-1] + weights[-1], -30, 30))))


def odds(referenced: int, candidates: int) -> float:
    """Return the logarithm of how many candidates without a reference there are for one with.

    Example:
        >>> odds(1, 2), round(odds(9, 999), 2)
        (0.0, 4.6)
    """
    return math.log((candidates - referenced + 1) / (referenced + 1))


def terms(similarity: Float[NDArray[np.float64], " n"]) -> Float[NDArray[np.float64], "n 2"]:
    """Return what the weights of a modality multiply: 1 and -log(1 - s); zeros where there is no reference (NaN)."""
    there = np.isfinite(similarity)
    s = np.where(there, similarity, 0.0)
    return np.stack([there.astype(np.float64), -np.log(np.maximum(1 - s, _NEAREST))], axis=1)


def merged_features(
    value: float,
    cosine: float,
    candidates: int,
    share: float,
    background: Float[Tensor, " n"],
    *,
    first: float,
    best: float,
) -> NDArray[np.float64]:
    """Return what the probability of none is judged by where references were searched too.

    Args:
        value: beta times the logit of the first hit's structure.
        cosine: Its mean cosine over the query's spectra, weighted by 1 / tau.
        candidates: How many candidates there are, those of the library and of the references.
        share: Its share among them.
        background: beta times the logits of molecules that the query is not of; empty where the run keeps none.
        first: What its references add to its score; NaN where it has none.
        best: What any candidate's references add at most; NaN where none has one.
    """
    behind = background if len(background) else torch.zeros(1)
    row = first_hit_features(value, cosine, candidates, share, behind)
    return np.append(row, [float(np.isfinite(first)), np.nan_to_num(first), np.nan_to_num(best)])


def weights_for(fitted: Mapping[str, ReferenceWeights], modalities: Sequence[str]) -> tuple[ReferenceWeights, bool]:
    """Return the weights for a query of some modalities, and whether they were fitted for just these.

    Those of several spectra together that were not fitted are put together from those of each; what was fitted for none
    has default weights.

    Args:
        fitted: By the query's modalities joined by " + ".
        modalities: In the order of the model graph.

    Example:
        >>> weights, fitted = weights_for({}, ["ir"])
        >>> weights.spectra, fitted
        ({'ir': (-2.5, 2.0)}, False)
    """
    whole = fitted.get(" + ".join(modalities))
    if whole is not None and {*modalities} == whole.spectra.keys():
        return whole, True
    single = {name: fitted[name] for name in modalities if name in fitted}
    spectra = {name: single[name].spectra[name] if name in single else _DEFAULT for name in modalities}
    if not single:
        return ReferenceWeights(logit=_DEFAULT_STRUCTURE, spectra=spectra), False
    logit, balance = (float(np.mean([getattr(one, key) for one in single.values()])) for key in ("logit", "balance"))
    return ReferenceWeights(logit=logit, balance=balance, spectra=spectra), False
