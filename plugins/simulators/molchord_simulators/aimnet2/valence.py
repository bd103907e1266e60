"""A guess of a molecule's Hessian from its bonds, so that relaxing it takes half the steps.

Source: Lindh, Bernhardsson, Karlstrom and Malmqvist, Chem. Phys. Lett. 241, 423 (1995): force constants of stretches,
bends and torsions that fall off with the distances of the atoms. Atomic units throughout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["valence_hessian"]

_FALL = np.array([[1.0, 0.3949, 0.3949], [0.3949, 0.28, 0.28], [0.3949, 0.28, 0.28]])  # table 1, by rows of elements
_LENGTH = np.array([[1.35, 2.10, 2.53], [2.10, 2.87, 3.40], [2.53, 3.40, 3.40]])
_STRETCH, _BEND, _TORSION = 0.45, 0.15, 0.005
_LEAST = 0.003  # of any motion, translations and rotations too
_BENT = 0.2  # sine of an angle in a torsion; about straighter ones nothing turns

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


def valence_hessian(z: Indices, positions: Array, bonds: Indices) -> Array:
    """Return the guess (3n, 3n).

    Args:
        z: (n,), atomic numbers.
        positions: (n, 3).
        bonds: (k, 2), indices of atoms.

    Example:
        >>> guess = valence_hessian(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 1.35]]), np.array([[0, 1]]))
        >>> guess[2].round(3).tolist()
        [0.0, 0.0, 0.453, 0.0, 0.0, -0.45]
    """
    count = len(z)
    row = np.digitize(z, [3, 11])
    arrows = positions[:, None] - positions[None]
    distance = np.linalg.norm(arrows, axis=-1) + np.eye(count)
    closeness = np.exp(_FALL[row[:, None], row] * (_LENGTH[row[:, None], row] ** 2 - distance**2))
    neighbours = np.zeros((count, count), dtype=bool)
    neighbours[bonds[:, 0], bonds[:, 1]] = neighbours[bonds[:, 1], bonds[:, 0]] = True
    rows = [_stretches(arrows, distance, closeness)]
    bends = _bends(neighbours)
    rows.append(_bend_rows(bends, arrows, distance, closeness))
    rows.append(_torsion_rows(_torsions(bends, neighbours), arrows, distance, closeness))
    moves = np.concatenate(rows)
    return np.asarray(moves.T @ moves + _LEAST * np.eye(3 * count))


def _stretches(arrows: Array, distance: Array, closeness: Array) -> Array:
    """Return how each distance changes (r, 3n), times the root of its force constant."""
    i, j = np.triu_indices(len(distance), 1)
    unit = arrows[i, j] / distance[i, j, None]
    return _rows(len(distance), np.sqrt(_STRETCH * closeness[i, j]), [(i, unit), (j, -unit)])


def _bends(neighbours: NDArray[np.bool_]) -> Indices:
    """Return atoms (r, 3) in a row of bonds, each once."""
    found = np.argwhere(neighbours[:, :, None] & neighbours[None])
    return np.asarray(found[found[:, 0] < found[:, 2]])


def _bend_rows(bends: Indices, arrows: Array, distance: Array, closeness: Array) -> Array:
    a, b, c = bends.T
    first, second = arrows[a, b] / distance[a, b, None], arrows[c, b] / distance[c, b, None]
    cosine = (first * second).sum(-1, keepdims=True)
    sine = np.sqrt(np.maximum(1 - cosine**2, 1e-4))
    by_a = (cosine * first - second) / (distance[a, b, None] * sine)
    by_c = (cosine * second - first) / (distance[c, b, None] * sine)
    force = _BEND * closeness[a, b] * closeness[b, c]
    return _rows(len(distance), np.sqrt(force), [(a, by_a), (b, -by_a - by_c), (c, by_c)])


def _torsions(bends: Indices, neighbours: NDArray[np.bool_]) -> Indices:
    """Return atoms (r, 4) in a row of bonds, each once."""
    both = np.concatenate([bends, bends[:, ::-1]])
    which, last = np.nonzero(neighbours[both[:, 2]])
    found = np.column_stack([both[which], last])
    once = (found[:, 1] < found[:, 2]) & (found[:, 3] != found[:, 1]) & (found[:, 3] != found[:, 0])
    return np.asarray(found[once])


def _torsion_rows(torsions: Indices, arrows: Array, distance: Array, closeness: Array) -> Array:
    a, b, c, d = torsions.T
    first, axis, last = arrows[b, a], arrows[c, b], arrows[d, c]
    length = distance[b, c, None]
    normal, other = np.cross(first, axis), np.cross(axis, last)
    size, other_size = (normal**2).sum(-1, keepdims=True), (other**2).sum(-1, keepdims=True)
    bent = (size > (_BENT * distance[a, b, None] * length) ** 2) & (
        other_size > (_BENT * distance[c, d, None] * length) ** 2
    )
    kept = bent[:, 0]
    by_a, by_d = -length * normal / np.where(bent, size, 1), length * other / np.where(bent, other_size, 1)
    along = (first * axis).sum(-1, keepdims=True) / length**2
    beyond = (last * axis).sum(-1, keepdims=True) / length**2
    by_b = -by_a - along * by_a + beyond * by_d
    by_c = -by_d + along * by_a - beyond * by_d
    force = _TORSION * closeness[a, b] * closeness[b, c] * closeness[c, d]
    moves = [(a, by_a), (b, by_b), (c, by_c), (d, by_d)]
    return _rows(len(distance), np.sqrt(force)[kept], [(atom[kept], move[kept]) for atom, move in moves])


def _rows(count: int, weight: Array, moves: list[tuple[Indices, Array]]) -> Array:
    out = np.zeros((len(weight), count, 3))
    for atom, move in moves:
        out[np.arange(len(weight)), atom] += weight[:, None] * move
    return out.reshape(len(weight), 3 * count)
