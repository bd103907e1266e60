"""Doubts about a query: what its modalities say of its measurements, and hits less alike than validation queries have.

A doubtful query is searched with all the same; its hits say why they are doubtful, and the probability that its doubts
leave them is the calibrated one times the lowest trust. The rest belongs to "none of these".
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

from molchord.api import Doubt, Inspects, Measurement, Modality
from molchord.retrieval.library import Hit

__all__ = ["NEAREST", "doubted", "inspected", "unfamiliar"]

NEAREST = 25
"""Hits among which the best candidate of each modality is looked for."""

UNFAMILIAR_TRUST = 0.2
"""About what is right of the first hits of queries that no candidate is like, against their calibrated probability."""


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


def unfamiliar(hits: Sequence[Hit], least: Mapping[str, float]) -> list[Doubt]:
    """Return a doubt for each modality to which no hit is as similar as the best ones of validation queries are.

    Args:
        hits: The best candidates of a pool no smaller than that of the validation queries, `NEAREST` of them or more.
        least: By modality, the cosine of the best candidate that nearly all validation queries reach.

    Example:
        >>> hit = Hit(rank=1, key14="A", smiles="C", formula="CH4", exact_mass=16.03, score=0.1, cosines={"ir": 0.3},
        ...           probability=0.9)
        >>> [doubt.trust for doubt in unfamiliar([hit], {"ir": 0.6})], unfamiliar([hit], {"ir": 0.2})
        ([0.2], [])
    """
    found = []
    for name in hits[0].cosines if hits else ():
        best = max(hit.cosines[name] for hit in hits[:NEAREST])
        if best < least.get(name, best):
            found.append(
                Doubt(
                    f"the measurement of {name!r} is doubtful: its best candidate has a cosine of {best:.2f}, nearly "
                    f"all validation queries reach {least[name]:.2f}; the molecule is not among the candidates, or the "
                    "measurement is unlike what the run was trained on",
                    UNFAMILIAR_TRUST,
                )
            )
    return found


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
