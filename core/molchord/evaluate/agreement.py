"""How far apart two spectra of one molecule can be: counted on validation queries, and on swapped ones."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from molchord.agreement import MOST, Agreement, nearness
from molchord.evaluate.embedded import Embedded, queries_of, subsets

__all__ = ["fit_agreement"]

_SWAPS = 4
"""Molecules whose spectrum each query gets in place of its own, one after the other, for each of its spectra."""

_FEWEST = 20
"""Molecules with both spectra without which a pair does not count."""


def fit_agreement(embedded: Embedded, *, split: str = "val", points: int = 8, seed: int = 0) -> Agreement:
    """Count how often spectra are as far apart as that, where they are of one molecule and where one is not.

    Args:
        embedded: The embedded data set.
        split: Whose spectra to take, one of each kind per molecule.
        points: Most entries of a set of spectra.
        seed: Of the swaps.

    Returns:
        With the sets of spectra of which there are enough queries for a warning. The share of right ones is
        (k + 2) / (n + 1) of n, of which k are lower, and ends at `agreement.MOST`.

    Example:
        >>> from molchord.evaluate.embedded import Spectra
        >>> vectors = torch.nn.functional.normalize(torch.arange(210.0).reshape(70, 3).sin(), dim=1)
        >>> both = Spectra(molecule=np.arange(70), vectors=vectors)
        >>> embedded = Embedded(
        ...     key14=[*map(str, range(70))], smiles=["C"] * 70, formula=["CH4"] * 70, exact_mass=np.full(70, 16.0),
        ...     split=np.ones(70, int), trained=np.zeros(70, bool), candidates=vectors, present=np.ones(70, bool),
        ...     spectra={"ir": both, "raman": both},
        ... )
        >>> [(nearest, right, swapped)] = fit_agreement(embedded).lower["ir + raman"]
        >>> round(right, 3), swapped > 0.9
        (0.028, True)
    """
    pairs = {}
    for one, other in combinations(embedded.spectra, 2):
        queries = queries_of(embedded, (one, other), split, most=1)
        if len(queries) >= _FEWEST:
            first, second = (part.float() for part in queries.vectors(embedded).values())
            cosines = (first * second).sum(dim=1).double()
            pairs[f"{one} + {other}"] = float(cosines.mean()), max(float(cosines.std()), 1e-6)
    lower, rng = {}, np.random.default_rng(seed)
    for subset in subsets(list(embedded.spectra)):
        queries = queries_of(embedded, subset, split, most=1)
        count = int(MOST * (len(queries) + 1)) - 1
        if len(subset) < 2 or count < 1:
            continue
        vectors = queries.vectors(embedded)
        right, swapped = np.sort(_farthest(vectors, pairs)), []
        for name in subset:
            for turn in rng.choice(np.arange(1, len(queries)), min(_SWAPS, len(queries) - 1), replace=False):
                swapped.append(_farthest({**vectors, name: vectors[name].roll(int(turn), 0)}, pairs))
        ranks = np.unique(np.linspace(0, count - 1, points).round().astype(int))
        lower[" + ".join(subset)] = [
            (float(right[k]), (int(k) + 2) / (len(right) + 1), float((np.concatenate(swapped) <= right[k]).mean()))
            for k in ranks
        ]
    return Agreement(pairs=pairs, lower=lower)


def _farthest(
    vectors: Mapping[str, Float[Tensor, "q d"]], pairs: Mapping[str, tuple[float, float]]
) -> NDArray[np.float64]:
    """Return how near the farthest spectrum of each query is to the others."""
    return torch.stack([*nearness(vectors, pairs).values()]).min(dim=0).values.double().numpy()
