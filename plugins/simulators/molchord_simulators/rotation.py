"""Rotational constants of a geometry, from which the contours of gas-phase bands follow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from molchord_simulators.gfn2 import MASSES

__all__ = ["rotational_constants"]

_ROTATION = 16.8576292  # h / (8 pi^2 c) in cm^-1 dalton angstrom^2
_LINEAR = 1e-4  # part of the largest moment below which a rotation does not count


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
    return np.asarray(_ROTATION / np.where(moments > _LINEAR * moments.max(), moments, np.inf))
