"""What a search returns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor

from molchord.deprecation import renamed_attribute
from molchord.library.files import CandidateRow
from molchord.prospects import Prospect
from molchord.retrieval.exact import Found
from molchord.retrieval.scores import geometric_mean

__all__ = ["SURE", "Hit", "Hits", "hits_of", "none_before", "sureness"]


SURE = 0.5
"""No higher probability is stated for measured spectra by a calibration on computed ones."""


@final
@dataclass(frozen=True, kw_only=True)
class Hit:
    """One candidate that a search found.

    Attributes:
        rank: From 1.
        key14: First block of the InChIKey.
        smiles: Canonical SMILES.
        formula: Hill formula.
        exact_mass: Monoisotopic mass in Da.
        score: Geometric mean of the mapped similarities; NaN where a vector is not finite.
        cosines: Cosine of each of the query's modalities with the candidate.
        probability: Calibrated probability, what "none of these" leaves, lowered by the quality warnings; None
            without a calibration for this number of spectra, in library mode, and where it would be above 0.5 for
            measured spectra that it was not calibrated on.
        proven: Whether no candidate left out can score higher: true of a search without an index, which leaves none
            out; with one, where a bound shows it; false where the first ones were re-ranked, since the others were not
            looked at again.
        rerank_score: Score by which a hit was re-ranked; None where it was not.
        features: The re-ranker's features, by name; NaN where it has no answer.
        name: What the list of candidates calls it; empty where it does not.
        columns: The other columns of the list.
        merged: Names, or where it has none SMILES, of the rows of the list that were merged with it.
        quality_warnings: What makes the answer uncertain, a sentence each: the same for all of its hits, but
            for what is said of this candidate's elements and size.
        reference: "measured reference", "computed reference" or "structure only": what of the candidate was compared
            with the query; None where references were not searched.
        similarities: How alike the query and the candidate's best reference are, by modality, as the modality itself
            compares them.
    """

    rank: int
    key14: str
    smiles: str
    formula: str
    exact_mass: float
    score: float
    cosines: Mapping[str, float]
    probability: float | None
    proven: bool = True
    rerank_score: float | None = None
    features: Mapping[str, float] = field(default_factory=dict)
    quality_warnings: tuple[str, ...] = ()
    name: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    merged: tuple[str, ...] = ()
    reference: str | None = None
    similarities: Mapping[str, float] = field(default_factory=dict)

    doubts = renamed_attribute("Hit", "doubts", "quality_warnings")


@final
class Hits(list[Hit]):
    """The hits of one search, best first.

    Attributes:
        none_of_these: Calibrated probability that no candidate which passed the filters is the molecule; None where the
            hits have no probability, or the run was not fitted for such queries.
        candidates: How many candidates passed the filters.
        uncalibrated: Spectra of the query that are measured where those of the calibration were computed: hits whose
            probability would be above 0.5 have none.
        references_uncalibrated: Whether references were searched whose weight was not fitted for such queries: hits
            whose probability would be above 0.5 have none then too.
        prospects: What measurements not yet made are expected to tell of the first hits, the most telling one first;
            empty where the run does not know, or all were made.

        cleaned: Steps of clean-up that the query's spectra went through, in order with their settings, by modality.

    Example:
        >>> Hits([], none_of_these=0.4, candidates=3).none_of_these
        0.4
    """

    cleaned: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({})

    def __init__(
        self,
        hits: Iterable[Hit],
        *,
        none_of_these: float | None,
        candidates: int,
        uncalibrated: Sequence[str] = (),
        references_uncalibrated: bool = False,
    ) -> None:
        super().__init__(hits)
        self.uncalibrated = tuple(uncalibrated)
        self.references_uncalibrated = references_uncalibrated
        self.prospects: tuple[Prospect, ...] = ()
        self.none_of_these = none_of_these
        self.candidates = candidates

    def first(self, k: int) -> Hits:
        """Return the first k hits, with what there is to say of all."""
        found = copy(self)
        found[:] = self[:k]
        return found


def none_before(none_of_these: float | None, probability: float | None) -> bool:
    """Return whether "none of these" stands before a candidate; a probability that is not stated would be above a half.

    Example:
        >>> none_before(0.6, 0.3), none_before(0.4, None), none_before(None, 0.0)
        (True, False, False)
    """
    return none_of_these is not None and none_of_these > (SURE if probability is None else probability)


def sureness(hits: Hits) -> list[str]:
    """Return what there is to say of the answer as a whole: how probable none is, and what was not calibrated.

    Example:
        >>> sureness(Hits([], none_of_these=0.634, candidates=20))
        ['none of these: 63.4 %']
        >>> sureness(Hits([], none_of_these=0.88, candidates=1))
        ['none of these: 88.0 %; it is the only candidate, and the spectra say 12.0 % that it is right']
    """
    lines = []
    if hits.none_of_these is not None:
        lines.append(f"none of these: {100 * hits.none_of_these:.1f} %")
        right = 1 - hits.none_of_these
        if hits.candidates == 1 and not (hits.uncalibrated and right > SURE):
            lines[0] += f"; it is the only candidate, and the spectra say {100 * right:.1f} % that it is right"
    if hits.uncalibrated:
        names = " and ".join(map(repr, hits.uncalibrated))
        lines.append(
            f"not calibrated for measured spectra ({names}), so no probability above 50 % is stated; "
            "`molchord calibrate RUN --data MEASURED --out RUN2` fits it on measured ones"
        )
    if hits.references_uncalibrated:
        lines.append(
            "not calibrated for these references, so no probability above 50 % is stated; "
            "`molchord calibrate RUN --references DATASET --out RUN2` fits it, where molecules have several spectra"
        )
    if hits.prospects and hits.prospects[0].right > hits.prospects[0].right_now + _GAIN:
        lines.append(_advice(hits))
    return lines


_GAIN = 0.02
"""A measurement that is not expected to gain so much is not advised."""


def _advice(hits: Hits) -> str:
    """Say which measurement is worth making next, and what it is expected to do for the first hit."""
    best, *others = hits.prospects
    text = f"to tell the first candidates apart, measure {best.modality!r}"
    if not hits.uncalibrated and not hits.references_uncalibrated:
        now, then = 100 * best.right_now, 100 * best.right
        text += f": the first is right with {then:.0f} % then (expected; now {now:.0f} %)"
    rest = ", ".join(repr(prospect.modality) for prospect in others)
    return f"{text}; after it {rest}" if rest else text


def hits_of(
    query: Mapping[str, Tensor],
    found: Found,
    candidates: Sequence[CandidateRow],
    vectors: Tensor,
    fusion: str,
    pairs: Mapping[tuple[str, str | None], float],
    calibration: Mapping[int, float] | None,
) -> list[Hit]:
    """Return the hits of one query.

    Args:
        query: Its unit vector per modality.
        found: What was found for it.
        candidates: Those found, best first.
        vectors: Their vectors, (found, d).
        fusion: Form of the geometric mean.
        pairs: The pairs that entered the ranking value, with their temperatures.
        calibration: Number of spectra to the scale beta of the confidence; None: hits have no probability.
    """
    taus, wide = list(pairs.values()), vectors.double()
    logit = None
    if calibration is not None and len(query) in calibration and found.totals is not None:
        parts = [part.cpu().double() / pairs[name, None] for name, part in query.items()]
        logit = calibration[len(query)] * torch.stack(parts).sum(dim=0)
    total = math.nan if found.totals is None else float(found.totals[0])
    return [
        Hit(
            rank=rank,
            key14=candidate.molecule.key14,
            smiles=candidate.molecule.smiles,
            formula=candidate.molecule.formula,
            exact_mass=candidate.molecule.exact_mass,
            name=candidate.name,
            columns=candidate.columns,
            score=geometric_mean(value, fusion=fusion, tau=taus),
            cosines={name: float(part.cpu().double() @ vector) for name, part in query.items()},
            probability=None if logit is None else math.exp(float(logit @ vector) - total),
            proven=bool(found.proven[0]),
        )
        for rank, (value, candidate, vector) in enumerate(
            zip(found.values[0].tolist(), candidates, wide, strict=True), start=1
        )
    ]
