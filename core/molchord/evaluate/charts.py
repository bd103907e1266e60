"""Pictures drawn as SVG text in the colours of the page that they are put in; every one says in words what it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from molchord.evaluate.pictures import Confusion, Curve, Reliability, SpaceMap

__all__ = [
    "RAMP",
    "confusion_chart",
    "curve_chart",
    "group_map",
    "line_key",
    "number_map",
    "reliability_chart",
    "shapes",
    "shown_names",
]

RAMP = 5
"""Steps of the scale of numbers, ``--p-ramp-1`` to ``--p-ramp-5``."""

_SERIES = 6
"""Colours of lines, ``--p-line-1`` to ``--p-line-6``; lines differ in their dashes and marks too."""

_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 2")
_SHOWN = 10
"""Most rows and columns of a matrix."""

_MARKS = (
    "m-4.5-4.5h9v9h-9z",  # square
    "m0-5.5l5.5 9.5h-11z",  # triangle
    "m0-6l6 6-6 6-6-6z",  # diamond
    "m-5-5l10 10m0-10l-10 10",  # cross
    "m0 5.5l5.5-9.5h-11z",  # triangle, upside down
    "m-5.5 0h11m-5.5-5.5v11",  # plus
)
_DOT = "m-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z"


# --- maps ------------------------------------------------------------------------------------------------------------


def number_map(
    space: SpaceMap, name: str, *, joined: bool = False, size: int = 340
) -> tuple[str, list[tuple[int, str]]]:
    """Draw a map coloured by a number; returns the drawing, and the steps of the scale with what they stand for.

    Args:
        space: The map.
        name: One of its numbers.
        joined: Draw the spectra too, each joined to its structure by a line.
        size: Width and height.
    """
    values = space.numbers[name]
    known = values[np.isfinite(values)]
    # Equally many molecules a step, as far as they differ, or a single heavy one would make all others alike.
    edges = np.unique(np.quantile(known, np.linspace(0, 1, RAMP + 1), method="nearest")) if len(known) else np.zeros(1)
    step = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(0, len(edges) - 2))
    used = _ramp(max(1, len(edges) - 1))
    colours = [
        f"var(--p-ramp-{used[int(one)]})" if np.isfinite(value) else "var(--quiet)"
        for one, value in zip(step, values, strict=True)
    ]
    keys = list(zip(used, _keys(edges, known), strict=True))
    low, high = edges[0], edges[-1]
    said = f"Map of {len(space.key14)} molecules coloured by {name}, from {low:.4g} to {high:.4g}"
    return _map(space, colours, [_DOT] * len(colours), said, joined=joined, size=size), keys


def _ramp(steps: int) -> list[int]:
    """Return which steps of the scale are used, as far apart as they can be."""
    return [1 + round(i * (RAMP - 1) / max(1, steps - 1)) for i in range(steps)]


def _keys(edges: NDArray[np.float64], values: NDArray[np.float64]) -> list[str]:
    """Say what the steps between edges hold; of whole numbers, which ones."""
    if len(edges) < 2:
        return [f"{edges[0]:.4g}"]
    if not (values == np.round(values)).all():
        return [f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges)]
    ends = [*(edges[1:-1] - 1), edges[-1]]
    return [f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in zip(edges[:-1], ends, strict=True)]


def group_map(space: SpaceMap, name: str, *, size: int = 340) -> str:
    """Draw a map in which what has a group is a filled square, and what has not a small ring."""
    values = space.groups[name]
    has = values > 0.5
    colours = ["var(--p-line-2)" if one else "var(--quiet)" for one in has.tolist()]
    marks = [_MARKS[0] if one else "m-2.5 0a2.5 2.5 0 1 0 5 0a2.5 2.5 0 1 0-5 0z" for one in has.tolist()]
    known = int(np.isfinite(values).sum())
    return _map(
        space, colours, marks, f"Map of molecules: {int(has.sum())} of {known} have {name}", hollow=~has, size=size
    )


def shapes(space: SpaceMap) -> list[tuple[str, str]]:
    """Return what each mark of a joined map stands for, with a small drawing of it."""
    found = []
    for name, mark in [("molecule", _DOT), *zip(space.spectra, _marks(len(space.spectra)), strict=True)]:
        fill = "currentColor" if name == "molecule" else "none"
        drawn = _line(f"M0 0{mark}", "currentColor", 1.5, fill=fill)
        found.append((name, f'<svg viewBox="-8 -8 16 16" width="14" height="14" aria-hidden="true">{drawn}</svg>'))
    return found


def _map(
    space: SpaceMap,
    colours: Sequence[str],
    marks: Sequence[str],
    said: str,
    *,
    joined: bool = False,
    hollow: NDArray[np.bool_] | None = None,
    size: int,
) -> str:
    shown = [space.molecules, *(space.spectra.values() if joined else ())]
    every = np.concatenate(shown)
    low, high = np.nanmin(every, axis=0), np.nanmax(every, axis=0)
    scale = (size - 24) / max(float((high - low).max()), 1e-9)
    middle = (low + high) / 2
    x, y = (
        [(size / 2 + scale * (part[:, 0] - middle[0])) for part in shown],
        [(size / 2 - scale * (part[:, 1] - middle[1])) for part in shown],
    )
    lines, points = [], []
    for row, (colour, mark) in enumerate(zip(colours, marks, strict=True)):
        here = f"{x[0][row]:.1f} {y[0][row]:.1f}"
        others = ""
        for kind, other in enumerate(_marks(len(shown) - 1), start=1):
            if np.isfinite(x[kind][row]):
                there = f"{x[kind][row]:.1f} {y[kind][row]:.1f}"
                lines.append(f"M{here}L{there}")
                others += f"M{there}{other}"
        spectra = f'<path d="{others}" fill="none" stroke="{colour}" stroke-width="1.3"/>' if others else ""
        fill = "none" if hollow is not None and hollow[row] else colour
        points.append(
            f"<g><title>{escape(space.smiles[row])}</title>{spectra}"
            f'<path d="M{here}{mark}" fill="{fill}" stroke="{"var(--paper)" if fill == colour else colour}" '
            'stroke-width="0.8"/></g>'
        )
    joins = (
        f'<path d="{"".join(lines)}" stroke="var(--quiet)" stroke-width="0.6" stroke-opacity="0.45"/>' if lines else ""
    )
    frame = f'<rect x="0.5" y="0.5" width="{size - 1}" height="{size - 1}" fill="none" stroke="var(--grid)"/>'
    return _svg(size, size, said, frame + joins + "".join(points))


def _marks(count: int) -> list[str]:
    return [_MARKS[i % len(_MARKS)] for i in range(count)]


# --- lines -----------------------------------------------------------------------------------------------------------


def curve_chart(curves: Sequence[Curve], metric: str, title: str, styles: Mapping[tuple[str, ...], int]) -> str:
    """Draw a metric of several sets of spectra with its intervals; sizes of pools are on a logarithmic scale.

    Args:
        curves: One of each set, over the same thing.
        metric: One of theirs.
        title: What it is called.
        styles: The number of each set's line, as for `line_key`: a set looks alike in all charts.
    """
    width, height, left, right, top, bottom = 420, 300, 40, 14, 14, 40
    logarithmic = curves[0].over == "pool size"
    ticks = _ticks(curves, logarithmic=logarithmic)
    first, last = min(c.at[0] for c in curves), max(c.at[-1] for c in curves)

    def across(value: float) -> float:
        low, high, at = (math.log(v) if logarithmic else v for v in (first, last, value))
        return left + (width - left - right) * ((at - low) / (high - low) if high > low else 0.5)

    def up(value: float) -> float:
        return height - bottom - (height - top - bottom) * value

    parts = [_grid(left, width - right, up)]
    parts += [_text(across(at), height - bottom + 17, text, "middle") for at, text in ticks]
    label = "candidates" if logarithmic else "noise, % of the largest value"
    parts.append(_text((left + width - right) / 2, height - 5, label, "middle"))
    for curve in curves:
        index = styles[curve.subset]
        colour = f"var(--p-line-{index % _SERIES + 1})"
        found = [(across(at), one) for at, one in zip(curve.at, curve.metrics[metric], strict=True)]
        found = [(x, one) for x, one in found if math.isfinite(one.value)]
        band = [(x, up(one.high)) for x, one in found] + [(x, up(one.low)) for x, one in reversed(found)]
        line = [(x, up(one.value)) for x, one in found]
        dots = "".join(f"M{x:.1f} {y:.1f}{_line_mark(index)}" for x, y in line)
        parts.append(f'<path d="{_path(band)}z" fill="{colour}" fill-opacity="0.13"/>')
        parts.append(
            _line(_path(line), colour, 2, dash=_DASHES[index % len(_DASHES)])
            + _line(dots, colour, 1.6, fill="var(--paper)")
        )
    ends = "; ".join(
        f"{' + '.join(c.subset)} {100 * c.metrics[metric][0].value:.0f} % to {100 * c.metrics[metric][-1].value:.0f} %"
        for c in curves
    )
    return _svg(width, height, f"{title} against {curves[0].over}: {ends}", "".join(parts))


def line_key(index: int) -> str:
    """Draw what the line of a set of spectra looks like, beside its name."""
    colour = f"var(--p-line-{index % _SERIES + 1})"
    return (
        '<svg viewBox="0 0 44 16" width="44" height="16" aria-hidden="true">'
        f'<path d="M2 8H42" stroke="{colour}" stroke-width="2" stroke-dasharray="{_DASHES[index % len(_DASHES)]}"/>'
        f'<path d="M22 8{_line_mark(index)}" fill="var(--paper)" stroke="{colour}" stroke-width="1.6"/></svg>'
    )


def _line_mark(index: int) -> str:
    return (_DOT, *_MARKS)[index % (len(_MARKS) + 1)]


def _ticks(curves: Sequence[Curve], *, logarithmic: bool) -> list[tuple[float, str]]:
    places = sorted({at for curve in curves for at in curve.at})
    if not logarithmic:
        return [(at, f"{100 * at:g}") for at in places]
    tens = [at for at in places if math.log10(at).is_integer()]
    return [(at, f"{at:,.0f}") for at in (tens if len(tens) > 1 else places)]


def _grid(left: float, right: float, up: Callable[[float], float]) -> str:
    """Draw lines at shares, and write these beside them; `up` gives the place of a share."""
    lines = [
        f'<path d="M{left} {up(share):.1f}H{right}" stroke="var(--grid)"/>'
        + _text(left - 6, up(share) + 4, f"{share:.0%}", "end")
        for share in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return "".join(lines)


# --- stated against found --------------------------------------------------------------------------------------------


def reliability_chart(one: Reliability) -> str:
    """Draw how often it was so against what was stated, with intervals; below is how many searches each bin has."""
    width, height, left, right, top, bottom = 300, 300, 40, 22, 12, 62
    mark, colour = (_DOT, "var(--mark)") if one.event == "first hit" else (_MARKS[0], "var(--p-line-2)")

    def across(value: float) -> float:
        return left + (width - left - right) * value

    def up(value: float) -> float:
        return height - bottom - (height - top - bottom) * value

    parts = [_grid(left, width - right, up)]
    parts.append(_line(_path([(across(0), up(0)), (across(1), up(1))]), "var(--quiet)", 1, dash="3 4"))
    parts += [_text(across(share), height - bottom + 16, f"{share:.0%}", "middle") for share in (0.0, 0.5, 1.0)]
    parts.append(_text((left + width - right) / 2, height - bottom + 32, "stated", "middle"))
    parts.append(_text(left - 6, height - 8, "n", "end"))
    for part in one.bins:
        x = across(part.stated)
        parts.append(
            f"<g><title>stated {part.stated:.0%}, so in {part.found.value:.0%} of {part.searches} searches</title>"
            + _line(_path([(x, up(part.found.low)), (x, up(part.found.high))]), colour, 2)
            + f'<path d="M{x:.1f} {up(part.found.value):.1f}{mark}" fill="{colour}" stroke="var(--paper)"/></g>'
        )
        parts.append(_text(across((part.low + part.high) / 2), height - 8, str(part.searches), "middle", 10))
    said = "; ".join(f"stated {p.stated:.0%}: {p.found.value:.0%} of {p.searches}" for p in one.bins)
    return _svg(width, height, f"{' + '.join(one.subset)}, {one.event}: {said}", "".join(parts))


# --- confusions ------------------------------------------------------------------------------------------------------


def shown_names(one: Confusion) -> tuple[list[int], list[int]]:
    """Return the rows and columns that are drawn: what is lost most often, and what most often comes in its place."""
    rows = [i for i in np.argsort(-one.lost, kind="stable")[:_SHOWN].tolist() if one.lost[i] > 0]
    totals = one.instead[rows].sum(axis=0)
    return rows, [i for i in np.argsort(-totals, kind="stable")[:_SHOWN].tolist() if totals[i] > 0]


def confusion_chart(one: Confusion) -> str:
    """Draw the matrix: in each cell how many percent of those that lost the row's group have the column's instead."""
    rows, columns = shown_names(one)
    cell, left, top = 34, 150, 96
    width, height = left + cell * len(columns) + 56, top + cell * len(rows) + 6
    parts = []
    for place, column in enumerate(columns):
        x = left + cell * (place + 0.5) + 4
        parts.append(
            f'<text transform="translate({x:.1f} {top - 8}) rotate(-50)" font-size="11.5" fill="var(--ink)">'
            f"{escape(_short(one.names[column]))}</text>"
        )
    for place, row in enumerate(rows):
        y = top + cell * place
        parts.append(
            _text(left - 8, y + cell / 2 + 4, f"{_short(one.names[row])} ({one.lost[row]})", "end", 11.5, "--ink")
        )
        for across, column in enumerate(columns):
            share = one.instead[row, column] / one.lost[row]
            x = left + cell * across
            parts.append(
                f"<g><title>{escape(one.names[row])} lost {one.lost[row]} times, {escape(one.names[column])} instead "
                f"{one.instead[row, column]} times</title>"
                f'<rect x="{x + 1}" y="{y + 1}" width="{cell - 2}" height="{cell - 2}" '
                f'rx="3" fill="var(--p-cell)" fill-opacity="{0.04 + 0.8 * share:.2f}"/>'
                + (_text(x + cell / 2, y + cell / 2 + 4, f"{100 * share:.0f}", "middle", 11, "--ink") if share else "")
                + "</g>"
            )
    said = "; ".join(
        f"{one.names[row]} lost {one.lost[row]} times, most often for {one.names[int(one.instead[row].argmax())]}"
        for row in rows
        if one.instead[row].any()
    )
    return _svg(width, height, f"Groups confused, {' + '.join(one.subset)}: {said}", "".join(parts))


# --- helpers ---------------------------------------------------------------------------------------------------------


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _text(x: float, y: float, text: str, anchor: str, size: float = 12, colour: str = "--quiet") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size:g}" fill="var({colour})">{escape(text)}</text>'


def _line(path: str, colour: str, width: float, *, dash: str = "", fill: str = "none") -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="{path}" fill="{fill}" stroke="{colour}" stroke-width="{width:g}"{dashes}/>'


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _svg(width: float, height: float, said: str, inside: str) -> str:
    label = escape(said, quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
        f'aria-label="{label}" font-family="system-ui, sans-serif">{inside}</svg>'
    )
