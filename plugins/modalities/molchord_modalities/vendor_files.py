"""Files of vendors, read as they are: Bruker OPUS, Thermo OMNIC (SPA), Galactic SPC and Renishaw WiRE (WDF).

A file is known by its first bytes, whatever it is called. The readers are this package's own: a spectrum is a few
numbers and an array in each of these formats, and every offset and count is held against the file's length before it
is used, so that a damaged file costs neither time nor memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from molchord.api import SampleError
from molchord_modalities import vendor_omnic, vendor_opus, vendor_spc, vendor_wire
from molchord_modalities.vendor_bytes import Bytes, DamagedFileError, VendorSpectrum

__all__ = ["Vendor", "asp_values", "spectra", "vendor_of"]

MOST_BYTES = 1 << 28
"""256 MiB; a map of ten thousand spectra is smaller."""


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """A format.

    Attributes:
        name: Which, for people.
        begins: Whether a file of these first bytes is one.
        read: Yields its spectra.
        export: How its program writes text.
    """

    name: str
    begins: Callable[[bytes], bool]
    read: Callable[[Bytes], Iterator[VendorSpectrum]]
    export: str


VENDORS = (
    Vendor(
        name="Bruker OPUS",
        begins=vendor_opus.begins,
        read=vendor_opus.read,
        export="`Save as`, mode `Data point table`",
    ),
    Vendor(
        name="Thermo OMNIC SPA", begins=vendor_omnic.begins, read=vendor_omnic.read, export="`Save As`, type `CSV text`"
    ),
    Vendor(
        name="Renishaw WiRE WDF", begins=vendor_wire.begins, read=vendor_wire.read, export="`Save file`, type `Text`"
    ),
    # Last, as it begins with the least: one byte of its own.
    Vendor(name="Galactic SPC", begins=vendor_spc.begins, read=vendor_spc.read, export="`Export`, type `ASCII XY`"),
)


def vendor_of(path: Path) -> Vendor | None:
    """Return the format that a file begins as; None for any other, and for one that cannot be opened."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return None
    return next((vendor for vendor in VENDORS if vendor.begins(head)), None)


def spectra(path: Path, vendor: Vendor) -> Iterator[VendorSpectrum]:
    """Yield the spectra of a file, in the units that it states.

    Raises:
        SampleError: It cannot be opened, is too large, is cut off or damaged, or holds no spectrum.
    """
    name = str(path)
    way_out = f"copy it from the instrument again, or export text there ({vendor.export})"
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise SampleError(name, f"the {vendor.name} file has {size:,} bytes, {MOST_BYTES:,} at most are read")
        raw = path.read_bytes()
    except OSError as error:
        raise SampleError(name, f"the file cannot be read ({error.strerror}); check the path") from None
    try:
        yield from vendor.read(Bytes(raw))
    except DamagedFileError as error:
        raise SampleError(name, f"the {vendor.name} file {error}; {way_out}") from None


def asp_values(text: str) -> tuple[np.ndarray, np.ndarray] | None:
    r"""Return abscissa and ordinate of an ``.asp`` file of PerkinElmer; None for any other text.

    It is a column of numbers: how many points, first and last wavenumber, three codes, then the ordinate.

    Example:
        >>> x, y = asp_values("3\n4000.0\n3996.0\n1\n2\n4\n0.1\n0.2\n0.3\n")
        >>> x.tolist(), y.tolist()
        ([4000.0, 3998.0, 3996.0], [0.1, 0.2, 0.3])
        >>> asp_values("4000 0.1\n3998 0.2\n") is None
        True
    """
    words = text.split("\n", 1)[0].strip()
    if not words.isdigit() or int(words) < 1 or int(words) > len(text):
        return None
    try:
        numbers = np.array(text.split(), dtype=np.float64)
    except ValueError:
        return None
    points = int(words)
    if len(numbers) != points + 6 or not np.isfinite(numbers[:6]).all():
        return None
    return np.linspace(numbers[1], numbers[2], points), numbers[6:]
