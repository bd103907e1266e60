"""What happens to the queries of a test: noise, shifts, wider lines, another frequency scale."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from molchord.api import Measurement

__all__ = ["CONDITIONS", "GRID", "STEP", "Perturbed", "lines", "pixels"]

GRID = np.linspace(500.0, 4000.0, 1750)
"""Points of a computed measurement in cm^-1."""

STEP = float(GRID[1] - GRID[0])
CURVE = {"ir": "absorbance", "raman": "intensity"}


@dataclass(frozen=True, kw_only=True)
class Perturbed:
    """Turns computed sticks into the curve that an instrument would give; other measurements stay as they are.

    Every draw derives from the seed and the molecule, so that all systems see the same queries.

    Attributes:
        width: Half width of the Lorentzian lines, cm^-1.
        scale: Wavenumbers are multiplied by one factor in 1 - scale ... 1 + scale, the same for all spectra of a query.
        shift: Each spectrum is moved by a number of grid points in -shift ... shift.
        noise: Standard deviation of white noise on the grid, as a part of the spectrum's maximum.
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
    seed: int = 0

    def __call__(self, modality: str, measurement: Measurement, key14: str) -> Measurement:
        """Return the measurement that the query is searched with."""
        arrays = measurement.arrays
        if modality not in CURVE or not len(arrays.get("stick_wavenumber", ())):
            return measurement
        scale = 1 + self.scale * self._rng(key14).uniform(-1, 1)
        rng = self._rng(key14, modality)
        shift = STEP * self.shift * rng.uniform(-1, 1)
        position, area = (np.asarray(arrays[f"stick_{name}"], dtype=np.float64) for name in ("wavenumber", "intensity"))
        kept = position > 0
        curve = lines(position[kept] * scale + shift, area[kept], self.width)
        curve = curve + self.noise * curve.max() * rng.standard_normal(len(GRID))
        wavenumber, values = pixels(curve)
        return Measurement(arrays={"wavenumber": wavenumber, CURVE[modality]: values}, columns=measurement.columns)

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


CONDITIONS: Mapping[str, Perturbed | None] = {
    "clean": None,
    "realistic": Perturbed(width=8.0, scale=0.02, shift=2.0, noise=0.01),
    **{f"noise {sigma}": Perturbed(noise=sigma) for sigma in (0.02, 0.05, 0.1)},
    **{f"shift {points}": Perturbed(shift=float(points)) for points in (2, 5, 10)},
}
