"""What a search returns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor

from molchord.api import Molecule
from molchord.deprecation import renamed_attribute
from molchord.retrieval.exact import Found
from molchord.retrieval.scores import geometric_mean

__all__ = ["Hit", "Hits", "hits_of"]


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
        quality_warnings: What makes the answer uncertain, a sentence each: the same for all of its hits, but
            for what is said of this candidate's elements and size.
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

        cleaned: Steps of clean-up that the query's spectra went through, in order with their settings, by modality.

    Example:
        >>> Hits([], none_of_these=0.4, candidates=3).none_of_these
        0.4
    """

    cleaned: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({})

    def __init__(
        self, hits: Iterable[Hit], *, none_of_these: float | None, candidates: int, uncalibrated: Sequence[str] = ()
    ) -> None:
        super().__init__(hits)
        self.uncalibrated = tuple(uncalibrated)
        self.none_of_these = none_of_these
        self.candidates = candidates


def hits_of(
    query: Mapping[str, Tensor],
    found: Found,
    molecules: Sequence[Molecule],
    vectors: Tensor,
    fusion: str,
    pairs: Mapping[tuple[str, str | None], float],
    calibration: Mapping[int, float] | None,
) -> list[Hit]:
    """Return the hits of one query.

    Args:
        query: Its unit vector per modality.
        found: What was found for it.
        molecules: The candidates found, best first.
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
            key14=molecule.key14,
            smiles=molecule.smiles,
            formula=molecule.formula,
            exact_mass=molecule.exact_mass,
            score=geometric_mean(value, fusion=fusion, tau=taus),
            cosines={name: float(part.cpu().double() @ vector) for name, part in query.items()},
            probability=None if logit is None else math.exp(float(logit @ vector) - total),
            proven=bool(found.proven[0]),
        )
        for rank, (value, molecule, vector) in enumerate(
            zip(found.values[0].tolist(), molecules, wide, strict=True), start=1
        )
    ]
