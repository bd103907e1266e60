"""What modalities of peaks share: batches of either kind, and what is kept of the references last compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import (
    Measurement,
    PeaksBatch,
    PeaksSpec,
    SpectrumBatch,
    SpectrumSpec,
    Window,
    collate_peaks,
    collate_spectra,
)

__all__ = ["LastCompared", "collated", "peak_windows", "peaks_without"]

_T = TypeVar("_T")


def collated(samples: Sequence[Any], spec: PeaksSpec | SpectrumSpec) -> PeaksBatch | SpectrumBatch:
    """Pad peak lists to the longest, or stack spectra, whichever the encoder gets."""
    return collate_spectra(samples, spec) if isinstance(spec, SpectrumSpec) else collate_peaks(samples, spec)


def peak_windows(places: NDArray[np.floating[Any]], form: str, digits: int, unit: str) -> list[Window]:
    """Return a window for each peak, by ascending place, equal places once.

    Args:
        places: Of the peaks.
        form: Their names, such as ``"m/z {}"``.
        digits: Digits behind the point of a name, more where two would have one name.
        unit: Of the places.

    Example:
        >>> [window.name for window in peak_windows(np.array([2.5, 1.0]), "{} ppm", 2, "ppm")]
        ['1.00 ppm', '2.50 ppm']
    """
    distinct = np.unique(places).tolist()
    names = [form.format(f"{place:.{digits}f}") for place in distinct]
    if len(set(names)) < len(names):
        return peak_windows(places, form, digits + 1, unit)
    return [Window(name=name, start=place, stop=place, unit=unit) for name, place in zip(names, distinct, strict=True)]


def peaks_without(measurement: Measurement, place: str, windows: Sequence[Window]) -> Measurement:
    """Return a measurement without the peaks in some windows.

    Args:
        measurement: With arrays of one length, one value a peak; shorter ones are of no peak.
        place: The array of the peaks' places.
        windows: What to leave out, both ends included.

    Example:
        >>> peaks = Measurement(arrays={"mz": np.array([43.0, 61.0]), "intensity": np.array([1.0, 2.0])})
        >>> peaks_without(peaks, "mz", [Window(name="", start=43.0, stop=43.0, unit="m/z")]).arrays["intensity"]
        array([2.])
    """
    places = np.asarray(measurement.arrays[place], dtype=np.float64)
    kept = np.ones(len(places), dtype=np.bool_)
    for window in windows:
        kept &= ~((places >= window.start) & (places <= window.stop))
    if kept.all():
        return measurement
    arrays = {name: a[kept] if len(a) == len(kept) else a for name, a in measurement.arrays.items()}
    return dataclasses.replace(measurement, arrays=arrays)


@final
class LastCompared(Generic[_T]):
    """Keeps what was made of references, so that a second query against the same ones costs the comparison only.

    Nothing goes to another process with it.

    Example:
        >>> kept, references = LastCompared[int](), [Measurement(arrays={}), Measurement(arrays={})]
        >>> kept.of(references, len), kept.of(references, lambda _: 9), kept.of(references[:1], len)
        (2, 2, 1)
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[Measurement, ...], _T] | None = None

    def __reduce__(self) -> tuple[type[LastCompared[_T]], tuple[()]]:
        return type(self), ()

    def of(self, references: Sequence[Measurement], make: Callable[[Sequence[Measurement]], _T]) -> _T:
        """Return what `make` makes of references, anew unless they are the very ones of the last call."""
        if self._kept is None or list(map(id, self._kept[0])) != list(map(id, references)):
            self._kept = tuple(references), make(references)
        return self._kept[1]
