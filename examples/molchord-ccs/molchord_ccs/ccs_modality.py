"""The modality `ccs`: cross sections to samples, and how alike those of two molecules are."""

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
    PeaksBatch,
    PeaksSample,
    PeaksSpec,
    QualityWarning,
    Reading,
    SampleError,
    collate_peaks,
)
from molchord_ccs import ccs_files
from molchord_ccs.ions import INSTRUMENTS, IONS

if TYPE_CHECKING:
    import torch

__all__ = ["Ccs"]

SMALLEST, LARGEST = 80.0, 600.0
"""angstrom^2 between which the cross sections of small molecules' ions in nitrogen lie."""
STRANGE = 0.3  # what is left of an answer's probability where one lies outside


@final
class Ccs:
    """Reads, checks and compares cross sections.

    Args:
        spec: What samples hold.
        jitter: Standard deviation of each cross section in training, as a part of it.
        drop: Probability that an ion is left out in training.
        tolerance: Difference, as a part of the cross section, that counts as one in the similarity.

    Example:
        >>> from molchord_ccs.ccs import CCS, CcsConfig
        >>> caffeine = ccs_files.measurement([(138.2, "[M+H]+", "DT"), (146.0, "[M+Na]+", "DT")])
        >>> CCS.build(CcsConfig(), "peaks").transform(caffeine, None).peak["ccs"]
        array([138.2, 146. ], dtype=float32)
    """

    def __init__(self, spec: PeaksSpec, *, jitter: float, drop: float, tolerance: float) -> None:
        self._spec = spec
        self._jitter, self._drop, self._tolerance = jitter, drop, tolerance

    def can_read(self, path: Path) -> bool:
        """Say whether the file is a table with the columns `adduct` and `ccs`."""
        return ccs_files.is_table(path)

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield the cross sections of each molecule of a table.

        Raises:
            SampleError: The file as a whole cannot be read.
        """
        return ccs_files.read(path)

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> PeaksSample:
        """Make one sample; where `rng` is given, values vary as between laboratories and ions are missing.

        Raises:
            SampleError: There is no value, arrays do not fit together, or a value is not positive.
        """
        ccs, ion, instrument = _arrays(measurement)
        if rng is not None:
            ccs = ccs * np.exp(self._jitter * rng.normal(size=len(ccs)))
            stays = rng.random(len(ccs)) >= self._drop
            stays[rng.integers(len(ccs))] = True
            ccs, ion, instrument = ccs[stays], ion[stays], instrument[stays]
        return PeaksSample(peak={"ccs": ccs.astype(np.float32), "ion": ion, "instrument": instrument})

    def collate(self, samples: Sequence[PeaksSample]) -> PeaksBatch:
        """Pad sets to the largest."""
        return collate_peaks(samples, self._spec)

    def prepare(self, batch: PeaksBatch, generator: torch.Generator | None) -> PeaksBatch:
        """Return the batch as it is."""
        return batch

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make three ions of each molecule, with the area of a sphere of its mass; the seed moves it a little."""
        return [_example(molecule, seed) for molecule in molecules]

    def similarity(self, query: Measurement, references: Sequence[Measurement]) -> NDArray[np.float64]:
        """Return the mean likeness of the ions that both have, times the part of the query's ions that this is.

        Likeness is exp(-(d / tolerance)^2 / 2) for the difference d of the logarithms, whatever the instruments; of
        several values of one ion the most alike count.

        Raises:
            SampleError: The query cannot be used.
        """
        own, ions, _ = _arrays(query)
        out = np.zeros(len(references))
        for row, reference in enumerate(references):
            theirs, others, _ = _arrays(reference)
            apart = np.log(own)[:, None] - np.log(theirs)
            likeness = np.exp(-((apart / self._tolerance) ** 2) / 2) * (ions[:, None] == others)
            best = [likeness[ions == ion].max(initial=0.0) for ion in np.unique(ions)]
            out[row] = np.mean(best)
        return out

    def inspect(self, measurement: Measurement) -> list[QualityWarning]:
        """QualityWarning values that no ion of a small molecule has: in nm^2, or of a multimer."""
        ccs, _, _ = _arrays(measurement)
        outside = ccs[(ccs < SMALLEST) | (ccs > LARGEST)]
        if len(outside) == 0:
            return []
        message = f"its cross section of {outside[0]:g} lies outside {SMALLEST:g} to {LARGEST:g} angstrom^2"
        return [QualityWarning(f"{message}; is it in nm^2, or that of a multimer?", STRANGE)]


def _arrays(measurement: Measurement) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return cross sections, ions and instruments of a measurement.

    Raises:
        SampleError: They cannot be used.
    """
    ccs = np.asarray(measurement.arrays.get("ccs", ()), dtype=np.float64)
    ion, instrument = (np.asarray(measurement.arrays.get(name, ()), dtype=np.int64) for name in ("ion", "instrument"))
    if not 0 < len(ccs) == len(ion) == len(instrument):
        counts = f"{len(ccs)} cross sections, {len(ion)} ions and {len(instrument)} instruments"
        raise SampleError("ccs", f"the set has {counts}; one or more of each are needed")
    if not (np.isfinite(ccs).all() and ccs.min() > 0):
        raise SampleError("ccs", "the set has a cross section that is not a positive number")
    if ion.max() > len(IONS) or instrument.max() > len(INSTRUMENTS):
        raise SampleError("ccs", "the set has an ion or instrument of a later version; import the data again")
    return ccs, ion, instrument


def _example(molecule: Molecule, seed: int) -> Measurement:
    noise = np.random.default_rng([seed, zlib.crc32(molecule.key14.encode())])
    # Shape: like molecules have letters alike, and the same mass may be long or round.
    shape = 1 + 0.1 * np.sin(sum(zlib.crc32(letter.encode()) for letter in molecule.smiles) % 1000)
    area = 90.0 + 2.0 * shape * molecule.exact_mass ** (2 / 3)
    values = [
        (area * factor * (1 + 0.003 * noise.normal()), ion, "DT")
        for factor, ion in ((1.0, "[M+H]+"), (1.05, "[M+Na]+"), (0.98, "[M-H]-"))
    ]
    example = ccs_files.measurement(values)
    return Measurement(arrays=example.arrays, columns={"origin": "computed"})
