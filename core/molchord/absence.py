"""The probability that none of the candidates is the molecule, judged by the first hit of a search.

A softmax shares one out among the candidates, however unlike the query all of them are. So the first hit is judged
before: by how far it stands above a background of molecules that the query is surely not of, by its cosine, by how many
candidates it is the first of, and by how far it stands above the others. The weights are those of a logistic regression
on searches with and without the query's own molecule (`evaluate.absence`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from torch import Tensor

from molchord.checksums import check_header, refuse_damaged, write_sealed_tensors
from molchord.errors import RunError
from molchord.files import one_line

__all__ = ["FEATURES", "Absence", "Background", "Filter", "first_hit_features"]

Filter = Literal["none", "formula", "mass"]
"""What narrowed the candidates: isomers are nearer to a query than others are."""

_FILE = "background.safetensors"

FEATURES = ("above background", "cosine", "log candidates", "above the others", "alone")

_FARTHEST = 10.0
"""Where the logarithm of the odds between the first hit and the others is cut."""


@final
@dataclass(frozen=True, kw_only=True)
class Background:
    """Candidates that a query is surely not of, n of them.

    Attributes:
        key14: Their keys.
        vectors: (n, d) unit rows.
    """

    key14: Sequence[str]
    vectors: Float[Tensor, "n d"]

    def logits(self, query: Float[Tensor, " d"], key14: str) -> Float[Tensor, " n"]:
        """Return the inner products with all but the first hit itself, or with all, where it is the only one.

        Args:
            query: Sum of the query's unit vectors, each over its temperature, times beta.
            key14: Key of the first hit.

        Example:
            >>> Background(key14=("A", "B"), vectors=torch.eye(2)).logits(torch.tensor([3.0, 2.0]), "A")
            tensor([2.])
        """
        kept = torch.tensor([key != key14 for key in self.key14], dtype=torch.bool)
        return (self.vectors[kept] if bool(kept.any()) else self.vectors) @ query.float()

    def write(self, run: Path) -> None:
        """Write it into a run folder, its vectors in half precision."""
        write_sealed_tensors(
            run / _FILE, {"vectors": self.vectors.half().contiguous()}, {"key14": " ".join(self.key14)}
        )

    @staticmethod
    def read(run: Path) -> Background | None:
        """Read that of a run folder; None where it has none.

        Raises:
            RunError: The file is damaged.
        """
        if not (run / _FILE).exists():
            return None
        path = run / _FILE
        try:
            check_header(path)
            with safe_open(path, framework="pt") as file:
                keys, vectors = (file.metadata() or {}).get("key14", "").split(), file.get_tensor("vectors").float()
        except (OSError, SafetensorError) as error:
            raise RunError(f"{str(path)!r} cannot be read ({one_line(error)}); calibrate the run again") from error
        refuse_damaged(path, RunError, "calibrate the run again")
        if vectors.ndim != 2 or not 0 < len(keys) == len(vectors):
            raise RunError(f"{str(path)!r} has {len(keys)} keys for {len(vectors)} vectors; calibrate the run again")
        return Background(key14=tuple(keys), vectors=vectors)


class Absence(BaseModel):
    """Weights of the logistic regression, one for each of `FEATURES` and a constant, by filter.

    Example:
        >>> absence = Absence(weights={"none": [-1.0, 0.0, 0.0, 0.0, 0.0, 2.0]})
        >>> round(absence.probability(np.array([2.0, 0.5, 3.0, 1.0, 0.0]), "none"), 3)
        0.5
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    weights: dict[Filter, list[float]]

    def probability(self, row: NDArray[np.float64], narrowed: Filter) -> float:
        """Return the probability that none of the candidates is the molecule.

        Args:
            row: (5,) as `first_hit_features` gives it.
            narrowed: What narrowed the candidates; the weights of no filter stand in where it has none of its own.
        """
        weights = self.weights.get(narrowed) or self.weights["none"]
        return float(1 / (1 + np.exp(-np.clip(row @ weights[:-1] + weights[-1], -30, 30))))


def first_hit_features(
    first: float, cosine: float, candidates: int, share: float, background: Float[Tensor, " n"]
) -> NDArray[np.float64]:
    """Return what the probability of none is judged by.

    Args:
        first: beta times the logits of the first hit, as in `calibration`.
        cosine: Its mean cosine over the query's spectra, weighted by 1 / tau.
        candidates: How many candidates there are.
        share: Its share among them by the softmax.
        background: beta times the logits of molecules that the query is not of; not empty.
    """
    above = first - float(background.double().logsumexp(dim=0)) + math.log(len(background))
    odds = math.log(max(share, 1e-300)) - math.log(max(1 - share, 1e-300))
    alone = candidates == 1
    beyond = 0.0 if alone else min(max(odds, -_FARTHEST), _FARTHEST)
    return np.array([above, cosine, math.log(candidates), beyond, float(alone)])
