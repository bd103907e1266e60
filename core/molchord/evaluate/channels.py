"""Fits how a modality's vectors follow from the molecule's, on validation queries (`prospects`)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations_with_replacement

import torch
from jaxtyping import Float
from torch import Tensor

from molchord.evaluate.embedded import Embedded, queries_of
from molchord.prospects import Channels

__all__ = ["fit_channels"]

_DIRECTIONS = 32
"""Directions in which the candidates differ most, and in which a channel is fitted."""

_FEWEST = 40
"""Validation queries of a modality without which nothing is fitted."""

_RIDGE = 1.0
"""Molecules' worth of prior that the gain is the same in all directions."""


def fit_channels(embedded: Embedded, *, split: str = "val") -> Channels | None:
    """Fit the channel of each modality by regression of its vectors on their molecules'.

    Args:
        embedded: The embedded data set.
        split: Whose queries to take.

    Returns:
        None where no modality has enough queries.
    """
    asked = torch.from_numpy(embedded.in_split(split) & embedded.present)
    vectors = embedded.candidates[asked].float()
    size = min(_DIRECTIONS, *vectors.shape)
    if size == 0:
        return None
    basis = torch.linalg.svd(vectors - vectors.mean(dim=0), full_matrices=False)[2][:size].T
    offset, gain, left = {}, {}, {}
    for name in embedded.spectra:
        queries = queries_of(embedded, (name,), split, most=1)
        there = torch.from_numpy(embedded.present[queries.molecule])
        if int(there.sum()) < _FEWEST:
            continue
        molecule = torch.from_numpy(queries.molecule)[there]
        own = embedded.candidates[molecule].float() @ basis
        seen = queries.vectors(embedded)[name][there].float() @ basis
        offset[name], gain[name], errors = _regression(own.double(), seen.double())
        left[name] = dict(zip(molecule.tolist(), errors, strict=True))
    noise = {
        f"{one} + {other}": spread
        for one, other in combinations_with_replacement(left, 2)
        if (spread := _covariance(left[one], left[other])) is not None
    }
    return Channels(basis=basis, offset=offset, gain=gain, noise=noise) if gain else None


def _regression(own: Float[Tensor, "q r"], seen: Float[Tensor, "q r"]) -> tuple[Tensor, Tensor, Float[Tensor, "q r"]]:
    """Regress what is seen on the molecules; returns offset, gain and the errors of queries that were left out.

    Few queries are drawn towards one gain in all directions.
    """
    centre, mean = own.mean(dim=0), seen.mean(dim=0)
    x, y = own - centre, seen - mean
    eye = torch.eye(x.shape[1], dtype=x.dtype)
    one = float((x * y).sum() / x.square().sum().clamp_min(1e-12)) * eye
    ridge = _RIDGE * float(x.square().sum() / len(x)) * eye
    inverse = torch.linalg.inv(x.T @ x + ridge)
    gain = inverse @ (x.T @ y + ridge @ one)
    taken = ((x @ inverse) * x).sum(dim=1, keepdim=True) + 1 / len(x)
    errors = (y - x @ gain) / (1 - taken).clamp_min(0.1)
    return (mean - centre @ gain).float(), gain.float(), errors


def _covariance(one: Mapping[int, Tensor], other: Mapping[int, Tensor]) -> Float[Tensor, "r r"] | None:
    """Return the covariance of two modalities' errors, drawn towards noise of one size in all directions.

    None where too few molecules have both.
    """
    both = [molecule for molecule in one if molecule in other]
    if len(both) < _FEWEST:
        return None
    a, b = torch.stack([one[m] for m in both]), torch.stack([other[m] for m in both])
    size = a.shape[1]
    equal = float((a * b).mean()) * torch.eye(size, dtype=a.dtype)
    return ((a.T @ b + size * equal) / (len(both) + size)).float()
