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
    from molchord.library.hits import Hit
    from molchord.properties import Estimates

__all__ = ["PICTURES", "estimates_text", "hit_row", "hit_table", "print_warnings", "say"]


_NAMED = 0.1
"""Probability from which on something is named."""


def say(arguments: argparse.Namespace, data: Any, text: str) -> None:
    """Print JSON where requested, else text."""
    print(json.dumps(data, indent=2) if arguments.json else text)


PICTURES = (".svg", ".png")
"""How the name of a picture may end."""


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
    named = any(hit.name for hit in hits)
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
        *(["name"] if named else []),
    ]
    lines = [header]
    for hit in hits:
        chance = "not calibrated" if hit.probability is None else f"{100 * hit.probability:.1f} %"
        cosines = [f"{hit.cosines[name]:.3f}" for name in names]
        again = [] if hit.rerank_score is None else [f"{hit.rerank_score:.3f}", *map(_shown, hit.features.values())]
        again += ["-"] * (len(seen) + 1 - len(again)) if seen else []
        if referenced:
            again += [hit.reference or "-", *(_shown(hit.similarities.get(name, math.nan)) for name in alike)]
        facts = [*cosines, hit.formula, f"{hit.exact_mass:.4f}", hit.smiles, *([hit.name] if named else [])]
        lines.append([str(hit.rank), f"{hit.score:.3g}", *([chance] if sure else []), *again, *facts])
    return "\n".join(aligned(lines))


def estimates_text(found: Estimates) -> str:
    """Return what the unknown has, by the probability of each name, those that are likely enough to be named.

    Example:
        >>> from molchord.properties import Estimate, Estimates
        >>> one = Estimate(name="nitrile", probability=0.9, share=0.9, base=0.04)
        >>> other = Estimate(name="thiol", probability=0.01, share=0.01, base=0.01)
        >>> estimates_text(Estimates(property="molchord:functional_groups", estimates=(one, other), calibrated=True))
        'it has: nitrile 90 %; below 10 %: 1 other'
    """
    likely = [one for one in found.estimates if one.share >= _NAMED]
    named = [
        f"{one.name} {'(not calibrated)' if one.probability is None else f'{100 * one.probability:.0f} %'}"
        for one in likely
    ]
    rest = len(found.estimates) - len(likely)
    others = f"below {100 * _NAMED:.0f} %: {rest} other{'s' if rest != 1 else ''}"
    return f"it has: {', '.join(named) or 'nothing that is likely'}; {others}"


def hit_row(hit: Hit) -> dict[str, Any]:
    """Return a hit as JSON values."""
    features = {name: None if math.isnan(value) else value for name, value in hit.features.items()}
    own = {"cosines": dict(hit.cosines), "similarities": dict(hit.similarities), "features": features}
    return {**dataclasses.asdict(hit), **own}


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
