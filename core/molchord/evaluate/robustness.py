"""How often molecules are found among more candidates, and from noisier spectra."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from molchord.api import Measurement, Modality, ModalityRecord, PeaksSpec, SampleError, SpectrumSpec, Trace, Traces
from molchord.embedder import EMBEDDED_AT_ONCE, Embedder
from molchord.evaluate.embedded import Embedded, Queries, candidate_pool, model_scorer
from molchord.evaluate.pictures import Curve
from molchord.retrieval.metrics import KS, Counts, Interval, bootstrap, mean_by_molecule, tally

__all__ = [
    "LEVELS",
    "Values",
    "against_noise",
    "against_pool_size",
    "expected_top",
    "noisy_vectors",
    "pool_sizes",
    "values_of",
]

LEVELS = (0.02, 0.05, 0.1, 0.2)
"""Standard deviations of the noise, as shares of a spectrum's largest value."""

_ALIKE = 0.2
"""How far apart two curves of height 1 may be that are the same: a reader rounds off what is narrower than its cells,
while a curve that is taken for sticks looks like nothing it was."""

_TOPS = tuple(f"top{k}" for k in KS)


# --- pool size -------------------------------------------------------------------------------------------------------


def against_pool_size(queries: Queries, counts: Counts, *, seed: int = 0) -> Curve:
    """Return Top-k over all pools of a size that can be drawn from the candidates, the query's molecule always in them.

    It is the mean over all such pools, exactly, so that no draw adds noise. Ties count against the model.

    Args:
        queries: The queries.
        counts: Of them against all candidates.
        seed: Of the bootstrap.
    """
    sizes = pool_sizes(int(counts.size.max(initial=0)))
    found: dict[str, list[Interval]] = {name: [] for name in _TOPS}
    for size in sizes:
        shares = np.column_stack([expected_top(counts, size, k) for k in KS])
        for name, interval in zip(_TOPS, _over_molecules(shares, queries.molecule, seed), strict=True):
            found[name].append(interval)
    return _curve(queries, "pool size", sizes, found)


def pool_sizes(candidates: int) -> tuple[int, ...]:
    """Return sizes that look alike on a logarithmic scale, up to the number of candidates.

    Example:
        >>> pool_sizes(300)
        (2, 5, 10, 20, 50, 100, 200, 300)
    """
    steps = [base * 10**power for power in range(12) for base in (1, 2, 5)]
    return (*(step for step in steps if 1 < step < candidates), candidates) if candidates > 1 else ()


def expected_top(counts: Counts, size: int, k: int) -> NDArray[np.float64]:
    """Return the probability of rank k or better in a pool of the query's molecule and others drawn at random, (q,).

    The number of drawn others that rank before it is hypergeometric; `size` counts the molecule too.

    Example:
        >>> one = np.ones(1, np.int64)
        >>> among_five = Counts(above=one, level=0 * one, size=5 * one, found=one > 0, rival=one)
        >>> round(float(expected_top(among_five, 3, 1)[0]), 6)  # that the one of four before it is not drawn
        0.5
    """
    others = torch.from_numpy(counts.size - 1).double()[:, None]
    before = torch.from_numpy(counts.above + counts.level).double()[:, None]
    drawn = torch.full_like(others, size - 1).minimum(others)
    of_them = torch.arange(k, dtype=torch.float64)[None]
    logs = _choose(before, of_them) + _choose(others - before, drawn - of_them) - _choose(others, drawn)
    return np.where(counts.found, logs.exp().sum(dim=1).clamp(max=1.0).numpy(), 0.0)


def _choose(n: Tensor, k: Tensor) -> Tensor:
    """Return the logarithm of n over k, -inf where there is no such choice."""
    possible = (k >= 0) & (k <= n)
    safe = torch.where(possible, k, 0.0)
    value = torch.lgamma(n + 1) - torch.lgamma(safe + 1) - torch.lgamma((n - safe + 1).clamp(min=1.0))
    return value.where(possible, -math.inf)


# --- noise -----------------------------------------------------------------------------------------------------------


def against_noise(
    embedded: Embedded, queries: Queries, noisy: Mapping[float, Mapping[str, Tensor]], *, split: str, seed: int = 0
) -> Curve:
    """Return Top-k among all candidates of the same queries with more and more noise on all of their spectra.

    Args:
        embedded: The embedded data set, without noise.
        queries: The queries.
        noisy: By level and modality, the vectors that replace those of ``embedded.spectra``.
        split: Whose queries.
        seed: Of the bootstrap.
    """
    found: dict[str, list[Interval]] = {name: [] for name in _TOPS}
    pool = candidate_pool(embedded, queries, "all", split=split, seed=seed)
    for vectors in ({}, *noisy.values()):
        spectra = {
            name: dataclasses.replace(part, vectors=vectors.get(name, part.vectors))
            for name, part in embedded.spectra.items()
        }
        changed = dataclasses.replace(embedded, spectra=spectra)
        scorer = model_scorer(changed, queries, fusion="gm-exp", mode="blind")
        rank = tally(scorer, queries.truth(embedded), [pool], len(embedded))[0].rank
        shares = np.column_stack([rank <= k for k in KS]).astype(np.float64)
        for name, interval in zip(_TOPS, _over_molecules(shares, queries.molecule, seed), strict=True):
            found[name].append(interval)
    return _curve(queries, "noise", (0.0, *noisy), found)


def noisy_vectors(
    embedder: Embedder,
    embedded: Embedded,
    modality: str,
    rows: Int64[NDArray[np.int64], " k"],
    read: Callable[[int], Sequence[Measurement]],
    scalars: NDArray[np.float32],
    *,
    seed: int = 0,
) -> dict[float, Float[Tensor, "n d"]] | None:
    """Embed some measurements anew with noise of each of `LEVELS`; None where noise has no meaning for the modality.

    Args:
        embedder: The model.
        embedded: The embedded data set.
        modality: Name in the graph.
        rows: Rows of ``embedded.spectra`` to embed anew.
        read: Reads the measurements that such a row is of; the first one counts.
        scalars: Known scalar features of each molecule.
        seed: Of the noise.

    Returns:
        By level, all vectors of the modality, with NaN where the noise leaves nothing that can be used.
    """
    node, built = embedder.graph.modalities[modality], embedder.modalities[modality]
    part = embedded.spectra[modality]
    changed = {level: part.vectors.clone() for level in LEVELS}
    pair: tuple[str, str] | None = None
    for start in range(0, len(rows), EMBEDDED_AT_ONCE):
        here, clean = [], []
        for row in rows[start : start + EMBEDDED_AT_ONCE].tolist():
            found = values_of(read(row)[0], node.record, node.spec, built, pair)
            if found is None:
                return None
            pair = found.place_name, found.value_name
            here.append(row)
            clean.append(found)
        rng = np.random.default_rng([seed, start])
        for level, vectors in changed.items():
            samples, kept = [], []
            for row, values in zip(here, clean, strict=True):
                try:
                    samples.append(built.transform(values.noisy(level, rng), None))
                    kept.append(row)
                except SampleError:
                    vectors[row] = torch.nan
            if samples:
                made = embedder.embed_samples(modality, samples, scalars[part.molecule[kept]])
                vectors[torch.tensor(kept)] = made.cpu().to(vectors.dtype)
    return changed


@final
@dataclass(frozen=True, kw_only=True)
class Values:
    """What noise is added to: the values of a measurement, and the two arrays that they are written to.

    Attributes:
        measurement: The measurement.
        place_name: Array of the places.
        value_name: Array of the values.
        place: (n,) places; of a curve ascending.
        value: (n,) values.
        peaks: Whether they are peaks, rather than a curve.
    """

    measurement: Measurement
    place_name: str
    value_name: str
    place: NDArray[np.float64]
    value: NDArray[np.float64]
    peaks: bool

    def noisy(self, level: float, rng: np.random.Generator) -> Measurement:
        """Return the measurement with white noise of `level` times the largest value; peaks that fall to 0 go."""
        value = self.value + level * self.value.max() * rng.standard_normal(len(self.value))
        place = self.place
        if self.peaks:
            kept = (value > 0) | (self.value == self.value.max())
            place, value = place[kept], np.where(value > 0, value, self.value)[kept]
        arrays = {self.place_name: place.astype(np.float32), self.value_name: value.astype(np.float32)}
        return dataclasses.replace(self.measurement, arrays=arrays)


def values_of(
    measurement: Measurement,
    record: ModalityRecord,
    spec: object,
    modality: Modality,
    pair: tuple[str, str] | None = None,
) -> Values | None:
    """Return what noise is added to, whatever the modality: by what it declares alone.

    Values are two arrays of one axis, of which one has the unit of the spec. Of a spectrum they are the curve that its
    modality draws, one point for each of its grid and computed sticks included; of a list of peaks their heights.

    Args:
        measurement: What was measured.
        record: The modality's record.
        spec: Its spec.
        modality: What it built.
        pair: The two arrays, places first, where another measurement of the modality has shown them.

    Returns:
        None where the modality declares no such values, or does not draw a curve.

    Raises:
        SampleError: The measurement cannot be drawn.
    """
    if not isinstance(spec, SpectrumSpec | PeaksSpec):
        return None
    trace = modality.trace(measurement) if isinstance(spec, SpectrumSpec) and isinstance(modality, Traces) else None
    for place_name, value_name in _pairs(record, spec.unit) if pair is None else (pair,):
        if isinstance(spec, PeaksSpec):
            place, value = (np.asarray(measurement.arrays.get(n, ()), np.float64) for n in (place_name, value_name))
            return (
                Values(
                    measurement=measurement,
                    place_name=place_name,
                    value_name=value_name,
                    place=place,
                    value=value,
                    peaks=True,
                )
                if len(value)
                else None
            )
        if trace is None or trace.sticks or not isinstance(modality, Traces):
            return None
        seen = np.isfinite(trace.height)
        place, value = (np.asarray(part[seen], np.float64) for part in (trace.position, trace.height))
        found = Values(
            measurement=measurement, place_name=place_name, value_name=value_name, place=place, value=value, peaks=False
        )
        if pair is not None or _reads(modality, found, trace):
            return found
    return None


def _pairs(record: ModalityRecord, unit: str) -> Iterator[tuple[str, str]]:
    """Yield pairs of arrays that are alone on their axis, of which the first has the unit."""
    arrays = {name: array for name, array in record.stores.arrays.items() if array.axis is not None}
    for axis in dict.fromkeys(array.axis for array in arrays.values()):
        names = [name for name, array in arrays.items() if array.axis == axis and array.shape == ()]
        places = [name for name in names if arrays[name].unit == unit]
        if len(names) == 2 and len(places) == 1:
            yield places[0], next(name for name in names if name not in places)


def _reads(modality: Traces, values: Values, trace: Trace) -> bool:
    """Return whether the modality reads these values as the curve that they are, rather than as sticks."""
    try:
        again = modality.trace(values.noisy(0.0, np.random.default_rng(0)))
    except SampleError:
        return False
    if again.sticks or again.height.shape != trace.height.shape:
        return False
    return bool(np.nanmax(np.abs(again.height - trace.height)) < _ALIKE)


# --- helpers ---------------------------------------------------------------------------------------------------------


def _over_molecules(shares: NDArray[np.float64], molecule: NDArray[np.int64], seed: int) -> list[Interval]:
    return [*bootstrap(mean_by_molecule(shares, molecule)[1], seed=seed)]


def _curve(queries: Queries, over: str, at: Sequence[float], found: Mapping[str, Sequence[Interval]]) -> Curve:
    return Curve(
        subset=queries.subset,
        over=over,
        at=tuple(map(float, at)),
        metrics={name: tuple(intervals) for name, intervals in found.items()},
        molecules=len(np.unique(queries.molecule)),
    )
