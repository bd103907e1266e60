"""Modality `msms`: tandem mass spectra as peak lists (kind `peaks`) or binned (kind `spectrum1d`).

The precursor m/z nearly gives the molecule's mass, so it reaches the encoder only with `precursor: true`, and with
`remove_precursor` (the default) neither do the peaks from it upwards. Figures made with either are "with mass".
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from molchord.api import (
    Measurement,
    Molecule,
    PeaksBatch,
    PeaksSample,
    Reading,
    Real,
    SampleError,
    SpectrumBatch,
    SpectrumSample,
    SpectrumSpec,
    collate_peaks,
    collate_spectra,
)
from molchord.chem import isotope_mass, parse, pieces
from molchord_modalities import mass_spectra
from molchord_modalities.msms_record import MSMS, MsmsConfig

__all__ = ["Msms", "entropy_similarity"]

_PRECURSOR_MARGIN = 0.5  # m/z; wider than any instrument's error, narrower than the loss of a hydrogen
_PROTON = 1.007276  # Da
_HYDROGEN = 1.007825  # Da
_LOSSES = (2.015650, 15.023475, 18.010565)  # Da: H2, CH3, H2O
_NOISE = 0.01  # share of the base peak, as in the similarity's paper

Peaks = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]


@final
class Msms:
    """Reads, cleans and compares tandem mass spectra; keeps its configuration and the references last compared with.

    Args:
        config: What of a spectrum the encoder sees.
        kind: ``peaks`` or ``spectrum1d``.

    Example:
        >>> peaks = {"mz": np.array([43.02, 61.03, 89.06]), "intensity": np.array([4.0, 1.0, 9.0])}
        >>> measurement = Measurement(arrays=peaks, columns={"precursor_mz": 89.06, "adduct": "[M+H]+"})
        >>> sample = Msms(MsmsConfig(), "peaks").transform(measurement, None)
        >>> sample.peak["intensity"].tolist(), sample.whole["adduct"]
        ([1.0, 0.5], 1)
    """

    def __init__(self, config: MsmsConfig, kind: str) -> None:
        self._config = config
        self._kind = kind
        self._spec = MSMS.spec(config, kind)
        self._references: tuple[Measurement, ...] = ()
        self._cleaned = _weighted([], config.tolerance, _NOISE)

    def __reduce__(self) -> tuple[type[Msms], tuple[MsmsConfig, str]]:
        """Go to another process without the references."""
        return Msms, (self._config, self._kind)

    def can_read(self, path: Path) -> bool:
        """Say whether the file's content is MGF, MSP or two columns headed m/z and intensity."""
        return mass_spectra.names_itself(path)

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield every spectrum of an MGF or MSP file, or the one of a two-column file.

        Raises:
            SampleError: The file as a whole cannot be read.
        """
        return mass_spectra.read(path)

    def transform(self, measurement: Measurement, rng: np.random.Generator | None) -> PeaksSample | SpectrumSample:
        """Make one sample: peaks cleaned, base peak 1, square root of the intensities; augmented where `rng` is given.

        Raises:
            SampleError: No peak is left, or the precursor m/z that `remove_precursor` needs is unknown.
        """
        mz, intensity = _strongest(*self._kept(measurement), self._config)
        if rng is not None and self._config.jitter is not None:
            mz, intensity = self._jittered(mz, intensity, rng)
        whole: dict[str, float | int] = {}
        for name, column in self._spec.whole.items():
            value = measurement.columns.get(name)
            whole[name] = _number(value) if isinstance(column, Real) else column.code(value)
        if self._kind == "spectrum1d":
            return SpectrumSample(values=self._binned(mz, intensity, _name(measurement)), whole=whole)
        root = np.sqrt(intensity / intensity.max())
        return PeaksSample(peak={"mz": mz.astype(np.float32), "intensity": root.astype(np.float32)}, whole=whole)

    def collate(self, samples: Sequence[Any]) -> PeaksBatch | SpectrumBatch:
        """Pad peak lists, or stack binned spectra."""
        if isinstance(self._spec, SpectrumSpec):
            return collate_spectra(samples, self._spec)
        return collate_peaks(samples, self._spec)

    def prepare(self, batch: Any, generator: torch.Generator | None) -> Any:
        """Return the batch as it is; augmentation happens in `transform`, where the peaks still lie apart."""
        return batch

    def example(self, molecules: Sequence[Molecule], seed: int) -> list[Measurement]:
        """Make protonated fragments of each molecule by cutting single bonds, intensities from the seed."""
        return [_fragments(molecule, seed) for molecule in molecules]

    def similarity(self, query: Measurement, references: Sequence[Measurement]) -> Float[np.ndarray, " references"]:
        """Return the spectral entropy similarity to each reference; 0 for one that holds no usable peak.

        The references last cleaned are kept, so a second query against the same ones costs the comparison only.

        Raises:
            SampleError: The query cannot be used.
        """
        tolerance = self._config.tolerance
        return _matched(_weighted([self._kept(query)], tolerance, _NOISE), self._clean(references), tolerance)

    def _clean(self, references: Sequence[Measurement]) -> _Weighted:
        """Return the cleaned references, anew unless they are the very ones of the last call."""
        if list(map(id, self._references)) != list(map(id, references)):
            peaks: list[Peaks] = []
            for reference in references:
                try:
                    peaks.append(self._kept(reference))
                except SampleError:
                    peaks.append((np.zeros(0), np.zeros(0)))
            self._cleaned = _weighted(peaks, self._config.tolerance, _NOISE)
            self._references = tuple(references)
        return self._cleaned

    def _kept(self, measurement: Measurement) -> Peaks:
        """Return the peaks that may be seen, in fp64 and ascending m/z."""
        mz = np.asarray(measurement.arrays["mz"], dtype=np.float64)
        intensity = np.asarray(measurement.arrays["intensity"], dtype=np.float64)
        if mz.shape != intensity.shape or mz.ndim != 1:
            raise SampleError(_name(measurement), f"m/z {mz.shape} and intensity {intensity.shape} do not fit together")
        if not (np.isfinite(mz).all() and np.isfinite(intensity).all()):
            raise SampleError(_name(measurement), "holds a peak that is not finite")
        seen = intensity > 0
        if self._config.remove_precursor:
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

    def _jittered(
        self, mz: Float[np.ndarray, " n"], intensity: Float[np.ndarray, " n"], rng: np.random.Generator
    ) -> Peaks:
        jitter = self._config.jitter
        if jitter is None:
            return mz, intensity
        kept = rng.random(len(mz)) >= jitter.drop
        kept[intensity.argmax()] = True
        factor = np.exp(jitter.intensity * rng.standard_normal(len(mz)))
        shift = 1 + 1e-6 * jitter.ppm * rng.standard_normal(len(mz))
        return (mz * shift)[kept], (intensity * factor)[kept]

    def _binned(
        self, mz: Float[np.ndarray, " n"], intensity: Float[np.ndarray, " n"], name: str
    ) -> Float[np.ndarray, "1 p"]:
        """Add up intensities at the nearest grid positions; (1, p), square root, largest 1."""
        bins = self._config.bins
        index = np.rint((mz - bins.start) * (bins.points - 1) / (bins.stop - bins.start)).astype(np.int64)
        inside = (index >= 0) & (index < bins.points)
        if not inside.any():
            raise SampleError(name, f"no peak lies between m/z {bins.start!r} and {bins.stop!r}")
        total = np.bincount(index[inside], weights=intensity[inside], minlength=bins.points)
        values: Float[np.ndarray, "1 p"] = np.sqrt(total / total.max())[None].astype(np.float32)
        return values


def entropy_similarity(
    query: Peaks, references: Sequence[Peaks], tolerance: float = 0.02, noise: float = _NOISE
) -> Float[np.ndarray, " references"]:
    r"""Return the weighted spectral entropy similarity of one spectrum to each of many.

    Li et al., Nat. Methods 18, 1524 (2021). Peaks below `noise` of the base peak are left out and peaks nearer than
    twice the tolerance merged, so that one matches at most one. With $S = -\sum_i I_i \ln I_i$ for intensities that
    add up to 1, those of a spectrum with $S < 3$ are raised to the power $0.25 + 0.25 S$ and scaled to 1 again. Then

    $$1 - \frac{2 S_{AB} - S_A - S_B}{\ln 4} =
      \frac{1}{2} \sum_{\text{matched}} f(a + b) - f(a) - f(b), \qquad f(x) = x \log_2 x,$$

    where $S_{AB}$ is the entropy of the spectra's mean; the right-hand side, over matched peaks only, is what is
    computed (Li and Fiehn, Nat. Methods 20, 1475, 2023).

    Args:
        query: m/z and intensities, ascending.
        references: The same of each reference; one without peaks has similarity 0.
        tolerance: Largest distance of matching peaks in Da.
        noise: Share of the base peak below which a peak is left out.

    Example:
        >>> spectrum = (np.array([41.0, 43.0]), np.array([1.0, 3.0]))
        >>> entropy_similarity(spectrum, [spectrum, (np.array([41.0, 57.0]), np.array([1.0, 3.0]))]).round(3).tolist()
        [1.0, 0.394]
    """
    return _matched(_weighted([query], tolerance, noise), _weighted(references, tolerance, noise), tolerance)


@dataclass(frozen=True)
class _Weighted:
    """Peaks of many cleaned spectra together, by ascending m/z.

    Attributes:
        mz: (n,) in Da.
        intensity: (n,) adding up to 1 a spectrum.
        owner: (n,) which spectrum each peak belongs to.
        spectra: How many spectra there are, those without a peak included.
    """

    mz: Float[np.ndarray, " n"]
    intensity: Float[np.ndarray, " n"]
    owner: Int[np.ndarray, " n"]
    spectra: int


def _matched(query: _Weighted, references: _Weighted, tolerance: float) -> Float[np.ndarray, " references"]:
    """Add up the similarity's terms over the peaks of one spectrum and those within the tolerance in each other."""
    first = np.searchsorted(references.mz, query.mz - tolerance)
    count = np.searchsorted(references.mz, query.mz + tolerance, side="right") - first
    own = np.repeat(np.arange(len(query.mz)), count)
    theirs = np.arange(len(own)) + np.repeat(first - np.cumsum(count) + count, count)
    a, b = query.intensity[own], references.intensity[theirs]
    terms = (a + b) * np.log2(a + b) - a * np.log2(a) - b * np.log2(b)
    similarity: Float[np.ndarray, " references"] = np.bincount(
        references.owner[theirs], terms / 2, minlength=references.spectra
    )
    return similarity.clip(0.0, 1.0)


def _weighted(spectra: Sequence[Peaks], tolerance: float, noise: float) -> _Weighted:
    """Clean, merge and weight many spectra."""
    sizes = [len(mz) for mz, _ in spectra]
    owner = np.repeat(np.arange(len(spectra)), sizes)
    if len(owner) == 0:
        return _Weighted(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64), len(spectra))
    mz = np.concatenate([mz for mz, _ in spectra]).astype(np.float64)
    intensity = np.concatenate([intensity for _, intensity in spectra]).astype(np.float64)
    base = np.zeros(len(spectra))
    np.maximum.at(base, owner, intensity)
    loud = intensity >= noise * base[owner]
    mz, intensity, owner = mz[loud], intensity[loud], owner[loud]
    starts = _starts((np.diff(mz) > 2 * tolerance) | (np.diff(owner) > 0))
    total = np.add.reduceat(intensity, starts)
    mz, intensity, owner = np.add.reduceat(mz * intensity, starts) / total, total, owner[starts]
    intensity = _normalised(intensity, owner, len(spectra))
    entropy = -np.bincount(owner, intensity * np.log(intensity), minlength=len(spectra))
    power = np.where(entropy < 3, 0.25 + 0.25 * entropy, 1.0)
    intensity = _normalised(intensity ** power[owner], owner, len(spectra))
    order = np.argsort(mz, kind="stable")
    return _Weighted(mz[order], intensity[order], owner[order], len(spectra))


def _starts(breaks: Bool[np.ndarray, " m"]) -> Int[np.ndarray, " s"]:
    return np.concatenate([[0], np.flatnonzero(breaks) + 1])


def _normalised(
    intensity: Float[np.ndarray, " n"], owner: Int[np.ndarray, " n"], spectra: int
) -> Float[np.ndarray, " n"]:
    scaled: Float[np.ndarray, " n"] = intensity / np.bincount(owner, intensity, minlength=spectra)[owner]
    return scaled


def _strongest(mz: Float[np.ndarray, " n"], intensity: Float[np.ndarray, " n"], config: MsmsConfig) -> Peaks:
    """Leave out peaks below the share of the base peak, and all but the most intense; equal ones: lowest m/z first."""
    loud = np.flatnonzero(intensity >= config.min_intensity * intensity.max())
    kept = np.sort(loud[np.argsort(-intensity[loud], kind="stable")][: config.max_peaks])
    return mz[kept], intensity[kept]


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
    intensity = noise * (0.2 + np.modf(mz * 7.31)[0])  # from the fragment's mass, so like molecules are alike
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
