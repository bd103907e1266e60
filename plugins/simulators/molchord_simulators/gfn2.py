"""Harmonic infrared and Raman spectra by GFN2-xTB; needs numpy and tblite alone.

The file also runs by itself, where molchord and RDKit are not installed, on a file of jobs that molchord wrote:

    OMP_NUM_THREADS=1 python gfn2.py jobs-00000.npz results-00000.npz

Geometry and gradient are in atomic units throughout (Bohr, Hartree). Shapes: `n` atoms, `m` modes, 3n - 6 or, of a
linear molecule, 3n - 5.

Source of the method: Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BOHR", "Descent", "Failed", "compute", "description", "main", "rotational_constants"]

BOHR = 0.529177210903
"""Angstrom."""

ACCURACY, FIELD_ACCURACY = 0.1, 0.01  # of tblite's self-consistency; smaller is stricter, 1 is its default
CONVERGED = 1.5e-4  # largest component of a relaxed geometry's gradient
MAX_STEPS = 300
SOFTEST = 0.02  # Hartree/Bohr^2, that a step reckons with
OLDEST = (0, 8)  # version of tblite
STEP = 0.005  # of an atom, for the Hessian
FIELD = 0.004  # atomic units
LOWEST = -20.0  # cm^-1; a mode below is a real imaginary one, not numerical noise
LOST, FORMED = 1.3, 1.15  # bonds, times the sum of the covalent radii; bridgeheads across a small ring are at 1.2

POLAR = (7, 8, 9, 17, 35, 53)
"""Elements on which a hydrogen stretches in another range than on carbon: nitrogen, oxygen, halogens."""

_WAVENUMBER = 5140.4871  # sqrt(Hartree / (Bohr^2 dalton)) in cm^-1
_INTENSITY = 974.8801  # e^2 / dalton in km/mol
_ROTATION = 16.8576292  # h / (8 pi^2 c) in cm^-1 dalton angstrom^2
_THIN = 1e-4  # part of the largest moment of inertia below which a molecule is linear
_LINEAR = 1e-3  # part of the largest moment below which a rotation does not count
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# fmt: off
RADII = (
    0.32, 0.46, 1.33, 1.02, 0.85, 0.75, 0.71, 0.63, 0.64, 0.67, 1.55, 1.39, 1.26, 1.16, 1.11, 1.03, 0.99, 0.96,
    1.96, 1.71, 1.48, 1.36, 1.34, 1.22, 1.19, 1.16, 1.11, 1.10, 1.12, 1.18, 1.24, 1.21, 1.21, 1.16, 1.14, 1.17,
    2.10, 1.85, 1.63, 1.54, 1.47, 1.38, 1.28, 1.25, 1.25, 1.20, 1.28, 1.36, 1.42, 1.40, 1.40, 1.36, 1.33, 1.31,
    2.32, 1.96, 1.80, 1.63, 1.76, 1.74, 1.73, 1.72, 1.68, 1.69, 1.68, 1.67, 1.66, 1.65, 1.64, 1.70, 1.62, 1.52,
    1.46, 1.37, 1.31, 1.29, 1.22, 1.23, 1.24, 1.33, 1.44, 1.44, 1.51, 1.45, 1.47, 1.42,
)
"""Single-bond covalent radii of H to Rn in angstrom (Pyykko and Atsumi, Chem. Eur. J. 15, 186, 2009)."""

MASSES = (
    1.008, 4.002602, 6.94, 9.0121831, 10.81, 12.011, 14.007, 15.999, 18.998403, 20.1797, 22.98976928, 24.305,
    26.9815384, 28.085, 30.973761998, 32.06, 35.45, 39.95, 39.0983, 40.078, 44.955907, 47.867, 50.9415, 51.9961,
    54.938043, 55.845, 58.933194, 58.6934, 63.546, 65.38, 69.723, 72.630, 74.921595, 78.971, 79.904, 83.798,
    85.4678, 87.62, 88.905838, 91.224, 92.90637, 95.95, 97.0, 101.07, 102.90549, 106.42, 107.8682, 112.414,
    114.818, 118.710, 121.760, 127.60, 126.90447, 131.293, 132.90545196, 137.327, 138.90547, 140.116, 140.90766,
    144.242, 145.0, 150.36, 151.964, 157.25, 158.925354, 162.500, 164.930329, 167.259, 168.934219, 173.045,
    174.9668, 178.486, 180.94788, 183.84, 186.207, 190.23, 192.217, 195.084, 196.966570, 200.592, 204.38, 207.2,
    208.98040, 209.0, 210.0, 222.0,
)
"""Standard atomic weights of H to Rn (IUPAC 2021; mass numbers where none is given)."""
# fmt: on


class Failed(Exception):
    """A molecule cannot be simulated; states why."""


def compute(job: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Relax a molecule and compute its harmonic spectra.

    Args:
        job: ``z`` (n,) atomic numbers, ``pos`` (n, 3) a start geometry in angstrom, ``bonds`` (k, 2) atom indices that
            must be the bonds of the relaxed geometry too, ``charge`` in e.

    Shape:
        ``z`` (n,); ``pos`` (n, 3) in angstrom; ``freq`` in cm^-1, ascending, negative where imaginary, ``ir`` in km/mol
        and ``raman`` in angstrom^4/dalton, ``kind`` as in `kinds`, each (m,); ``constants`` (3,) as in
        `rotational_constants`.

    Raises:
        Failed: No parameters for an element, no convergence, other bonds than at the start, or a saddle point.
        ImportError: tblite is not installed, or older than 0.8.

    Example:
        ```python
        job = {"z": [1, 1], "pos": [[0, 0, 0], [0, 0, 0.75]], "bonds": [[0, 1]], "charge": 0}
        compute({name: np.array(values) for name, values in job.items()})["freq"]
        ```
    """
    z = np.asarray(job["z"], dtype=np.int64)
    if len(z) < 2:
        raise Failed("a single atom has no vibration")
    if z.min() < 1 or z.max() > len(RADII):
        raise Failed(f"GFN2-xTB has no parameters for atomic number {z.max() if z.min() > 0 else z.min()}")
    molecule = Calculated(z, int(job["charge"]))
    positions = relaxed(molecule, np.asarray(job["pos"], dtype=np.float64) / BOHR)
    bonded = np.zeros((len(z), len(z)), dtype=bool)
    first, second = np.asarray(job["bonds"], dtype=np.int64).reshape(-1, 2).T
    bonded[first, second] = bonded[second, first] = True
    if rearranged(z, positions, bonded):
        raise Failed("bonds changed during the relaxation")
    hessian = molecule.hessian(positions)
    dipole, polarizability = molecule.field_derivatives(positions)
    wavenumber, modes = normal_modes(hessian, molecule.masses, positions)
    if wavenumber[0] < LOWEST:
        raise Failed(f"imaginary mode at {wavenumber[0]:.0f} cm^-1")
    spectra = {"freq": wavenumber, "ir": infrared(dipole @ modes), "raman": raman(polarizability @ modes)}
    if not all(np.isfinite(values).all() for values in spectra.values()):
        raise Failed("GFN2-xTB gave a spectrum that is not finite")
    return {
        "z": z.astype(np.uint8),
        "pos": (positions * BOHR).astype(np.float32),
        **{name: values.astype(np.float32) for name, values in spectra.items()},
        "kind": kinds(z, positions, bonded, modes),
        "constants": rotational_constants(z, positions * BOHR).astype(np.float32),
    }


def description() -> str:
    """Describe what `compute` computes, in one line with the version of tblite.

    Raises:
        ImportError: tblite is not installed.
    """
    _tblite()
    return (
        f"GFN2-xTB of tblite {version('tblite')} (accuracy {ACCURACY}, in fields {FIELD_ACCURACY}); one conformer "
        f"relaxed to {CONVERGED:g} Hartree/Bohr; harmonic, unscaled; Hessian by central differences of {STEP} Bohr; "
        f"dipole and polarizability derivatives from gradients in fields of {FIELD} a.u.; average atomic masses; left "
        f"out where a bond was lost (beyond {LOST} sums of covalent radii) or formed (within {FORMED}), or a mode lies "
        f"below {LOWEST:g} cm^-1"
    )


# --- GFN2-xTB --------------------------------------------------------------------------------------------------------


@cache
def _tblite() -> tuple[Any, Any]:
    """Import tblite with one thread per process: parallel are the molecules, and its threads would fight for cores."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        from tblite import interface, library
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    if tuple(map(int, version("tblite").split(".")[:2])) < OLDEST:
        # Its gradients in a field are not the derivatives of its energies, so that all intensities would be wrong.
        raise ImportError(f"tblite {version('tblite')} is older than 0.8", name="tblite")
    return interface, library


def _singlepoint(calculator: Any, before: Any = None, *, copy: bool = False) -> Any:
    """Return energy, gradient and so on, from the orbitals of an earlier result where there is one."""
    try:
        return calculator.singlepoint(before, copy=copy)
    except (RuntimeError, ValueError) as error:
        raise Failed(f"GFN2-xTB stopped: {' '.join(str(error).split())}") from None


class Calculated:
    """Elements and charge; spin as low as the number of electrons allows."""

    def __init__(self, z: NDArray[np.int64], charge: int) -> None:
        self.z, self.charge = z, charge
        self.masses = np.array(MASSES)[z - 1]

    def calculator(
        self, positions: NDArray[np.float64], accuracy: float, field: NDArray[np.float64] | None = None
    ) -> Any:
        interface, library = _tblite()
        uhf = int(self.z.sum() - self.charge) % 2
        try:
            calculator = interface.Calculator("GFN2-xTB", self.z, positions, float(self.charge), uhf)
        except (RuntimeError, ValueError) as error:
            raise Failed(f"GFN2-xTB refuses the molecule: {' '.join(str(error).split())}") from None
        calculator.set("verbosity", 0)
        calculator.set("accuracy", accuracy)
        if field is not None:
            calculator.add("electric-field", library.ffi.new("double[3]", field.tolist()))
        return calculator

    def surface(self, positions: NDArray[np.float64]) -> _Surface:
        return _Surface(self.calculator(positions, ACCURACY))

    def hessian(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return second derivatives of the energy, (3n, 3n)."""
        surface = self.surface(positions)
        surface(positions)
        hessian = np.empty((positions.size, positions.size))
        for i in range(positions.size):
            step = np.zeros(positions.size)
            step[i] = STEP
            shift = step.reshape(-1, 3)
            hessian[i] = (surface(positions + shift)[1] - surface(positions - shift)[1]) / (2 * STEP)
        return (hessian + hessian.T) / 2

    def field_derivatives(self, positions: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the gradients of dipole moment (3, 3n) and polarizability (3, 3, 3n).

        Both are derivatives of the energy by a field F, so their gradients are those of the gradient g: -dg/dF and
        -d2g/dFdF (Komornicki and McIver, J. Chem. Phys. 70, 2014, 1979).
        """
        start = _singlepoint(self.calculator(positions, FIELD_ACCURACY))
        zero = np.ravel(start.get("gradient"))

        def gradient(field: NDArray[np.float64]) -> NDArray[np.float64]:
            result = _singlepoint(self.calculator(positions, FIELD_ACCURACY, field), start, copy=True)
            return np.ravel(result.get("gradient"))

        axes = np.eye(3) * FIELD
        plus, minus = np.array([gradient(axis) for axis in axes]), np.array([gradient(-axis) for axis in axes])
        dipole = -(plus - minus) / (2 * FIELD)
        polarizability = np.zeros((3, 3, positions.size))
        for k in range(3):
            polarizability[k, k] = -(plus[k] + minus[k] - 2 * zero) / FIELD**2
        for i, j in ((0, 1), (0, 2), (1, 2)):
            both = gradient(axes[i] + axes[j]) + gradient(-axes[i] - axes[j])
            mixed = both - plus[i] - minus[i] - plus[j] - minus[j] + 2 * zero
            polarizability[i, j] = polarizability[j, i] = -mixed / (2 * FIELD**2)
        return dipole, polarizability


class _Surface:
    """Energy and gradient (3n,) of one geometry after another, each from the orbitals of the one before."""

    def __init__(self, calculator: Any) -> None:
        self._calculator = calculator
        self._result: Any = None

    def __call__(self, positions: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        self._calculator.update(positions=np.ascontiguousarray(positions))
        self._result = _singlepoint(self._calculator, self._result)
        return float(self._result.get("energy")), np.ravel(self._result.get("gradient"))


# --- geometry --------------------------------------------------------------------------------------------------------


def relaxed(molecule: Calculated, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the nearest minimum.

    Raises:
        Failed: It is not reached.
    """
    surface, descent = molecule.surface(start), Descent(molecule.z, start)
    while not descent.arrived:
        descent.take(*surface(descent.trial))
    return descent.trial


class Descent:
    """A way down to the nearest minimum, by quasi-Newton steps (BFGS) within a trust radius; all in atomic units.

    Whoever computes the surface asks for `trial` and gives its energy and gradient to `take`, until it has `arrived`.

    Args:
        z: (n,), atomic numbers.
        start: (n, 3).
        hessian: A guess of the second derivatives (3n, 3n); None: `model_hessian`.
        softest: Least curvature that a step reckons with; smaller is bolder along soft torsions.
    """

    def __init__(
        self,
        z: NDArray[np.int64],
        start: NDArray[np.float64],
        hessian: NDArray[np.float64] | None = None,
        softest: float = SOFTEST,
    ) -> None:
        self.trial, self.arrived, self.converged = start, False, CONVERGED
        self._radius, self._left, self._softest = 0.4, MAX_STEPS, softest
        self._hessian = model_hessian(z, start) if hessian is None else hessian
        self._from: tuple[NDArray[np.float64], float, NDArray[np.float64]] | None = None  # the best so far

    def go_on(self, converged: float = CONVERGED) -> None:
        """Continue from where it is, on another surface that is nearly the same, to where no slope is steeper."""
        self.arrived, self.converged, self._from = False, converged, None

    def take(self, energy: float, gradient: NDArray[np.float64]) -> None:
        """Learn the energy and the gradient (3n,) of the trial, and choose the next one.

        Raises:
            Failed: The minimum is not reached in `MAX_STEPS`, or they are not finite.
        """
        self._left -= 1
        if not np.isfinite(gradient).all() or self._left < 0:
            raise Failed("the geometry does not converge")
        if self._from is None:
            self._from = self.trial, energy, gradient
        else:
            self._judge(energy, gradient)
        positions, _, slope = self._from
        if positions is self.trial and np.abs(slope).max() < self.converged:
            self.arrived = True
            return
        step = _newton_step(self._hessian, slope, self._softest)
        longest = np.abs(step).max()
        if longest > self._radius:
            step *= self._radius / longest
        self.trial = positions + step.reshape(-1, 3)

    def _judge(self, energy: float, gradient: NDArray[np.float64]) -> None:
        """Accept the trial or refuse it, and change the trust radius and the Hessian by what was learnt."""
        assert self._from is not None
        positions, before, slope = self._from
        step = (self.trial - positions).ravel()
        longest = np.abs(step).max()
        expected = slope @ step + 0.5 * step @ self._hessian @ step
        self._hessian = _updated(self._hessian, step, gradient - slope)
        if energy > before + 1e-6:
            self._radius = max(0.5 * min(longest, self._radius), 0.005)
            return
        if (energy - before) / expected > 0.5:
            self._radius = min(self._radius * 1.5, 0.6)
        self._from = self.trial, energy, gradient


def _newton_step(hessian: NDArray[np.float64], gradient: NDArray[np.float64], softest: float) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(hessian)
    curvature = np.maximum(np.abs(values), softest)
    return np.asarray(-vectors @ ((vectors.T @ gradient) / curvature))


def _updated(
    hessian: NDArray[np.float64], step: NDArray[np.float64], change: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the BFGS update, which is left out where the curvature along the step is not positive."""
    if not change @ step > 1e-8:
        return hessian
    along = hessian @ step
    return hessian + np.outer(change, change) / (change @ step) - np.outer(along, along) / (step @ along)


def model_hessian(z: NDArray[np.int64], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a start for the Hessian, (3n, 3n): a spring between any two atoms, soft between distant ones."""
    count = len(z)
    arrows, distance, touching = _pairs(z, positions)
    distance = distance + np.eye(count)
    stiffness = 0.4 * np.exp(-3.0 * (distance / touching - 1)) * (1 - np.eye(count))
    units = arrows / distance[..., None]
    blocks = stiffness[..., None, None] * units[..., :, None] * units[..., None, :]
    hessian = -blocks.transpose(0, 2, 1, 3)
    hessian[np.arange(count), :, np.arange(count), :] += blocks.sum(axis=1)
    return hessian.reshape(3 * count, 3 * count) + 0.03 * np.eye(3 * count)


def rearranged(z: NDArray[np.int64], positions: NDArray[np.float64], bonded: NDArray[np.bool_]) -> bool:
    """Return whether a bond was lost or formed; `bonded` (n, n) marks between which atoms there should be one.

    Example:
        >>> apart = np.array([[0, 0, 0], [0, 0, 5.0]])
        >>> rearranged(np.array([1, 1]), apart, np.array([[False, True], [True, False]]))
        True
    """
    _, distance, touching = _pairs(z, positions)
    others = ~bonded & ~np.eye(len(z), dtype=bool)
    return bool((distance > LOST * touching)[bonded].any() or (distance < FORMED * touching)[others].any())


def _pairs(
    z: NDArray[np.int64], positions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return arrows (n, n, 3), distances (n, n) and sums of covalent radii (n, n)."""
    arrows = positions[:, None] - positions[None]
    radii = np.array(RADII)[z - 1] / BOHR
    return arrows, np.linalg.norm(arrows, axis=-1), radii[:, None] + radii[None]


def rotational_constants(z: NDArray[Any], positions: NDArray[Any]) -> NDArray[np.float64]:
    """Return A, B and C in cm^-1 of positions (n, 3) in angstrom; 0 for A of a linear molecule.

    Example:
        >>> apart = np.array([[0.0, 0, 0], [0, 0, 1.0975]])
        >>> rotational_constants(np.array([7, 7]), apart).round(3).tolist()
        [0.0, 1.998, 1.998]
    """
    mass = np.array(MASSES)[np.asarray(z, dtype=np.int64) - 1]
    centred = np.asarray(positions, dtype=np.float64)
    centred = centred - mass @ centred / mass.sum()
    second = (mass[:, None] * centred).T @ centred
    moments = np.maximum(np.linalg.eigvalsh(np.trace(second) * np.eye(3) - second), 0)
    return np.asarray(_ROTATION / np.where(moments > _THIN * moments.max(), moments, np.inf))


# --- spectra ---------------------------------------------------------------------------------------------------------


def normal_modes(
    hessian: NDArray[np.float64], masses: NDArray[np.float64], positions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the harmonic wavenumbers in cm^-1, ascending (m,), and their normal coordinates (3n, m).

    Translations and rotations are projected out (Wilson, Decius and Cross, Molecular Vibrations, 1955).

    Example:
        >>> spring = np.kron([[1.0, -1], [-1, 1]], np.diag([0, 0, 1.0]))
        >>> normal_modes(spring, np.array([2.0, 2.0]), np.array([[0, 0, 0], [0, 0, 2.0]]))[0].round(1).tolist()
        [5140.5]
    """
    weight = np.repeat(masses, 3) ** -0.5
    centred = positions - masses @ positions / masses.sum()
    moves = [np.tile(axis, len(masses)) / weight for axis in np.eye(3)]
    moves += [np.cross(centred, axis).ravel() / weight for axis in np.eye(3)]
    basis, size, _ = np.linalg.svd(np.array(moves).T, full_matrices=False)
    rigid = basis[:, size > _LINEAR * size.max()]
    rest = np.eye(len(weight)) - rigid @ rigid.T
    values, vectors = np.linalg.eigh(rest @ (hessian * np.outer(weight, weight)) @ rest)
    # The rigid motions have eigenvalue 0, as other soft modes nearly have; their direction tells them apart.
    order = np.argsort(-((rigid.T @ vectors) ** 2).sum(axis=0))
    kept = np.sort(order[rigid.shape[1] :])
    wavenumber = np.sign(values[kept]) * np.sqrt(np.abs(values[kept])) * _WAVENUMBER
    return wavenumber, vectors[:, kept] * weight[:, None]


def kinds(
    z: NDArray[np.int64], positions: NDArray[np.float64], bonded: NDArray[np.bool_], modes: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Return what each mode stretches: 2 hydrogen on nitrogen, oxygen or halogens, 1 it on others, 0 anything else.

    A normal coordinate L has unit length when weighted by masses, so a bond of reduced mass mu that it changes by s has
    the share mu s^2 of it, nearly 1 in a mode that stretches this bond alone. More than half in all bonds of hydrogen
    makes a stretching mode, and the larger part its kind.

    Args:
        z: (n,), atomic numbers.
        positions: (n, 3).
        bonded: (n, n).
        modes: (3n, m), as `normal_modes` returns them.

    Example:
        >>> fluoride = np.array([[0.0, 0, 0], [0, 0, 1.7]])
        >>> bond, masses = np.array([[False, True], [True, False]]), np.array([1.008, 18.998])
        >>> spring = np.kron([[1.0, -1], [-1, 1]], np.diag([0, 0, 1.0]))
        >>> kinds(np.array([1, 9]), fluoride, bond, normal_modes(spring, masses, fluoride)[1]).tolist()
        [2]
    """
    hydrogen, partner = np.nonzero(bonded & (z == 1)[:, None])
    arrows = positions[hydrogen] - positions[partner]
    arrows /= np.linalg.norm(arrows, axis=1, keepdims=True)
    moves = modes.reshape(len(z), 3, -1)
    stretch = np.einsum("bk,bkm->bm", arrows, moves[hydrogen] - moves[partner])
    masses = np.array(MASSES)[z - 1]
    reduced = masses[hydrogen] * masses[partner] / (masses[hydrogen] + masses[partner])
    share = reduced[:, None] * stretch**2
    polar = share[np.isin(z[partner], POLAR)].sum(axis=0)
    return np.where(share.sum(axis=0) > 0.5, np.where(2 * polar > share.sum(axis=0), 2, 1), 0).astype(np.uint8)


def infrared(dipole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the infrared intensities in km/mol of dipole derivatives (3, m) by the normal coordinates.

    Example:
        >>> infrared(np.array([[1.0], [0], [0]])).round(1).tolist()
        [974.9]
    """
    return np.asarray(_INTENSITY * (dipole**2).sum(axis=0))


def raman(polarizability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Raman activities 45 a'^2 + 7 g'^2 in angstrom^4/dalton of polarizability derivatives (3, 3, m).

    Example:
        >>> (raman(np.eye(3)[..., None]) / BOHR**4).round(6).tolist()
        [45.0]
    """
    a = polarizability * BOHR**2
    mean = np.trace(a) / 3
    diagonal = (a[0, 0] - a[1, 1]) ** 2 + (a[1, 1] - a[2, 2]) ** 2 + (a[2, 2] - a[0, 0]) ** 2
    anisotropy = 0.5 * diagonal + 3 * (a[0, 1] ** 2 + a[0, 2] ** 2 + a[1, 2] ** 2)
    return np.asarray(45 * mean**2 + 7 * anisotropy)


# --- by itself -------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """Compute a file of jobs and write the file of results, whole or not at all; 0 where it exists already."""
    if len(arguments) != 2:
        print("usage: python gfn2.py JOBS.npz RESULTS.npz", file=sys.stderr)
        return 2
    source, target = arguments
    if os.path.exists(target):
        print(f"{target}: there already")
        return 0
    computed_by = description()
    with np.load(source, allow_pickle=False) as archive:
        jobs = {name: archive[name] for name in archive.files}
    done, failed = [], list(zip(*(jobs[f"failed_{name}"].tolist() for name in _FAILED), strict=True))
    for id, smiles, job in _each(jobs):
        try:
            done.append((id, smiles, compute(job)))
        except Exception as error:  # whatever befalls one molecule, the others are computed
            known = isinstance(error, Failed)
            reason = str(error) if known else f"the simulator failed: {type(error).__name__}: {error}"
            failed.append((id, smiles, reason))
            print(f"{source}: {id} {smiles}: {reason}", file=sys.stderr)
    _write(target, done, failed, prepared_by=jobs["prepared_by"], computed_by=np.array(computed_by))
    print(f"{target}: {len(done)} computed, {len(failed)} failed")
    return 0


_FAILED = ("id", "smiles", "reason")
_RAGGED = {"atoms": ("z", "pos"), "modes": ("freq", "ir", "raman", "kind")}
_EMPTY = {"z": np.zeros(0, np.uint8), "pos": np.zeros((0, 3), np.float32), "kind": np.zeros(0, np.uint8)}


def _each(a: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, str, dict[str, NDArray[Any]]]]:
    """Yield (id, SMILES, job) of each molecule of a file of jobs."""
    for i, (id, smiles) in enumerate(zip(a["id"].tolist(), a["smiles"].tolist(), strict=True)):
        atoms, pairs = slice(*a["atoms"][i : i + 2]), slice(*a["pairs"][i : i + 2])
        yield (
            id,
            smiles,
            {"z": a["z"][atoms], "pos": a["pos"][atoms], "bonds": a["bonds"][pairs], "charge": a["charge"][i]},
        )


def _write(
    path: str,
    done: Sequence[tuple[str, str, Mapping[str, NDArray[Any]]]],
    failed: Sequence[Sequence[str]],
    **texts: NDArray[Any],
) -> None:
    out: dict[str, Any] = {"id": np.array([row[0] for row in done], dtype=np.str_)}
    out["smiles"] = np.array([row[1] for row in done], dtype=np.str_)
    for axis, names in _RAGGED.items():
        out[axis] = np.cumsum([0, *(len(row[2][names[0]]) for row in done)], dtype=np.int64)
        for name in names:
            empty = _EMPTY.get(name, np.zeros(0, np.float32))
            out[name] = np.concatenate([empty, *(row[2][name] for row in done)])
    out["constants"] = np.reshape([row[2]["constants"] for row in done], (len(done), 3)).astype(np.float32)
    for i, name in enumerate(_FAILED):
        out[f"failed_{name}"] = np.array([row[i] for row in failed], dtype=np.str_)
    # Written whole or not at all, without the engine's help: this file runs alone on machines without molchord.
    temporary = f"{path}.{os.getpid()}.partial"
    try:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **{**out, **texts})
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
