"""Bruker OPUS: a directory of blocks, of which data and the parameters of their axes are read.

After the documentation of the PyPI package `brukeropus` (MIT), which found the meaning of a block's type out: six
numbers in its bits, of which the fourth is the kind of data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from molchord_modalities.vendor_bytes import INFRARED, RAMAN, Bytes, DamagedFileError, VendorSpectrum, scaled

__all__ = ["begins", "read"]

MAGIC = b"\n\n\xfe\xfe"
Y_UNITS = {
    4: "absorbance",
    5: "transmittance",
    6: "Kubelka-Munk",
    10: "Raman intensity",
    12: "reflectance",
    15: "absorbance, log(1/R)",
    16: "absorbance (ATR)",
    18: "transmittance",
    19: "absorbance",
}
"""By the kind of data; single channels, interferograms, phases, emission and power say nothing about a molecule yet."""
UNFINISHED = {1: "single-channel spectra", 2: "interferograms", 3: "phases", 11: "emission", 14: "power"}
KIND_OF_RAMAN = 10
STATUS, INSTRUMENT, SAMPLE = 1, 2, 10
REFERENCE = 2
WHOLE, SERIES, COMPACT = 0, 2, 4
"""Forms of a block of data; tables of peaks and features have others."""
MOST_BLOCKS = 4096
X_UNITS = {"WN": "cm^-1", "MI": "um"}


class _Block(NamedTuple):
    """A block: whether of sample or reference, parameters and of what, kind of data, derivative, form; its place."""

    part: int
    side: int
    parameters: int
    kind: int
    derivative: int
    form: int
    at: int
    size: int


def begins(head: bytes) -> bool:
    """Return whether a file of these first bytes is one."""
    return head.startswith(MAGIC)


def read(file: Bytes) -> Iterator[VendorSpectrum]:
    """Yield the finished spectra: absorbance where there is any, else whatever else says something about a molecule.

    Raises:
        DamagedFileError: The file does not hold what it says, or holds no such spectrum.
    """
    blocks = _blocks(file)
    data = [block for block in blocks if block.parameters == 0 and block.kind not in (0, 13) and block.form != 5]
    finished = [
        block for block in data
        if block.kind in Y_UNITS and not block.derivative and block.side != REFERENCE and block.form in (WHOLE, COMPACT)
    ]  # fmt: skip
    if not finished:
        others = {UNFINISHED[block.kind] for block in data if block.kind in UNFINISHED}
        others |= {"series of spectra"} if any(block.form == SERIES for block in data) else set()
        raise DamagedFileError(f"holds {' and '.join(sorted(others)) or 'no spectrum'} and no absorbance")
    about: dict[str, Any] = {}
    for block in blocks:
        if block.parameters in (INSTRUMENT, SAMPLE) and block.side != REFERENCE:
            about |= _parameters(file, block)
    kinds = {block.kind for block in finished}
    # Absorbance and transmittance of one sample say the same.
    chosen = [block for block in finished if block.kind in (4, 19)] if kinds & {4, 19} else finished
    for number, block in enumerate(chosen, start=1):
        place = f"spectrum {number}" if len(chosen) > 1 else ""
        yield _spectrum(file, block, blocks, place, about)


def _spectrum(file: Bytes, block: _Block, blocks: list[_Block], place: str, about: dict[str, Any]) -> VendorSpectrum:
    points, axis = _axis(file, block, blocks)
    form = "f4" if axis.get("DPF", 1) == 1 else "i4"
    # In a compact block, something else comes before the points.
    at = block.at + block.size - 4 * points if block.form == COMPACT else block.at
    if 4 * points > block.size:
        raise DamagedFileError(f"is damaged: {points:,} points are in {block.size:,} bytes")
    y = scaled(file.array(form, at, points), float(axis.get("CSF", 1.0)))
    unit = str(axis.get("DXU", "WN"))
    x = file.evenly(float(axis["FXV"]), float(axis["LXV"]), points)
    if unit == "LGW":
        with np.errstate(over="ignore"):
            x, unit = np.exp(x), "WN"
    return VendorSpectrum(
        x=x,
        y=y,
        x_unit=X_UNITS.get(unit, unit),
        y_unit=Y_UNITS[block.kind],
        technique=RAMAN if block.kind == KIND_OF_RAMAN else INFRARED,
        place=place,
        title=str(about.get("SNM", "")),
        columns={"instrument": str(about["INS"])} if about.get("INS") else {},
    )


def _axis(file: Bytes, block: _Block, blocks: list[_Block]) -> tuple[int, dict[str, Any]]:
    """Return the number of points of a block of data, and the parameters of its axes.

    They are in the block of the same type; of several, in the one with the data's own extremes.
    """
    same = (block.part, block.side, block.kind, block.derivative, block.form)
    found = [
        parameters for one in blocks
        if one.parameters == STATUS and (one.part, one.side, one.kind, one.derivative, one.form) == same
        and _states_an_axis(parameters := _parameters(file, one))
    ]  # fmt: skip
    if not found:
        raise DamagedFileError("is damaged: the abscissa of its spectrum is not there")
    for parameters in found:
        points = parameters["NPT"]
        if 0 < 4 * points <= block.size and len(found) > 1:
            form = "f4" if parameters.get("DPF", 1) == 1 else "i4"
            y = scaled(file.array(form, block.at, points), float(parameters.get("CSF", 1.0)))
            if np.isclose([y.min(), y.max()], [parameters.get("MNY", np.nan), parameters.get("MXY", np.nan)]).all():
                return points, parameters
    return found[0]["NPT"], found[0]


def _states_an_axis(parameters: dict[str, Any]) -> bool:
    numbers = [parameters.get(name) for name in ("FXV", "LXV", "CSF") if name != "CSF" or name in parameters]
    return isinstance(parameters.get("NPT"), int) and all(isinstance(number, (int, float)) for number in numbers)


def _blocks(file: Bytes) -> list[_Block]:
    """Return the blocks that the directory lists."""
    start, most, _ = file.numbers("iii", 12)
    found = []
    for number in range(min(max(most, 0), MOST_BLOCKS)):
        if start + 12 * number + 12 > len(file):
            break
        kind, words, at = file.numbers("Iii", start + 12 * number)
        if at <= 0:
            break
        file.slice(at, 4 * words)
        bits = ((0, 3), (2, 3), (4, 63), (10, 127), (17, 3), (19, 7))
        part, side, parameters, data, derivative, form = (kind >> shift & mask for shift, mask in bits)
        found.append(_Block(part, side, parameters, data, derivative, form, at, 4 * words))
    return found


def _parameters(file: Bytes, block: _Block) -> dict[str, Any]:
    """Return the parameters of a block by their names of three letters: integers, floats and text."""
    raw, at = file.slice(block.at, block.size), 0
    found: dict[str, Any] = {}
    while at + 8 <= len(raw):
        name = raw[at : at + 3].decode("latin-1")
        if name == "END":
            break
        kind, words = struct.unpack_from("<HH", raw, at + 4)
        value = raw[at + 8 : at + 8 + 2 * words]
        if kind == 0 and len(value) >= 4:
            found[name] = struct.unpack_from("<i", value)[0]
        elif kind == 1 and len(value) >= 8:
            found[name] = struct.unpack_from("<d", value)[0]
        elif kind > 1:
            found[name] = Bytes(value).text(0, len(value))
        at += 8 + 2 * words
    return found
