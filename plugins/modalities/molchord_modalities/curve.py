"""Measured curves: units, order, baseline and resampling to a grid, in numpy."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from molchord.api import SampleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

__all__ = [
    "LOWEST_TRANSMITTANCE",
    "MIN_POINTS",
    "absorbance",
    "clean",
    "conversions",
    "maxima",
    "resample",
    "rolling_minimum",
    "rubberband",
    "wavenumber",
]

MIN_POINTS = 8
"""A curve of fewer points reveals nothing about a molecule."""

MOST_OVERLAP = 0.05
"""Part of its width by which a curve may run back, as where stretches were joined."""

LOWEST_TRANSMITTANCE = 1e-3
"""Transmittance below this (zero and negative values included) is read as this, an absorbance of 3."""

_PER_CM = {"cm": 1.0, "um": 1e4, "nm": 1e7}


def wavenumber(id: str, x: Numbers, unit: str) -> Numbers:
    """Turn an abscissa into wavenumbers in cm^-1.

    Args:
        id: Names the measurement in errors.
        x: Abscissa in `unit`.
        unit: As files write it: ``1/CM``, ``cm^-1``, ``MICROMETERS``, ``nm``, ``Raman shift`` and the like.

    Raises:
        SampleError: The unit is unknown, or a wavelength is not above 0.

    Example:
        >>> wavenumber("a.csv", np.array([2.5, 25.0]), "MICROMETERS")
        array([4000.,  400.])
    """
    kind = length_unit(unit)
    if kind is None:
        raise SampleError(
            id, f"the unit {unit!r} of the abscissa is not known; state 'cm-1', 'um' or 'nm' with `--x-unit`"
        )
    if kind == "cm":
        return x
    if not np.nanmin(x, initial=np.inf) > 0:
        raise SampleError(id, f"a wavelength must be above 0, got {float(np.nanmin(x)):g}; check the abscissa")
    return _PER_CM[kind] / x


def length_unit(text: str) -> str | None:
    """Return "cm" for wavenumbers in cm^-1, "um" or "nm" for wavelengths, None where the text names none of them.

    Example:
        >>> [length_unit(t) for t in ("1/CM", "cm^-1", "MICRONS", "Wavelength (nm)", "Kelvin")]
        ['cm', 'cm', 'um', 'nm', None]
    """
    low = text.lower().replace(" ", "")
    if any(word in low for word in ("1/cm", "cm-1", "cm^-1", "cm^{-1}", "cm⁻¹", "cm**-1", "wavenumber", "ramanshift")):
        return "cm"
    short = _SHORT.search(text.lower())
    if "micromet" in low or "micron" in low or (short and short[1] != "nm"):
        return "um"
    return "nm" if "nanomet" in low or short else None


_SHORT = re.compile(r"(?<![a-z\d.])(?<!\d )(nm|um|µm|\u03bcm)(?![a-z])")
"""Units in short; a number before one is of a laser or an aperture."""


def absorbance(id: str, y: Numbers, unit: str) -> Numbers:
    """Turn the ordinate of an infrared spectrum into (something proportional to) decadic absorbance.

    Transmittance and reflectance become -log10, floored at `LOWEST_TRANSMITTANCE`; they count as per cent where the
    unit indicates it or a value passes 2. Absorbance, Kubelka-Munk and absorption coefficients are kept.

    Args:
        id: Names the measurement in errors.
        y: Ordinate in `unit`.
        unit: As files write it.

    Raises:
        SampleError: The unit indicates neither.

    Example:
        >>> absorbance("a.csv", np.array([100.0, 10.0, -0.1]), "%T").tolist()
        [-0.0, 1.0, 3.0]
    """
    kind = ordinate_kind(unit)
    if kind is None:
        allowed = "'absorbance', 'transmittance' or '%T'"
        raise SampleError(id, f"the unit {unit!r} of the ordinate is not known; state {allowed} with `--y-unit`")
    if kind == "absorbance":
        return y
    return np.asarray(-np.log10(np.maximum(y / 100 if _per_cent(y, unit) else y, LOWEST_TRANSMITTANCE)))


def conversions(units: tuple[str, str], y: Numbers, *, infrared: bool) -> dict[str, str]:
    """Say what `wavenumber` and `absorbance` do to an abscissa and an ordinate, for a person to check.

    Example:
        >>> conversions(("MICROMETERS", "TRANSMITTANCE"), np.array([99.0, 20.0]), infrared=True)["ordinate"]
        "'TRANSMITTANCE' in per cent, turned into absorbance"
    """
    said = {"abscissa": f"{units[0]!r}" + (", turned into cm^-1" if length_unit(units[0]) != "cm" else "")}
    if not infrared:
        return said | {"ordinate": repr(units[1]) if units[1] else "intensity"}
    if ordinate_kind(units[1]) == "absorbance":
        return said | {"ordinate": repr(units[1])}
    scale = "per cent" if _per_cent(y, units[1]) else "fractions"
    floor = int(np.count_nonzero(y / (100 if scale == "per cent" else 1) < LOWEST_TRANSMITTANCE))
    clipped = f", {floor} points below {LOWEST_TRANSMITTANCE:.1%} raised to it" if floor else ""
    return said | {"ordinate": f"{units[1]!r} in {scale}, turned into absorbance{clipped}"}


def _per_cent(y: Numbers, unit: str) -> bool:
    return "%" in unit or "percent" in unit.lower() or bool(np.nanmax(y, initial=-np.inf) > 2)


def ordinate_kind(text: str) -> str | None:
    """Return "transmittance", "absorbance" or, where the text names neither, None.

    A column may be titled "A", "Abs" or "T" alone.

    Example:
        >>> [ordinate_kind(t) for t in ("%T", "REFLECTANCE", "(micromol/mol)-1m-1 (base 10)", "counts")]
        ['transmittance', 'transmittance', 'absorbance', None]
    """
    low = text.lower().replace(" ", "")
    if low in ("t", "%r") or any(word in low for word in ("transm", "reflect", "%t")):
        return "transmittance"
    if low in ("a", "abs", "abs.") or any(
        word in low for word in ("absorb", "absorption", "kubelka", "mol/mol", "extinction", "epsilon")
    ):
        return "absorbance"
    return None


def clean(id: str, x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[Numbers, Numbers]:
    """Put a curve in ascending order, without points that are not finite; equal abscissae become their mean.

    Stretches may overlap a little where they were joined; two spectra in one table may not.

    Args:
        id: Names the measurement in errors.
        x: Abscissa.
        y: Ordinate.

    Raises:
        SampleError: Fewer than `MIN_POINTS` points are left, the two differ in length, or the abscissa turns round.

    Example:
        >>> x, y = clean("a", np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 2]), np.array([0.0, 1, 2, 3, 4, 5, 6, 7, 9]))
        >>> x[:2].tolist(), y[:2].tolist()
        ([2.0, 3.0], [8.0, 6.0])
    """
    if x.shape != y.shape or x.ndim != 1:
        raise SampleError(id, f"abscissa of shape {x.shape} and ordinate of shape {y.shape} must be two equal columns")
    finite = np.isfinite(x) & np.isfinite(y)
    places, where, counts = np.unique(x[finite].astype(np.float64), return_inverse=True, return_counts=True)
    if len(places) < MIN_POINTS:
        raise SampleError(id, f"{len(places)} of {len(x)} points are usable; a curve needs {MIN_POINTS} or more")
    steps = np.diff(x[finite].astype(np.float64))
    back = min(steps[steps > 0].sum(), -steps[steps < 0].sum())
    if back > MOST_OVERLAP * np.ptp(places):
        raise SampleError(
            id, f"the abscissa turns round, by {back:g} of {np.ptp(places):g} in all; leave one spectrum in the file"
        )
    return places, np.bincount(where, weights=y[finite], minlength=len(places)) / counts


def resample(x: Numbers, y: Numbers, grid: Numbers, max_gap: float) -> tuple[Numbers, NDArray[np.bool_]]:
    """Average the curve, taken as straight between its points, over the cell of each grid point.

    This is linear interpolation where the grid is finer than the curve and the area-conserving mean where it is
    coarser. Cells are cut off at the ends of the curve.

    Args:
        x: Ascending abscissa.
        y: Ordinate.
        grid: Evenly spaced ascending positions.
        max_gap: Neighbouring points further apart than this leave a hole.

    Returns:
        Values, 0 where not measured, and which grid points were measured.

    Example:
        >>> resample(np.arange(9.0), np.arange(9.0), np.array([2.0, 5.0, 11.0]), 2.0)
        (array([2., 5., 0.]), array([ True,  True, False]))
    """
    observed = (grid >= x[0]) & (grid <= x[-1])
    left = np.clip(np.searchsorted(x, grid, side="right") - 1, 0, len(x) - 2)
    observed &= (np.diff(x)[left] <= max_gap) | (grid == x[left]) | (grid == x[left + 1])
    half = (grid[1] - grid[0]) / 2
    low, high = np.clip(grid - half, x[0], x[-1]), np.clip(grid + half, x[0], x[-1])
    area = _integral(x, y, high) - _integral(x, y, low)
    return np.where(observed, area / np.where(observed, high - low, 1.0), 0.0), observed


def maxima(y: Numbers, reach: int, least: float) -> NDArray[np.int64]:
    """Return the indices of the points that are highest within a reach, and stand out from their surroundings.

    Args:
        y: Ordinate at even distances.
        reach: Points on either side that a maximum is not lower than.
        least: How far it rises above the lowest point within four times the reach on either side, as a part of the
            curve's height.

    Example:
        >>> maxima(np.array([0.0, 1.0, 5.0, 1.0, 1.01, 1.0, 1.0, 1.0]), 1, 0.1).tolist()
        [2]
    """

    def around(points: int) -> Numbers:
        return np.lib.stride_tricks.sliding_window_view(np.pad(y, points, mode="edge"), 2 * points + 1)

    sides = around(4 * reach)
    lowest = np.maximum(sides[:, : 4 * reach + 1].min(axis=1), sides[:, 4 * reach :].min(axis=1))
    highest = (y == around(reach).max(axis=1)) & (y - lowest > least * np.ptp(y))
    # Of a flat top only the first point counts.
    return np.flatnonzero(highest & ~np.concatenate(([False], highest[:-1])))


def rubberband(x: Numbers, y: Numbers) -> Numbers:
    """Return the lower convex hull of a curve at its points (Andrew's monotone chain).

    Example:
        >>> rubberband(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 5.0, 2.0, 3.0])).tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    hull: list[int] = []
    xs, ys = x.tolist(), y.tolist()
    for i in range(len(xs)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (ys[b] - ys[a]) * (xs[i] - xs[a]) < (ys[i] - ys[a]) * (xs[b] - xs[a]):
                break
            hull.pop()
        hull.append(i)
    return np.interp(x, x[hull], y[hull])


def rolling_minimum(y: Numbers, points: int) -> Numbers:
    """Return the minimum over a window of points around each one, smoothed by the mean over the same window.

    Example:
        >>> rolling_minimum(np.array([1.0, 1.0, 9.0, 1.0, 1.0]), 3).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    reach = min(points, len(y)) // 2

    def windows(values: Numbers) -> Numbers:
        return np.lib.stride_tricks.sliding_window_view(np.pad(values, reach, mode="edge"), 2 * reach + 1)

    lowest = windows(y).min(axis=1)
    return np.asarray(windows(lowest).mean(axis=1))


def _integral(x: Numbers, y: Numbers, ends: Numbers) -> Numbers:
    """Integrate the piecewise straight curve from its first point to each end."""
    steps = np.diff(x)
    total = np.concatenate(([0.0], np.cumsum(steps * (y[1:] + y[:-1]) / 2)))
    left = np.clip(np.searchsorted(x, ends, side="right") - 1, 0, len(x) - 2)
    inside = ends - x[left]
    return np.asarray(total[left] + inside * (y[left] + inside * (np.diff(y) / steps)[left] / 2))


def cells(width: float, step: float) -> int:
    """Return the odd number of grid points nearest to a width, 3 at least.

    Example:
        >>> cells(400.0, 2.0)
        201
    """
    return max(3, 2 * math.floor(width / step / 2) + 1)
