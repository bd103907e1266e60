"""SPEED.md from the JSON files alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["speed_text"]

INTRO = """\
# Speed and memory

Made from the JSON files in `speed/results/` by `python -m benchmarks.speed [NAME ...]`, never by hand. Both sides of a
comparison run in turns in one process, with as many threads; times are medians, and `x` says how many times longer the
other side takes, median over rounds with the smallest and the largest.
"""


def speed_text(folder: Path) -> str:
    """Return the page of all results in a folder."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    return "\n".join([INTRO, *map(_section, results)])


def _section(result: Mapping[str, Any]) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    parts = [f"## {result['title']}\n\n{result['text']}\n\n{machine}; commit {result['commit']}.\n"]
    columns: dict[str, None] = {}
    cells = []
    for row in result["rows"]:
        cells.append(_cells(row))
        columns |= dict.fromkeys(cells[-1])
    parts.append(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n")
    parts += [f"| {' | '.join(line.get(column, '') for column in columns)} |\n" for line in cells]
    return "".join([parts[0], "\n", *parts[1:]])


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row's cells by column: times with their ratio, then all other figures by their name."""
    out = {"case": str(row["case"])}
    for name, seconds in row.get("seconds", {}).items():
        text = f"{seconds:.4g} s"
        if name in row["ratio"]:
            low, high = row["range"][name]
            text += f" ({row['ratio'][name]:.2f}x, {low:.2f}-{high:.2f})"
        out[name] = text
    others = {key: value for key, value in row.items() if key not in ("case", "seconds", "ratio", "range", "rounds")}
    return out | {
        key.replace("_", " "): f"{value:,}" if isinstance(value, (int, float)) else str(value)
        for key, value in others.items()
    }
