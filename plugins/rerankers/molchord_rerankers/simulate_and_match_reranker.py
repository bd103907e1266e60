"""Measured vibrational curves against the computed sticks of each candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from molchord.api import Candidate, Measurement

__all__ = ["SimulateAndMatch", "broadened", "correlation"]

Numbers: TypeAlias = NDArray[np.float64]

STEP = 4.0
"""Distance of the points compared, cm^-1: a fifth of the default line's half width."""

MOST_KEPT = 10_000
"""Candidates whose broadened sticks are kept, 6.4 kB each with the default range."""

RANGES = (1000.0, 1500.0, 2500.0, 3200.0)
"""Where the ranges of `balance` end, cm^-1: skeleton, bends and single bonds, double bonds, C-H, O-H and N-H."""

GFN2_SCALE = ((750.0, 0.970), (1100.0, 0.995), (1450.0, 0.987), (1750.0, 0.978), (2950.0, 0.987))
"""Factors on harmonic GFN2-xTB wavenumbers, fitted to gases (benchmarks, experimental gas-phase IR)."""

AIMNET2_KINDS = (2300.0, 3340.0)
"""Where stretching of C-H and of O-H and N-H begins in AIMNet2's harmonic spectra, cm^-1, if no kinds are known."""

AIMNET2_SCALES = (0.965, 0.955, 0.945)
"""Factors on AIMNet2's harmonic wavenumbers of other modes, C-H and O-H or N-H stretching, rounded values that were
chosen on gas-phase spectra of 366 molecules."""

AIMNET2_INTENSITIES = {"ir": (1.0, 1.2, 0.55)}
"""Factors on AIMNet2's intensities of the same: the dipole moment of its charges makes O-H and N-H too strong."""

FEATURES = ("whole", "fingerprint", "balance")


class SimulateAndMatch:
    """The re-ranker `simulate_and_match`.

    The features of each modality of the query are

    * ``whole``: correlation of the curve and the broadened sticks, intensities to the power `power`;
    * ``fingerprint``: the same below `fingerprint`;
    * ``balance``: minus the sum over five ranges of the difference in what share of the (powered) intensity is there.

    It sees sticks (arrays ``stick_wavenumber`` and ``stick_intensity``) and curves (``wavenumber`` and one array as
    long); for other measurements it has no feature. Several curves of one modality: the mean of their features.

    Args:
        scale: Pairs of a computed wavenumber in cm^-1, ascending, and the factor on it there; None: by the simulator
            that the measurement's column `source` names, `aimnet2`, else as for `gfn2`.
        width: Half width of the line that each stick becomes, cm^-1.
        power: Exponent of the intensities before they are compared.
        start: First wavenumber compared, cm^-1.
        fingerprint: Upper end of the range that is compared by itself as well, cm^-1.
        stop: Last wavenumber compared, cm^-1.

    Example:
        >>> sticks = {"stick_wavenumber": np.array([900.0, 1700.0]), "stick_intensity": np.array([1.0, 2.0])}
        >>> x, y = np.arange(500.0, 4000.0, 4.0), np.zeros(875)
        >>> y[[92, 290]] = 1.0, 2.0
        >>> curve = Measurement(arrays={"wavenumber": x, "absorbance": y})
        >>> from molchord.api import Molecule
        >>> molecule = Molecule(key14="A", smiles="C", formula="CH4", exact_mass=16.03)
        >>> right = Candidate(molecule=molecule, computed={"ir": Measurement(arrays=sticks)})
        >>> unknown = Candidate(molecule=molecule, computed={})
        >>> reranker = SimulateAndMatch([(1000.0, 0.98)], 20.0, 0.25, 600.0, 1500.0, 3800.0)
        >>> reranker.features({"ir": [curve]}, [right, unknown]).shape
        (2, 3)
    """

    def __init__(
        self,
        scale: Sequence[tuple[float, float]] | None,
        width: float,
        power: float,
        start: float,
        fingerprint: float,
        stop: float,
    ) -> None:
        self._scale = None if scale is None else tuple(scale)
        self._width, self._power, self._fingerprint = width, power, fingerprint
        self.grid = np.arange(start, stop + STEP / 2, STEP)
        self._drawn: dict[int, tuple[Measurement, Numbers]] = {}

    def names(self, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """Return three names per modality, such as ``ir whole``."""
        return tuple(f"{modality} {feature}" for modality in modalities for feature in FEATURES)

    def features(self, query: Mapping[str, Sequence[Measurement]], candidates: Sequence[Candidate]) -> Numbers:
        """Return (candidates, 3 x modalities), NaN where there is no curve or there are no sticks."""
        parts = []
        for modality, measurements in query.items():
            curves = [curve for m in measurements if (curve := _curve(m, self.grid)) is not None]
            sticks = [self._kept(modality, candidate.computed.get(modality)) for candidate in candidates]
            found = [self._compare(*curve, np.stack(sticks)) for curve in curves]
            parts.append(np.mean(found, axis=0) if found else np.full((len(candidates), len(FEATURES)), np.nan))
        return np.concatenate(parts, axis=1)

    def _kept(self, modality: str, measurement: Measurement | None) -> Numbers:
        """Return `_sticks` of a measurement, which is drawn once though many queries meet it."""
        if measurement is None:
            return np.full(len(self.grid), np.nan)
        if id(measurement) not in self._drawn:
            if len(self._drawn) == MOST_KEPT:
                self._drawn.clear()
            # The measurement is held too, so that no other one can get its id.
            self._drawn[id(measurement)] = measurement, self._sticks(modality, measurement)
        return self._drawn[id(measurement)][1]

    def _sticks(self, modality: str, measurement: Measurement) -> Numbers:
        """Return the broadened sticks on the grid, NaN where there are none."""
        arrays = measurement.arrays
        position, intensity = (
            np.asarray(arrays.get(name, ()), dtype=float) for name in ("stick_wavenumber", "stick_intensity")
        )
        kept = (position > 0) & (intensity > 0)
        if not kept.any():
            return np.full(len(self.grid), np.nan)
        if self._scale is None and str(measurement.columns.get("source", "")).startswith("aimnet2"):
            kind = np.asarray(arrays.get("stick_kind", ()), dtype=int)
            if kind.shape != position.shape:
                kind = np.searchsorted(AIMNET2_KINDS, position, side="right")
            position = position * np.array(AIMNET2_SCALES)[kind]
            intensity = intensity * np.array(AIMNET2_INTENSITIES.get(modality, (1.0, 1.0, 1.0)))[kind]
        else:
            places, factors = np.array(self._scale or GFN2_SCALE).T
            position = position * np.interp(position, places, factors)
        return broadened(position[kept], intensity[kept], self.grid, self._width)

    def _compare(self, curve: Numbers, observed: NDArray[np.bool_], sticks: Numbers) -> Numbers:
        """Return the three features of every row of sticks, (candidates, 3)."""
        power, low = self._power, observed & (self.grid < self._fingerprint)
        measured, computed = curve**power, sticks**power
        parts = np.searchsorted(RANGES, self.grid, side="right")
        here = np.eye(len(RANGES) + 1)[parts] * observed[:, None]
        difference = np.abs(_shares(measured @ here) - _shares(computed @ here)).sum(axis=1)
        features = (correlation(measured, computed, observed), correlation(measured, computed, low), -difference)
        return np.stack(features, axis=1)


def broadened(
    position: Float[NDArray[np.float64], " k"],
    intensity: Float[NDArray[np.float64], " k"],
    grid: Float[NDArray[np.float64], " p"],
    width: float,
) -> Float[NDArray[np.float64], " p"]:
    """Return the sum of a Lorentzian line at each stick, scaled to 0 and 1.

    Args:
        position: Wavenumbers in cm^-1.
        intensity: Areas of the lines.
        grid: Points in cm^-1.
        width: Half width at half maximum, cm^-1.

    Example:
        >>> broadened(np.array([10.0]), np.array([5.0]), np.array([0.0, 10.0]), 2.0).tolist()
        [0.0, 1.0]
    """
    total = intensity @ (1.0 / ((grid - position[:, None]) ** 2 + width**2))
    return np.asarray((total - total.min()) / np.ptp(total))


def correlation(
    curve: Float[NDArray[np.float64], " p"],
    rows: Float[NDArray[np.float64], "n p"],
    kept: Bool[NDArray[np.bool_], " p"],
) -> Float[NDArray[np.float64], " n"]:
    """Return Pearson's correlation of a curve with each row over the points kept; NaN where either is constant.

    Example:
        >>> correlation(np.array([0.0, 1.0, 9.0]), np.array([[2.0, 3.0, 0.0]]), np.array([True, True, False])).tolist()
        [1.0]
    """
    if not kept.any():
        return np.full(len(rows), np.nan)
    one = curve[kept] - curve[kept].mean()
    others = rows[:, kept] - rows[:, kept].mean(axis=1, keepdims=True)
    lengths = np.sqrt((one @ one) * (others**2).sum(axis=1))
    found: Numbers = np.divide(others @ one, lengths, out=np.full(len(rows), np.nan), where=lengths > 0)
    return found


def _curve(measurement: Measurement, grid: Numbers) -> tuple[Numbers, NDArray[np.bool_]] | None:
    """Return a curve on the grid, scaled to 0 and 1, and what is between its ends; None where there is no curve.

    A hole within is bridged by a straight line and counts as measured.
    """
    x = np.asarray(measurement.arrays.get("wavenumber", ()), dtype=float)
    others = [values for name, values in measurement.arrays.items() if name != "wavenumber" and len(values) == len(x)]
    if len(x) == 0 or len(others) != 1:
        return None
    y = np.asarray(others[0], dtype=float)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    order = np.argsort(x, kind="stable")
    observed = (grid >= x.min(initial=np.inf)) & (grid <= x.max(initial=-np.inf))
    if not observed.any():
        return None
    values = np.interp(grid, x[order], y[order])
    low, high = values[observed].min(), values[observed].max()
    if not high > low:
        return None
    return np.where(observed, (values - low) / (high - low), 0.0), observed


def _shares(totals: Numbers) -> Numbers:
    return np.asarray(totals / totals.sum(axis=-1, keepdims=True))
