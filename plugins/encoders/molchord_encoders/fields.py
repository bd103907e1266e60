"""Types of fields that several configurations have: sizes, dropout, wavelengths. Nothing heavy."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

__all__ = ["UNIT_WAVELENGTHS", "WAVELENGTHS", "Count", "Dropout", "Wavelengths", "Width", "heads_divide"]

Width = Annotated[PositiveInt, Field(description="Size of the output, in numbers per molecule.")]
Count = Annotated[int, Field(ge=0)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


def _ascending(wavelengths: tuple[float, float]) -> tuple[float, float]:
    if wavelengths[0] >= wavelengths[1]:
        raise ValueError(f"the shortest wavelength {wavelengths[0]!r} must be below the longest {wavelengths[1]!r}")
    return wavelengths


Wavelengths = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_ascending)]
"""Shortest and longest wavelength of a sinusoidal embedding, in the unit of the embedded number."""

WAVELENGTHS = (1e-2, 1e4)
"""Default band: from an accurate mass (m/z) or chemical shift (ppm) to the whole range of either."""

UNIT_WAVELENGTHS = {"1": (0.05, 10.0), "%": (1.0, 1e3), "eV": (1.0, 1e3)}
"""Default bands of units whose numbers mean less finely; "1" is a number without unit, such as a fraction."""


def heads_divide(hidden: int, heads: int) -> None:
    """Refuse a size that attention heads cannot share out evenly.

    Raises:
        ValueError: `hidden` is not a multiple of `heads`.

    Example:
        >>> heads_divide(128, 4)
    """
    if hidden % heads:
        raise ValueError(f"`hidden` {hidden!r} must be a multiple of `heads` {heads!r}")
