"""How similar two lists of peaks are: the best matching of peaks in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Padded", "matched", "padded"]

Shifts = NDArray[np.float64]
Padded: TypeAlias = tuple[Shifts, NDArray[np.int64]]
"""Lists of one length (r, n), and how long each was (r,)."""


def padded(lists: Sequence[Shifts]) -> Padded:
    """Sort each list and pad all to the longest with infinity, which matches nothing.

    Shape:
        (r, n) and the lengths (r,) for r lists of at most n peaks.

    Example:
        >>> padded([np.array([2.0, 1.0]), np.array([3.0])])[0].tolist()
        [[1.0, 2.0], [3.0, inf]]
    """
    lengths = np.array([len(one) for one in lists], dtype=np.int64)
    out = np.full((len(lists), int(lengths.max(initial=0))), np.inf)
    for row, one in zip(out, lists, strict=True):
        row[: len(one)] = np.sort(one)
    return out, lengths


def matched(query: Shifts, references: Shifts, lengths: NDArray[np.int64], tolerance: float) -> Shifts:
    r"""Return the similarity of one list to each of many: 1 for equal lists, 0 where no peak is near another.

    Each peak may be matched with one of the other list, at a worth of $w(a, b) = \max(0, 1 - |a - b| / t)$. For this
    worth a best matching never crosses on a line, so it is found as the longest common subsequence is, peak by peak
    and for all references at once:

    $$D_{ij} = \max(D_{i-1,j},\ D_{i,j-1},\ D_{i-1,j-1} + w(a_i, b_j)).$$

    The worth of the best matching of n and m peaks is divided by (n + m) / 2, so that peaks left over count too.

    Args:
        query: Its shifts, in any order.
        references: Shifts of the others as `padded` returns them.
        lengths: How many of a row are peaks.
        tolerance: t, in the unit of the shifts.

    Shape:
        (n,), (r, m) and (r,) give (r,).

    Example:
        >>> matched(np.array([10.0, 50.0]), *padded([np.array([50.0, 10.0]), np.array([11.0])]), 2.0).round(3).tolist()
        [1.0, 0.333]
    """
    best = np.zeros((len(references), references.shape[1] + 1))
    for shift in np.sort(query):
        worth = np.maximum(0.0, 1.0 - np.abs(shift - references) / tolerance)
        extended = np.maximum(best[:, 1:], best[:, :-1] + worth)
        best[:, 1:] = np.maximum.accumulate(extended, axis=1)
    return best[:, -1] * 2 / np.maximum(len(query) + lengths, 1)
