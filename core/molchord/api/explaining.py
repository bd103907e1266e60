"""Abilities of a modality that say why a molecule was found: what can be left out, what it may be, how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from molchord.api.batches import Measurement, Molecule

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Annotates", "Explains", "Trace", "Traces", "Window"]


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of a measurement that can be left out: a range, or one peak.

    Attributes:
        name: What people call it: ``"1650-1750 cm^-1"``, ``"m/z 105.0335"``.
        start: Lower end.
        stop: Upper end, included; of a peak the same as `start`.
        unit: Unit of both.

    Example:
        >>> Window(name="1650-1750 cm^-1", start=1650.0, stop=1750.0, unit="cm^-1").stop
        1750.0
    """

    name: str
    start: float
    stop: float
    unit: str


@runtime_checkable
class Explains(Protocol):
    """A modality that can leave parts of a measurement out, so that a search shows which of them speak for a hit."""

    def windows(self, measurement: Measurement) -> Sequence[Window]:
        """Return the parts that can be left out, by ascending start; ranges may overlap.

        Raises:
            SampleError: This measurement cannot be used.
        """
        ...

    def without(self, measurement: Measurement, windows: Sequence[Window]) -> Measurement:
        """Return the measurement as if these parts had not been measured: never as if nothing had been there.

        With no windows it is the measurement in the form in which parts can be left out, which is what the others are
        compared with; a measurement of that form without anything in the windows is returned as it is.

        Raises:
            SampleError: This measurement cannot be used.
        """
        ...


@runtime_checkable
class Annotates(Protocol):
    """A modality that knows what parts of a measurement may come from, if it is of a given molecule."""

    def annotate(
        self, measurement: Measurement, windows: Sequence[Window], molecule: Molecule
    ) -> Sequence[Sequence[str]]:
        """Return short texts for each window, the best first, none where nothing of the molecule belongs there."""
        ...


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a measurement looks like on paper.

    Attributes:
        position: (n,) ascending places, in the unit of the windows.
        height: (n,), the largest 1; NaN where a curve was not measured.
        axis: Title of the axis of places, with its unit.
        scale: Title of the axis of heights.
        sticks: One line for each place, in place of a curve through all.
        descending: The axis runs from the largest place to the smallest.
    """

    position: NDArray[np.floating[Any]]
    height: NDArray[np.floating[Any]]
    axis: str
    scale: str
    sticks: bool = False
    descending: bool = False


@runtime_checkable
class Traces(Protocol):
    """A modality whose measurements can be drawn."""

    def trace(self, measurement: Measurement) -> Trace:
        """Return what to draw.

        Raises:
            SampleError: This measurement cannot be used.
        """
        ...
