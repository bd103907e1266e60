"""Quality warnings of a query: those of its modalities about its measurements, and of queries out of distribution.

Such a query is searched with anyway; its hits carry the warnings, and their probability is the calibrated one
times the lowest confidence factor. The rest belongs to "none of these".
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

from molchord.api import Inspects, Measurement, Modality, QualityWarning
from molchord.library.library import Hit

__all__ = ["inspected", "out_of_distribution", "warned"]


def inspected(modality: Modality, name: str, measurements: Sequence[Measurement]) -> list[QualityWarning]:
    """Return the quality warnings of a modality about measurements, each a sentence that names the modality."""
    if not isinstance(modality, Inspects):
        return []
    found = []
    for number, measurement in enumerate(measurements, start=1):
        which = f"{name!r}" if len(measurements) == 1 else f"{name!r} ({number} of {len(measurements)})"
        found += [
            QualityWarning(f"the measurement of {which} is doubtful: {warning.message}", warning.confidence_factor)
            for warning in modality.inspect(measurement)
        ]
    return found


def out_of_distribution(
    best: Hit, tau: Mapping[str, float], likeness: Mapping[str, Sequence[tuple[float, float]]]
) -> list[QualityWarning]:
    """Return a warning where the best candidate is less like the query than a query's own molecule hardly ever is.

    The confidence factor is the share of validation queries that are no more like their own molecule, over that at
    which the warning begins: it is 0 where no query was as dissimilar, however few candidates share the probability.

    Args:
        best: The first hit of a blind search.
        tau: Temperature of each modality.
        likeness: As `evaluate.calibration.likeness` gives it, by the query's modalities joined by " + ".

    Example:
        >>> hit = Hit(rank=1, key14="A", smiles="C", formula="CH4", exact_mass=16.03, score=0.1, cosines={"ir": 0.3},
        ...           probability=0.9)
        >>> least_alike = {"ir": [(0.2, 0.0125), (0.4, 0.05)]}
        >>> [warning.confidence_factor for warning in out_of_distribution(hit, {"ir": 0.1}, least_alike)]
        [0.25]
        >>> out_of_distribution(hit, {"ir": 0.1}, {"ir": [(0.2, 0.01)]})
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
    return [QualityWarning(message, share / lower[-1][1])]


def warned(hits: Sequence[Hit], found: Sequence[QualityWarning], *, stacklevel: int) -> list[Hit]:
    """Warn, and return the hits with the warnings and the probability that the lowest confidence factor leaves them."""
    for warning in found:
        warnings.warn(warning.message, stacklevel=stacklevel + 1)
    factor = min((warning.confidence_factor for warning in found), default=1.0)
    messages = tuple(warning.message for warning in found)
    return [
        dataclasses.replace(
            hit, probability=None if hit.probability is None else hit.probability * factor, quality_warnings=messages
        )
        for hit in hits
    ]
