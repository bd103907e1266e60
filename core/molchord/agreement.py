"""Whether the spectra of one query look like the same molecule: how near their vectors are to each other.

Vectors of one molecule's spectra point the same way, whichever molecule it is and whatever the candidates are. So a
spectrum that is farther from the others than in nearly all validation queries is probably of another molecule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from molchord.api import QualityWarning

__all__ = ["MOST", "Agreement", "disagreements", "nearness"]

MOST = 0.03
"""Share of right queries that are warned of at most; with it fewer than one in twenty of others were."""

SWAPPED = 0.05
"""Share of queries taken to hold a spectrum of another molecule, before they are looked at."""


class Agreement(BaseModel):
    """How near the spectra of validation queries are to each other.

    Attributes:
        pairs: Mean and standard deviation of the cosine, by two modalities joined by " + ".
        lower: By the query's modalities joined by " + ", the lower end of how near the farthest spectrum is to the
            others: values, ascending, each with the share of right queries and of queries with one spectrum of another
            molecule that are no nearer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    pairs: dict[str, tuple[float, float]] = {}
    lower: dict[str, list[tuple[float, float, float]]] = {}


def nearness(
    vectors: Mapping[str, Float[Tensor, "q d"]], pairs: Mapping[str, tuple[float, float]]
) -> dict[str, Float[Tensor, " q"]]:
    """Return how near each spectrum is to the others of its query: the mean over these of its standardised cosine.

    Args:
        vectors: Unit rows, two modalities or more.
        pairs: Mean and standard deviation of each pair's cosine; one that is not there does not count.

    Example:
        >>> import torch
        >>> near = nearness({"ir": torch.eye(2), "raman": torch.eye(2).flip(0)}, {"ir + raman": (0.5, 0.25)})
        >>> near["ir"].tolist(), near["raman"].tolist()
        ([-2.0, -2.0], [-2.0, -2.0])
    """
    found: dict[str, list[Tensor]] = {name: [] for name in vectors}
    for one, other in combinations(vectors, 2):
        if f"{one} + {other}" in pairs:
            mean, spread = pairs[f"{one} + {other}"]
            value = ((vectors[one].float() * vectors[other].float()).sum(dim=1) - mean) / spread
            found[one].append(value)
            found[other].append(value)
    return {name: sum(values, start=0 * values[0]) / len(values) for name, values in found.items() if values}


def disagreements(vectors: Mapping[str, Tensor], agreement: Agreement) -> list[QualityWarning]:
    """Return a warning where a spectrum of a query hardly looks like the same molecule as the others; else nothing.

    The confidence factor is the probability that it is of one molecule all the same: of `SWAPPED` of the queries it is
    not, and how often queries of either kind are so far apart was counted.

    Args:
        vectors: The query's unit vectors, (d,) each, in the order of the model graph.
        agreement: Of the run; one without the query's modalities says nothing.

    Example:
        >>> import torch
        >>> apart = Agreement(pairs={"ir + raman": (0.5, 0.1)}, lower={"ir + raman": [(-4.0, 0.01, 0.5)]})
        >>> spectra = {"ir": torch.tensor([1.0, 0.0]), "raman": torch.tensor([0.0, 1.0])}
        >>> [warning] = disagreements(spectra, apart)
        >>> warning.message[:70], round(warning.confidence_factor, 2)
        ("the 'ir' and the 'raman' spectrum do not look like the same molecule: ", 0.28)
        >>> disagreements(spectra | {"raman": torch.tensor([1.0, 0.0])}, apart)
        []
    """
    lower: Sequence[tuple[float, float, float]] = agreement.lower.get(" + ".join(vectors), ())
    if not lower:
        return []
    near = {
        name: float(value)
        for name, value in nearness({name: part.cpu()[None] for name, part in vectors.items()}, agreement.pairs).items()
    }
    farthest = min(near, key=near.__getitem__)
    reached = [shares for at_most, *shares in lower if near[farthest] <= at_most]
    if not reached:
        return []
    right, swapped = reached[0]
    others = [repr(name) for name in vectors if name != farthest]
    if len(others) == 1:
        who = f"the {' and the '.join(map(repr, vectors))} spectrum do not look like the same molecule"
    else:
        who = f"the {farthest!r} spectrum does not look like the same molecule as {', '.join(others)}"
    message = f"{who}: {100 * (1 - right):.1f} % of validation queries agree better"
    factor = right * (1 - SWAPPED) / (right * (1 - SWAPPED) + swapped * SWAPPED)
    return [QualityWarning(message, min(1.0, factor))]
