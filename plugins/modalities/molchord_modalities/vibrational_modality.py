"""Infrared and Raman spectra: files to measurements to samples; the batch is finished in `vibrational_batch`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from molchord.api import Measurement, Molecule, Reading, ReadingOptions, SampleError
from molchord_modalities import cleaning, curve, vibrational_explaining
from molchord_modalities.cleaning_steps import ALL_STEPS
from molchord_modalities.quality_warnings import curve_warnings
from molchord_modalities.vibrational_reader import VibrationalReader, sticks
from molchord_modalities.vibrational_samples import Curve, Sticks
from molchord_modalities.vibrational_settings import KIND_BEGINS, KINDS, Technique, VibrationalConfig

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from molchord.api import CleaningStep, QualityWarning, SpectrumBatch, Stores, Trace, Window
    from molchord_modalities.vibrational_batch import VibrationalBatch

__all__ = ["Vibrational"]

_LEAST_PEAK = 0.01
_PEAK_REACH = 8.0
"""cm^-1 on either side of a maximum."""
_LONGEST_MICROMETRES = 100.0
"""No vibrational spectrum ends below so many cm^-1; every infrared one ends below so many micrometres."""


class Vibrational:
    """The modality `ir` or `raman`, with most abilities of `molchord.api`.

    It is `Annotates`, `Compares`, `Explains`, `Inspects`, `Locates`, `Migrates`, `ReadsTables` and `Traces` too.

    Args:
        technique: Which of the two.
        config: Its configuration.

    Example:
        >>> technique = Technique(name="ir", curve="absorbance", data_type="INFRARED", stick_unit="km/mol")
        >>> ir = Vibrational(technique, VibrationalConfig())
        >>> water = {"stick_wavenumber": np.array([1539.0, 3643, 3651]), "stick_intensity": np.array([90.0, 9, 30])}
        >>> batch = ir.prepare(ir.collate([ir.transform(Measurement(arrays=water), None)]), None)
        >>> batch.values.shape, round(float(batch.values.max()), 3)
        (torch.Size([1, 3, 1750]), 1.0)
    """

    def __init__(self, technique: Technique, config: VibrationalConfig) -> None:
        self.technique = technique
        self.config = config
        self.name = technique.name
        self._reader = VibrationalReader(technique)
        self._rendered: _Rendered | None = None
        corrections = [getattr(config.correction, name) for name in KINDS]
        self._scale = np.array([config.scale * one.scale for one in corrections], dtype=np.float32)
        self._strength = np.array([one.intensity for one in corrections], dtype=np.float32)

    def __reduce__(self) -> tuple[Any, ...]:
        return Vibrational, (self.technique, self.config)

    def can_read(self, path: Path) -> bool:
        """Return whether a file names itself as this technique; see `VibrationalReader.can_read`."""
        return self._reader.can_read(path)

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield every spectrum of a file; see `VibrationalReader.read`.

        Raises:
            SampleError: The file as a whole cannot be read.
        """
        return self._reader.read(path)

    def read_table(self, path: Path, options: ReadingOptions) -> Iterator[Reading | SampleError]:
        """Yield every spectrum of a file, read as the options say; see `VibrationalReader.read`.

        Raises:
            SampleError: The file as a whole cannot be read, or an option does not fit it.
        """
        return self._reader.read(path, options)

    def migrate(self, measurement: Measurement, declared: Stores) -> Measurement:
        """Return a measurement of an older data set as it is: what today's declaration has beside is not always known.

        Raises:
            SampleError: It was stored under a declaration that is not this technique's.
        """
        lacking = {"stick_wavenumber", "stick_intensity", "wavenumber", self.technique.curve} - declared.arrays.keys()
        if lacking:
            raise SampleError(self.name, f"the data set lacks the array `{min(lacking)}`; import the files again")
        return measurement

    # --- samples and batches ---

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> Sticks | Curve:
        """Keep the positive modes of sticks, or put a curve on the grid; chance comes in `prepare` only.

        Raises:
            SampleError: Nothing usable is on the grid, or the measurement has both forms or none.
        """
        arrays = measurement.arrays
        position, intensity = (np.asarray(arrays.get(key, ())) for key in ("stick_wavenumber", "stick_intensity"))
        x, y = (np.asarray(arrays.get(key, ())) for key in ("wavenumber", self.technique.curve))
        if (position.size > 0) == (x.size > 0):
            got = "both" if x.size else "none"
            raise SampleError(self.name, f"the measurement has {got} of sticks and curve; one is expected")
        if position.size:
            rotation = measurement.columns.get("rotational_constant")
            return self._transform_sticks(position, intensity, np.asarray(arrays.get("stick_kind", ())), rotation)
        if measurement.origin == "measured" and self.config.clean:
            x, y = cleaning.cleaned(self.name, *cleaning.sorted_curve(self.name, x, y), self.config.clean)
        return self._transform_curve(x, y)

    def _transform_sticks(
        self, position: NDArray[Any], intensity: NDArray[Any], kind: NDArray[Any], rotation: Any
    ) -> Sticks:
        if position.shape != intensity.shape or position.ndim != 1:
            shapes = f"{position.shape} and {intensity.shape}"
            raise SampleError(
                self.name, f"positions and intensities of sticks have shapes {shapes}; one length is expected"
            )
        if not (np.isfinite(position).all() and np.isfinite(intensity).all()):
            raise SampleError(self.name, "a stick's position or intensity is not a finite number")
        if kind.shape != position.shape:
            kind = np.searchsorted(KIND_BEGINS, position, side="right")  # no kinds are stored
        if np.any(kind >= len(KINDS)):
            raise SampleError(self.name, f"a stick's kind is {kind.max()}; the kinds are 0 to {len(KINDS) - 1}")
        keep = (position > 0) & (intensity > 0)
        kind = kind[keep].astype(np.uint8)
        position = (position[keep] * self._scale[kind] + np.float32(self.config.shift)).astype(np.float32)
        intensity = (intensity[keep] * self._strength[kind]).astype(np.float32)
        grid = self.config.grid
        if not np.any((position >= grid.start) & (position <= grid.stop)):
            limits = f"{grid.start:g}-{grid.stop:g} cm^-1"
            raise SampleError(self.name, f"no stick of positive intensity lies on the grid of {limits}")
        known = isinstance(rotation, float) and np.isfinite(rotation) and rotation > 0
        return Sticks(position, intensity, kind, float(rotation) if known else 0.0)

    def _transform_curve(self, x: NDArray[Any], y: NDArray[Any]) -> Curve:
        config = self.config
        grid = np.linspace(config.grid.start, config.grid.stop, config.grid.points)
        sound = curve.clean(self.name, x, y)
        masked = cleaning.masked(x, y, grid)
        x, y = sound
        values, observed = curve.resample(x, y, grid, config.max_gap)
        observed &= ~masked
        values[masked] = 0.0
        apart = float(np.median(np.diff(x)))
        if observed.mean() < config.min_observed and apart > config.max_gap:
            points = f"the curve has {len(x)} points, {apart:.0f} cm^-1 apart"
            raise SampleError(
                self.name,
                f"{points}; more than `max_gap` of {config.max_gap:g} is a hole: export it with more points",
            )
        if observed.mean() < config.min_observed:
            limits = f"{x[0]:g}-{x[-1]:g} cm^-1 covers {observed.mean():.0%} of the grid"
            if x[-1] < _LONGEST_MICROMETRES:
                limits += " and looks like micrometres, as `--x-unit um` would say"
            raise SampleError(self.name, f"the curve of {limits}; `min_observed` asks for {config.min_observed:.0%}")
        seen = values[observed]
        if config.baseline.method == "rubberband":
            seen = seen - curve.rubberband(grid[observed], seen)
        elif config.baseline.window is not None:
            seen = seen - curve.rolling_minimum(seen, curve.cells(config.baseline.window, config.grid.step))
        if not np.ptp(seen) > 0:
            raise SampleError(self.name, "the curve is constant on the grid")
        values[observed] = seen
        return Curve(values.astype(np.float32), observed)

    def collate(self, samples: Sequence[Sticks | Curve]) -> VibrationalBatch:
        """Pad sticks and stack curves; works for no samples too."""
        from molchord_modalities import vibrational_batch

        return vibrational_batch.collate(samples, self.config.grid.points)

    def prepare(self, batch: VibrationalBatch, generator: torch.Generator | None) -> SpectrumBatch:
        """Broaden, jitter where there is a generator, normalise, and make the channels."""
        from molchord_modalities import vibrational_batch

        return vibrational_batch.prepare(batch, self.config, generator)

    # --- clean-up ---

    @property
    def cleaning_steps(self) -> Mapping[str, type[CleaningStep]]:
        """The steps that there are, by name; see `cleaning_steps`."""
        return ALL_STEPS

    @property
    def default_cleaning(self) -> Sequence[CleaningStep]:
        """The steps that `transform` takes of each measured curve."""
        return self.config.clean

    def clean(self, measurement: Measurement, steps: Sequence[CleaningStep]) -> Measurement:
        """Return a curve after the steps; a masked point keeps its place and has no value. Sticks stay as they are.

        Raises:
            SampleError: A step does not fit the curve, or its package is not installed.
        """
        x, y = (np.asarray(measurement.arrays.get(key, ())) for key in ("wavenumber", self.technique.curve))
        if not x.size or not steps:
            return measurement
        x, y = cleaning.cleaned(self.name, *cleaning.sorted_curve(self.name, x, y), steps)
        arrays = {"wavenumber": x.astype(np.float32), self.technique.curve: y.astype(np.float32)}
        return dataclasses.replace(measurement, arrays={**measurement.arrays, **arrays})

    # --- quality warnings, comparing and examples ---

    def inspect(self, measurement: Measurement) -> list[QualityWarning]:
        """Warn of what is wrong with a measured curve; sticks are computed, and nothing is wrong with them."""
        grid, arrays = self.config.grid, measurement.arrays
        x, y = (np.asarray(arrays.get(key, ())) for key in ("wavenumber", self.technique.curve))
        if not x.size:
            return []
        places = np.linspace(grid.start, grid.stop, grid.points)
        if measurement.origin == "measured" and self.config.clean:
            x, y = cleaning.cleaned(self.name, *cleaning.sorted_curve(self.name, x, y), self.config.clean)
        corrected = self.config.baseline.method != "none"
        return curve_warnings(*curve.clean(self.name, x, y), places, self.config.max_gap, corrected=corrected)

    def similarity(self, query: Measurement, references: Sequence[Measurement]) -> NDArray[np.floating[Any]]:
        """Return the cosine of the square roots of the min-max scaled spectra, over what both observed.

        A reference that cannot be used gets -1, below every other one. The references last rendered are kept, so a
        second query against the same ones costs a product only.

        Raises:
            SampleError: The query cannot be used.
        """
        kept = self._keep(references)
        root, mask = self._roots([self.transform(query, None)])
        power = root[0] ** 2
        of_references = kept.power if mask.all() else kept.roots**2 @ mask[0].astype(np.float32)
        of_query = power.sum() if kept.observed is None else kept.observed @ power
        cosine = kept.roots @ root[0] / np.sqrt(np.maximum(of_references * of_query, np.finfo(np.float32).tiny))
        return np.where(kept.usable, cosine, np.float32(-1.0))

    def peaks(self, measurement: Measurement) -> NDArray[np.floating[Any]]:
        """Return the positions in cm^-1 of the sticks or maxima above 1 % of the strongest, on the grid.

        Raises:
            SampleError: The measurement cannot be used.
        """
        grid, sample = self.config.grid, self.transform(measurement, None)
        if isinstance(sample, Curve):
            places = np.linspace(grid.start, grid.stop, grid.points)[sample.observed]
            reach = max(1, round(_PEAK_REACH / grid.step))
            return places[curve.maxima(sample.values[sample.observed].astype(np.float64), reach, _LEAST_PEAK)]
        inside = (sample.position >= grid.start) & (sample.position <= grid.stop)
        return np.asarray(sample.position[inside & (sample.intensity >= _LEAST_PEAK * sample.intensity[inside].max())])

    # --- explaining

    def windows(self, measurement: Measurement) -> list[Window]:
        """Return ranges of 100 cm^-1 or more, each half over the next one, that were measured.

        Raises:
            SampleError: The measurement cannot be used.
        """
        sample = self.transform(measurement, None)
        seen = sample.observed if isinstance(sample, Curve) else np.ones(self.config.grid.points, dtype=np.bool_)
        return vibrational_explaining.ranges(self.config.grid, seen, self.config.max_gap)

    def without(self, measurement: Measurement, windows: Sequence[Window]) -> Measurement:
        """Return a curve without its points in some ranges, which are gaps in it; sticks become a curve first.

        Raises:
            SampleError: The measurement cannot be used.
        """
        curved = measurement if np.size(measurement.arrays.get("wavenumber", ())) else self._as_curve(measurement)
        x = np.asarray(curved.arrays["wavenumber"])
        kept = vibrational_explaining.curve_without(x, windows)
        if kept.all():
            return curved
        arrays = {**curved.arrays, "wavenumber": x[kept]}
        arrays[self.technique.curve] = np.asarray(curved.arrays[self.technique.curve])[kept]
        return dataclasses.replace(curved, arrays=arrays)

    def annotate(self, measurement: Measurement, windows: Sequence[Window], molecule: Molecule) -> list[list[str]]:
        """Return the vibrations that textbooks have in each range, of bonds that the molecule has."""
        return vibrational_explaining.assignments(windows, molecule)

    def trace(self, measurement: Measurement) -> Trace:
        """Return the spectrum on the grid, from 0 to 1.

        Raises:
            SampleError: The measurement cannot be used.
        """
        plain = self._changed(channels=("plain",), normalise="minmax")
        batch = plain.prepare(plain.collate([plain.transform(measurement, None)]), None)
        values, seen = batch.values[0, 0].numpy(), batch.observed[0].numpy()
        return vibrational_explaining.trace(
            self.config.grid, values, seen, infrared=self.technique.curve == "absorbance"
        )

    def _as_curve(self, sticks: Measurement) -> Measurement:
        """Return the curve that sticks become on the grid."""
        plain = self._changed(channels=("plain",), normalise="none")
        batch = plain.prepare(plain.collate([plain.transform(sticks, None)]), None)
        grid = self.config.grid
        places = np.linspace(grid.start, grid.stop, grid.points).astype(np.float32)
        arrays = {"wavenumber": places, self.technique.curve: batch.values[0, 0].numpy()}
        return dataclasses.replace(sticks, arrays=arrays)

    def _keep(self, references: Sequence[Measurement]) -> _Rendered:
        """Return the rendered references, anew unless they are the very ones of the last call."""
        kept = self._rendered
        if kept is None or list(map(id, kept.references)) != list(map(id, references)):
            kept = self._rendered = self._render(references)
        return kept

    def _changed(self, **settings: Any) -> Vibrational:
        return Vibrational(self.technique, self.config.model_copy(update=settings))

    def _roots(self, samples: Sequence[Sticks | Curve]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        plain = self._changed(channels=("plain",), normalise="minmax")
        batch = plain.prepare(plain.collate(samples), None)
        return np.sqrt(batch.values[:, 0].numpy()), batch.observed.numpy()

    def _render(self, references: Sequence[Measurement]) -> _Rendered:
        samples: list[Sticks | Curve] = []
        usable = np.zeros(len(references), dtype=bool)
        for row, reference in enumerate(references):
            try:
                samples.append(self.transform(reference, None))
            except SampleError:
                continue
            usable[row] = True
        roots = np.zeros((len(references), self.config.grid.points), dtype=np.float32)
        observed = np.ones(roots.shape, dtype=bool)
        roots[usable], observed[usable] = self._roots(samples)
        return _Rendered(
            references=tuple(references),
            usable=usable,
            roots=roots,
            power=(roots**2).sum(axis=1),
            observed=None if observed.all() else observed.astype(np.float32),
        )

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make sticks from the pieces of each SMILES: every piece of one to three characters has a line of its own.

        Infrared and Raman share the positions, as real ones do; the intensities differ. The seed moves each stick a
        little.
        """
        return [self._example(molecule, seed) for molecule in molecules]

    def _example(self, molecule: Molecule, seed: int) -> Measurement:
        text = molecule.smiles
        pieces = sorted({text[i : i + n] for n in (1, 2, 3) for i in range(len(text) - n + 1)})
        digits = [hashlib.sha256(f"{self.name}:{piece}".encode()).digest() for piece in pieces]
        places = [hashlib.sha256(piece.encode()).digest() for piece in pieces]
        fractions = np.array([int.from_bytes(d[:4], "big") for d in places]) / 2**32
        loudness = np.array([int.from_bytes(d[:4], "big") for d in digits]) / 2**32
        rng = np.random.default_rng([seed, int.from_bytes(hashlib.sha256(molecule.key14.encode()).digest()[:4], "big")])
        position = 600 + 3200 * fractions + rng.normal(0, 2, len(pieces))
        counts = np.array([text.count(piece) for piece in pieces])
        return sticks(position, counts * 10 ** (2 * loudness), "computed")


@dataclass(frozen=True, kw_only=True)
class _Rendered:
    """Spectra of r references for `similarity`.

    Attributes:
        references: The measurements, kept so that their identity means something.
        usable: (r,) false where `transform` refused.
        roots: (r, p) square roots, 0 where not observed or not usable.
        power: (r,) sums of their squares.
        observed: (r, p) as 0 and 1, None where everything was.
    """

    references: tuple[Measurement, ...]
    usable: NDArray[np.bool_]
    roots: NDArray[np.float32]
    power: NDArray[np.float32]
    observed: NDArray[np.float32] | None
