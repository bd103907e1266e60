"""What the readers of vendors' files share: bytes whose every access is held against their end, and a spectrum."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INFRARED", "RAMAN", "Bytes", "DamagedFileError", "VendorSpectrum", "scaled"]

INFRARED: Literal["infrared"] = "infrared"
RAMAN: Literal["Raman"] = "Raman"


class DamagedFileError(Exception):
    """A file does not hold what it says; the message is the rest of a sentence about it."""


@dataclass(frozen=True, kw_only=True)
class VendorSpectrum:
    """One spectrum, in the units of its file.

    Attributes:
        x: (n,) abscissa.
        y: (n,) ordinate.
        x_unit: Unit of the abscissa, as `curve.wavenumber` takes it; empty where the file states none.
        y_unit: What the ordinate is, as `curve.absorbance` takes it; empty where the file states nothing.
        technique: "infrared" or "Raman" where the file says so, else None.
        place: Which of several in the file; empty for the only one.
        title: What the user called it.
        columns: Metadata.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_unit: str
    y_unit: str
    technique: Literal["infrared", "Raman"] | None
    place: str = ""
    title: str = ""
    columns: dict[str, str] = field(default_factory=dict)


class Bytes:
    """A file's bytes.

    Args:
        raw: All of them.
        order: ``<`` or ``>``, for little or big endian numbers.
    """

    def __init__(self, raw: bytes, order: str = "<") -> None:
        self.raw = raw
        self.order = order

    def __len__(self) -> int:
        return len(self.raw)

    def numbers(self, form: str, at: int) -> tuple[Any, ...]:
        """Return the numbers at a place, by the letters of `struct`.

        Raises:
            DamagedFileError: They lie beyond the end.

        Example:
            >>> Bytes(bytes([1, 0, 2])).numbers("HB", 0)
            (1, 2)
        """
        self.slice(at, struct.calcsize(self.order + form))
        return struct.unpack_from(self.order + form, self.raw, at)

    def array(self, form: str, at: int, count: int) -> NDArray[np.float64]:
        """Return an array at a place, by the letters of numpy, as numbers of double precision.

        Raises:
            DamagedFileError: It has no point, or lies beyond the end.
        """
        dtype = np.dtype(self.order + form)
        if count < 1:
            raise DamagedFileError("holds a spectrum without points")
        self.slice(at, count * dtype.itemsize)
        with np.errstate(over="ignore", invalid="ignore"):
            return np.frombuffer(self.raw, dtype, count, at).astype(np.float64)

    def evenly(self, first: float, last: float, points: int) -> NDArray[np.float64]:
        """Return an abscissa from its ends.

        Raises:
            DamagedFileError: An end is no sound number, both are one, or the file has no room for the ordinate.
        """
        if not 0 < 2 * points <= len(self):
            raise DamagedFileError(f"is cut off or damaged: {points:,} points do not fit in {len(self):,} bytes")
        if not (np.isfinite([first, last]).all() and max(abs(first), abs(last)) < _HIGHEST and first != last):
            raise DamagedFileError(f"is damaged: its abscissa goes from {first:g} to {last:g}")
        return np.linspace(first, last, points)

    def text(self, at: int, length: int) -> str:
        """Return the text at a place, up to its first zero byte, without control characters."""
        found = self.slice(at, length).split(b"\0")[0]
        try:
            decoded = found.decode("utf-8")
        except UnicodeDecodeError:
            decoded = found.decode("latin-1")
        return "".join(letter for letter in decoded if letter.isprintable()).strip()

    def slice(self, at: int, length: int) -> bytes:
        """Return so many bytes from a place.

        Raises:
            DamagedFileError: They are not all there.
        """
        if at < 0 or length < 0 or at + length > len(self.raw):
            raise DamagedFileError(f"is cut off or damaged: it refers to byte {at + length:,} of {len(self.raw):,}")
        return self.raw[at : at + length]


def scaled(y: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Return an ordinate times the factor that a file states; what is too large becomes infinite, and is left out."""
    with np.errstate(over="ignore", invalid="ignore"):
        return y * factor


_HIGHEST = 1e9
"""No abscissa in cm^-1, um or nm comes near."""
