"""The modality `uvvis`: absorption curves to samples."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import (
    Measurement,
    Molecule,
    Reading,
    SampleError,
    SpectrumBatch,
    SpectrumSample,
    SpectrumSpec,
    collate_spectra,
)
from molchord_uvvis import files
from molchord_uvvis.uvvis_settings import Jitter

if TYPE_CHECKING:
    import torch

__all__ = ["UvVis", "channels"]

_FEWEST = 10  # grid points that a curve must cover


@final
class UvVis:
    """Reads curves and lays them on the grid; keeps its settings alone.

    A published molar absorptivity is often off by a factor, the shape of the curve hardly ever, so every curve is
    scaled to a highest absorbance of 1 within the grid.

    Args:
        spec: What an encoder gets.
        decades: Powers of ten below the highest absorbance that the logarithmic channel shows.
        jitter: Augmentation of a training sample; None: none.

    Example:
        >>> wavelength = np.linspace(220.0, 400.0, 91)
        >>> band = np.exp(-(((wavelength - 300) / 20) ** 2))
        >>> curve = Measurement(arrays={"wavelength": wavelength, "absorbance": band})
        >>> sample = UvVis(SpectrumSpec(unit="nm", points=251, channels=2, start=200, stop=700)).transform(curve, None)
        >>> sample.values.shape, int(sample.values[0].argmax()) * 2 + 200, int(sample.observed.sum())
        ((2, 251), 300, 91)
    """

    def __init__(self, spec: SpectrumSpec, decades: float = 3.0, jitter: Jitter | None = None) -> None:
        self._spec = spec
        self._decades, self._jitter = decades, jitter
        self._grid = np.linspace(spec.start, spec.stop, spec.points)

    def can_read(self, path: Path) -> bool:
        """Say whether the file names itself as UV/Vis: an npz of such curves, or two columns headed so."""
        return files.names_itself(path)

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield every curve of a file.

        Raises:
            SampleError: The file as a whole cannot be read.
        """
        return files.read(path)

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> SpectrumSample:
        """Lay a curve on the grid, scale it and make the channels; jittered where `rng` is given.

        Raises:
            SampleError: The curve is broken, covers next to nothing of the grid, or absorbs nowhere.
        """
        wavelength, absorbance = _ascending(measurement)
        jitter = self._jitter if rng is not None else None
        if rng is not None and jitter is not None:
            wavelength = wavelength + jitter.shift * rng.standard_normal()
        observed = (self._grid >= wavelength[0]) & (self._grid <= wavelength[-1])
        if observed.sum() < _FEWEST:
            ends = f"{wavelength[0]:g}-{wavelength[-1]:g} nm"
            grid = f"{self._grid[0]:g}-{self._grid[-1]:g} nm"
            raise SampleError("uvvis", f"the curve of {ends} covers less than {_FEWEST} points of the grid {grid}")
        curve = np.interp(self._grid, wavelength, absorbance)
        highest = float(curve[observed].max())
        if highest <= 0:
            raise SampleError("uvvis", "the curve is nowhere above 0; is it transmittance, or a blank?")
        curve = curve / highest
        if rng is not None and jitter is not None:
            curve = curve + jitter.noise * rng.standard_normal(len(curve))
        values = np.where(observed, channels(curve, self._decades), 0.0)
        return SpectrumSample(values=values.astype(np.float32), observed=observed)

    def collate(self, samples: Sequence[SpectrumSample]) -> SpectrumBatch:
        """Stack curves."""
        return collate_spectra(samples, self._spec)

    def prepare(self, batch: SpectrumBatch, generator: torch.Generator | None) -> SpectrumBatch:
        """Return the batch as it is; augmentation happens in `transform`."""
        return batch

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make one band a double or aromatic bond, its place from the letters around it; the seed moves it a little."""
        return [_example(molecule, seed) for molecule in molecules]


def channels(curve: NDArray[np.float64], decades: float) -> NDArray[np.float64]:
    """Return the curve and its logarithm, both between 0 and 1.

    Args:
        curve: (p,) absorbances, the highest about 1; below 0 counts as 0.
        decades: Powers of ten that the logarithm is cut off at.

    Shape:
        (2, p).

    Example:
        >>> channels(np.array([1.0, 0.01, 0.0]), 3.0).round(3).tolist()
        [[1.0, 0.01, 0.0], [1.0, 0.333, 0.0]]
    """
    clipped = np.clip(curve, 0.0, 1.0)
    logarithm = 1 + np.log10(np.maximum(clipped, 10.0**-decades)) / decades
    return np.stack([clipped, logarithm])


def _ascending(measurement: Measurement) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a curve by ascending wavelength; of points at one wavelength, the mean."""
    wavelength = np.asarray(measurement.arrays["wavelength"], dtype=np.float64)
    absorbance = np.asarray(measurement.arrays["absorbance"], dtype=np.float64)
    if wavelength.shape != absorbance.shape:
        lengths = f"{len(wavelength)} wavelengths and {len(absorbance)} absorbances"
        raise SampleError("uvvis", f"{lengths} do not fit together")
    finite = np.isfinite(wavelength) & np.isfinite(absorbance)
    places, where, counts = np.unique(wavelength[finite], return_inverse=True, return_counts=True)
    if len(places) < 2:
        raise SampleError("uvvis", f"{len(places)} of {len(wavelength)} points are usable; a curve needs more")
    return places, np.bincount(where, weights=absorbance[finite]) / counts


def _example(molecule: Molecule, seed: int) -> Measurement:
    text = f" {molecule.smiles} "
    noise = np.random.default_rng([seed, zlib.crc32(molecule.key14.encode())])
    places = [i for i, letter in enumerate(text) if letter in "=#cnos"] or [1]
    wavelength = np.arange(200.0, 501.0, 2.0)
    absorbance = np.zeros_like(wavelength)
    for i in places:
        centre = 210 + zlib.crc32(text[i - 1 : i + 2].encode()) % 200 + noise.normal(0, 0.5)
        absorbance += np.exp(-(((wavelength - centre) / 15) ** 2))
    return Measurement(
        arrays={"wavelength": wavelength.astype(np.float32), "absorbance": absorbance.astype(np.float32)},
        columns={"origin": "computed", "solvent": None, "title": f"example {molecule.key14}"},
    )
