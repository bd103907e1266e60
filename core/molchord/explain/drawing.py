"""An explanation as a drawing: each spectrum, the parts that decide shaded, a spectrum of the candidate below it."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from molchord.api import Trace
from molchord.explain.peaks import peaks_of
from molchord.explain.reasons import Explanation, Reason

__all__ = ["picture_of"]

INK, QUIET, FOR, BELOW, GRID = "#1d2733", "#5b6672", "#0b7a75", "#d98032", "#e4e8ec"
SHADED = 3
"""Parts of a spectrum that are shaded."""

LABELLED, APART = 8, 0.035
"""Peaks that are labelled, and how far apart they are, as a part of the axis."""

_FIRST, _LEAST = 0.45, 0.12
"""How opaque the part is that says most, and how much the others are at least."""


def picture_of(explanation: Explanation, form: str = "svg") -> bytes:
    """Draw an explanation, a panel for each spectrum, as a file of a form that matplotlib writes.

    Args:
        explanation: What to draw; spectra whose modality cannot be drawn are left out.
        form: "svg" or "png".

    Example:
        >>> from molchord.library.hits import Hit
        >>> hit = Hit(rank=1, key14="A", smiles="C", formula="CH4", exact_mass=16.03, score=1.0, cosines={},
        ...           probability=None)
        >>> curve = Trace(position=np.arange(5.0), height=np.array([0, 1.0, 0, 0.5, 0]), axis="cm^-1", scale="")
        >>> empty = Explanation(hit=hit, others=(), similarity={"ir": 0.9}, reasons={}, traces={"ir": curve}, below={})
        >>> picture_of(empty)[:5]
        b'<?xml'
    """
    names = list(explanation.traces)
    figure = Figure(figsize=(8.4, 0.6 + 3.0 * max(1, len(names))), layout="constrained")
    panels = figure.subplots(max(1, len(names)), 1, squeeze=False)[:, 0]
    for panel, name in zip(panels, names, strict=False):
        _panel(panel, explanation, name)
    if not names:
        panels[0].set_axis_off()
    hit = explanation.hit
    figure.suptitle(f"why hit {hit.rank}: {hit.smiles} ({hit.formula})", fontsize=10, color=INK, parse_math=False)
    out = BytesIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": "explanation", "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        figure.savefig(out, format=form, dpi=160, metadata={"Date": None, "Creator": None} if form == "svg" else {})
    return out.getvalue()


def _panel(panel: Axes, explanation: Explanation, name: str) -> None:
    trace, below = explanation.traces[name], explanation.below.get(name)
    _shade(panel, trace, explanation.first(name, SHADED))
    _draw(panel, trace, 1.0, INK)
    _label(panel, trace, 1.0)
    if below is not None:
        _draw(panel, below, -1.0, BELOW)
        _label(panel, below, -1.0)
        panel.axhline(0.0, color=QUIET, linewidth=0.6)
    panel.set(xlim=_limits(trace), ylim=(0.0 if below is None else -1.22, 1.22), yticks=[])
    panel.set_xlabel(trace.axis, fontsize=8.5, color=QUIET)
    panel.set_ylabel(trace.scale, fontsize=8.5, color=QUIET)
    title = f"{name}: similarity {explanation.similarity[name]:.2f}"
    panel.set_title(
        title if below is None else f"{title}; below it a spectrum of the candidate", fontsize=9, loc="left"
    )
    panel.tick_params(labelsize=8, colors=QUIET)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color(GRID)


def _limits(trace: Trace) -> tuple[float, float]:
    """Return the ends of the axis in the order in which it runs."""
    low, high = float(trace.position.min()), float(trace.position.max())
    room = 0.04 * (high - low) if trace.sticks else 0.0
    if low == high:
        room = max(1.0, 0.1 * abs(low))
    return (high + room, low - room) if trace.descending else (low - room, high + room)


def _shade(panel: Axes, trace: Trace, reasons: Sequence[Reason]) -> None:
    """Shade what speaks for the hit, the more the stronger; peaks become thicker."""
    most = max((reason.similarity for reason in reasons), default=1.0)
    for reason in reasons:
        alpha = max(_LEAST, _FIRST * reason.similarity / most)
        window = reason.window
        if window.stop > window.start:
            panel.axvspan(window.start, window.stop, color=FOR, alpha=alpha, linewidth=0)
        else:
            near = int(np.abs(np.asarray(trace.position) - window.start).argmin())
            panel.vlines(window.start, 0.0, trace.height[near], color=FOR, alpha=alpha, linewidth=7.0)


def _draw(panel: Axes, trace: Trace, sign: float, colour: str) -> None:
    if trace.sticks:
        panel.vlines(trace.position, 0.0, sign * np.asarray(trace.height), color=colour, linewidth=1.1)
    else:
        panel.plot(trace.position, sign * np.asarray(trace.height), color=colour, linewidth=0.9)


def _label(panel: Axes, trace: Trace, sign: float) -> None:
    """Write the places of the highest peaks, none too near to a higher one."""
    span = max(float(np.ptp(trace.position)), 1e-9)
    chosen: list[int] = []
    for index in peaks_of(trace).tolist():
        if len(chosen) == LABELLED:
            break
        if all(abs(trace.position[index] - trace.position[other]) > APART * span for other in chosen):
            chosen.append(index)
    for index in chosen:
        place = float(trace.position[index])
        text = f"{place:.0f}" if span > 1000 else f"{place:.2f}"
        where = (place, sign * (float(trace.height[index]) + 0.02))
        vertical = "bottom" if sign > 0 else "top"
        panel.annotate(text, where, ha="center", va=vertical, fontsize=7, color=QUIET)
