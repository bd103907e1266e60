"""Checks on re-rankers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from molchord.api import Candidate, Measurement, ModalityRecord, RerankerRecord
from molchord.host import installed
from molchord.testing.require import require
from molchord.testing.samples import built, curves, examples, molecules

COUNT = 6
"""Candidates that the checks show."""


def _modalities() -> list[ModalityRecord]:
    """Return every installed modality that is not a candidate's own."""
    records = (plugin.record for plugin in installed().plugins)
    return [record for record in records if isinstance(record, ModalityRecord) and not record.derives]


def _spectra() -> dict[str, list[Measurement]]:
    """Return examples for the candidates, per modality."""
    return {record.name: examples(built(record, record.kinds[0]), COUNT) for record in _modalities()}


def _query() -> dict[str, list[Measurement]]:
    """Return the first molecule's example, per modality, and where it is not a curve, the curve of it as measured."""
    query = {}
    for record in _modalities():
        modality = built(record, record.kinds[0])
        first = examples(modality, COUNT)[:1]
        query[record.name] = [*first, *curves(record, modality, first)]
    return query


def _candidates(spectra: dict[str, list[Measurement]]) -> list[Candidate]:
    return [
        Candidate(molecule=molecule, computed={name: several[row] for name, several in spectra.items()})
        for row, molecule in enumerate(molecules(COUNT))
    ]


def _features(
    record: RerankerRecord, names: Sequence[str], candidates: Sequence[Candidate]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return what a re-ranker returns for a query of the first molecule's spectra, and the names."""
    every, reranker = _query(), record.build(record.config())
    query = {name: every[name] for name in names}
    return tuple(reranker.names(tuple(names))), np.asarray(reranker.features(query, candidates), dtype=np.float64)


def features_have_names(record: RerankerRecord) -> None:
    """One column per name, one row per candidate, for one candidate and for many, for one modality and for several.

    To mend it: return (candidates, names) whatever the number of candidates and spectra.
    """
    spectra = _spectra()
    candidates = _candidates(spectra)
    for names in [*([name] for name in spectra), [*spectra]]:
        for some in (candidates, candidates[:1]):
            named, features = _features(record, names, some)
            require(len(set(named)) == len(named), f"`names` has one name twice: {named!r}")
            require(
                features.shape == (len(some), len(named)),
                f"features of {len(some)} candidates by {len(named)} names have shape {features.shape}",
            )


def features_are_not_all_missing(record: RerankerRecord) -> None:
    """A re-ranker that returns only NaN passes every other check, so for some spectrum it must return a number.

    To mend it: compute at least one feature where both sides have a measurement.
    """
    spectra = _spectra()
    _, features = _features(record, [*spectra], _candidates(spectra))
    told = f"of a query of {', '.join(spectra)} and candidates with these computed"
    require(bool(np.isfinite(features).any()), f"no feature is a finite number {told}")


def features_follow_the_candidates(record: RerankerRecord) -> None:
    """The order of the candidates is what the features decide on, so they must not depend on it.

    To mend it: compute each candidate's features from the query and that candidate alone.
    """
    spectra = _spectra()
    candidates = _candidates(spectra)
    _, features = _features(record, [*spectra], candidates)
    _, turned = _features(record, [*spectra], candidates[::-1])
    require(
        np.allclose(features, turned[::-1], rtol=1e-6, atol=1e-9, equal_nan=True),
        "the features of a candidate hang on its place among the candidates",
    )


def features_are_repeatable(record: RerankerRecord) -> None:
    """The same query and candidates give the same features, in a re-ranker built anew too.

    To mend it: draw nothing, and keep nothing between calls.
    """
    spectra = _spectra()
    one, other = (_features(record, [*spectra], _candidates(spectra))[1] for _ in range(2))
    require(np.array_equal(one, other, equal_nan=True), "the same candidates get other features the second time")


def nothing_computed_is_no_error(record: RerankerRecord) -> None:
    """A candidate that nothing could be computed for is met often; where that is what it compares with, it returns NaN.

    To mend it: return NaN for that candidate.
    """
    bare = [Candidate(molecule=molecule, computed={}) for molecule in molecules(COUNT)]
    _, features = _features(record, [*_spectra()], bare)
    if record.computed:
        require(bool(np.isnan(features).all()), "candidates without a computed measurement get features; give NaN")


CHECKS = (
    features_have_names,
    features_are_not_all_missing,
    features_follow_the_candidates,
    features_are_repeatable,
    nothing_computed_is_no_error,
)
