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

__all__ = ["hit_row", "hit_table", "print_warnings", "say"]


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
    named = any(hit.name for hit in hits)
    header = [
        "rank",
        "score",
        *(["probability"] if sure else []),
        *(["re-ranked", *seen] if seen else []),
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
        facts = [*cosines, hit.formula, f"{hit.exact_mass:.4f}", hit.smiles, *([hit.name] if named else [])]
        lines.append([str(hit.rank), f"{hit.score:.3g}", *([chance] if sure else []), *again, *facts])
    return "\n".join(aligned(lines))


def hit_row(hit: Hit) -> dict[str, Any]:
    """Return a hit as JSON values."""
    features = {name: None if math.isnan(value) else value for name, value in hit.features.items()}
    return {**dataclasses.asdict(hit), "cosines": dict(hit.cosines), "features": features}


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
