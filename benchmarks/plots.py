"""The pictures of RESULTS.md, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["draw"]

INK, QUIET, GRID = "#1d2733", "#5b6672", "#e4e8ec"
COLOURS = ("#0b7a75", "#d98032", "#5a6fb0", "#b04a5a", "#8a8f3c", "#7d5a9e")
BASELINES = {"mass alone": "#cfd5db", "candidates only": "#b3bcc5", "nearest training spectrum": "#8d98a4"}
FUSION = "gm-exp"
LEFT_OUT = ("random (expected)", "mass alone (expected)", "own similarity")


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Draw a table's figure; the same result gives the same file."""
    panels = list(_bar_panels(result) if result["figure"]["over"] == "bars" else _line_panels(result))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns + 0.4, 2.9 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten().tolist()
    for number, (place, (title, panel)) in enumerate(zip(axes, panels, strict=False)):
        _frame(place, title, left=number % columns == 0)
        (_bars if result["figure"]["over"] == "bars" else _lines)(place, panel)
        if result["figure"]["over"] != "bars":
            place.set_xlabel(result["figure"]["label"], fontsize=8.5, color=QUIET)
    for place in axes[len(panels) :]:
        place.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8.5, labelcolor=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem, "font.family": "sans-serif"}):
        figure.savefig(path, metadata={"Date": None, "Creator": None})


Panel = Mapping[str, Sequence[tuple[Any, Sequence[float]]]]
"""For each line or kind of bar, (place, [value, low, high]) in order."""


def _bar_panels(result: Mapping[str, Any]) -> Iterator[tuple[str, Panel]]:
    """Yield a panel a test and pool of blind queries; pools that hang on the query are left out."""
    models = [row for row in result["rows"] if row["model"] and row["mode"] == "blind" and row["fusion"] == FUSION]
    for test, pool in dict.fromkeys((row["test"], row["pool"]) for row in models):
        if pool == "isomers" or pool.startswith("mass:"):
            continue
        panel: dict[str, list[tuple[Any, Sequence[float]]]] = {}
        for row in result["rows"]:
            shown = row["fusion"] in (FUSION, "") and row["mode"] in ("blind", "") and row["system"] not in LEFT_OUT
            if (row["test"], row["pool"]) == (test, pool) and shown:
                panel.setdefault(row["system"], []).append((" + ".join(row["subset"]), row["top1"]))
        size = next(row["pool_size"] for row in models if (row["test"], row["pool"]) == (test, pool))
        yield f"{test}, pool {pool.partition(':')[0]} ({size:,.0f})", panel


def _line_panels(result: Mapping[str, Any]) -> Iterator[tuple[str, Panel]]:
    """Yield a panel a subset; what stands at 0 without a line begins every line."""
    over = result["figure"]["over"]
    carriers = {entry["name"]: entry for entry in result[over] if entry["x"] is not None}
    rows = [row for row in result["rows"] if row["model"] and row["fusion"] == FUSION and row[over[:-1]] in carriers]
    for subset in dict.fromkeys(tuple(row["subset"]) for row in rows):
        panel: dict[str, list[tuple[Any, Sequence[float]]]] = {}
        for row in (row for row in rows if tuple(row["subset"]) == subset):
            carrier = carriers[row[over[:-1]]]
            names = [carrier["line"]] if carrier["x"] or not _later(carriers, carrier) else _later(carriers, carrier)
            for name in names:
                label = name if over == "systems" else f"{name}, {row['system']}"
                panel.setdefault(label, []).append((carrier["x"], row["top1"]))
        yield " + ".join(subset), {name: sorted(points, key=lambda point: point[0]) for name, points in panel.items()}


def _later(carriers: Mapping[str, Mapping[str, Any]], start: Mapping[str, Any]) -> list[str]:
    """Name the lines that a starting point belongs to: all others."""
    return list(dict.fromkeys(entry["line"] for entry in carriers.values() if entry["line"] != start["line"]))


def _bars(axes: Axes, panel: Panel) -> None:
    groups = list(dict.fromkeys(group for points in panel.values() for group, _ in points))
    width = 0.8 / len(panel)
    models = [name for name in panel if name not in BASELINES]
    for number, (name, points) in enumerate(panel.items()):
        places = [groups.index(group) - 0.4 + (number + 0.5) * width for group, _ in points]
        colour = COLOURS[models.index(name) % len(COLOURS)] if name in models else BASELINES[name]
        values, errors = _errors(points)
        axes.bar(places, values, width=0.92 * width, label=name, yerr=errors, error_kw=_ERROR, color=colour)
    axes.set_xticks(range(len(groups)), groups)


def _lines(axes: Axes, panel: Panel) -> None:
    for number, (name, points) in enumerate(panel.items()):
        values, errors = _errors(points)
        axes.errorbar(
            [place for place, _ in points],
            values,
            yerr=errors,
            label=name or None,
            color=COLOURS[number % len(COLOURS)],
            marker="o",
            markersize=4,
            elinewidth=0.8,
        )


_ERROR = {"elinewidth": 0.8, "ecolor": INK}


def _errors(points: Sequence[tuple[Any, Sequence[float]]]) -> tuple[list[float], list[list[float]]]:
    values = [100 * top1[0] for _, top1 in points]
    below = [100 * max(0.0, top1[0] - top1[1]) for _, top1 in points]
    above = [100 * max(0.0, top1[2] - top1[0]) for _, top1 in points]
    return values, [below, above]


def _frame(axes: Axes, title: str, *, left: bool) -> None:
    axes.set_title(title, loc="left", fontsize=9.5, color=INK)
    axes.set_ylim(0, 100)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.tick_params(labelsize=8.5, colors=QUIET, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    if left:
        axes.set_ylabel("Top-1 in %", fontsize=8.5, color=QUIET)
