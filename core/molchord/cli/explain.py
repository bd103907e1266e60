"""`molchord explain`: which parts of the spectra speak for a hit of a search."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molchord.cli.options import Group
from molchord.cli.output import PICTURES, hit_row, say
from molchord.cli.search import parsed_words, search_parser, searched
from molchord.errors import QueryError
from molchord.files import replace_file
from molchord.text_table import aligned

if TYPE_CHECKING:
    from molchord.explain.reasons import Explanation, Reason

__all__ = ["add_explain", "explain_parser"]

LISTED, DECIDING = 5, 3
"""Parts of a spectrum that are listed for a hit, and that are named for it against the others."""

_NOTES = 3


def add_explain(group: Group) -> None:
    """Declare the command; its options are those of `search`, and the spectra of the run at hand."""
    summary = "say which parts of the spectra speak for a hit of a search"
    command = group.add_parser("explain", help=summary, add_help=False, prefix_chars="\0")
    command.add_argument("words", nargs="*")
    command.set_defaults(run=lambda arguments: _explain(parsed_words(arguments.words, explain_parser())))


def explain_parser() -> argparse.ArgumentParser:
    """Return the parser of what follows `explain`, still without the spectra of a run."""
    parser = search_parser("explain", "Say which parts of the spectra speak for a hit of a search.")
    parser.add_argument("--hit", type=int, default=1, metavar="RANK", help="hit to explain (default 1)")
    parser.add_argument("--others", type=int, default=4, metavar="N", help="first hits it is held against (default 4)")
    parser.add_argument("--against", metavar="DATASET", help="draw a spectrum of the hit from there below the query's")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it: a file that ends in .svg or .png")
    return parser


def _explain(arguments: argparse.Namespace) -> int:
    """Search, and explain one hit."""
    form = None if arguments.plot is None else arguments.plot.suffix.lower()
    if form not in (None, *PICTURES):
        raise QueryError(f"`--plot` got {str(arguments.plot)!r}; give a file that ends in {' or '.join(PICTURES)}")
    from molchord.run import Run

    run = Run.load(arguments.run_folder, device=arguments.device)
    hits, spectra = searched(run, arguments, max(arguments.k, arguments.hit))
    why = run.explain(
        hits, hit=arguments.hit, others=arguments.others, mass=arguments.mass, against=arguments.against, **spectra
    )
    if arguments.plot is not None:
        from molchord.look.spectra import explanation_file

        replace_file(arguments.plot, explanation_file(why, arguments.plot.suffix.lower()[1:]))
    say(arguments, _row(why), _text(why, arguments))
    return 0


def _text(why: Explanation, arguments: argparse.Namespace) -> str:
    hit = why.hit
    lines = [f"hit {hit.rank}: {hit.smiles} ({hit.formula}), held against {len(why.others)} other first hits"]
    for name, similarity in why.similarity.items():
        lines += ["", f"{name}: similarity {similarity:.3f}"]
        if name in why.unexplained:
            lines.append(f"no part of a spectrum {name!r} can be left out, so nothing is said of its parts")
            continue
        found = why.first(name, LISTED)
        if found:
            header = ["without", "peak", "it loses", "odds", "may be"]
            lines += aligned([header, *map(_cells, found)])
        else:
            lines.append("no part of it speaks for this hit")
        deciding = [f"{r.window.name} (odds {_factor(r)})" for r in why.first(name, DECIDING, odds=True)]
        if deciding:
            lines.append(f"against the other first hits decide: {', '.join(deciding)}")
        contrary = [f"{r.window.name} ({r.similarity:+.3f})" for r in why.first(name, DECIDING, against=True)]
        if contrary:
            lines.append(f"speaks against this hit: {', '.join(contrary)}")
        if arguments.against is not None and name not in why.below:
            lines.append(f"{arguments.against} has no {name} spectrum of this hit")
    if arguments.plot is not None:
        lines += ["", f"drawn in {arguments.plot}"]
    return "\n".join(lines)


def _cells(reason: Reason) -> list[str]:
    peak = "-" if reason.peak is None else f"{reason.peak:.{4 if reason.window.start == reason.window.stop else 0}f}"
    notes = ", ".join(reason.notes[:_NOTES])
    return [reason.window.name, peak, f"{reason.similarity:.3f}", _factor(reason), notes]


def _factor(reason: Reason) -> str:
    """Return the factor by which the odds against the other hits fall without a part."""
    return "-" if reason.odds is None else f"x {math.exp(min(reason.odds, 700.0)):.3g}"


def _row(why: Explanation) -> dict[str, Any]:
    return {
        "hit": hit_row(why.hit),
        "others": [hit_row(hit) for hit in why.others],
        "similarity": dict(why.similarity),
        "reasons": {name: [dataclasses.asdict(r) for r in reasons] for name, reasons in why.reasons.items()},
        "below": sorted(why.below),
        "unexplained": list(why.unexplained),
    }
