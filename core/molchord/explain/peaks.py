"""Peaks of what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from molchord.api import Trace, Window

__all__ = ["highest_within", "peaks_of"]

_LEAST = 0.02
"""Part of the whole height by which a peak rises above the valleys beside it."""


def peaks_of(trace: Trace) -> NDArray[np.int64]:
    """Return the indices of the peaks of a trace, the highest first; each stick is one.

    A peak of a curve is higher than its neighbours and rises above the deeper part of its way to any higher point, on
    both sides (its prominence).

    Example:
        >>> height = np.array([0.0, 0.5, 0.1, 0.11, 0.1, 1.0, 0.0])
        >>> peaks_of(Trace(position=np.arange(7.0), height=height, axis="", scale="")).tolist()
        [5, 1]
    """
    height = np.nan_to_num(np.asarray(trace.height, dtype=np.float64), nan=-np.inf)
    if trace.sticks:
        return np.argsort(-height, kind="stable")
    inner = np.flatnonzero((height[1:-1] > height[:-2]) & (height[1:-1] >= height[2:])) + 1
    found = [index for index in inner.tolist() if _prominence(height, index) >= _LEAST]
    return np.array(sorted(found, key=lambda index: -height[index]), dtype=np.int64)


def _prominence(height: NDArray[np.float64], index: int) -> float:
    """Return how far a maximum rises above the higher one of the valleys that part it from higher points."""
    valleys = []
    for side in (height[:index][::-1], height[index + 1 :]):
        higher = np.flatnonzero(side > height[index])
        way = side[: higher[0]] if len(higher) else side
        seen = way[np.isfinite(way)]
        valleys.append(seen.min() if len(seen) else height[index])
    return float(height[index] - max(valleys))


def highest_within(trace: Trace, peaks: Sequence[int], window: Window) -> float | None:
    """Return the place of the first of some peaks that is in a window; None where none is.

    Args:
        trace: What has the peaks.
        peaks: As `peaks_of` gives them.
        window: The window.

    Example:
        >>> sticks = Trace(position=np.array([43.0, 61.0]), height=np.array([1.0, 0.4]), axis="", scale="", sticks=True)
        >>> highest_within(sticks, peaks_of(sticks).tolist(), Window(name="", start=50.0, stop=70.0, unit="m/z"))
        61.0
    """
    places = (float(trace.position[index]) for index in peaks)
    return next((place for place in places if window.start <= place <= window.stop), None)
