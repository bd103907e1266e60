"""How far apart two spectra of one molecule can be: counted on validation queries, and on swapped ones."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch

from molchord.agreement import MOST
from molchord.evaluate.embedded import Embedded, queries_of

__all__ = ["fit_agreement"]

_SWAPS = 8
"""Molecules whose spectrum each query gets in place of its own, one after the other."""


def fit_agreement(
    embedded: Embedded, *, split: str = "val", points: int = 12, seed: int = 0
) -> dict[str, list[tuple[float, float, float]]]:
    """Count how often two spectra are as far apart as that, where they are of one molecule and where they are not.

    Args:
        embedded: The embedded data set.
        split: Whose spectra to take, one of each kind per molecule.
        points: Most entries of a pair.
        seed: Of the swaps.

    Returns:
        By two modalities joined by " + ", where there are enough molecules with both for a warning: cosines,
        ascending, each with the share of right and of swapped pairs whose cosine is no higher. The share of right ones
        is (k + 1) / (n + 1) of n, of which k are so, and ends at `agreement.MOST`.

    Example:
        >>> from molchord.evaluate.embedded import Spectra
        >>> vectors = torch.nn.functional.normalize(torch.arange(120.0).reshape(40, 3).sin(), dim=1)
        >>> both = Spectra(molecule=np.arange(40), vectors=vectors)
        >>> embedded = Embedded(
        ...     key14=[*map(str, range(40))], smiles=["C"] * 40, formula=["CH4"] * 40, exact_mass=np.full(40, 16.0),
        ...     split=np.ones(40, int), trained=np.zeros(40, bool), candidates=vectors, present=np.ones(40, bool),
        ...     spectra={"ir": both, "raman": both},
        ... )
        >>> [(cosine, right, swapped)] = fit_agreement(embedded)["ir + raman"]
        >>> round(cosine, 3), round(right, 3), swapped > 0.9
        (1.0, 0.049, True)
    """
    found = {}
    rng = np.random.default_rng(seed)
    for one, other in combinations(embedded.spectra, 2):
        queries = queries_of(embedded, (one, other), split, most=1)
        count = int(MOST * (len(queries) + 1)) - 1
        if count < 1:
            continue
        first, second = (part.float() for part in queries.vectors(embedded).values())
        right = np.sort((first * second).sum(dim=1).double().numpy())
        turns = rng.choice(np.arange(1, len(queries)), min(_SWAPS, len(queries) - 1), replace=False)
        swapped = torch.cat([(first * second.roll(int(turn), 0)).sum(dim=1) for turn in turns]).double().numpy()
        ranks = np.unique(np.linspace(0, count - 1, points).round().astype(int))
        found[f"{one} + {other}"] = [
            (float(right[k]), (int(k) + 2) / (len(right) + 1), float((swapped <= right[k]).mean())) for k in ranks
        ]
    return found
