"""Answers as cards, and what a sample's traffic light shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from molchord.case.record import SampleRecord
from molchord.identify.answers import Answer
from molchord.library.hits import SURE, Hit, Hits, none_before
from molchord.look.words import titled, titles
from molchord.page.models import AnswerView, Decision, GroupView, HitView, Light
from molchord.page.said import advice, without_paths
from molchord.properties import Estimates
from molchord.run import Run

__all__ = ["answer_view", "hit_view", "hits_again", "light_of"]

GROUPS = 12
"""Functional groups that are shown."""


def hits_again(answer: Answer) -> Hits:
    """Return the hits of an answer as the search returned them."""
    return Hits(
        answer.hits,
        none_of_these=answer.none_of_these,
        candidates=answer.candidates,
        uncalibrated=answer.uncalibrated,
    )


def hit_view(sample: SampleRecord, answer: Answer, hit: Hit) -> HitView:
    """Return a candidate that was found."""
    mass = answer.asked.get("mass")
    decision: Decision | None = sample.decision if sample.decided_key14 == hit.key14 else None
    return HitView(
        rank=hit.rank,
        key14=hit.key14,
        name=hit.name,
        smiles=hit.smiles,
        formula=hit.formula,
        mass=hit.exact_mass,
        deviation_ppm=None if mass is None else (hit.exact_mass - mass) / mass * 1e6,
        probability=None if hit.probability is None else min(hit.probability, 1.0),
        svg=f"/api/samples/{sample.id}/hits/{hit.rank}.svg?of={hit.key14}",
        warnings=tuple(without_paths(one) for one in hit.quality_warnings if one not in answer.warnings),
        columns=dict(hit.columns),
        merged=hit.merged,
        reference=hit.reference,
        cosines=dict(hit.cosines),
        similarities=dict(hit.similarities),
        decision=decision,
    )


def answer_view(
    run: Run, sample: SampleRecord, answer: Answer, groups: Estimates | None, *, k: int, current: bool
) -> AnswerView:
    """Return the answer to a sample, of its hits the first k."""
    first = answer.hits[0].probability if answer.hits else None
    none = answer.none_of_these
    shown = () if groups is None else groups.estimates[:GROUPS]
    found = [
        GroupView(name=one.name, probability=one.probability, share=one.share, base=one.base)
        for one in shown
        if one.share >= 0.05
    ]
    modalities = list(answer.hits[0].cosines) if answer.hits else []
    return AnswerView(
        sample=sample.id,
        current=current,
        hits=tuple(hit_view(sample, answer, hit) for hit in answer.hits[:k]),
        none_of_these=none,
        none_first=none_before(none, first),
        candidates=answer.candidates,
        summary=tuple(_titled(run, answer.summary)),
        advice=tuple(advice(answer.warnings, modalities, dict(sample.clean))),
        groups=tuple(found),
        read=tuple(map(without_paths, answer.read)),
    )


def _titled(run: Run, sentences: Sequence[str]) -> list[str]:
    """Return sentences with techniques by their proper names, and without what is to be typed in a terminal."""
    named = titles(run.graph)
    out = []
    for sentence in sentences:
        text = "; ".join(part for part in sentence.split("; ") if not part.startswith("`molchord "))
        out.append(without_paths(titled(text, named)))
    return out


def light_of(answer: Answer | None, failed: bool) -> Light:
    """Return the traffic light of a sample: green where the first candidate is likely and nothing speaks against it.

    Example:
        >>> light_of(None, True), light_of(None, False)
        ('red', 'none')
    """
    if failed:
        return "red"
    if answer is None or not answer.hits:
        return "none"
    first: Any = answer.hits[0].probability or 0.0
    none = answer.none_of_these or 0.0
    if none >= SURE and none > first:
        return "red"
    return "green" if first >= SURE and first > none and not answer.warnings else "yellow"
