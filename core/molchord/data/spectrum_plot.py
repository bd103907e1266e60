"""Spectra as they were read, drawn one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from molchord.api import SpectrumSpec
from molchord.data.spectrum_files import ReadSpectrum, axes_of
from molchord.host import installed

__all__ = ["MOST_PANELS", "plotted"]

MOST_PANELS = 20
"""Spectra of one drawing."""
DESCENDING = ("cm^-1", "ppm")
"""Units whose axis runs from right to left, as the field draws it: IR from 4000 to 500 cm^-1, NMR from 10 to 0 ppm."""
INK, QUIET, GRID, PALE = "#1d2733", "#5b6672", "#e4e8ec", "#e0a458"


def plotted(spectra: Sequence[ReadSpectrum], form: str = "svg") -> bytes:
    """Draw the first spectra, a panel for each, as a file of a form that matplotlib writes.

    Args:
        spectra: At least one, each with an abscissa.
        form: "svg" or "png".
    """
    shown = spectra[:MOST_PANELS]
    figure = Figure(figsize=(8.4, 0.3 + 2.4 * len(shown)), layout="constrained")
    for panel, spectrum in zip(figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
        _draw(panel, spectrum)
    out = BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "spectra", "font.family": "sans-serif"}):
        figure.savefig(out, format=form, dpi=160, metadata={"Date": None, "Creator": None} if form == "svg" else {})
    return out.getvalue()


def _draw(panel: Axes, spectrum: ReadSpectrum) -> None:
    axes = axes_of(spectrum.measurement, spectrum.stores)
    if axes is None:
        raise ValueError(f"{spectrum.location!r} has no abscissa; leave it out")
    arrays = spectrum.measurement.arrays
    x = np.asarray(arrays[axes.x], dtype=float)
    y = np.ones(len(x)) if axes.y is None else np.asarray(arrays[axes.y], dtype=float)
    unit = spectrum.stores.arrays[axes.x].unit
    if axes.curve and spectrum.raw is not None:
        before = spectrum.raw.arrays
        panel.plot(before[axes.x], before[str(axes.y)], color=PALE, linewidth=0.9)
    if axes.curve:
        panel.plot(x, y, color=INK, linewidth=0.9)
    else:
        panel.vlines(x, 0.0, y, color=INK, linewidth=1.1)
    low, high = _limits(spectrum.modality, unit, x)
    panel.set_xlim(*((high, low) if unit in DESCENDING else (low, high)))
    place = spectrum.location.replace(spectrum.file, Path(spectrum.file).name)
    panel.set_title(f"{spectrum.modality}: {place}", fontsize=9, loc="left", color=INK, parse_math=False)
    title = unit if axes.x == unit.replace("/", "") else f"{axes.x.replace('_', ' ')} / {unit}"
    panel.set_xlabel(title, fontsize=8.5, color=QUIET, parse_math=False)
    panel.set_ylabel((axes.y or "").replace("_", " "), fontsize=8.5, color=QUIET, parse_math=False)
    panel.tick_params(labelsize=8, colors=QUIET)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        panel.spines[side].set_color(GRID)


def _limits(modality: str, unit: str, x: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the axis: the range that an encoder sees, or all that there is."""
    record = installed().modality(modality)
    spec = record.spec(record.config(), record.kinds[0])
    if isinstance(spec, SpectrumSpec) and spec.unit == unit:
        return spec.start, spec.stop
    room = 0.04 * float(np.ptp(x)) or max(1.0, 0.1 * abs(float(x[0])))
    return float(x.min()) - room, float(x.max()) + room
