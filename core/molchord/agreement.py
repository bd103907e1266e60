"""Whether the spectra of one query look like the same molecule: how near their vectors are to each other.

Vectors of one molecule's spectra point the same way, whichever molecule it is and whatever the candidates are. So two
spectra that are farther apart than nearly all pairs of validation queries are probably not of one molecule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from torch import Tensor

from molchord.api import QualityWarning

__all__ = ["MOST", "SWAPPED", "disagreements"]

MOST = 0.03
"""Share of right queries that are warned of at most, over all pairs of a query's spectra together."""

SWAPPED = 0.05
"""Share of queries taken to hold a spectrum of another molecule, before they are looked at."""


def disagreements(
    vectors: Mapping[str, Tensor], agreement: Mapping[str, Sequence[tuple[float, float, float]]]
) -> list[QualityWarning]:
    """Return a warning for each two spectra of a query that hardly look like the same molecule.

    The confidence factor is the probability that they are of one molecule all the same: of `SWAPPED` of the queries
    they are not, and how often either kind is so far apart was counted.

    Args:
        vectors: The query's unit vectors, (d,) each, in the order of the model graph.
        agreement: As `evaluate.agreement.fit_agreement` gives it, by two modalities joined by " + ".

    Example:
        >>> import torch
        >>> apart = {"ir + raman": [(0.1, 0.01, 0.5), (0.3, 0.04, 0.9)]}
        >>> spectra = {"ir": torch.tensor([1.0, 0.0]), "raman": torch.tensor([0.0, 1.0])}
        >>> [warning] = disagreements(spectra, apart)
        >>> warning.message[:70], round(warning.confidence_factor, 2)
        ("the 'ir' and the 'raman' spectrum do not look like the same molecule: ", 0.28)
        >>> disagreements(spectra | {"raman": torch.tensor([1.0, 0.0])}, apart)
        []
    """
    found = []
    pairs = list(combinations(vectors, 2))
    for one, other in pairs:
        cosine = float(vectors[one].float() @ vectors[other].float())
        reached = [shares for at_most, *shares in agreement.get(f"{one} + {other}", ()) if cosine <= at_most]
        if not reached:
            continue
        right, swapped = reached[0]
        if right * len(pairs) <= MOST:
            message = (
                f"the {one!r} and the {other!r} spectrum do not look like the same molecule: {100 * (1 - right):.1f} % "
                "of validation queries agree better"
            )
            factor = right * (1 - SWAPPED) / (right * (1 - SWAPPED) + swapped * SWAPPED)
            found.append(QualityWarning(message, factor))
    return found
