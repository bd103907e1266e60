"""Fits on validation queries how the first hits vote on what a molecule has that is none of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from molchord.api import Molecule
from molchord.errors import PluginError
from molchord.evaluate.calibration import logits
from molchord.evaluate.embedded import Embedded, queries_of, subsets
from molchord.host import installed
from molchord.properties import DEPTH, AskedProperty, PropertyFit, Vote, vote

__all__ = ["embedded_molecules", "first_others", "fit_properties"]

_TEMPERATURES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5)
_DRAWS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)

_FEWEST, _MOST = 40, 400
"""Queries of a set of spectra: with fewer nothing is fitted, more are drawn from."""

_POOL, _SAMPLE = 4096, 1024
"""Candidates that vote, drawn at random, and those of them whose frequencies are taken."""


def fit_properties(
    embedded: Embedded,
    tau: Mapping[str, float],
    beta: Mapping[int, float],
    before: Mapping[str, PropertyFit] | None = None,
    *,
    seed: int = 0,
) -> dict[str, PropertyFit]:
    """Fit every installed property, by ``dist:name``, for each set of spectra with enough validation queries.

    Args:
        embedded: The embedded data set.
        tau: Temperatures.
        beta: Confidence factor for each number of spectra.
        before: What was fitted on other data, which stays where these say nothing.
        seed: Of all draws.

    Warns:
        UserWarning: A property fails, and is left out.
    """
    chosen = {}
    rng = np.random.default_rng(seed)
    usable = np.flatnonzero(embedded.present & ~embedded.in_split("test"))
    drawn = rng.permutation(usable)
    pool, sample = np.sort(drawn[:_POOL]), drawn[:_SAMPLE]
    for subset in subsets(list(embedded.spectra)):
        queries = queries_of(embedded, subset, "val", most=1)
        kept = np.sort(rng.permutation(len(queries))[:_MOST])
        if len(subset) in beta and len(kept) >= _FEWEST:
            vectors = {name: rows[torch.from_numpy(kept)] for name, rows in queries.vectors(embedded).items()}
            scale = beta[len(subset)]
            own = queries.molecule[kept]
            chosen[" + ".join(subset)] = own, *first_others(embedded, vectors, own, pool, tau, scale)
    fits: dict[str, PropertyFit] = {}
    for plugin in installed().plugins if chosen else ():
        if plugin.type == "property":
            try:
                asked = AskedProperty(plugin.qualified)
                fits[asked.name] = _fitted(asked, embedded, sample, chosen, (before or {}).get(asked.name))
            except PluginError as error:
                warnings.warn(f"nothing is fitted of a property: {error}", stacklevel=2)
    return fits


def first_others(
    embedded: Embedded,
    vectors: Mapping[str, torch.Tensor],
    own: NDArray[np.int64],
    pool: NDArray[np.int64],
    tau: Mapping[str, float],
    beta: float,
    *,
    listed: bool = False,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Search with q queries, each without its own molecule, and return the first candidates.

    Args:
        embedded: The embedded data set.
        vectors: (q, d) unit rows for each modality.
        own: (q,) the molecule of each query.
        pool: (n,) molecules that are candidates.
        tau: Temperatures.
        beta: Confidence factor.
        listed: Whether a query's own molecule may be found, if it is in the pool.

    Returns:
        The molecules found (q, k), and the logarithms of their odds (q, k).
    """
    candidates = embedded.candidates[torch.from_numpy(pool)].cpu()
    values = beta * logits({name: rows.cpu() for name, rows in vectors.items()}, candidates, tau).double()
    if not listed:
        values[torch.from_numpy(own[:, None] == pool)] = -torch.inf
    best = values.topk(min(DEPTH, max(1, len(pool) - (not listed))), dim=1)
    return pool[best.indices.numpy()], best.values.numpy()


def embedded_molecules(embedded: Embedded, rows: NDArray[np.int64]) -> list[Molecule]:
    """Return molecules of an embedded data set."""
    return [
        Molecule(
            key14=embedded.key14[row],
            smiles=embedded.smiles[row],
            formula=embedded.formula[row],
            exact_mass=float(embedded.exact_mass[row]),
        )
        for row in rows.tolist()
    ]


def _fitted(
    asked: AskedProperty,
    embedded: Embedded,
    sample: NDArray[np.int64],
    chosen: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]],
    before: PropertyFit | None,
) -> PropertyFit:
    """Fit one property."""
    needed = np.unique(np.concatenate([sample, *(np.append(own, found) for own, found, _ in chosen.values())]))
    values = np.full((len(embedded), len(asked.names)), np.nan)
    values[needed] = asked.values(embedded_molecules(embedded, needed))
    known = values[sample][~np.isnan(values[sample]).any(axis=1)]
    base = (known.sum(axis=0) + 0.5) / (len(known) + 1)
    if before is not None and before.names == asked.names:
        base = np.array(before.base)
    votes = {}
    for name, (own, found, odds) in chosen.items():
        truth, others = values[own], np.nan_to_num(values[found], nan=0.0)
        odds = np.where(np.isnan(values[found]).any(axis=2), -np.inf, odds)
        told = ~np.isnan(truth).any(axis=1) & np.isfinite(odds).any(axis=1)
        losses = {
            how: _cross_entropy(vote(odds[told], others[told], base, how), truth[told])
            for how in (Vote(temperature=t, draw=d) for t, d in product(_TEMPERATURES, _DRAWS))
        }
        votes[name] = min(losses, key=lambda how: losses[how])
    kept = {} if before is None or before.names != asked.names else before.votes
    return PropertyFit(names=asked.names, base=tuple(map(float, base)), votes={**kept, **votes})


def _cross_entropy(said: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    said = np.clip(said, 1e-6, 1 - 1e-6)
    return float(-(truth * np.log(said) + (1 - truth) * np.log(1 - said)).mean())
