"""Galactic SPC, of GRAMS and many instruments: the formats of 1996 (either byte order) and the one before.

After "Galactic Universal Data Format Specification" (9/4/97): a header, then for each spectrum a header of 32 bytes,
its abscissa where each has its own, and its ordinate as floats, or as integers with one exponent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from molchord_modalities.vendor_bytes import INFRARED, RAMAN, Bytes, DamagedFileError, VendorSpectrum, scaled

__all__ = ["begins", "read"]

LITTLE, BIG, OLD = 0x4B, 0x4C, 0x4D
SHORT, SEVERAL, OWN_ABSCISSAE, ABSCISSA = 0x01, 0x04, 0x40, 0x80
"""Flags: integers of 16 bits, several spectra, each with its own abscissa, an abscissa that is not even."""
FLOATS = -128
"""Exponent of an ordinate that is floats."""
X_UNITS = {1: "cm^-1", 2: "um", 3: "nm", 13: "Raman shift (cm^-1)"}
OTHER_X = {4: "seconds", 5: "minutes", 6: "Hz", 9: "mass", 10: "ppm", 16: "Celsius", 30: "hours"}
RAMAN_SHIFT = 13
Y_UNITS = {
    1: "interferogram",
    2: "absorbance",
    3: "Kubelka-Munk",
    4: "counts",
    11: "absorbance, log(1/R)",
    13: "intensity",
    14: "relative intensity",
    128: "transmittance",
    129: "reflectance",
    131: "emission",
}
FTIR, FT_RAMAN = 4, 11
LOWEST_INFRARED = 350.0
"""cm^-1; where infrared instruments of the laboratory end. Raman spectra are stored as "absorbance" too, and begin
below."""


def begins(head: bytes) -> bool:
    """Return whether a file of these first bytes is one: its version, and sizes that no text has there."""
    if len(head) < 256 or head[1] not in (LITTLE, BIG, OLD) or b"\0" not in head[:24]:
        return False
    if head[1] == OLD:
        return head[16] <= 30 and head[0] & 0x60 == 0
    return len(head) >= 512 and head[2] <= 14 and head[28] <= 32 and (head[29] <= 26 or 128 <= head[29] <= 131)


def read(file: Bytes) -> Iterator[VendorSpectrum]:
    """Yield the spectra.

    Raises:
        DamagedFileError: The file does not hold what it says.
    """
    version = file.raw[1]
    if version == OLD:
        yield from _read_old(file)
        return
    file = Bytes(file.raw, ">" if version == BIG else "<")
    flags, _, experiment, exponent, points, first, last, several = file.numbers("BBBbIddI", 0)
    x_type, y_type = file.numbers("BB", 28)
    count = max(1, several) if flags & SEVERAL else 1
    at, shared = 512, None
    if not flags & OWN_ABSCISSAE:
        if flags & ABSCISSA:
            shared = file.array("f4", at, points)
            at += 4 * points
        else:
            shared = file.evenly(first, last, points)
    comment, source = file.text(88, 130), file.text(47, 9)
    for number in range(count):
        own_exponent, own_points = file.numbers("b", at + 1)[0], file.numbers("I", at + 16)[0]
        at += 32
        x, here = shared, points
        if x is None:
            here = own_points or points
            x = file.array("f4", at, here)
            at += 4 * here
        scale = own_exponent if flags & SEVERAL else exponent
        y, at = _ordinate(file, at, here, scale, short=bool(flags & SHORT))
        yield VendorSpectrum(
            x=x,
            y=y,
            x_unit=X_UNITS.get(x_type, OTHER_X.get(x_type, "")),
            y_unit=Y_UNITS.get(y_type, ""),
            technique=_technique(experiment, x_type, y_type, x),
            place=f"spectrum {number + 1}" if count > 1 else "",
            title=comment,
            columns={"instrument": source} if source else {},
        )


def _ordinate(file: Bytes, at: int, points: int, exponent: int, *, short: bool) -> tuple[np.ndarray, int]:
    """Return the ordinate at a place, and the place after it."""
    if exponent == FLOATS:
        return file.array("f4", at, points), at + 4 * points
    if short:
        return scaled(file.array("i2", at, points), _power(exponent - 16)), at + 2 * points
    return scaled(file.array("i4", at, points), _power(exponent - 32)), at + 4 * points


def _power(exponent: int) -> float:
    """Return a power of two; the older format has room for exponents that no number has."""
    return 2.0 ** min(max(exponent, -1000), 1000)


def _read_old(file: Bytes) -> Iterator[VendorSpectrum]:
    """Yield the spectra of a file of the older format, in which the halves of each integer are swapped."""
    flags, _, exponent, points, first, last, x_type, y_type = file.numbers("BBhfffBB", 0)
    if not (np.isfinite(points) and 1 <= points <= len(file)):
        raise DamagedFileError(f"is damaged: it says that it holds {points:g} points")
    points = int(points)
    x = file.evenly(first, last, points)
    at, number = 224, 0
    while number == 0 or (flags & SEVERAL and at + 32 + 2 * points <= len(file)):
        scale = file.numbers("b", at + 1)[0] if flags & SEVERAL else exponent
        at += 32
        if flags & SHORT:
            y, size = scaled(file.array("i2", at, points), _power(scale - 16)), 2
        else:
            halves = file.array("u2", at, 2 * points)
            whole = (halves[0::2] * 65536 + halves[1::2]).astype(np.int64).astype(np.uint32).view(np.int32)
            y, size = scaled(whole.astype(np.float64), _power(scale - 32)), 4
        at += size * points
        number += 1
        yield VendorSpectrum(
            x=x,
            y=y,
            x_unit=X_UNITS.get(x_type, OTHER_X.get(x_type, "")),
            y_unit=Y_UNITS.get(y_type, ""),
            technique=_technique(0, x_type, y_type, x),
            place=f"spectrum {number}" if flags & SEVERAL else "",
            title=file.text(64, 130),
        )


def _technique(experiment: int, x_type: int, y_type: int, x: np.ndarray) -> Literal["infrared", "Raman"] | None:
    """Return what a file says it is; many state no experiment, and then range and ordinate may."""
    if experiment == FT_RAMAN or x_type == RAMAN_SHIFT:
        return RAMAN
    if x_type not in (1, 2):
        return None
    absorbs = y_type in (2, 3, 11, 128, 129)
    wide = x_type == 2 or bool(np.nanmin(x, initial=np.inf) >= LOWEST_INFRARED)
    return INFRARED if absorbs and (experiment == FTIR or (experiment == 0 and wide)) else None
