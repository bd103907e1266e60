"""The clean-up of a measured curve, step by step; a masked point keeps its place and has no value (NaN)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from molchord.api import CleaningStep, SampleError
from molchord_modalities import cleaning_steps as steps_of
from molchord_modalities import curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from molchord_modalities.curve import Numbers

__all__ = ["cleaned", "masked", "sorted_curve"]

_EVEN = 2.0
"""cm^-1; the distance of points at which a baseline is fitted."""
_MOST_POINTS = 100_000
_JUMP = 3.0


def cleaned(id: str, x: Numbers, y: Numbers, steps: Sequence[CleaningStep]) -> tuple[Numbers, Numbers]:
    """Return a curve after the steps, in their order.

    Args:
        id: Names the measurement in errors.
        x: (n,) ascending wavenumbers in cm^-1.
        y: (n,), NaN where masked.
        steps: What to do.

    Raises:
        SampleError: A step does not fit the curve, or a package that it needs is not installed.

    Example:
        >>> x = np.arange(500.0, 520.0)
        >>> steps = [steps_of.CropStep(low=505, high=515), steps_of.MaskStep(low=508, high=509)]
        >>> found, values = cleaned("a", x, x, steps)
        >>> found[[0, -1]].tolist(), values[2:6].tolist()
        ([505.0, 515.0], [507.0, nan, nan, 510.0])
    """
    for step in steps:
        if isinstance(step, steps_of.CropStep):
            inside = (x >= step.low) & (x <= step.high)
            x, y = x[inside], y[inside]
        else:
            y = _step(id, x, y, step)
        if np.count_nonzero(np.isfinite(y)) < curve.MIN_POINTS:
            raise SampleError(id, f"the step `{step.text}` leaves {np.count_nonzero(np.isfinite(y))} points; widen it")
    return x, y


def masked(x: NDArray[np.floating], y: NDArray[np.floating], grid: Numbers) -> NDArray[np.bool_]:
    """Return which points of a grid lie in a masked range: beside a point that has a place and no value.

    Example:
        >>> masked(np.array([1.0, 2, 3, 4]), np.array([0, np.nan, np.nan, 0]), np.array([0.5, 1, 1.5, 2.5, 3.5, 4]))
        array([False, False,  True,  True,  True, False])
    """
    order = np.argsort(x, kind="stable")
    places, lacks = x[order], ~np.isfinite(y[order])
    if not lacks.any():
        return np.zeros(len(grid), dtype=np.bool_)
    right = np.clip(np.searchsorted(places, grid, side="left"), 0, len(places) - 1)
    left = np.clip(np.searchsorted(places, grid, side="right") - 1, 0, len(places) - 1)
    return np.asarray(lacks[left] | lacks[right])


def sorted_curve(id: str, x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[Numbers, Numbers]:
    """Return a curve as `curve.clean` does, with the masked points in their places.

    Raises:
        SampleError: As `curve.clean` raises.
    """
    sound_x, sound_y = curve.clean(id, x, y)
    lacking = np.setdiff1d(x[np.isfinite(x) & ~np.isfinite(y)].astype(np.float64), sound_x)
    places = np.concatenate((sound_x, lacking))
    values = np.concatenate((sound_y, np.full(len(lacking), np.nan)))
    order = np.argsort(places)
    return places[order], values[order]


def _step(id: str, x: Numbers, y: Numbers, step: CleaningStep) -> Numbers:
    """Return the ordinate after a step that keeps the abscissa."""
    if isinstance(step, (steps_of.BaselineStep, steps_of.FluorescenceStep)):
        return y - _baseline(id, x, y, step.stiffness)
    if isinstance(step, steps_of.SmoothStep):
        return _smoothed(id, x, y, step)
    if isinstance(step, steps_of.BroadenStep):
        return _broadened(x, y, step.width)
    if isinstance(step, steps_of.CosmicStep):
        return _without_spikes(y, step.threshold, step.reach)
    if isinstance(step, steps_of.WaterStep):
        inside = (x >= step.low) & (x <= step.high) | (x >= step.stretch_low) & (x <= step.stretch_high)
        return np.where(inside, np.nan, y)
    if isinstance(step, steps_of.MaskStep):
        return np.where((x >= step.low) & (x <= step.high), np.nan, y)
    if isinstance(step, steps_of.AbsorbanceStep):
        return np.asarray(-np.log10(np.maximum(y / step.whole, step.lowest)))
    if isinstance(step, steps_of.AtrStep):
        return _atr(id, x, y, step)
    raise SampleError(id, f"there is no step {step.step!r}; the steps are {', '.join(steps_of.ALL_STEPS)}")


def _baseline(id: str, x: Numbers, y: Numbers, stiffness: float) -> Numbers:
    """Return the asPLS baseline at the points of a curve; across a masked range it is drawn straight."""
    try:
        from pybaselines import Baseline
    except ImportError:
        raise SampleError(id, "a baseline needs the package pybaselines; run `pip install 'molchord[clean]'`") from None
    sound = np.isfinite(y)
    points = min(max(int((x[-1] - x[0]) / _EVEN) + 1, curve.MIN_POINTS), _MOST_POINTS)
    even = np.linspace(x[0], x[-1], points)
    height = float(np.ptp(y[sound]))
    if not (height > 0 and math.isfinite(height)):
        raise SampleError(id, "the curve is constant, so it has no baseline to subtract")
    values = np.interp(even, x[sound], y[sound]) / height
    found = Baseline(x_data=even, check_finite=False).aspls(values, lam=stiffness, max_iter=100)[0]
    return np.asarray(np.interp(x, even, np.asarray(found)) * height)


def _smoothed(id: str, x: Numbers, y: Numbers, step: steps_of.SmoothStep) -> Numbers:
    """Smooth each stretch between masked ranges by itself; one shorter than the window stays as it is."""
    try:
        from scipy.signal import savgol_filter
    except ImportError:
        raise SampleError(id, "smoothing needs the package scipy; run `pip install 'molchord[clean]'`") from None
    smooth = y.copy()
    ends = np.flatnonzero(np.diff(np.concatenate(([False], np.isfinite(y), [False])).astype(np.int8)))
    for start, stop in ends.reshape(-1, 2):
        if stop - start >= step.window:
            smooth[start:stop] = savgol_filter(y[start:stop], step.window, step.order)
    return smooth


def _broadened(x: Numbers, y: Numbers, width: float) -> Numbers:
    """Return the mean around each point by a Gaussian's weights, of what was measured within four widths."""
    sound = np.isfinite(y)
    step = max(min(_EVEN, width / 4), (x[-1] - x[0]) / _MOST_POINTS)
    even = np.arange(x[0], x[-1] + step, step)
    known = ~masked(x, y, even)
    values = np.where(known, np.interp(even, x[sound], y[sound]), 0.0)
    reach = min(math.ceil(4 * width / step), (len(even) - 1) // 2)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    total = np.convolve(known.astype(np.float64), weights, mode="same")
    means = np.convolve(values, weights, mode="same") / np.maximum(total, np.finfo(np.float64).tiny)
    return np.where(sound, np.interp(x, even[known], means[known]), np.nan)


def _without_spikes(y: Numbers, threshold: float, reach: int) -> Numbers:
    """Replace spikes, as `CosmicStep` says.

    The score alone takes strong, narrow bands for spikes. So the curve must jump up, and within three points down
    again, each by three times as much as it changes from point to point anywhere within reach.
    """
    sound = np.flatnonzero(np.isfinite(y))
    values = y[sound]
    steps = np.diff(values)
    spread = float(np.median(np.abs(steps - np.median(steps))))
    if not spread > 0:
        return y
    score = 0.6745 * (steps - np.median(steps)) / spread
    spikes = np.zeros(len(values), dtype=np.bool_)
    for start in np.flatnonzero(score > threshold):
        down = np.flatnonzero(score[start + 1 : start + 4] < -threshold)
        if not len(down):
            continue
        stop = start + 1 + int(down[-1])
        beside = np.abs(np.concatenate((steps[max(0, start - reach) : start], steps[stop + 1 : stop + 1 + reach])))
        if min(steps[start], -steps[stop]) > _JUMP * beside.max(initial=0.0):
            spikes[start + 1 : stop + 1] = True
    out = values.copy()
    for at in np.flatnonzero(spikes):
        low, high = max(0, at - reach), at + reach + 1
        around = values[low:high][~spikes[low:high]]
        out[at] = around.mean() if len(around) else values[at]
    whole = y.copy()
    whole[sound] = out
    return whole


def _atr(id: str, x: Numbers, y: Numbers, step: steps_of.AtrStep) -> Numbers:
    beyond = math.sin(math.radians(step.angle)) ** 2 - (step.sample / step.crystal) ** 2
    if beyond <= 0:
        raise SampleError(
            id,
            f"there is no total reflection at {step.angle:g} degrees between indices {step.crystal:g} and "
            f"{step.sample:g}; correct the step `{step.text}`",
        )
    if not step.per_micrometre:
        return y * x / 1000.0
    depth = 1e4 / (2 * math.pi * np.maximum(x, 1e-6) * step.crystal * math.sqrt(beyond))  # um
    return y / depth
