"""Spectra and explanations as a screen shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from molchord.api import Cleans, Measurement, Trace
from molchord.case.record import FileRecord, SampleRecord
from molchord.clean_up import cleaned, cleaning_of
from molchord.data.spectrum_files import axes_of, warnings_of
from molchord.errors import MolchordError
from molchord.explain.peaks import peaks_of
from molchord.explain.reasons import Explanation, Reason, trace_of
from molchord.identify.reading import SpectrumEntry
from molchord.look.words import titles
from molchord.page.models import (
    AdviceView,
    CleaningStepView,
    CurveView,
    HitView,
    PeakView,
    ReasonView,
    SpectrumView,
    WhySpectrumView,
    WhyView,
)
from molchord.page.said import advice, without_paths
from molchord.run import Run

__all__ = ["downsampled", "spectrum_view", "why_view"]

POINTS, STICKS, PEAKS, REASONS = 2000, 600, 20, 5
"""What a screen shows of a curve and of sticks, peaks that are picked, and parts that are shaded."""


def spectrum_view(run: Run, sample: SampleRecord, file: FileRecord, entry: SpectrumEntry) -> SpectrumView:
    """Return a spectrum as it was read, before and after clean-up."""
    name, measurement = entry.modality, entry.reading.measurement
    modality, record = run.modalities[name], run.graph.modalities[name].record
    text = sample.clean.get(name, "")
    after, problem = measurement, None
    try:
        [after] = cleaned(modality, name, [measurement], cleaning_of(text, modality, name) if text else [])
    except MolchordError as error:
        problem = AdviceView(text=without_paths(str(error)))
    found = _trace(modality, after, record.stores)
    raw = None if after is measurement else _curve(_trace(modality, measurement, record.stores))
    axes = axes_of(after, record.stores)
    said = advice(warnings_of(modality, after), [name], dict(sample.clean))
    metadata = {
        key: without_paths(str(value))
        for key, value in measurement.columns.items()
        if value not in (None, "") and value == value
    }
    unit = "" if axes is None else record.stores.arrays[axes.x].unit
    return SpectrumView(
        **_shown(name, titles(run.graph)[name], found),
        file=file.id,
        unit=unit,
        raw=raw,
        peaks=_peaks(found),
        read=_read(entry, found, record.stores, unit),
        understood={key: without_paths(value) for key, value in entry.reading.understood.items()},
        metadata=metadata,
        warnings=tuple([problem, *said] if problem else said),
        steps=_steps(modality, text),
        clean=text,
    )


def why_view(run: Run, why: Explanation, hit: HitView, sample: str, said: Sequence[AdviceView]) -> WhyView:
    """Return an explanation."""
    named = titles(run.graph)
    spectra = []
    for name, agreement in why.similarity.items():
        below = why.below.get(name)
        spectra.append(
            WhySpectrumView(
                **_shown(name, named[name], why.traces.get(name)),
                agreement=agreement,
                below=None if below is None else _curve(below),
                below_is="" if below is None else (hit.reference or "measured reference"),
                reasons_for=tuple(map(_reason, why.first(name, REASONS))),
                reasons_against=tuple(map(_reason, why.first(name, REASONS, against=True))),
            )
        )
    return WhyView(
        sample=sample,
        hit=hit,
        others=tuple(one.rank for one in why.others),
        spectra=tuple(spectra),
        unexplained=tuple(named[name] for name in why.unexplained),
        advice=tuple(said),
    )


def _shown(name: str, title: str, trace: Trace | None) -> dict[str, Any]:
    """Return the fields of a `DrawnView`."""
    x, y = ((), ()) if trace is None else downsampled(trace)
    return {
        "modality": name,
        "title": title,
        "axis": "" if trace is None else trace.axis,
        "scale": "" if trace is None else trace.scale,
        "x": x,
        "y": y,
        "sticks": trace is not None and trace.sticks,
        "descending": trace is not None and trace.descending,
    }


def downsampled(trace: Trace) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
    """Return places and heights, of a long curve the lowest and the highest point of each stretch.

    Example:
        >>> curve = Trace(position=np.arange(10_000.0), height=np.eye(1, 10_000, 5)[0], axis="", scale="")
        >>> x, y = downsampled(curve)
        >>> len(x) <= 2000, max(y), x[y.index(1.0)]
        (True, 1.0, 5.0)
    """
    position, height = np.asarray(trace.position, dtype=float), np.asarray(trace.height, dtype=float)
    if trace.sticks and len(position) > STICKS:
        kept = np.sort(np.argsort(-np.nan_to_num(height), kind="stable")[:STICKS])
        position, height = position[kept], height[kept]
    elif not trace.sticks and len(position) > POINTS:
        kept = _extremes(height, POINTS // 2)
        position, height = position[kept], height[kept]
    return tuple(map(_rounded, position.tolist())), tuple(_height(value) for value in height.tolist())


def _extremes(height: NDArray[np.float64], parts: int) -> NDArray[np.int64]:
    edges = np.linspace(0, len(height), parts + 1).astype(int)
    kept = set()
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = height[start:stop]
        seen = np.flatnonzero(np.isfinite(part))
        kept |= {start + int(seen[i]) for i in (np.argmin(part[seen]), np.argmax(part[seen]))} if len(seen) else {start}
    return np.array(sorted(kept))


def _rounded(value: float) -> float:
    return float(f"{value:.7g}")


def _height(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _curve(trace: Trace) -> CurveView:
    x, y = downsampled(trace)
    return CurveView(x=x, y=y)


def _trace(modality: Any, measurement: Measurement, stores: Any) -> Trace:
    """Return what a measurement looks like: as its modality draws it, or its first two arrays."""
    drawn = trace_of(modality, measurement)
    if drawn is not None:
        return drawn
    axes = axes_of(measurement, stores)
    if axes is None:
        return Trace(position=np.zeros(0), height=np.zeros(0), axis="", scale="", sticks=True)
    x = np.asarray(measurement.arrays[axes.x], dtype=float)
    y = np.ones(len(x)) if axes.y is None else np.asarray(measurement.arrays[axes.y], dtype=float)
    order = np.argsort(x, kind="stable")
    highest = float(np.nanmax(np.abs(y), initial=0.0)) or 1.0
    return Trace(
        position=x[order],
        height=y[order] / highest,
        axis=f"{axes.x.replace('_', ' ')} / {stores.arrays[axes.x].unit}",
        scale=(axes.y or "").replace("_", " "),
        sticks=not axes.curve,
    )


def _peaks(trace: Trace) -> tuple[PeakView, ...]:
    if len(trace.position) == 0:
        return ()
    span = float(np.ptp(trace.position))
    digits = 0 if span > 300 else 1 if span > 30 else 2
    digits = max(digits, 4 if trace.sticks and span > 30 else 0)
    return tuple(
        PeakView(x=_rounded(x), y=_height(y) or 0.0, label=f"{x:.{digits}f}")
        for x, y in ((float(trace.position[i]), float(trace.height[i])) for i in peaks_of(trace)[:PEAKS].tolist())
    )


def _read(entry: SpectrumEntry, trace: Trace, stores: Any, unit: str) -> str:
    """Return what was read, as a sentence."""
    arrays = [np.asarray(values) for values in entry.reading.measurement.arrays.values()]
    count = max((len(values) for values in arrays if values.ndim), default=0)
    parts = [f"{count:,} {'lines' if trace.sticks else 'points'}"]
    axes = axes_of(entry.reading.measurement, stores)
    if axes is not None:
        x = np.asarray(entry.reading.measurement.arrays[axes.x], dtype=float)
        parts.append(f"{x.min():.6g} to {x.max():.6g} {unit}".strip())
    understood = entry.reading.understood
    parts += [f"{name} {without_paths(understood[name])}" for name in ("abscissa", "ordinate") if name in understood]
    return f"read: {', '.join(parts)}"


def _steps(modality: Any, text: str) -> tuple[CleaningStepView, ...]:
    if not isinstance(modality, Cleans):
        return ()
    on = {one.partition("=")[0].strip() for one in text.split(",")}
    found = []
    for name, model in modality.cleaning_steps.items():
        fields = tuple(field for field in model.model_fields if field != "step")
        try:
            model.model_validate({})
            default = name
        except ValueError:  # a setting has no default
            default = f"{name}={':'.join(field.upper() for field in fields)}"
        found.append(CleaningStepView(step=name, text=default, fields=fields, on=name in on))
    return tuple(found)


def _reason(reason: Reason) -> ReasonView:
    window = reason.window
    return ReasonView(
        name=window.name,
        start=window.start,
        stop=window.stop,
        unit=window.unit,
        similarity=reason.similarity,
        odds=reason.odds,
        peak=reason.peak,
        notes=reason.notes,
    )
