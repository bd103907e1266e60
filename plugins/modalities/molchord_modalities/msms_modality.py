"""Modality `msms`: tandem mass spectra as peak lists (kind `peaks`) or binned (kind `spectrum1d`).

The precursor m/z nearly gives the molecule's mass, so it reaches the encoder only with `precursor: true`, and with
`remove_precursor` (the default) neither do the peaks from it upwards. Metrics measured with either are "with mass".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from jaxtyping import Float

from molchord.api import (
    Measurement,
    Molecule,
    PeaksBatch,
    PeaksSample,
    PeaksSpec,
    Reading,
    Real,
    SampleError,
    SpectrumBatch,
    SpectrumSample,
    SpectrumSpec,
    StatedMass,
    Trace,
    Window,
)
from molchord.chem import fragment_formulas, isotope_mass, parse, pieces
from molchord_modalities import mass_spectra, mass_spectra_files
from molchord_modalities.mass_spectra_ions import stated_mass
from molchord_modalities.msms_instrument import analyser, ionisation
from molchord_modalities.msms_settings import Jitter
from molchord_modalities.peak_lists import LastCompared, collated, peak_windows, peaks_without
from molchord_modalities.spectral_entropy import NOISE, Peaks, Weighted, matched, weighted

if TYPE_CHECKING:
    import torch

__all__ = ["Msms"]

_PRECURSOR_MARGIN = 0.5  # m/z; wider than any instrument's error, narrower than the loss of a hydrogen
_PPM, _MOST_FORMULAS = 10.0, 3  # of the formulas of a fragment
_PROTON = 1.007276  # Da
_HYDROGEN = 1.007825  # Da
_LOSSES = (2.015650, 15.023475, 18.010565)  # Da: H2, CH3, H2O


@final
class Msms:
    """Reads, cleans and compares tandem mass spectra; keeps its settings and the references last compared with.

    Args:
        spec: What an encoder gets: peaks, or a spectrum of bins.
        remove_precursor: Whether peaks from the precursor's upwards are left out.
        min_intensity: Share of the base peak below which a peak is left out.
        max_peaks: How many of the most intense peaks are kept.
        tolerance: Da within which two peaks match in `similarity`.
        jitter: Augmentation of a training sample; None: none.

    Example:
        >>> from molchord.api import Category
        >>> peaks = {"mz": np.array([43.02, 61.03, 89.06]), "intensity": np.array([4.0, 1.0, 9.0])}
        >>> measurement = Measurement(arrays=peaks, columns={"precursor_mz": 89.06, "adduct": "[M+H]+"})
        >>> spec = PeaksSpec(unit="m/z", peak={}, whole={"adduct": Category(("[M+H]+",))})
        >>> sample = Msms(spec).transform(measurement, None)
        >>> sample.peak["intensity"].tolist(), sample.whole["adduct"]
        ([1.0, 0.5], 1)
    """

    def __init__(
        self,
        spec: PeaksSpec | SpectrumSpec,
        *,
        remove_precursor: bool = True,
        min_intensity: float = 0.001,
        max_peaks: int = 64,
        tolerance: float = 0.02,
        jitter: Jitter | None = None,
    ) -> None:
        self._spec = spec
        self._remove_precursor = remove_precursor
        self._min_intensity, self._max_peaks = min_intensity, max_peaks
        self._tolerance = tolerance
        self._jitter = jitter
        self._references: LastCompared[Weighted] = LastCompared()

    def can_read(self, path: Path) -> bool:
        """Return whether the file's content names itself as mass spectra, such as MGF, MSP, mzML or SIRIUS's."""
        return mass_spectra_files.names_itself(path)

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield every tandem spectrum of a file of any layout, or the one of a two-column file.

        Raises:
            SampleError: The file as a whole cannot be read.
        """
        return mass_spectra.read(path)

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> PeaksSample | SpectrumSample:
        """Make one sample: peaks cleaned, base peak 1, square root of the intensities; augmented where `rng` is given.

        Raises:
            SampleError: No peak is left, or the precursor m/z that `remove_precursor` needs is unknown.
        """
        mz, intensity = _strongest(*self._kept(measurement), self._min_intensity, self._max_peaks)
        if rng is not None and self._jitter is not None:
            mz, intensity = _jittered(mz, intensity, self._jitter, rng)
        whole: dict[str, float | int] = {}
        stated = {**measurement.columns, **_conditions(measurement)}
        for name, column in self._spec.whole.items():
            value = stated.get(name)
            whole[name] = _number(value) if isinstance(column, Real) else column.code(value)
        if isinstance(self._spec, SpectrumSpec):
            return SpectrumSample(values=_binned(mz, intensity, self._spec, _name(measurement)), whole=whole)
        root = np.sqrt(intensity / intensity.max())
        return PeaksSample(peak={"mz": mz.astype(np.float32), "intensity": root.astype(np.float32)}, whole=whole)

    def collate(self, samples: Sequence[Any]) -> PeaksBatch | SpectrumBatch:
        """Pad peak lists, or stack binned spectra."""
        return collated(samples, self._spec)

    def prepare(self, batch: Any, generator: torch.Generator | None) -> Any:
        """Return the batch as it is; augmentation happens in `transform`, where the peaks are still apart."""
        return batch

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make protonated fragments of each molecule by cutting single bonds, intensities from the seed."""
        return [_fragments(molecule, seed) for molecule in molecules]

    def similarity(self, query: Measurement, references: Sequence[Measurement]) -> Float[np.ndarray, " references"]:
        """Return the spectral entropy similarity to each reference; 0 for one that holds no usable peak.

        Raises:
            SampleError: The query cannot be used.
        """
        cleaned = self._references.of(references, self._clean)
        return matched(weighted([self._kept(query)], self._tolerance, NOISE), cleaned, self._tolerance)

    def windows(self, measurement: Measurement) -> list[Window]:
        """Return the peaks that the encoder sees, a window each.

        Raises:
            SampleError: The measurement cannot be used.
        """
        mz, _ = _strongest(*self._kept(measurement), self._min_intensity, self._max_peaks)
        return peak_windows(mz, "m/z {}", 4, "m/z")

    def without(self, measurement: Measurement, windows: Sequence[Window]) -> Measurement:
        """Return the measurement without some peaks."""
        return peaks_without(measurement, "mz", windows)

    def annotate(self, measurement: Measurement, windows: Sequence[Window], molecule: Molecule) -> list[list[str]]:
        """Return the formulas within the molecule's that each peak may have, up to three, the nearest first."""
        columns = measurement.columns
        assumed = "[M-H]-" if columns.get("ion_mode") == "negative" else "[M+H]+"
        adduct = str(columns.get("adduct") or assumed)
        return [
            [str(found) for found in fragment_formulas(window.start, molecule.formula, adduct, _PPM)[:_MOST_FORMULAS]]
            for window in windows
        ]

    def trace(self, measurement: Measurement) -> Trace:
        """Return the peaks that the encoder sees, and the precursor's, as sticks.

        Raises:
            SampleError: Nothing can be drawn.
        """
        mz, intensity = (np.asarray(measurement.arrays[name], dtype=np.float64) for name in ("mz", "intensity"))
        if not (mz.size and np.isfinite(mz).all() and np.isfinite(intensity).all() and intensity.max() > 0):
            raise SampleError(_name(measurement), "no peak is left to see")
        order = np.argsort(mz, kind="stable")
        height = intensity[order] / intensity.max()
        return Trace(position=mz[order], height=height, axis="m/z", scale="intensity", sticks=True)

    def stated_mass(self, measurement: Measurement) -> StatedMass | None:
        """Return what the precursor m/z states of the molecule's mass, by the adduct or all common ones of the mode."""
        return stated_mass(measurement.columns)

    def _clean(self, references: Sequence[Measurement]) -> Weighted:
        peaks: list[Peaks] = []
        for reference in references:
            try:
                peaks.append(self._kept(reference))
            except SampleError:
                peaks.append((np.zeros(0), np.zeros(0)))
        return weighted(peaks, self._tolerance, NOISE)

    def _kept(self, measurement: Measurement) -> Peaks:
        """Return the peaks that may be seen, in fp64 and ascending m/z."""
        mz = np.asarray(measurement.arrays["mz"], dtype=np.float64)
        intensity = np.asarray(measurement.arrays["intensity"], dtype=np.float64)
        if mz.shape != intensity.shape or mz.ndim != 1:
            raise SampleError(_name(measurement), f"m/z {mz.shape} and intensity {intensity.shape} do not fit together")
        if not (np.isfinite(mz).all() and np.isfinite(intensity).all()):
            raise SampleError(_name(measurement), "holds a peak that is not finite")
        seen = intensity > 0
        if self._remove_precursor:
            precursor = _number(measurement.columns.get("precursor_mz"))
            if math.isnan(precursor):
                raise SampleError(
                    _name(measurement),
                    "precursor m/z is unknown, so its peaks cannot be left out; "
                    "state it in the file or set `remove_precursor: false`",
                )
            seen &= mz < precursor - _PRECURSOR_MARGIN
        if not seen.any():
            raise SampleError(_name(measurement), "no peak is left to see")
        order = np.argsort(mz[seen], kind="stable")
        return mz[seen][order], intensity[seen][order]


def _strongest(mz: Float[np.ndarray, " n"], intensity: Float[np.ndarray, " n"], least: float, most: int) -> Peaks:
    """Leave out peaks below the share of the base peak, and all but the most intense; equal ones: lowest m/z first."""
    loud = np.flatnonzero(intensity >= least * intensity.max())
    kept = np.sort(loud[np.argsort(-intensity[loud], kind="stable")][:most])
    return mz[kept], intensity[kept]


def _jittered(
    mz: Float[np.ndarray, " n"], intensity: Float[np.ndarray, " n"], jitter: Jitter, rng: np.random.Generator
) -> Peaks:
    kept = rng.random(len(mz)) >= jitter.drop
    kept[intensity.argmax()] = True
    factor = np.exp(jitter.intensity * rng.standard_normal(len(mz)))
    shift = 1 + 1e-6 * jitter.ppm * rng.standard_normal(len(mz))
    return (mz * shift)[kept], (intensity * factor)[kept]


def _binned(
    mz: Float[np.ndarray, " n"], intensity: Float[np.ndarray, " n"], grid: SpectrumSpec, name: str
) -> Float[np.ndarray, "1 p"]:
    """Add up intensities at the nearest grid positions; (1, p), square root, largest 1."""
    index = np.rint((mz - grid.start) * (grid.points - 1) / (grid.stop - grid.start)).astype(np.int64)
    inside = (index >= 0) & (index < grid.points)
    if not inside.any():
        raise SampleError(name, f"no peak lies between m/z {grid.start!r} and {grid.stop!r}")
    total = np.bincount(index[inside], weights=intensity[inside], minlength=grid.points)
    values: Float[np.ndarray, "1 p"] = np.sqrt(total / total.max())[None].astype(np.float32)
    return values


def _conditions(measurement: Measurement) -> dict[str, str | None]:
    kind = measurement.columns.get("instrument_type")
    text = None if kind is None else str(kind)
    return {"ionisation": ionisation(text), "analyser": analyser(text)}


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _name(measurement: Measurement) -> str:
    return str(measurement.columns.get("title") or "msms")


def _fragments(molecule: Molecule, seed: int) -> Measurement:
    """Cut each single bond outside rings once: two protonated fragments each; and three small losses."""
    mol = parse(molecule.smiles, molecule.key14)
    atoms = [isotope_mass(atom.GetAtomicNum()) + _HYDROGEN * atom.GetTotalNumHs() for atom in mol.GetAtoms()]
    precursor = molecule.exact_mass + _PROTON
    masses = {round(precursor - loss, 4) for loss in _LOSSES if precursor - loss > 1}
    for bond in mol.GetBonds():
        if bond.GetBondType().name == "SINGLE" and not bond.IsInRing():
            masses |= {round(sum(atoms[i] for i in piece) + _PROTON, 4) for piece in pieces(mol, bond.GetIdx())}
    mz = np.array([*sorted(m for m in masses if m < precursor - _PRECURSOR_MARGIN), precursor])
    digest = hashlib.sha256(molecule.key14.encode()).digest()
    noise = np.random.default_rng([seed, *digest[:8]]).uniform(0.8, 1.2, len(mz))
    intensity = noise * (0.2 + np.modf(mz * 7.31)[0])  # from the fragment's mass, so like molecules get like spectra
    return Measurement(
        arrays={"mz": mz.astype(np.float32), "intensity": (intensity / intensity.max()).astype(np.float32)},
        columns={
            "adduct": "[M+H]+",
            "ion_mode": "positive",
            "collision_energy": 20.0,
            "precursor_mz": precursor,
            "title": f"example {molecule.key14}",
            "origin": "computed",
        },
    )
