"""Spectra as they were read, drawn one below the other for a person to check, with the heights that the files hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from molchord.api import Measurement, Trace
from molchord.data.spectrum_files import Axes, ReadSpectrum, axes_of
from molchord.look.spectra import spectra_file
from molchord.look.words import modality_title

__all__ = ["MOST_PANELS", "read_file", "read_trace"]

MOST_PANELS = 20
"""Spectra of one drawing."""

DESCENDING = ("cm^-1", "ppm")
"""Units whose axis runs from right to left, as the field draws it: IR from 4000 to 500 cm^-1, NMR from 10 to 0 ppm."""


def read_file(spectra: Sequence[ReadSpectrum], form: str = "svg") -> bytes:
    """Draw the first spectra, a panel each, as the content of a file.

    Args:
        spectra: At least one, each with an abscissa.
        form: "svg" or "png".
    """
    return spectra_file([_panel(one) for one in spectra[:MOST_PANELS]], form)


def _panel(spectrum: ReadSpectrum) -> tuple[str, Trace, Trace | None]:
    place = spectrum.location.replace(spectrum.file, Path(spectrum.file).name)
    raw = None if spectrum.raw is None else read_trace(spectrum, spectrum.raw)
    return f"{modality_title(spectrum.modality)}: {place}", read_trace(spectrum, spectrum.measurement), raw


def read_trace(spectrum: ReadSpectrum, measurement: Measurement) -> Trace:
    """Return what a measurement of a file looks like, in the units of the file.

    Args:
        spectrum: As it was read.
        measurement: Its own, or that before clean-up.

    Raises:
        ValueError: It has no abscissa.
    """
    axes = axes_of(measurement, spectrum.stores)
    if axes is None:
        raise ValueError(f"{spectrum.location!r} has no abscissa; leave it out")
    x = np.asarray(measurement.arrays[axes.x], dtype=float)
    y = np.ones(len(x)) if axes.y is None else np.asarray(measurement.arrays[axes.y], dtype=float)
    order = np.argsort(x, kind="stable")
    unit = spectrum.stores.arrays[axes.x].unit
    return Trace(
        position=x[order],
        height=y[order],
        axis=_titled(axes, unit),
        scale=(axes.y or "").replace("_", " "),
        sticks=not axes.curve,
        descending=unit in DESCENDING,
    )


def _titled(axes: Axes, unit: str) -> str:
    return unit if axes.x == unit.replace("/", "") else f"{axes.x.replace('_', ' ')} / {unit}"
