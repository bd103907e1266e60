"""What was read and found, as the tools say it: rounded, in words, and no surer than the model is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from molchord.assistant.answers import (
    Deciding,
    ExplainedSpectrum,
    FileContent,
    FoundMolecule,
    FurtherMeasurement,
    LikelyGroup,
    SpectrumContent,
)

if TYPE_CHECKING:
    from molchord.data.spectrum_files import ReadSpectrum
    from molchord.explain.reasons import Explanation, Reason
    from molchord.library.hits import Hit, Hits
    from molchord.properties import Estimate
    from molchord.prospects import Prospect

__all__ = [
    "conclusion_of",
    "file_told",
    "further_told",
    "groups_told",
    "molecule_told",
    "rest_of",
    "rounded",
    "spectra_told",
    "spectrum_told",
]

LIKELY = 0.1
"""Probability from which on a group is named."""

_PARTS, _NOTES = 5, 3


def rounded(value: float | None) -> float | None:
    """Return a number to four places; None where there is none."""
    return None if value is None or not math.isfinite(value) else round(value, 4)


# --- files -----------------------------------------------------------------------------------------------------------


def file_told(file: str, spectra: Sequence[ReadSpectrum], errors: Sequence[str], most: int) -> FileContent:
    """Return what a file holds: the first spectra, and how many more there are."""
    return FileContent(
        file=file,
        spectra=[spectrum_told(one) for one in spectra[:most]],
        more_spectra=max(0, len(spectra) - most),
        errors=list(errors[:most]),
    )


def spectrum_told(spectrum: ReadSpectrum) -> SpectrumContent:
    """Return a spectrum as it was understood."""
    facts = spectrum.facts()
    lowest, highest = facts.get("range", (None, None))
    return SpectrumContent(
        modality=facts["modality"],
        place=facts["location"],
        points=facts.get("points"),
        is_curve=facts.get("curve"),
        axis=facts.get("abscissa"),
        unit=facts.get("unit"),
        lowest=lowest,
        highest=highest,
        ordinate=facts.get("ordinate"),
        ordinate_unit=facts.get("ordinate_unit"),
        smiles=facts["smiles"],
        understood={name: str(value) for name, value in facts["understood"].items()},
        metadata={name: str(value) for name, value in facts["metadata"].items()},
        warnings=facts["warnings"],
    )


# --- answers ---------------------------------------------------------------------------------------------------------


def conclusion_of(hits: Hits) -> str:
    """Return the answer in a sentence, with the probability of the first hit and of none of these.

    Example:
        >>> from molchord.library.hits import Hit, Hits
        >>> known = {"key14": "", "formula": "C2H6O", "exact_mass": 46.04, "score": 1.0, "cosines": {}}
        >>> hit = Hit(rank=1, smiles="CCO", probability=0.2, **known)
        >>> conclusion_of(Hits([hit], none_of_these=0.75, candidates=9))
        'probably none of the 9 candidates (75.0 %); the first of them, CCO, has a probability of 20.0 %'
        >>> conclusion_of(Hits([hit], none_of_these=0.25, candidates=9))
        'CCO has a probability of 20.0 %; that it is none of the 9 candidates has 25.0 %'
    """
    first, none = hits[0], hits.none_of_these
    called = f"{first.name} ({first.smiles})" if first.name else first.smiles
    has = (
        "has no stated probability, as the model is not calibrated for such spectra"
        if first.probability is None
        else f"has a probability of {100 * first.probability:.1f} %"
    )
    among = f"the {hits.candidates:,} candidates" if hits.candidates != 1 else "the one candidate"
    if none is None:
        return f"the first of {among} is {called}, which {has}; how probably it is none of them is not known"
    if none > 0.5:
        return f"probably none of {among} ({100 * none:.1f} %); the first of them, {called}, {has}"
    return f"{called} {has}; that it is none of {among} has {100 * none:.1f} %"


def rest_of(hits: Hits, shown: int) -> float | None:
    """Return the probability that is left for candidates that are not shown; None where it is not known."""
    chances = [hit.probability for hit in hits[:shown]]
    if hits.none_of_these is None or any(chance is None for chance in chances):
        return None
    return rounded(max(0.0, 1.0 - hits.none_of_these - sum(chance or 0.0 for chance in chances)))


def molecule_told(hit: Hit, *, mass: float | None = None, said: Iterable[str] = ()) -> FoundMolecule:
    """Return a candidate; warnings that are said of the answer as a whole are not said again."""
    known = set(said)
    return FoundMolecule(
        rank=hit.rank,
        name=hit.name,
        smiles=hit.smiles,
        formula=hit.formula,
        exact_mass=round(hit.exact_mass, 5),
        deviation_ppm=None if mass is None else round(1e6 * (hit.exact_mass - mass) / mass, 2),
        probability=rounded(hit.probability),
        agreement={name: rounded(value) for name, value in hit.cosines.items()},
        merged=list(hit.merged),
        columns={title: str(text) for title, text in hit.columns.items()},
        reference=hit.reference,
        similarities={name: rounded(value) for name, value in hit.similarities.items()},
        warnings=[one for one in hit.quality_warnings if one not in known],
    )


def groups_told(estimates: Iterable[Estimate], names: Iterable[str] | None = None) -> list[LikelyGroup]:
    """Return groups that are likely enough to be named, or those of some names."""
    wanted = None if names is None else set(names)
    return [
        LikelyGroup(name=one.name, probability=rounded(one.probability), usual=rounded(one.base))
        for one in estimates
        if (one.share >= LIKELY if wanted is None else one.name in wanted)
    ]


def further_told(prospects: Iterable[Prospect]) -> list[FurtherMeasurement]:
    """Return what measurements that were not made are expected to tell."""
    return [
        FurtherMeasurement(modality=one.modality, expected_right=round(one.right, 4), right_now=round(one.right_now, 4))
        for one in prospects
    ]


# --- why -------------------------------------------------------------------------------------------------------------


def spectra_told(why: Explanation, *, contrary_by_odds: bool = False) -> list[ExplainedSpectrum]:
    """Return what the parts of each spectrum say.

    Args:
        why: An explanation.
        contrary_by_odds: Whether a part is contrary by what it says for the other molecules, not against this one.
    """
    return [
        ExplainedSpectrum(
            modality=name,
            agreement=round(similarity, 4),
            supporting=_parts(why.first(name, _PARTS)),
            deciding=_parts(why.first(name, _PARTS, odds=True)),
            contrary=_parts(why.first(name, _PARTS, against=True, odds=contrary_by_odds)),
            note="no part of it can be left out, so nothing is said of its parts" if name in why.unexplained else None,
        )
        for name, similarity in why.similarity.items()
    ]


def _parts(reasons: Iterable[Reason]) -> list[Deciding]:
    return [Deciding(**_part(one)) for one in reasons]


def _part(reason: Reason) -> dict[str, Any]:
    return {
        "name": reason.window.name,
        "start": reason.window.start,
        "stop": reason.window.stop,
        "unit": reason.window.unit,
        "peak": rounded(reason.peak),
        "loses": round(reason.similarity, 4),
        "odds": None if reason.odds is None else float(f"{math.exp(max(-700.0, min(reason.odds, 700.0))):.3g}"),
        "notes": list(reason.notes[:_NOTES]),
    }
