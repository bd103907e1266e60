"""Why a molecule fits a vibrational spectrum: ranges that can be left out, what absorbs in them, how it looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from molchord.api import Molecule, Trace, Window
from molchord.chem import substructures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from molchord_modalities.vibrational_settings import Grid

__all__ = ["assignments", "curve_without", "ranges", "trace"]

_WIDTH = 100.0
"""Width of a range in cm^-1: that of a band with its shoulders."""

_MEASURED = 0.5
"""Part of a range that must have been measured."""

_STRETCHES = (
    ("O-H stretching", "[OX2H]", 3200, 3700),
    ("N-H stretching", "[#7;!H0]", 3200, 3550),
    ("C-H stretching (alkyne)", "[CX2;H1]#[CX2]", 3250, 3340),
    ("C-H stretching (sp2)", "[c,$([CX3]=[CX3]);!H0]", 3000, 3120),
    ("C-H stretching (sp3)", "[CX4;!H0]", 2840, 3000),
    ("C-H stretching (aldehyde)", "[CX3H1]=[OX1]", 2700, 2860),
    ("S-H stretching", "[SX2H]", 2540, 2600),
    ("N=C=O stretching", "[NX2]=C=[OX1]", 2240, 2285),
    ("C#N stretching", "[CX2]#[NX1]", 2200, 2260),
    ("C#C stretching", "[CX2]#[CX2]", 2100, 2260),
    ("N=C=S stretching", "[NX2]=C=[SX1]", 2000, 2150),
    ("C=O stretching", "[CX3]=[OX1]", 1650, 1800),
    ("C=C stretching", "[CX3]=[CX3]", 1600, 1680),
    ("C=N stretching", "[CX3]=[NX2]", 1600, 1690),
    ("N-H bending", "[NX3;H2,H1]", 1510, 1650),
    ("ring stretching", "c", 1450, 1610),
    ("NO2 stretching", "[$([NX3](=O)=O),$([NX3+](=O)[O-])]", 1500, 1570),
    ("C-H bending", "[CX4;H3,H2]", 1370, 1475),
    ("NO2 stretching", "[$([NX3](=O)=O),$([NX3+](=O)[O-])]", 1320, 1390),
    ("SO2 stretching", "[SX4](=[OX1])=[OX1]", 1290, 1360),
    ("P=O stretching", "[PX4]=[OX1]", 1150, 1300),
    ("SO2 stretching", "[SX4](=[OX1])=[OX1]", 1120, 1170),
    ("C-O stretching", "[#6][OX2]", 1000, 1300),
    ("C-F stretching", "[#6][F]", 1000, 1350),
    ("S=O stretching", "[SX3]=[OX1]", 1020, 1070),
    ("C-H out of plane", "[c;!H0]", 690, 900),
    ("C-Cl stretching", "[#6][Cl]", 600, 800),
    ("C-Br stretching", "[#6][Br]", 500, 680),
)
"""Where textbooks have the bands of a bond, cm^-1, by the pattern of the molecules that have it."""


def ranges(grid: Grid, observed: NDArray[np.bool_], max_gap: float) -> list[Window]:
    """Return ranges of a grid, each half over the next one, of which at least half was measured.

    They are wider than the gaps over which a curve is taken as straight, so that one left out is a hole.

    Args:
        grid: The grid.
        observed: (p,) which of its points were measured.
        max_gap: Points of a curve further apart leave a hole, cm^-1.

    Example:
        >>> from molchord_modalities.vibrational_settings import Grid
        >>> [window.name for window in ranges(Grid(start=500, stop=700, points=11), np.ones(11, dtype=bool), 50.0)]
        ['500-600 cm^-1', '550-650 cm^-1', '600-700 cm^-1']
    """
    width = max(_WIDTH, 2 * max_gap)
    places = np.linspace(grid.start, grid.stop, grid.points)
    found = []
    for start in np.arange(np.ceil(2 * grid.start / width) * width / 2, grid.stop - width + 1e-6, width / 2):
        inside = (places >= start) & (places <= start + width)
        if inside.any() and observed[inside].mean() >= _MEASURED:
            name = f"{start:g}-{start + width:g} cm^-1"
            found.append(Window(name=name, start=float(start), stop=float(start + width), unit="cm^-1"))
    return found


def curve_without(x: NDArray[np.floating], windows: Sequence[Window]) -> NDArray[np.bool_]:
    """Return which points of a curve stay where ranges are left out; the gaps count as not measured.

    Example:
        >>> curve_without(np.array([1.0, 2, 3, 4]), [Window(name="", start=2, stop=3, unit="cm^-1")]).tolist()
        [True, False, False, True]
    """
    kept = np.ones(len(x), dtype=np.bool_)
    for window in windows:
        kept &= ~((x >= window.start) & (x <= window.stop))
    return kept


def assignments(windows: Sequence[Window], molecule: Molecule) -> list[list[str]]:
    """Return for each range the vibrations that textbooks have there, of bonds that the molecule has, narrow first.

    A vibration belongs to a range that holds half of where it may be, or that it fills by half.

    Raises:
        SampleError: The molecule cannot be made.

    Example:
        >>> from molchord.chem import molecule
        >>> window = Window(name="1700-1800 cm^-1", start=1700, stop=1800, unit="cm^-1")
        >>> assignments([window], molecule("CC(C)=O"))
        [['C=O stretching']]
    """
    there = substructures(molecule.smiles, [pattern for _, pattern, _, _ in _STRETCHES], molecule.key14)
    possible = [row for row, has in zip(_STRETCHES, there, strict=True) if has]
    possible.sort(key=lambda row: row[3] - row[2])
    found = []
    for window in windows:
        names = [
            name
            for name, _, low, high in possible
            if 2 * (min(high, window.stop) - max(low, window.start)) >= min(high - low, window.stop - window.start)
        ]
        found.append(list(dict.fromkeys(names)))
    return found


def trace(grid: Grid, values: NDArray[np.float32], observed: NDArray[np.bool_], *, infrared: bool) -> Trace:
    """Return a spectrum on its grid as it is drawn, infrared ones from high to low wavenumbers."""
    return Trace(
        position=np.linspace(grid.start, grid.stop, grid.points),
        height=np.where(observed, values, np.nan),
        axis="wavenumber, cm⁻¹" if infrared else "Raman shift, cm⁻¹",
        scale="absorbance" if infrared else "intensity",
        descending=infrared,
    )
