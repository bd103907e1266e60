"""The score of a re-ranked candidate, its weights, their fit and their file.

The score of a candidate among the first k is w_0 * l + sum_f w_f * x_f: l is the logit that the confidence is made of
(beta_M * sum_m cos_m / tau_m, the logarithm of the first stage's score), x_f are the features that the re-ranker gives,
less their mean over those of the k candidates that it is known for. A feature that is missing counts as that
mean. The weights maximise the likelihood of the true candidate among the k (softmax) on validation queries.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from molchord.errors import DataError, QueryError, did_you_mean
from molchord.files import replace_file

__all__ = ["WEIGHTS", "Weights", "WeightsFile", "centred", "combined_scores", "even_weights", "fit_weights"]

WEIGHTS = "rerank.json"
"""Where an evaluation leaves the fitted weights for searches."""

WEIGHTS_FORMAT = 1


@final
class Weights(BaseModel):
    """What the parts of a score count, for queries of one subset of modalities.

    Attributes:
        first: Weight of the first stage's logit.
        features: Weight of each feature, by name.
        queries: Validation queries it was fitted on, those with their molecule among the first k.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    first: float
    features: dict[str, float]
    queries: int


@final
class WeightsFile(BaseModel):
    """The weights that an evaluation fitted, as the file ``rerank.json``.

    Attributes:
        format: Version of the file's format.
        reranker: ``dist:name``.
        config: Its configuration.
        config_version: Version of that.
        k: How many candidates were looked at.
        weights: Weights by pool, then by the query's modalities joined by " + ".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = WEIGHTS_FORMAT
    reranker: str
    config: dict[str, Any]
    config_version: int = 1
    k: int
    weights: dict[str, dict[str, Weights]]

    def write(self, path: Path) -> None:
        """Write the file in one step."""
        replace_file(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> WeightsFile:
        """Read a file.

        Raises:
            QueryError: It does not exist, or is damaged.
        """
        again = "fit them with `molchord evaluate RUN --rerank NAME` on a data set of measured spectra"
        if not path.is_file():
            raise QueryError(f"there are no weights for re-ranking in {str(path.parent)!r}; {again}")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found.get("format") != WEIGHTS_FORMAT:
                raise QueryError(
                    f"weights {str(path)!r} have format {found.get('format')!r}, this molchord reads "
                    f"{WEIGHTS_FORMAT}; {again}"
                )
            return cls.model_validate(found)
        except (ValueError, AttributeError, ValidationError) as error:
            raise QueryError(f"weights {str(path)!r} are damaged ({str(error).splitlines()[0]}); {again}") from error

    def of(self, subset: str) -> Weights:
        """Return the weights for a query, those of pool ``all`` before others.

        Raises:
            QueryError: None were fitted for these modalities.
        """
        order = sorted(self.weights, key=lambda pool: pool != "all")
        for pool in order:
            if subset in self.weights[pool]:
                return self.weights[pool][subset]
        known = sorted({name for pool in order for name in self.weights[pool]})
        raise QueryError(f"there are no weights to re-rank a query of {subset!r}; {did_you_mean(subset, known)}")


def centred(features: Float[NDArray[np.float64], "k f"]) -> Float[NDArray[np.float64], "k f"]:
    """Return features less their mean over the candidates that have them; 0 where one is missing (not finite).

    Example:
        >>> centred(np.array([[1.0], [3.0], [np.nan]])).tolist()
        [[-1.0], [1.0], [0.0]]
    """
    known = np.isfinite(features)
    values = np.where(known, features, 0.0)
    return np.where(known, values - values.sum(axis=0) / np.maximum(known.sum(axis=0), 1), 0.0)


def combined_scores(
    logits: Float[NDArray[np.float64], " k"], features: Float[NDArray[np.float64], "k f"], weights: Weights
) -> Float[NDArray[np.float64], " k"]:
    """Return the score of each of the first k candidates.

    Args:
        logits: Of the first stage.
        features: As the re-ranker gives them.
        weights: With the features in the order of the columns.

    Example:
        >>> two = Weights(first=1.0, features={"match": 2.0}, queries=1)
        >>> combined_scores(np.array([3.0, 1.0, 0.0]), np.array([[0.0], [2.0], [np.nan]]), two).tolist()
        [1.0, 3.0, 0.0]
    """
    return np.asarray(weights.first * logits + centred(features) @ np.array([*weights.features.values()]))


def even_weights(
    logits: Float[NDArray[np.float64], " k"], features: Float[NDArray[np.float64], "k f"], names: Sequence[str]
) -> Weights:
    """Return weights by which the logit and all features together count the same among these candidates.

    They give an order where none were fitted, and no probability.

    Args:
        logits: Of the first stage.
        features: As the re-ranker gives them.
        names: Of the features.

    Example:
        >>> even_weights(np.array([0.0, 4.0]), np.array([[1.0], [0.0]]), ["match"])
        Weights(first=0.5, features={'match': 2.0}, queries=0)
    """
    spread = np.array([np.std(logits), *centred(features).std(axis=0)])
    worth = np.where(spread > 1e-12, 1 / np.maximum(spread, 1e-12), 0.0)
    by_name = {name: float(value) / len(names) for name, value in zip(names, worth[1:], strict=True)}
    return Weights(first=float(worth[0]), features=by_name, queries=0)


def fit_weights(
    logits: Float[NDArray[np.float64], "q k"],
    features: Float[NDArray[np.float64], "q k f"],
    truth: Int64[NDArray[np.int64], " q"],
    names: Sequence[str],
) -> Weights:
    """Fit the weights by the likelihood of the true candidates among the first k, with a weak prior.

    Under the prior the first stage's weight is normal around 1, as that of a calibrated logit is, and the others,
    for features scaled to standard deviation 1, around 0, all with variance 1; it matters where queries are few. The
    objective is concave, so the maximum found is the only one.

    Args:
        logits: Of the first stage; -inf where there are fewer than k candidates.
        features: As the re-ranker gives them, anything where there is no candidate.
        truth: Place of each query's true candidate among its first k.
        names: Of the features.

    Raises:
        DataError: There are no queries.

    Example:
        >>> none = np.zeros((1, 2, 1))
        >>> fit_weights(np.zeros((1, 2)), none, np.array([0]), ["match"])
        Weights(first=1.0, features={'match': 0.0}, queries=1)
    """
    if len(truth) == 0:
        raise DataError(
            "re-ranking failed: no validation query has its molecule among the first candidates; give more validation "
            "queries, or a larger `k`"
        )
    there = np.isfinite(logits)
    shifted = np.stack([centred(np.where(t[:, None], f, np.nan)) for f, t in zip(features, there, strict=True)])
    spread = shifted[there].std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    parts = np.concatenate([np.where(there, logits, 0.0)[..., None], shifted / spread], axis=2)
    inputs, mask, target = torch.from_numpy(parts), torch.from_numpy(there), torch.from_numpy(truth)
    prior = torch.tensor([1.0, *(0.0 for _ in names)], dtype=torch.float64)
    weights = prior.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        total = (inputs @ weights).masked_fill(~mask, -torch.inf)
        penalty = (weights - prior).square().sum() / 2
        loss = (torch.nn.functional.cross_entropy(total, target, reduction="sum") + penalty) / len(truth)
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    first, *others = weights.detach().numpy() / np.array([1.0, *spread])
    by_name = {name: float(value) for name, value in zip(names, others, strict=True)}
    return Weights(first=float(first), features=by_name, queries=len(truth))
