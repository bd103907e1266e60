"""Quality warnings for a measured vibrational curve: unit, coverage, noise, direction, baseline, saturation, in numpy.

A curve that was misread still gets an embedding, and an embedding always has a nearest candidate. Each warning here
says what is wrong and how much of an answer's probability is left. The limits are chosen so that at most about one in a
hundred sound gas-phase spectra passes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from molchord.api import QualityWarning
from molchord_modalities import curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from molchord_modalities.curve import Numbers

__all__ = ["curve_warnings"]

HIGHEST_WAVENUMBER = 12_500.0
"""cm^-1; the near infrared ends here, while mid-infrared wavelengths in nm continue to 25,000."""
FULL_COVERAGE = 0.92
LEAST_JUDGED = 0.3
"""A smaller part of the grid may be all band or all baseline, so its shape is not judged."""
LOUDEST_NOISE = 0.03
HIGHEST_MEDIAN = 0.45
HIGHEST_BASELINE = 0.2
BASELINE_WINDOW = 800.0
"""cm^-1; wider than any band, so that the lowest points in it are baseline."""
WIDEST_TOP = 20.0
"""cm^-1."""
OFFSET = 1.5
"""Absorbance; fractions read as per cent start at 2."""


def curve_warnings(
    x: Numbers, y: Numbers, grid: Numbers, max_gap: float, *, corrected: bool = False
) -> list[QualityWarning]:
    """Return the warnings that a curve deserves; none for a sound one.

    Args:
        x: Abscissa in cm^-1, ascending.
        y: Absorbance or Raman intensity, of the same length.
        grid: Positions in cm^-1 that an encoder sees, evenly spaced.
        max_gap: Neighbouring points further apart than this, in cm^-1, leave a hole.
        corrected: Whether the baseline is subtracted anyway, so that it needs no warning.

    Example:
        >>> grid = np.linspace(500, 4000, 1750)
        >>> bands = 1 / (1 + ((grid - 1700) / 10) ** 2) + 1 / (1 + ((grid - 3000) / 20) ** 2)
        >>> curve_warnings(grid, bands, grid, 50.0)
        []
        >>> [warning.message for warning in curve_warnings(grid, 1 - bands, grid, 50.0)]
        ['it hangs from its top, as transmittance read as absorbance or a curve upside down does']
    """
    if x[-1] > HIGHEST_WAVENUMBER:
        reach = f"its abscissa reaches {x[-1]:g}, as wavelengths in nm do and wavenumbers in cm^-1 do not"
        return [QualityWarning(f"{reach}; state the unit, as with `--x-unit nm`", 0.02)]
    values, observed = curve.resample(x, y, grid, max_gap)
    share = float(observed.mean())
    found = []
    if share < FULL_COVERAGE:
        # Each tenth of the grid that is missing halves what is left.
        trust = 0.5 ** (10 * (1 - share))
        found.append(QualityWarning(f"it covers {share:.0%} of the grid of {grid[0]:g}-{grid[-1]:g} cm^-1", trust))
    if share < LEAST_JUDGED:
        return found
    return found + _shape_warnings(y, grid, np.where(observed, values, np.nan), corrected=corrected)


def _shape_warnings(y: Numbers, grid: Numbers, values: Numbers, *, corrected: bool) -> list[QualityWarning]:
    """Judge the shape; a curve that is noise or upside down has no baseline and no bands to judge further.

    What is wide on the grid, baseline and flat top, is judged within stretches without a hole (values that are NaN).
    """
    observed = np.isfinite(values)
    places, seen = grid[observed], values[observed]
    height = float(np.ptp(seen))
    if not height > 0:
        return []
    noise = _noise(y) / height
    if noise > LOUDEST_NOISE:
        trust = LOUDEST_NOISE / noise
        return [QualityWarning(f"its noise has a standard deviation of {noise:.0%} of its height", trust)]
    low, high = curve.rubberband(places, seen), -curve.rubberband(places, -seen)
    # Between its lower and its upper hull, a spectrum is low most of the time, whatever its baseline.
    if np.median((seen - low) / np.maximum(high - low, np.finfo(float).tiny)) > HIGHEST_MEDIAN:
        return [
            QualityWarning(
                "it hangs from its top, as transmittance read as absorbance or a curve upside down does", 0.02
            )
        ]
    found = []
    if y.min() > OFFSET and y.max() <= -np.log10(curve.LOWEST_TRANSMITTANCE):
        lowest = f"its lowest absorbance is {y.min():.1f}, as where fractions of transmittance are read as per cent"
        found.append(QualityWarning(lowest, 0.8))
    step = float(grid[1] - grid[0])
    stretch = values[_longest(observed)]
    baseline = float(np.ptp(_lowest(stretch, curve.cells(BASELINE_WINDOW, step)))) / height
    if baseline > HIGHEST_BASELINE and not corrected:
        found.append(
            QualityWarning(
                f"its baseline rises by {baseline:.0%} of its height; subtract it, as `--clean baseline` does", 0.2
            )
        )
    flat = _longest(values > seen.max() - 0.005 * height)
    top = (flat.stop - flat.start) * step
    if top > WIDEST_TOP:
        found.append(QualityWarning(f"its strongest band is cut off flat over {top:.0f} cm^-1, as by saturation", 0.7))
    return found


def _noise(y: Numbers) -> float:
    """Return the standard deviation of white noise, from the median of the second differences.

    Second differences of white noise have 6 times its variance; the median is that of the stretches without a band.
    """
    return float(np.median(np.abs(np.diff(y, 2)))) / (0.6745 * 6**0.5)


def _lowest(values: Numbers, points: int) -> Numbers:
    """Return the minimum over a window of points around each one."""
    padded = np.pad(values, points // 2, mode="edge")
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, points).min(axis=1))


def _longest(flags: NDArray[np.bool_]) -> slice:
    """Return the longest run of true values, of which there is one."""
    ends = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8))).reshape(-1, 2)
    return slice(*ends[(ends[:, 1] - ends[:, 0]).argmax()].tolist())
