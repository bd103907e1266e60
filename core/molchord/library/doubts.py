"""Doubts about a query: what its modalities say of its measurements, and a best hit less alike than own molecules are.

A doubtful query is searched with all the same; its hits say why they are doubtful, and the probability that its doubts
leave them is the calibrated one times the lowest trust. The rest belongs to "none of these".
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

from molchord.api import Doubt, Inspects, Measurement, Modality
from molchord.library.library import Hit

__all__ = ["doubted", "inspected", "unfamiliar"]


def inspected(modality: Modality, name: str, measurements: Sequence[Measurement]) -> list[Doubt]:
    """Return the doubts that a modality has about measurements, each a sentence that names the modality."""
    if not isinstance(modality, Inspects):
        return []
    found = []
    for number, measurement in enumerate(measurements, start=1):
        which = f"{name!r}" if len(measurements) == 1 else f"{name!r} ({number} of {len(measurements)})"
        found += [
            Doubt(f"the measurement of {which} is doubtful: {doubt.message}", doubt.trust)
            for doubt in modality.inspect(measurement)
        ]
    return found


def unfamiliar(
    best: Hit, tau: Mapping[str, float], likeness: Mapping[str, Sequence[tuple[float, float]]]
) -> list[Doubt]:
    """Return a doubt where the best candidate is less like the query than a query's own molecule hardly ever is.

    The trust is the share of validation queries that are no more like their own molecule, over that at which the doubt
    begins: it vanishes where no query was as unlike, however few candidates share the probability.

    Args:
        best: The first hit of a blind search.
        tau: Temperature of each modality.
        likeness: As `evaluate.calibration.likeness` gives it, by the query's modalities joined by " + ".

    Example:
        >>> hit = Hit(rank=1, key14="A", smiles="C", formula="CH4", exact_mass=16.03, score=0.1, cosines={"ir": 0.3},
        ...           probability=0.9)
        >>> [doubt.trust for doubt in unfamiliar(hit, {"ir": 0.1}, {"ir": [(0.2, 0.0125), (0.4, 0.05)]})]
        [0.25]
        >>> unfamiliar(hit, {"ir": 0.1}, {"ir": [(0.2, 0.01)]})
        []
    """
    name = " + ".join(best.cosines)
    lower = likeness.get(name, ())
    found = sum(value / tau[m] for m, value in best.cosines.items()) / sum(1 / tau[m] for m in best.cosines)
    if not lower or found >= lower[-1][0]:
        return []
    # Below the first, which two of n + 1 reach by the count that gave the shares, it is one.
    share = max((share for value, share in lower if value <= found), default=lower[0][1] / 2)
    cosine = "cosine" if len(best.cosines) == 1 else "mean cosine"
    message = (
        f"the query of {name!r} is doubtful: its best candidate has a {cosine} of {found:.2f}, and {1 - share:.1%} of "
        "the validation queries are more like their own molecule; it is not among the candidates, or the measurement "
        "is unlike what the run was trained on"
    )
    return [Doubt(message, share / lower[-1][1])]


def doubted(hits: Sequence[Hit], doubts: Sequence[Doubt], *, stacklevel: int) -> list[Hit]:
    """Warn of each doubt, and return the hits with the doubts and the probability that the lowest trust leaves them."""
    for doubt in doubts:
        warnings.warn(doubt.message, stacklevel=stacklevel + 1)
    trust = min((doubt.trust for doubt in doubts), default=1.0)
    messages = tuple(doubt.message for doubt in doubts)
    return [
        dataclasses.replace(
            hit, probability=None if hit.probability is None else hit.probability * trust, doubts=messages
        )
        for hit in hits
    ]
