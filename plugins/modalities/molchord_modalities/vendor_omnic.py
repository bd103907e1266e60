"""Thermo OMNIC SPA: a table of places, of which those of the spectrum's header and of its ordinate are read.

After the reader of `spectrochempy` (CeCILL-B), which found the places out.
"""

from __future__ import annotations

from collections.abc import Iterator

from molchord_modalities.vendor_bytes import INFRARED, RAMAN, Bytes, DamagedFileError, VendorSpectrum

__all__ = ["begins", "read"]

MAGIC = b"Spectral Data File"
TITLE, PLACES, MOST_PLACES = 30, 304, 256
HEADER, ORDINATE = 2, 3
X_UNITS = {1: "cm^-1", 3: "nm", 4: "um", 32: "Raman shift (cm^-1)"}
Y_UNITS = {
    11: "%R, reflectance",
    12: "absorbance, log(1/R)",
    15: "%T, transmittance",
    16: "%T, transmittance",
    17: "absorbance",
    20: "Kubelka-Munk",
    21: "reflectance",
    22: "detector signal",
    26: "photoacoustic",
    31: "Raman intensity",
}


def begins(head: bytes) -> bool:
    """Return whether a file of these first bytes is one."""
    return head.startswith(MAGIC)


def read(file: Bytes) -> Iterator[VendorSpectrum]:
    """Yield the spectrum.

    Raises:
        DamagedFileError: The file does not hold what it says, or holds an interferogram only.
    """
    places: dict[int, tuple[int, int]] = {}
    for number in range(MOST_PLACES):
        at = PLACES + 16 * number
        if at + 16 > len(file) or (key := file.raw[at]) in (0, 1):
            break
        places.setdefault(key, file.numbers("II", at + 2))
    if HEADER not in places or ORDINATE not in places:
        raise DamagedFileError("holds no spectrum")
    header, (start, size) = places[HEADER][0], places[ORDINATE]
    points, x_kind, y_kind = file.numbers("IBxxxB", header + 4)
    first, last = file.numbers("ff", header + 16)
    if 4 * points > size:
        raise DamagedFileError(f"is damaged: {points:,} points are in {size:,} bytes")
    y_unit = Y_UNITS.get(y_kind, "")
    raman = y_unit.startswith("Raman") or x_kind == 32
    yield VendorSpectrum(
        x=file.evenly(first, last, points),
        y=file.array("f4", start, points),
        x_unit=X_UNITS.get(x_kind, ""),
        y_unit=y_unit,
        technique=RAMAN if raman else INFRARED if x_kind in (1, 4) and y_kind in (11, 12, 15, 16, 17, 20, 21) else None,
        title=file.text(TITLE, 256),
    )
