"""One vibrational spectrum on its way to a batch; nothing heavy but numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Curve", "Sticks"]


@dataclass(frozen=True)
class Sticks:
    """A computed spectrum.

    Attributes:
        position: (k,) wavenumbers in cm^-1, corrected.
        intensity: (k,), corrected.
        kind: (k,) indices of `KINDS`.
        rotational_constant: B in cm^-1; 0 where it is not known.
    """

    position: NDArray[np.float32]
    intensity: NDArray[np.float32]
    kind: NDArray[np.uint8]
    rotational_constant: float


@dataclass(frozen=True)
class Curve:
    """A measured spectrum on the grid, 0 where it was not observed, each (p,)."""

    values: NDArray[np.float32]
    observed: NDArray[np.bool_]
