"""What happens to the queries of a test: noise, shifts, wider lines, another frequency scale."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import molchord as mc
from molchord.api import Measurement
from molchord_modalities.vibrational_settings import KIND_BEGINS, KINDS

__all__ = ["CONDITIONS", "GRID", "LIKE_MEASURED", "STEP", "Perturbed", "lines", "pixels"]

GRID = np.linspace(500.0, 4000.0, 1750)
"""Points of a computed measurement in cm^-1."""

STEP = float(GRID[1] - GRID[0])
CURVE = {"ir": "absorbance", "raman": "intensity"}


@dataclass(frozen=True, kw_only=True)
class Perturbed:
    """Turns computed sticks into the curve that an instrument would give, and moves the lines of predicted shifts.

    Other measurements stay as they are.

    Every draw derives from the seed and the molecule, so that all systems see the same queries.

    Attributes:
        width: Half width of the Lorentzian lines, cm^-1.
        scale: Wavenumbers are multiplied by one factor in 1 - scale ... 1 + scale, the same for all spectra of a query.
        shift: Each spectrum is moved by a number of grid points in -shift ... shift.
        noise: Standard deviation of white noise on the grid, as a part of the spectrum's maximum.
        stick_shift: Standard deviation of each stick's own shift, cm^-1.
        stick_intensity: Standard deviation of the logarithm of each stick's own factor on its intensity.
        ppm: Standard deviation of each line's own shift, ppm, by nucleus.
        correction: Factors on wavenumbers and intensities, by modality, each in the order of `KINDS`; see `reading`.
        seed: Of the draws.

    Example:
        >>> sticks = {"stick_wavenumber": np.array([1000.0]), "stick_intensity": np.array([2.0])}
        >>> seen = Perturbed(width=8.0)("ir", Measurement(arrays=sticks), "QNAYBMKLOCPYGJ")
        >>> round(float(seen.arrays["wavenumber"][seen.arrays["absorbance"].argmax()]), -1)
        1000.0
    """

    width: float = 5.0
    scale: float = 0.0
    shift: float = 0.0
    noise: float = 0.0
    stick_shift: float = 0.0
    stick_intensity: float = 0.0
    ppm: Mapping[str, float] = field(default_factory=dict)
    correction: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)
    seed: int = 0

    def __call__(self, modality: str, measurement: Measurement, key14: str) -> Measurement:
        """Return the measurement that the query is searched with."""
        arrays = measurement.arrays
        spread = self.ppm.get(str(measurement.columns.get("nucleus")))
        if spread is not None:
            moved = arrays["shift"] + spread * self._rng(key14, modality).standard_normal(len(arrays["shift"]))
            return replace(measurement, arrays={**arrays, "shift": moved.astype(np.float32)})
        if modality not in CURVE or not len(arrays.get("stick_wavenumber", ())):
            return measurement
        scale = 1 + self.scale * self._rng(key14).uniform(-1, 1)
        rng = self._rng(key14, modality)
        shift = STEP * self.shift * rng.uniform(-1, 1)
        position, area = (np.asarray(arrays[f"stick_{name}"], dtype=np.float64) for name in ("wavenumber", "intensity"))
        kept = position > 0
        if modality in self.correction:
            factors, strengths = self.correction[modality]
            kind = np.asarray(arrays.get("stick_kind", ()), dtype=np.int64)
            if len(kind) != len(position):
                kind = np.searchsorted(KIND_BEGINS, position, side="right")
            position, area = position * factors[kind], area * strengths[kind]
        if self.stick_shift:
            position = position + self.stick_shift * rng.standard_normal(len(position))
        if self.stick_intensity:
            area = area * np.exp(self.stick_intensity * rng.standard_normal(len(area)))
        curve = lines(position[kept] * scale + shift, area[kept], self.width)
        curve = curve + self.noise * curve.max() * rng.standard_normal(len(GRID))
        wavenumber, values = pixels(curve)
        return Measurement(
            arrays={"wavenumber": wavenumber, CURVE[modality]: values},
            columns={**measurement.columns, "origin": "measured"},  # it goes the way of an instrument's curve
        )

    def reading(self, graph: mc.ModelGraph) -> Perturbed:
        """Return this for a run that corrects sticks where it reads them: an instrument's curve has no such error."""
        correction = {}
        for name, node in graph.modalities.items():
            if name in CURVE and hasattr(node.config, "correction"):
                config: Any = node.config
                kinds = [getattr(config.correction, kind) for kind in KINDS]
                scales = np.array([config.scale * kind.scale for kind in kinds])
                correction[name] = (scales, np.array([kind.intensity for kind in kinds]))
        return replace(self, correction=correction)

    def _rng(self, *parts: str) -> np.random.Generator:
        text = ":".join([str(self.seed), *parts])
        return np.random.default_rng(int(hashlib.sha256(text.encode()).hexdigest()[:16], 16))


def lines(position: NDArray[np.float64], area: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Return the sum of Lorentzian lines on `GRID`; `position` (k,) in cm^-1, `area` (k,), half width in cm^-1.

    Example:
        >>> curve = lines(np.array([2000.0]), np.array([1.0]), 5.0)
        >>> round(float(curve.sum() * STEP), 2)  # the tails reach beyond the grid
        1.0
    """
    height = width / np.pi / ((GRID - position[:, None]) ** 2 + width**2)
    return np.asarray(area @ height, dtype=np.float64)


def pixels(curve: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a curve on `GRID` as wavenumbers and values of two points a cell, so that each is level over its cell.

    A reader that averages over cells, as `ir` and `raman` do, then sees the very values, and noise of the very size;
    a curve of single points would be smoothed.

    Example:
        >>> x, y = pixels(np.arange(1750.0))
        >>> len(x), bool((np.diff(x) > 0).all()), y[:4].tolist()
        (3500, True, [0.0, 0.0, 1.0, 1.0])
    """
    half = 0.4999 * STEP
    return (GRID[:, None] + np.array([-half, half])).ravel(), np.repeat(curve, 2)


LIKE_MEASURED = Perturbed(
    width=12.0, scale=0.01, shift=2.0, noise=0.01, stick_shift=12.0, stick_intensity=0.6, ppm={"13C": 2.0, "1H": 0.2}
)
"""Computed spectra about as far from measured ones as AIMNet2's harmonic ones are after correction: single lines off by
some 12 cm^-1 and by a factor of nearly two in intensity, predicted shifts by 2 ppm (13C) and 0.2 ppm (1H)."""

CONDITIONS: Mapping[str, Perturbed | None] = {
    "clean": None,
    "like measured": LIKE_MEASURED,
    "realistic": Perturbed(width=8.0, scale=0.02, shift=2.0, noise=0.01),
    **{f"noise {sigma}": Perturbed(noise=sigma) for sigma in (0.02, 0.05, 0.1)},
    **{f"shift {points}": Perturbed(shift=float(points)) for points in (2, 5, 10)},
}
