"""Quality warnings of measurements, of queries out of distribution, and of candidates beyond the training set.

Such a query is searched with anyway; its hits carry the warnings, and their probability is the calibrated one
times the lowest confidence factor, and of a candidate beyond the training set a tenth of that; ranks stay. The rest
belongs to "none of these".
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from molchord.api import Inspects, Measurement, Modality, QualityWarning
from molchord.data.reading import ruled_out
from molchord.domain import Domain
from molchord.errors import SampleError
from molchord.library.library import Hit, Library

__all__ = [
    "beyond_domain", "beyond_training", "formulas_beyond", "inspected", "out_of_distribution", "place_of",
    "unlike_training", "warned",
]  # fmt: skip

UNLIKE_TRAINING = 0.1
"""What is left of the probability where a measurement is of another sort than those that the run was trained on, or a
candidate of elements or of a size that it hardly met."""


def inspected(modality: Modality, name: str, measurements: Sequence[Measurement]) -> list[QualityWarning]:
    """Return the quality warnings of a modality about measurements, each a sentence that names the modality."""
    if not isinstance(modality, Inspects):
        return []
    found = []
    for number, measurement in enumerate(measurements, start=1):
        which = f"{name!r}{place_of(measurement, number, len(measurements))}"
        found += [
            QualityWarning(f"the measurement of {which} is doubtful: {warning.message}", warning.confidence_factor)
            for warning in modality.inspect(measurement)
        ]
    return found


def place_of(measurement: Measurement, number: int, count: int) -> str:
    """Say which of several measurements one is: by its file, where it was read from one, else by its number.

    Example:
        >>> place_of(Measurement(arrays={}, location="b.jdx:1"), 2, 3), place_of(Measurement(arrays={}), 2, 3)
        (" in 'b.jdx:1'", ' (2 of 3)')
    """
    if count == 1:
        return ""
    return f" ({number} of {count})" if measurement.location is None else f" in {measurement.location!r}"


def unlike_training(where: Mapping[str, Any], name: str, measurements: Sequence[Measurement]) -> list[QualityWarning]:
    """Return a warning for each measurement that states what the graph's `where` rules out, such as another nucleus.

    Example:
        >>> proton = Measurement(arrays={}, columns={"nucleus": "1H"})
        >>> [warning] = unlike_training({"nucleus": "13C"}, "carbon", [proton])
        >>> warning.message
        "the measurement of 'carbon' is doubtful: its nucleus is '1H', and the run was trained on '13C'"
    """
    found = []
    for number, measurement in enumerate(measurements, start=1):
        column = ruled_out(measurement, where)
        if column is not None:
            wanted = where[column]
            allowed = " or ".join(map(repr, wanted if isinstance(wanted, (list, tuple)) else [wanted]))
            got = f"its {column} is {measurement.columns[column]!r}, and the run was trained on {allowed}"
            which = f"{name!r}{place_of(measurement, number, len(measurements))}"
            found.append(QualityWarning(f"the measurement of {which} is doubtful: {got}", UNLIKE_TRAINING))
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


def beyond_training(hits: Sequence[Hit], domain: Mapping[str, Domain], *, stacklevel: int) -> list[Hit]:
    """Return the hits; one of elements or of a size that training hardly had is marked, and its probability lowered.

    Args:
        hits: Hits of one search.
        domain: What the run was trained on, by spectrum.
        stacklevel: As for `warnings.warn`.

    Warns:
        UserWarning: Some hits are such.
    """
    out, beyond = [], []
    for hit in hits:
        # What its own spectra speak for is found whatever its structure.
        judged = () if hit.similarities else hit.cosines
        found = ((name, domain[name].lacks(hit.formula)) for name in judged if name in domain)
        message = next((f"beyond what {name!r} was trained on: it has {why}" for name, why in found if why), None)
        if message is not None:
            beyond.append(f"hit {hit.rank} is {message}")
            hit = _lowered(hit, UNLIKE_TRAINING, [f"the candidate is {message}"])
        out.append(hit)
    if beyond:
        others = f"; {len(beyond)} of {len(hits)} hits are beyond the training set" if len(beyond) > 1 else ""
        whose = "their" if len(beyond) > 1 else "its"
        lowered = f"; {whose} probability is lowered to a tenth" if hits[0].probability is not None else ""
        warnings.warn(f"{beyond[0]}{others}{lowered}", stacklevel=stacklevel + 1)
    return out


def beyond_domain(library: Library, domain: Mapping[str, Domain], spectra: Sequence[str]) -> str | None:
    """Say how many formulas of the candidates are of elements or sizes that training hardly had; None where none is.

    Args:
        library: The candidates.
        domain: What the run was trained on, by spectrum.
        spectra: Those by which candidates are to be found.
    """
    beyond = formulas_beyond(library, domain, spectra)
    if not beyond:
        return None
    first, why = next(iter(beyond.items()))
    return (
        f"{len(beyond):,} formulas among them are of elements or sizes that the run hardly met ({first} has {why}): do "
        "not trust those"
    )


def formulas_beyond(library: Library, domain: Mapping[str, Domain], spectra: Sequence[str]) -> dict[str, str]:
    """Return the formulas of candidates of elements or sizes that training hardly had, with what it lacked.

    Args:
        library: The candidates.
        domain: What the run was trained on, by spectrum.
        spectra: Those by which candidates are to be found; a formula is beyond where it is for all of them.
    """
    known = [domain[name] for name in spectra if name in domain]
    found = {}
    for formula in sorted(library.formulas()) if known else ():
        try:
            lacking = [one.lacks(formula) for one in known]
        except SampleError:
            continue
        if lacking[0] is not None and all(lacking):
            found[formula] = lacking[0]
    return found


def warned(hits: Sequence[Hit], found: Sequence[QualityWarning], *, stacklevel: int) -> list[Hit]:
    """Warn, and return the hits with the warnings and the probability that the lowest confidence factor leaves them."""
    for warning in found:
        warnings.warn(warning.message, stacklevel=stacklevel + 1)
    factor = min((warning.confidence_factor for warning in found), default=1.0)
    messages = [warning.message for warning in found]
    return [_lowered(hit, factor, messages) for hit in hits]


def _lowered(hit: Hit, factor: float, messages: Sequence[str]) -> Hit:
    """Return a hit with further quality warnings and the part of its probability that they leave it."""
    return dataclasses.replace(
        hit,
        probability=None if hit.probability is None else hit.probability * factor,
        quality_warnings=(*hit.quality_warnings, *messages),
    )
