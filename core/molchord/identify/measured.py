"""How a run was measured: the figures that it keeps of queries like those of a sample."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

__all__ = ["FIGURES", "FigureRow", "measured_for"]

FIGURES = ("figures.json", "evaluation.json")
"""Files of a run that hold its figures: those of its card, or those that `molchord evaluate` wrote there."""


@final
@dataclass(frozen=True, kw_only=True)
class FigureRow:
    """One row of figures: how often the right structure was among the first.

    Attributes:
        queries: What was asked with.
        spectra: Modalities of a query.
        molecules: Molecules asked for.
        pool: Candidates, on average.
        top: Top-1, Top-5 and Top-25 with the ends of their 95 % intervals, each as a part of 1.
    """

    queries: str
    spectra: tuple[str, ...]
    molecules: int
    pool: float
    top: tuple[tuple[float, float, float], ...]


def measured_for(run: Path, asked: Iterable[Sequence[str]]) -> list[FigureRow]:
    """Return the figures of a run for sets of spectra, in their order; empty where it keeps none.

    Args:
        run: Its folder.
        asked: Modalities of queries.
    """
    wanted = [set(one) for one in asked]
    for name in FIGURES:
        try:
            rows = json.loads((run / name).read_text(encoding="utf-8"))["rows"]
            found = [row for row in map(_row, rows) if row is not None]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # a report is no place to complain of a file beside the run
        return [row for one in wanted for row in found if set(row.spectra) == one]
    return []


def _row(row: Mapping[str, Any]) -> FigureRow | None:
    if row.get("system", "model") != "model" or row.get("mode", "blind") != "blind":
        return None
    tops = [row["metrics"][name] for name in ("top1", "top5", "top25")]
    values = [tuple(float(one[end]) for end in ("value", "low", "high")) for one in tops if None not in one.values()]
    if len(values) < len(tops) or not all(math.isfinite(number) for one in values for number in one):
        return None
    return FigureRow(
        queries=str(row.get("queries_are") or f"held-out molecules, pool {row.get('pool', '')}"),
        spectra=tuple(row["subset"]),
        molecules=int(row["molecules"]),
        pool=float(row["pool_size"]),
        top=tuple((one[0], one[1], one[2]) for one in values),
    )
