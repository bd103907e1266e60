"""The modality `nmr`: peak lists to samples, and how alike two lists are."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from molchord.api import (
    Measurement,
    Molecule,
    PeaksBatch,
    PeaksSample,
    QualityWarning,
    Reading,
    SampleError,
    collate_peaks,
)
from molchord_nmr import MULTIPLICITIES, NMR, NUCLEI, NmrConfig, files

if TYPE_CHECKING:
    import torch

__all__ = ["Nmr"]

_STRANGE = 0.3  # what is left of an answer's probability when shifts lie where those of the nucleus never do
_TEETH = 101  # steps of the grid that shifts are compared on: 2.8 ppm for 13C, 0.25 ppm for 1H


@final
class Nmr:
    """Reads, checks and compares peak lists; keeps its configuration and the references last compared with.

    Args:
        config: What of a peak list the encoder sees.

    Example:
        >>> arrays = {"shift": np.array([18.1, 57.8]), "multiplicity": np.array([4, 3]), "nuclei": np.array([1.0, 1.0])}
        >>> ethanol = Measurement(arrays=arrays, columns={"nucleus": "13C"})
        >>> sample = Nmr(NmrConfig(nuclei=False)).transform(ethanol, None)
        >>> [MULTIPLICITIES[code - 1] for code in sample.peak["multiplicity"]]
        ['q', 't']
    """

    def __init__(self, config: NmrConfig) -> None:
        self._config = config
        self._spec = NMR.spec(config, "peaks")
        self._references: tuple[Measurement, ...] = ()
        self._combs: NDArray[np.float64] = np.zeros((0, _TEETH))

    def can_read(self, path: Path) -> bool:
        """Say whether the file names itself as NMR peaks: JSON lines, a JCAMP-DX peak table or a table of shifts."""
        return files.names_itself(path)

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield every peak list of a file.

        Raises:
            SampleError: The file as a whole cannot be read.
        """
        return files.read(path)

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> PeaksSample:
        """Make one sample, by ascending shift; jittered where `rng` is given.

        Raises:
            SampleError: There is no peak, arrays do not fit together, or a shift is not finite.
        """
        shift = np.asarray(measurement.arrays.get("shift", ()), dtype=np.float32)
        count = len(shift)
        if count == 0:
            raise SampleError("nmr", "the list has no peak")
        if not np.isfinite(shift).all():
            raise SampleError("nmr", "the list has a shift that is not finite")
        # An array that a measurement lacks has length 0: nothing is known of any peak.
        code = _filled(measurement, "multiplicity", count, 0).astype(np.int64)
        nuclei = _filled(measurement, "nuclei", count, np.nan).astype(np.float32)
        if code.min() < 0 or code.max() > len(MULTIPLICITIES):
            raise SampleError("nmr", f"the list has a multiplicity code outside 0-{len(MULTIPLICITIES)}")
        kept = np.argsort(shift, kind="stable")
        jitter = self._config.jitter
        if rng is not None and jitter is not None:
            shift = shift + rng.normal(0.0, 1.0, count).astype(np.float32) * np.float32(jitter.shift)
            code = np.zeros_like(code) if rng.random() < jitter.multiplicity else code
            stays = rng.random(count) >= jitter.drop
            stays[rng.integers(count)] = True
            kept = kept[stays[kept]]
        peak: dict[str, NDArray[Any]] = {"shift": shift, "multiplicity": code, "nuclei": nuclei}
        return PeaksSample(peak={name: peak[name][kept] for name in self._spec.peak})

    def collate(self, samples: Sequence[PeaksSample]) -> PeaksBatch:
        """Pad lists to the longest."""
        return collate_peaks(samples, self._spec)

    def prepare(self, batch: PeaksBatch, generator: torch.Generator | None) -> PeaksBatch:
        """Return the batch as it is; augmentation happens in `transform`."""
        return batch

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make one peak a carbon of the SMILES, its shift from the letters around it; the seed moves it a little."""
        return [_example(molecule, seed) for molecule in molecules]

    def similarity(self, query: Measurement, references: Sequence[Measurement]) -> NDArray[np.float64]:
        """Return how alike the shifts are: the cosine of combs of Gaussian teeth; 0 for another nucleus."""
        same = [reference.columns.get("nucleus") == query.columns.get("nucleus") for reference in references]
        return self._combed(references) @ _comb(query) * np.array(same, dtype=np.float64)

    def _combed(self, references: Sequence[Measurement]) -> NDArray[np.float64]:
        """Return the references' combs, made anew unless they are the very ones of the last call."""
        if list(map(id, references)) != list(map(id, self._references)):
            self._references = tuple(references)
            self._combs = np.array([_comb(reference) for reference in references]).reshape(-1, _TEETH)
        return self._combs

    def inspect(self, measurement: Measurement) -> list[QualityWarning]:
        """QualityWarning a list with shifts where its nucleus has none: they are in Hz, or of another nucleus."""
        nucleus = measurement.columns.get("nucleus")
        if nucleus not in NUCLEI:
            return []
        low, high = NUCLEI[str(nucleus)]
        shift = np.asarray(measurement.arrays["shift"])
        outside = shift[(shift < low) | (shift > high)]
        if len(outside) == 0:
            return []
        message = f"its {nucleus} shift of {outside[0]:g} lies outside {low:g} to {high:g} ppm; is it in Hz?"
        return [QualityWarning(message, _STRANGE)]


def _filled(measurement: Measurement, name: str, count: int, missing: float) -> NDArray[Any]:
    values = np.asarray(measurement.arrays.get(name, ()))
    if len(values) == 0:
        return np.full(count, missing)
    if len(values) != count:
        raise SampleError("nmr", f"the list has {count} shifts and {len(values)} values of `{name}`")
    return values


def _comb(measurement: Measurement) -> NDArray[np.float64]:
    """Return a comb of unit length over the nucleus's range, a Gaussian tooth one grid step wide at each shift."""
    low, high = NUCLEI.get(str(measurement.columns.get("nucleus")), NUCLEI["13C"])
    shift = np.asarray(measurement.arrays["shift"], dtype=np.float64).clip(low, high)
    places = (shift - low) / (high - low) * (_TEETH - 1)
    comb: NDArray[np.float64] = np.exp(-((np.arange(_TEETH)[:, None] - places) ** 2) / 2).sum(axis=1)
    return comb / max(float(np.linalg.norm(comb)), 1e-12)


def _example(molecule: Molecule, seed: int) -> Measurement:
    text = f" {molecule.smiles} "
    noise = np.random.default_rng([seed, zlib.crc32(molecule.key14.encode())])
    places = [i for i, letter in enumerate(text) if letter in "Cc"] or [1]
    shifts = [zlib.crc32(text[i - 1 : i + 2].encode()) % 2000 / 10 + noise.normal(0, 0.05) for i in places]
    codes = [1 + zlib.crc32(text[i : i + 2].encode()) % len(MULTIPLICITIES) for i in places]
    return Measurement(
        arrays={
            "shift": np.array(shifts, dtype=np.float32),
            "multiplicity": np.array(codes, dtype=np.uint8),
            "nuclei": np.ones(len(places), dtype=np.float32),
        },
        columns={"origin": "computed", "nucleus": "13C", "field": None, "solvent": None},
    )
