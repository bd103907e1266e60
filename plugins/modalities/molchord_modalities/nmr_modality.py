"""The modality `nmr`: peak lists to samples of kind `peaks` or `spectrum1d`, and how similar two lists are."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import (
    Measurement,
    Molecule,
    PeaksBatch,
    PeaksSample,
    PeaksSpec,
    QualityWarning,
    Reading,
    SampleError,
    SpectrumBatch,
    SpectrumSample,
    SpectrumSpec,
    Trace,
    Window,
)
from molchord.chem import parse
from molchord_modalities import nmr_files
from molchord_modalities.nmr_matching import Padded, matched, padded
from molchord_modalities.nmr_settings import MULTIPLICITIES, NUCLEI, Jitter, PpmGrid
from molchord_modalities.peak_lists import LastCompared, collated, peak_windows, peaks_without

if TYPE_CHECKING:
    import torch

__all__ = ["Nmr", "Peaks"]

MOST_PEAKS = 100
"""A longer list was picked from noise, or holds every line of multiplets."""
STRANGE = 0.3  # what is left of an answer's probability where shifts are outside their nucleus's range
CROWDED = 0.5  # where there are too many
PROTON_LIKE = 12.0  # ppm; a 13C list of some length never stays below
PROTON_LIKE_PEAKS = 6


@dataclass(frozen=True)
class Peaks:
    """A list in ascending shift.

    Attributes:
        shift: (n,) ppm.
        code: (n,) multiplicities, 0 where unknown.
        nuclei: (n,) nuclei of each peak, NaN where unknown.
    """

    shift: NDArray[np.float64]
    code: NDArray[np.int64]
    nuclei: NDArray[np.float64]

    def take(self, index: NDArray[Any]) -> Peaks:
        """Return some of the peaks, by index or mask."""
        return Peaks(self.shift[index], self.code[index], self.nuclei[index])

    def merged(self, reach: float) -> Peaks:
        """Put neighbours of one multiplicity that are not further apart than `reach` together at their mean.

        Example:
            >>> peaks = Peaks(np.array([1.0, 1.2, 5.0]), np.array([0, 0, 0]), np.array([1.0, 1.0, 3.0]))
            >>> peaks.merged(0.5).shift.round(2).tolist(), peaks.merged(0.5).nuclei.tolist()
            ([1.1, 5.0], [2.0, 3.0])
        """
        order = np.lexsort((self.shift, self.code))
        shift, code, nuclei = self.shift[order], self.code[order], self.nuclei[order]
        # Rounding of shifts as files print them must not part what is exactly `reach` apart.
        starts = np.flatnonzero(np.concatenate(([True], (np.diff(shift) > reach + 1e-6) | (np.diff(code) > 0))))
        sizes = np.diff(np.append(starts, len(shift)))
        joined = Peaks(np.add.reduceat(shift, starts) / sizes, code[starts], np.add.reduceat(nuclei, starts))
        return joined.take(np.argsort(joined.shift, kind="stable"))


@final
class Nmr:
    """Reads, checks, varies and compares peak lists; keeps the references last compared with.

    Args:
        spec: What samples hold, which decides the kind.
        multiplicity: Multiplicities are handed over.
        counted: Nuclei of which counts are handed over.
        merge: Peaks no further apart become one; ppm of 13C.
        grid: Positions and line width of the smeared spectrum.
        jitter: Training augmentation.
        tolerance: At which two peaks have nothing to do with each other; ppm of 13C.

    Example:
        >>> from molchord_modalities.nmr import NMR, NmrConfig
        >>> ethanol = Measurement(arrays={"shift": np.array([57.8, 18.1])}, columns={"nucleus": "13C"})
        >>> NMR.build(NmrConfig(), "peaks").transform(ethanol, None).peak["shift"]
        array([18.1, 57.8], dtype=float32)
    """

    def __init__(
        self,
        spec: PeaksSpec | SpectrumSpec,
        *,
        multiplicity: bool,
        counted: Sequence[str],
        merge: float,
        grid: PpmGrid,
        jitter: Jitter | None,
        tolerance: float,
    ) -> None:
        self._spec = spec
        self._multiplicity, self._counted = multiplicity, tuple(counted)
        self._merge, self._grid, self._jitter, self._tolerance = merge, grid, jitter, tolerance
        self._references: LastCompared[Padded] = LastCompared()

    def can_read(self, path: Path) -> bool:
        """Return whether the file names itself as NMR peaks; see `nmr_files.names_itself`."""
        return nmr_files.names_itself(path)

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield every peak list of a file.

        Raises:
            SampleError: The file as a whole cannot be read.
        """
        return nmr_files.read(path)

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> PeaksSample | SpectrumSample:
        """Make one sample, by ascending shift; varied where `rng` is given.

        Raises:
            SampleError: There is no peak, arrays do not fit together, a shift is not finite, or none is on the grid.
        """
        peaks, nucleus = _checked(measurement), str(measurement.columns.get("nucleus"))
        scale = _scale(nucleus)
        if rng is not None and self._jitter is not None:
            peaks = _varied(peaks, self._jitter, scale, rng)
        if not self._multiplicity:
            peaks = Peaks(peaks.shift, np.zeros_like(peaks.code), peaks.nuclei)
        peaks = peaks.merged(self._merge * scale)
        if nucleus not in self._counted:
            peaks = Peaks(peaks.shift, peaks.code, np.full_like(peaks.nuclei, np.nan))
        whole = {"nucleus": self._spec.whole["nucleus"].code(nucleus)}  # type: ignore[union-attr]  # a Category
        if isinstance(self._spec, SpectrumSpec):
            return SpectrumSample(values=self._smeared(peaks), whole=whole)
        columns: dict[str, NDArray[Any]] = {
            "shift": peaks.shift.astype(np.float32),
            "multiplicity": peaks.code,
            "nuclei": peaks.nuclei.astype(np.float32),
        }
        return PeaksSample(peak={name: columns[name] for name in self._spec.peak}, whole=whole)

    def collate(self, samples: Sequence[Any]) -> PeaksBatch | SpectrumBatch:
        """Pad lists to the longest, or stack smeared spectra."""
        return collated(samples, self._spec)

    def prepare(self, batch: Any, generator: torch.Generator | None) -> Any:
        """Return the batch as it is; augmentation happens in `transform`, where the peaks are still apart."""
        return batch

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make a 13C list from what each carbon is bound to; the seed moves it a little."""
        return [_example(molecule, seed) for molecule in molecules]

    def similarity(self, query: Measurement, references: Sequence[Measurement]) -> NDArray[np.float64]:
        """Return the worth of the best matching of shifts with each reference (`nmr_matching`); 0 for another nucleus.

        Raises:
            SampleError: The query cannot be used.
        """
        nucleus = query.columns.get("nucleus")
        same = [one.columns.get("nucleus") == nucleus for one in references]
        tolerance = self._tolerance * _scale(str(nucleus))
        shifts, lengths = self._references.of(references, _shifts)
        return matched(_checked(query).shift, shifts, lengths, tolerance) * np.array(same, dtype=np.float64)

    def inspect(self, measurement: Measurement) -> list[QualityWarning]:
        """Warn of shifts where a nucleus has none, of lists too long, and of lists that look like protons."""
        nucleus = str(measurement.columns.get("nucleus"))
        shift = np.asarray(measurement.arrays["shift"])
        found = []
        if nucleus in NUCLEI:
            low, high = NUCLEI[nucleus].low, NUCLEI[nucleus].high
            outside = shift[(shift < low) | (shift > high)]
            if len(outside):
                message = f"its {nucleus} shift of {outside[0]:g} lies outside {low:g} to {high:g} ppm; is it in Hz?"
                found.append(QualityWarning(message, STRANGE))
        if len(shift) > MOST_PEAKS:
            message = f"it has {len(shift)} peaks; give one shift for each multiplet, and no peaks of noise"
            found.append(QualityWarning(message, CROWDED))
        if nucleus == "13C" and len(shift) >= PROTON_LIKE_PEAKS and shift.max() < PROTON_LIKE:
            found.append(QualityWarning(f"all its 13C shifts lie below {PROTON_LIKE:g} ppm; is it a 1H list?", STRANGE))
        return found

    def windows(self, measurement: Measurement) -> list[Window]:
        """Return the shifts of a list, a window each.

        Raises:
            SampleError: The list cannot be used.
        """
        return peak_windows(_checked(measurement).shift, "{} ppm", 2, "ppm")

    def without(self, measurement: Measurement, windows: Sequence[Window]) -> Measurement:
        """Return the list without some shifts."""
        return peaks_without(measurement, "shift", windows)

    def trace(self, measurement: Measurement) -> Trace:
        """Return the shifts as sticks, as high as they have nuclei, where that is known, from high to low.

        Raises:
            SampleError: The list cannot be used.
        """
        peaks = _checked(measurement)
        height = np.nan_to_num(peaks.nuclei, nan=1.0)
        axis = f"{measurement.columns.get('nucleus') or ''} shift, ppm".strip()
        height = height / height.max() if height.max() > 0 else np.ones_like(height)
        return Trace(position=peaks.shift, height=height, axis=axis, scale="nuclei", sticks=True, descending=True)

    def _smeared(self, peaks: Peaks) -> NDArray[np.float32]:
        """Return Gaussians on the grid, (c, p): of all peaks, and of those of each multiplicity."""
        grid = self._grid
        inside = (peaks.shift >= grid.start) & (peaks.shift <= grid.stop)
        if not inside.any():
            raise SampleError("nmr", f"no shift of the list lies between {grid.start:g} and {grid.stop:g} ppm")
        kept = peaks.take(inside)
        places = np.linspace(grid.start, grid.stop, grid.points)
        curves = np.exp(-(((places - kept.shift[:, None]) / grid.width) ** 2) / 2)
        curves *= np.nan_to_num(kept.nuclei, nan=1.0)[:, None]
        values = np.zeros((self._spec.channels, grid.points))  # type: ignore[union-attr]  # the kind is spectrum1d
        values[0] = curves.sum(axis=0)
        for channel in range(1, len(values)):
            last = channel == len(values) - 1
            own = kept.code >= channel if last else kept.code == channel
            values[channel] = curves[own].sum(axis=0)
        return values.astype(np.float32)


def _shifts(references: Sequence[Measurement]) -> Padded:
    return padded([np.asarray(one.arrays["shift"], dtype=np.float64) for one in references])


def _scale(nucleus: str) -> float:
    return NUCLEI[nucleus].scale if nucleus in NUCLEI else 1.0


def _checked(measurement: Measurement) -> Peaks:
    """Return the peaks of a measurement, ascending.

    Raises:
        SampleError: They cannot be used.
    """
    shift = np.asarray(measurement.arrays.get("shift", ()), dtype=np.float64)
    if len(shift) == 0:
        raise SampleError("nmr", "the list has no peak")
    if not np.isfinite(shift).all():
        raise SampleError("nmr", "the list has a shift that is not finite")
    code = _filled(measurement, "multiplicity", len(shift), 0).astype(np.int64)
    nuclei = _filled(measurement, "nuclei", len(shift), np.nan).astype(np.float64)
    if code.min() < 0 or code.max() > len(MULTIPLICITIES):
        raise SampleError("nmr", f"the list has a multiplicity code outside 0-{len(MULTIPLICITIES)}")
    return Peaks(shift, code, nuclei).take(np.argsort(shift, kind="stable"))


def _filled(measurement: Measurement, name: str, count: int, missing: float) -> NDArray[Any]:
    """Return an array; one that a measurement lacks has length 0: nothing is known of any peak."""
    values = np.asarray(measurement.arrays.get(name, ()))
    if len(values) == 0:
        return np.full(count, missing)
    if len(values) != count:
        raise SampleError("nmr", f"the list has {count} shifts and {len(values)} values of `{name}`")
    return values


def _varied(peaks: Peaks, jitter: Jitter, scale: float, rng: np.random.Generator) -> Peaks:
    """Return a list as another spectrometer, solvent or predictor might give it."""
    count = len(peaks.shift)
    shift = peaks.shift + scale * (jitter.shift * rng.normal(size=count) + jitter.offset * rng.normal())
    code = np.zeros_like(peaks.code) if rng.random() < jitter.multiplicity else peaks.code
    stays = rng.random(count) >= jitter.drop
    stays[rng.integers(count)] = True
    reach = scale * jitter.merge * rng.random()
    return Peaks(shift, code, peaks.nuclei).take(stays).merged(reach)


_BOUND_TO = {"O": 42.0, "N": 28.0, "F": 60.0, "Cl": 25.0, "S": 12.0, "Br": 15.0}
"""Rough shift by each neighbour of a carbon, ppm."""


def _example(molecule: Molecule, seed: int) -> Measurement:
    noise = np.random.default_rng([seed, zlib.crc32(molecule.key14.encode())])
    shifts, codes = [], []
    for atom in parse(molecule.smiles, molecule.key14).GetAtoms():
        if atom.GetSymbol() == "C":
            sp2 = atom.GetHybridization().name == "SP2"
            near = [other.GetSymbol() for other in atom.GetNeighbors()]
            shift = (115.0 if sp2 else 8.0) + 9.0 * near.count("C") + sum(_BOUND_TO.get(one, 0.0) for one in near)
            # What is further off moves a shift a little too, the same for the same surroundings.
            further = sorted(n.GetSymbol() for o in atom.GetNeighbors() for n in o.GetNeighbors())
            shifts.append(shift + zlib.crc32("".join(further).encode()) % 80 / 10 + noise.normal(0, 0.05))
            codes.append(min(atom.GetTotalNumHs(), 3) + 1)
    if not shifts:  # nothing to see; as a spectrum of the solvent alone
        shifts, codes = [77.2 + noise.normal(0, 0.05)], [0]
    return Measurement(
        arrays={
            "shift": np.array(shifts, dtype=np.float32),
            "multiplicity": np.array(codes, dtype=np.uint8),
            "nuclei": np.ones(len(shifts), dtype=np.float32),
        },
        columns={"origin": "computed", "nucleus": "13C"},
    )
