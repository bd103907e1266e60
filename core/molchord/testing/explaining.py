"""Checks on what a modality can say of parts of a measurement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from molchord.api import (
    Annotates,
    Explains,
    Measurement,
    ModalityRecord,
    SampleError,
    SpectrumBatch,
    SpectrumSpec,
    Traces,
    Window,
)
from molchord.testing.require import require
from molchord.testing.samples import (
    batch_of,
    built,
    curves,
    default_config,
    examples,
    molecules,
    same,
    same_arrays,
)

MEASURED = 3
"""Molecules whose measurements are looked at."""

TRIED = 3
"""Parts of each that are left out."""


def _cases(record: ModalityRecord) -> Iterator[tuple[str, Any, int, Measurement]]:
    """Yield each kind, its modality, and measurements that it takes, with the number of their molecule."""
    for kind in record.kinds:
        modality = built(record, kind)
        sound = examples(modality, MEASURED)
        for number, measurement in [*enumerate(sound), *enumerate(curves(record, modality, sound))]:
            yield kind, modality, number % MEASURED, measurement


def parts_left_out_are_not_measured(record: ModalityRecord) -> None:
    """An explanation compares a query with itself without a part: what is left out must reach the encoder as unknown.

    To mend it: let `without` take points and peaks away, so that they count as not measured; give each window of
    `windows` a name of its own, and leave the measurement that was handed in as it is.
    """
    for kind, modality, _, measurement in _cases(record):
        if not _can_leave_out(modality):
            return
        before = {name: np.array(array) for name, array in measurement.arrays.items()}
        explains: Explains = modality
        whole = explains.without(measurement, ())
        windows = list(explains.windows(whole))
        _windows_are_sound(windows)
        complete = batch_of(modality, [whole])
        for window in windows[:: max(1, len(windows) // TRIED)]:
            try:
                batch = batch_of(modality, [explains.without(whole, [window])])
            except SampleError:
                continue  # nothing is left, as of a single peak
            require(not same(batch, complete), f"kind {kind!r}: without {window.name!r} the sample is what it was")
            if isinstance(batch, SpectrumBatch) and window.stop > window.start:
                seen = batch.observed[0].numpy()[_inside(record, kind, window)]
                require(not seen.any(), f"kind {kind!r}: {window.name!r} is left out, and counts as measured")
        require(same_arrays(before, measurement.arrays), f"kind {kind!r}: `without` changes the measurement it gets")


def _can_leave_out(modality: object) -> bool:
    return isinstance(modality, Explains)


def _windows_are_sound(windows: list[Window]) -> None:
    names, starts = [window.name for window in windows], [window.start for window in windows]
    require(all(names) and len(set(names)) == len(names), f"windows have no names of their own: {names}")
    require(starts == sorted(starts), "windows are not by ascending start")
    finite = all(np.isfinite([window.start, window.stop]).all() for window in windows)
    require(finite and all(w.start <= w.stop for w in windows), "a window's ends are not finite numbers in order")


def _inside(record: ModalityRecord, kind: str, window: Window) -> Any:
    """Return which points of the grid are within a window; none where it is not in the grid's unit."""
    spec = record.spec(default_config(record), kind)
    if not isinstance(spec, SpectrumSpec) or spec.unit != window.unit or spec.start == spec.stop:
        return np.zeros(0, dtype=np.int64)
    places = np.linspace(spec.start, spec.stop, spec.points)
    return np.flatnonzero((places >= window.start) & (places <= window.stop))


def notes_and_traces_fit(record: ModalityRecord) -> None:
    """Notes stand beside windows, and traces are drawn as they are.

    To mend it: return one list of texts for each window, and a trace of finite ascending places with as many heights,
    the largest 1.
    """
    for kind, modality, number, measurement in _cases(record):
        if isinstance(modality, Annotates) and isinstance(modality, Explains):
            windows = list(modality.windows(modality.without(measurement, ())))
            notes = [list(texts) for texts in modality.annotate(measurement, windows, molecules(MEASURED)[number])]
            require(len(notes) == len(windows), f"kind {kind!r}: {len(notes)} notes for {len(windows)} windows")
            require(all(isinstance(text, str) and text for texts in notes for text in texts), "a note is empty")
        if isinstance(modality, Traces):
            trace = modality.trace(measurement)
            position, height = np.asarray(trace.position), np.asarray(trace.height)
            require(position.ndim == 1 and position.shape == height.shape, "a trace has not one height for each place")
            require(bool(np.isfinite(position).all() and (np.diff(position) >= 0).all()), "places do not ascend")
            require(bool(np.nanmax(height) <= 1 + 1e-6), "the largest height is above 1")


CHECKS = (parts_left_out_are_not_measured, notes_and_traces_fit)
