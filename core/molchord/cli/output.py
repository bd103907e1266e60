"""What commands print: text for people, JSON for programs, warnings, tables of hits."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from molchord.text_table import aligned

if TYPE_CHECKING:
    from molchord.library.hits import Hit, Hits

__all__ = ["hit_row", "hit_table", "print_warnings", "say", "sureness"]


def say(arguments: argparse.Namespace, data: Any, text: str) -> None:
    """Print JSON where requested, else text."""
    print(json.dumps(data, indent=2) if arguments.json else text)


def print_warnings(sentences: Iterable[object]) -> None:
    """Print warnings to standard error."""
    for sentence in sentences:
        print(f"molchord: warning: {sentence}", file=sys.stderr)


def hit_table(hits: Sequence[Hit]) -> str:
    """Return hits as an aligned table."""
    names = list(hits[0].cosines)
    sure = bool(getattr(hits, "uncalibrated", ())) or any(hit.probability is not None for hit in hits)
    seen = list(hits[0].features)
    referenced = any(hit.reference for hit in hits)
    alike = list(dict.fromkeys(name for hit in hits for name in hit.similarities))
    header = [
        "rank",
        "score",
        *(["probability"] if sure else []),
        *(["re-ranked", *seen] if seen else []),
        *(["found by", *(f"like {n}" for n in alike)] if referenced else []),
        *(f"cos {n}" for n in names),
        "formula",
        "mass",
        "SMILES",
    ]
    lines = [header]
    for hit in hits:
        chance = "not calibrated" if hit.probability is None else f"{100 * hit.probability:.1f} %"
        cosines = [f"{hit.cosines[name]:.3f}" for name in names]
        again = [] if hit.rerank_score is None else [f"{hit.rerank_score:.3f}", *map(_shown, hit.features.values())]
        again += ["-"] * (len(seen) + 1 - len(again)) if seen else []
        if referenced:
            again += [hit.reference or "-", *(_shown(hit.similarities.get(name, math.nan)) for name in alike)]
        facts = [*cosines, hit.formula, f"{hit.exact_mass:.4f}", hit.smiles]
        lines.append([str(hit.rank), f"{hit.score:.3g}", *([chance] if sure else []), *again, *facts])
    return "\n".join(aligned(lines))


def sureness(hits: Hits) -> list[str]:
    """Return what there is to say of the answer as a whole: how probable none is, and what was not calibrated.

    Example:
        >>> from molchord.library.hits import Hits
        >>> sureness(Hits([], none_of_these=0.634, candidates=20))
        ['none of these: 63.4 %']
        >>> sureness(Hits([], none_of_these=0.88, candidates=1))
        ['none of these: 88.0 %; it is the only candidate, and the spectra say 12.0 % that it is right']
    """
    lines = []
    if hits.none_of_these is not None:
        lines.append(f"none of these: {100 * hits.none_of_these:.1f} %")
        right = 1 - hits.none_of_these
        if hits.candidates == 1 and not (hits.uncalibrated and right > 0.5):
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


def hit_row(hit: Hit) -> dict[str, Any]:
    """Return a hit as JSON values."""
    features = {name: None if math.isnan(value) else value for name, value in hit.features.items()}
    own = {"cosines": dict(hit.cosines), "similarities": dict(hit.similarities), "features": features}
    return {**dataclasses.asdict(hit), **own}


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
