"""Spectra as drawings: axes in their technique's direction, peaks labelled, parts shaded, references mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from molchord.api import Trace
from molchord.explain.peaks import peaks_of
from molchord.look.canvas import BELOW, GRID, INK, MARK, PALE, QUIET, Canvas, standalone
from molchord.look.words import formula, modality_title, percent, unit

if TYPE_CHECKING:
    from molchord.explain.reasons import Explanation, Reason  # which load torch; a file that was read needs none

__all__ = ["Shade", "explanation_file", "shades", "spectra_file", "spectrum_svg"]

WIDTH, HEIGHT, MIRRORED = 640.0, 190.0, 280.0
"""Size of a panel, alone and with a reference below."""

SHADED = 3
"""Parts of a spectrum that are shaded."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 8.0, 8.0, 24.0, 46.0
_LABELLED, _APART, _APART_LATE = 8, 40.0, 62.0
_FIRST, _LEAST = 0.38, 0.12
_COLUMNS = 320


class Shade(NamedTuple):
    """A part that decides: its ends (equal for a peak), how much it says beside others, and what there is to say."""

    start: float
    stop: float
    weight: float = 1.0
    note: str = ""


def shades(reasons: Sequence[Reason]) -> list[Shade]:
    """Return what to shade of the reasons that `Explanation.first` gives."""
    return [
        Shade(one.window.start, one.window.stop, one.similarity, ": ".join([one.window.name, *one.notes[:1]]))
        for one in reasons
    ]


def spectrum_svg(
    trace: Trace,
    *,
    below: Trace | None = None,
    shaded: Sequence[Shade] = (),
    raw: Trace | None = None,
    labels: bool = True,
    title: str = "spectrum",
    legend: tuple[str, str] = ("", ""),
    ordinate: bool = False,
) -> str:
    """Draw a spectrum as SVG text, which takes the colours of the page it is put in.

    Args:
        trace: What to draw.
        below: A reference, drawn mirrored.
        shaded: Parts that decide.
        raw: The same before clean-up, drawn pale behind.
        labels: Write places beside the highest peaks.
        title: What it is, for those who do not see it.
        legend: What is above and below the line.
        ordinate: Write heights beside the axis.

    Example:
        >>> curve = Trace(position=np.arange(5.0), height=np.array([0, 1.0, 0, 0.5, 0]), axis="cm^-1", scale="")
        >>> "cm⁻¹" in spectrum_svg(curve)
        True
    """
    canvas = Canvas(width=WIDTH, height=HEIGHT if below is None else MIRRORED)
    _panel(canvas, 0.0, trace, below, shaded, raw, labels=labels, legend=legend, ordinate=ordinate)
    return canvas.svg(label=_said(trace, title))


def explanation_file(explanation: Explanation, form: str = "svg") -> bytes:
    """Draw an explanation, a panel per spectrum, as the content of a file.

    Args:
        explanation: What to draw; spectra whose modality cannot be drawn are left out.
        form: "svg" or "png".

    Example:
        >>> from molchord.explain.reasons import Explanation
        >>> from molchord.library.hits import Hit
        >>> hit = Hit(rank=1, key14="A", smiles="C", formula="CH4", exact_mass=16.03, score=1.0, cosines={},
        ...           probability=None)
        >>> curve = Trace(position=np.arange(5.0), height=np.array([0, 1.0, 0, 0.5, 0]), axis="cm^-1", scale="")
        >>> empty = Explanation(hit=hit, others=(), similarity={"ir": 0.9}, reasons={}, traces={"ir": curve}, below={})
        >>> explanation_file(empty)[:5]
        b'<?xml'
    """
    hit, panels = explanation.hit, []
    for name, trace in explanation.traces.items():
        head = f"{modality_title(name)}: agreement {explanation.similarity[name]:.2f}"
        below = explanation.below.get(name)
        said = shades(explanation.first(name, SHADED))
        panels.append(
            _Panel(head if below is None else f"{head}; below it a spectrum of the candidate", trace, below, said)
        )
    chance = "" if hit.probability is None else f", {percent(hit.probability)}"
    return _file(f"why hit {hit.rank}: {hit.name or hit.smiles} ({formula(hit.formula)}{chance})", panels, form)


def spectra_file(spectra: Sequence[tuple[str, Trace, Trace | None]], form: str = "svg") -> bytes:
    """Draw spectra one below the other as the content of a file, with their heights.

    Args:
        spectra: Title, spectrum and, where it was cleaned up, the spectrum before that, of each.
        form: "svg" or "png".
    """
    return _file("", [_Panel(title, trace, None, (), raw, ordinate=True) for title, trace, raw in spectra], form)


class _Panel(NamedTuple):
    title: str
    trace: Trace
    below: Trace | None = None
    shaded: Sequence[Shade] = ()
    raw: Trace | None = None
    ordinate: bool = False


def _file(title: str, panels: Sequence[_Panel], form: str) -> bytes:
    head = 28.0 if title else 4.0
    heights = [22.0 + (HEIGHT if one.below is None else MIRRORED) for one in panels]
    canvas = Canvas(width=WIDTH, height=head + sum(heights))
    if title:
        canvas.text(_LEFT, 19.0, title, colour=INK, size=15.0)
    top = head
    for panel, height in zip(panels, heights, strict=True):
        canvas.text(_LEFT, top + 15.0, panel.title, colour=INK, size=13.0)
        _panel(
            canvas, top + 22.0, panel.trace, panel.below, panel.shaded, panel.raw, labels=True, ordinate=panel.ordinate
        )
        top += height
    return canvas.png() if form == "png" else standalone(canvas.svg(label=title or "spectra")).encode()


def _panel(
    canvas: Canvas,
    top: float,
    trace: Trace,
    below: Trace | None,
    shaded: Sequence[Shade],
    raw: Trace | None,
    *,
    labels: bool,
    legend: tuple[str, str] = ("", ""),
    ordinate: bool = False,
) -> None:
    """Draw a panel whose upper edge is at `top`."""
    trace = _thinned(trace)
    below, raw = (None if one is None else _thinned(one) for one in (below, raw))
    height = HEIGHT if below is None else MIRRORED
    foot = top + height - _BOTTOM
    axis = _Axis.of(trace, below, _LEFT + (46.0 if ordinate else 0.0), WIDTH - _RIGHT)
    up = _Scale.of(
        [trace] if raw is None else [trace, raw], top + _TOP, foot if below is None else (top + foot) / 2 + 3
    )
    line = up.y(0.0) if below is not None or trace.sticks else None
    most = max((abs(shade.weight) for shade in shaded), default=1.0) or 1.0
    for shade in shaded:
        _shade(canvas, axis, up, trace, shade, max(_LEAST, _FIRST * abs(shade.weight) / most), top + _TOP, foot)
    if raw is not None:
        _draw(canvas, axis, up, raw, PALE, 1.0)
    _draw(canvas, axis, up, trace, INK, 1.2)
    if labels:
        _label(canvas, axis, up, trace, above=True)
    if below is not None:
        down = _Scale.of([below], foot - 14.0, (top + foot) / 2 + 3)
        _draw(canvas, axis, down, below, BELOW, 1.2)
        if labels:
            _label(canvas, axis, down, below, above=False)
    for word, y, colour in ((legend[0], top + 13.0, INK), (legend[1], foot - 3.0, BELOW)):
        if word:
            canvas.text(_LEFT, y, word, colour=colour, size=12.0, late=True)
    if line is not None:
        canvas.path([[(axis.left, line), (axis.right, line)]], QUIET, 0.6)
    if ordinate:
        _ordinate(canvas, up, axis.left)
        canvas.text(axis.left, top + 11.0, unit(trace.scale), size=11.0)
    _abscissa(canvas, axis, trace, foot)


class _Axis(NamedTuple):
    """Places to x."""

    low: float
    high: float
    left: float
    right: float
    descending: bool

    @classmethod
    def of(cls, trace: Trace, below: Trace | None, left: float, right: float) -> _Axis:
        places = np.concatenate([np.asarray(one.position, dtype=float) for one in (trace, below) if one is not None])
        places = places[np.isfinite(places)]
        low, high = (float(places.min()), float(places.max())) if len(places) else (0.0, 1.0)
        room = 0.04 * (high - low) if trace.sticks else 0.0
        if high - low < 1e-9 * max(1.0, abs(high)):
            room = max(1.0, 0.1 * abs(low))  # a lone peak stays a peak
        return cls(low - room, high + room, left, right, trace.descending)

    def x(self, place: float) -> float:
        part = (min(max(place, self.low), self.high) - self.low) / (self.high - self.low)
        return (
            self.right - part * (self.right - self.left)
            if self.descending
            else self.left + part * (self.right - self.left)
        )

    @property
    def span(self) -> float:
        return self.high - self.low


class _Scale(NamedTuple):
    """Heights to y: the highest is at `tip`, what is lowest, or zero, at `foot`."""

    low: float
    high: float
    tip: float
    foot: float

    @classmethod
    def of(cls, traces: Sequence[Trace], tip: float, foot: float) -> _Scale:
        heights = np.concatenate([np.asarray(one.height, dtype=float) for one in traces])
        heights = heights[np.isfinite(heights)]
        low, high = (float(heights.min()), float(heights.max())) if len(heights) else (0.0, 1.0)
        low = min(low, 0.0) if any(one.sticks for one in traces) or low >= 0 else low
        return cls(low, high if high > low else low + 1.0, tip, foot)

    def y(self, height: float) -> float:
        return self.foot + (height - self.low) / (self.high - self.low) * (self.tip - self.foot)


def _shade(
    canvas: Canvas, axis: _Axis, up: _Scale, trace: Trace, shade: Shade, opacity: float, top: float, foot: float
) -> None:
    """Shade a range; a peak becomes thicker."""
    if shade.stop > shade.start:
        left, right = sorted((axis.x(shade.start), axis.x(shade.stop)))
        canvas.box(left, top, max(right, left + 1.0), foot, MARK, opacity, shade.note)
        return
    near = int(np.abs(np.asarray(trace.position) - shade.start).argmin())
    x, tip = axis.x(shade.start), up.y(float(np.nan_to_num(trace.height[near])))
    canvas.box(x - 4.0, min(tip, up.foot), x + 4.0, up.foot, MARK, max(opacity, 0.3), shade.note)


def _draw(canvas: Canvas, axis: _Axis, scale: _Scale, trace: Trace, colour: str, width: float) -> None:
    x = np.array([axis.x(float(place)) for place in trace.position])
    height = np.asarray(trace.height, dtype=float)
    if trace.sticks:
        seen = np.isfinite(height)
        zero = scale.y(0.0)
        sticks = [[(a, zero), (a, scale.y(b))] for a, b in zip(x[seen].tolist(), height[seen].tolist(), strict=True)]
        if sticks:
            canvas.path(sticks, colour, width + 0.2)
        return
    pieces = [
        [(a, scale.y(b)) for a, b in zip(x[part].tolist(), height[part].tolist(), strict=True)]
        for part in _pieces(height)
    ]
    if pieces:
        canvas.path(pieces, colour, width)


def _pieces(height: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Return the indices of each stretch that was measured."""
    seen = np.flatnonzero(np.isfinite(height))
    return np.split(seen, np.flatnonzero(np.diff(seen) > 1) + 1) if len(seen) else []


def _thinned(trace: Trace) -> Trace:
    """Return what a screen shows of many points: the lowest and highest of each column, and one of each gap."""
    place, height = np.asarray(trace.position, dtype=float), np.asarray(trace.height, dtype=float)
    if len(place) <= 2 * _COLUMNS:
        return trace
    column = np.floor((place - place[0]) / (float(np.ptp(place)) or 1.0) * _COLUMNS).astype(int)
    kept = {0, len(place) - 1}
    for group in np.split(np.arange(len(place)), np.flatnonzero(np.diff(column)) + 1):
        seen = group[np.isfinite(height[group])]
        kept |= {int(group[np.isnan(height[group])][0])} if len(seen) < len(group) else set()
        kept |= {int(seen[height[seen].argmin()]), int(seen[height[seen].argmax()])} if len(seen) else set()
    rows = np.array(sorted(kept))
    return replace(trace, position=place[rows], height=height[rows])


def _label(canvas: Canvas, axis: _Axis, scale: _Scale, trace: Trace, *, above: bool) -> None:
    """Write the places of the highest peaks, none too near to a higher one."""
    taken: list[float] = []
    early: list[float] = []
    for index in peaks_of(trace).tolist():
        if len(taken) == _LABELLED:
            break
        place, height = float(trace.position[index]), float(trace.height[index])
        x = axis.x(place)
        if not np.isfinite(height) or any(abs(x - other) < _APART for other in taken):
            continue
        late = any(abs(x - other) < _APART_LATE for other in early) or len(early) == _LABELLED // 2
        taken.append(x)
        early += [] if late else [x]
        edge = 24.0
        anchor = "start" if x < axis.left + edge else "end" if x > axis.right - edge else "middle"
        y = scale.y(height) + (-4.0 if above else 12.0)
        canvas.text(x, y, _place(place, axis, trace), size=12.0, anchor=anchor, late=late)  # type: ignore[arg-type]


def _place(place: float, axis: _Axis, trace: Trace) -> str:
    whole = bool(np.all(np.asarray(trace.position) == np.round(trace.position)))
    return f"{place:.0f}" if whole or axis.span > 1000 else f"{place:.2f}"


def _abscissa(canvas: Canvas, axis: _Axis, trace: Trace, foot: float) -> None:
    ticks = _ticks(axis.low, axis.high)
    canvas.path([[(axis.left, foot), (axis.right, foot)]], GRID, 1.0)
    canvas.path([[(axis.x(tick), foot), (axis.x(tick), foot + 4.0)] for tick in ticks], QUIET, 0.8)
    for number, tick in enumerate(ticks):
        x = axis.x(tick)
        anchor = "start" if x < axis.left + 14 else "end" if x > axis.right - 14 else "middle"
        canvas.text(x, foot + 17.0, f"{tick:g}", size=12.0, anchor=anchor, late=number % 2 == 1)  # type: ignore[arg-type]
    canvas.text((axis.left + axis.right) / 2, foot + 36.0, unit(trace.axis), size=12.0, anchor="middle")


def _ordinate(canvas: Canvas, scale: _Scale, left: float) -> None:
    for tick in _ticks(scale.low, scale.high, most=4):
        canvas.path([[(left - 4.0, scale.y(tick)), (left, scale.y(tick))]], QUIET, 0.8)
        canvas.text(left - 7.0, scale.y(tick) + 4.0, f"{tick:.4g}", size=11.0, anchor="end")


def _ticks(low: float, high: float, most: int = 9) -> list[float]:
    """Return round places between two."""
    rough = (high - low) / most
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first = int(np.ceil(low / step - 1e-9))
    return [round(float(number * step), 10) for number in range(first, int(np.floor(high / step + 1e-9)) + 1)]


def _said(trace: Trace, title: str) -> str:
    """Return a drawing in words."""
    trace = _thinned(trace)
    places = np.asarray(trace.position)[np.isfinite(trace.height)]
    if not len(places):
        return f"{title}: nothing was measured"
    ends = (
        (float(places.max()), float(places.min())) if trace.descending else (float(places.min()), float(places.max()))
    )
    highest = ", ".join(f"{float(trace.position[index]):.5g}" for index in peaks_of(trace).tolist()[:5])
    return f"{title}, {unit(trace.axis)} {ends[0]:.5g} to {ends[1]:.5g}; highest peaks at {highest or 'none'}"
