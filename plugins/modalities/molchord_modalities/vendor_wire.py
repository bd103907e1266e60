"""Renishaw WiRE WDF: a chain of blocks, of which header, abscissa and ordinates are read.

After the reader of Gwyddion and the PyPI package `renishawWiRE` (MIT), which found the blocks out.
"""

from __future__ import annotations

from collections.abc import Iterator

from molchord_modalities.vendor_bytes import RAMAN, Bytes, DamagedFileError, VendorSpectrum

__all__ = ["begins", "read"]

MAGIC = b"WDF1"
HEAD = 16
"""Bytes of a block before what it holds: its name, number and size."""
X_UNITS = {1: "Raman shift (cm^-1)", 2: "cm^-1", 3: "nm", 4: "eV", 5: "um"}


def begins(head: bytes) -> bool:
    """Return whether a file of these first bytes is one."""
    return head.startswith(MAGIC)


def read(file: Bytes) -> Iterator[VendorSpectrum]:
    """Yield the spectra, one by one also those of a map.

    Raises:
        DamagedFileError: The file does not hold what it says.
    """
    blocks = _blocks(file)
    if not {b"XLST", b"DATA"} <= blocks.keys():
        raise DamagedFileError("is cut off: its spectrum is not there")
    points, _, count = file.numbers("IQQ", 0x3C)
    unit = file.numbers("I", blocks[b"XLST"] + HEAD + 4)[0]
    x = file.array("f4", blocks[b"XLST"] + HEAD + 8, points)
    title = file.text(0xF0, 0x200 - 0xF0)
    program = file.text(0x60, 24)
    for number in range(count):
        yield VendorSpectrum(
            x=x,
            y=file.array("f4", blocks[b"DATA"] + HEAD + 4 * points * number, points),
            x_unit=X_UNITS.get(unit, ""),
            y_unit="counts",
            technique=RAMAN if unit == 1 else None,
            place=f"spectrum {number + 1}" if count > 1 else "",
            title=title,
            columns={"instrument": f"Renishaw {program}"} if program else {},
        )


def _blocks(file: Bytes) -> dict[bytes, int]:
    """Return where each block begins, the first of its name."""
    at = 0
    found: dict[bytes, int] = {}
    while at + HEAD <= len(file):
        name, size = file.raw[at : at + 4], file.numbers("Q", at + 8)[0]
        found.setdefault(name, at)
        if size < HEAD:
            raise DamagedFileError(f"is damaged: its block {name!r} has {size} bytes")
        at += size
    return found
