"""From files to infrared or Raman measurements: ``.npz`` sticks, JCAMP-DX, two columns of text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from molchord.api import Measurement, Reading, SampleError
from molchord_modalities import curve, jcamp, spectrum_text, xtb
from molchord_modalities.vibrational_settings import Technique

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["VibrationalReader", "sticks"]


class VibrationalReader:
    """Reads the spectra of one technique.

    Args:
        technique: Infrared or Raman.
    """

    def __init__(self, technique: Technique) -> None:
        self.technique = technique

    def can_read(self, path: Path) -> bool:
        """Return whether a file names itself as this technique.

        It does by the arrays of an ``.npz`` file, by the ``DATA TYPE`` of JCAMP-DX, or by a header above two columns
        that names "Raman", or absorbance or transmittance over anything but nanometres.
        """
        if path.suffix == ".npz":
            return {"smiles", "modes", "freq", self.technique.name} <= xtb.names(path)
        try:
            start = spectrum_text.decode(path, limit=1 << 16)
            if jcamp.is_jcamp(start):
                types = jcamp.data_types(spectrum_text.decode(path))
                return any(self._is_type(text) for text in types)
        except SampleError:
            return False
        return self._names_itself(spectrum_text.headings(start))

    def read(self, path: Path) -> Iterator[Reading | SampleError]:
        """Yield every spectrum of a file: ``.npz`` sticks, JCAMP-DX, or two columns of text (each also ``.gz``).

        Wavelengths become wavenumbers and transmittance becomes absorbance here. Two columns without a header are
        taken as cm^-1 and absorbance (or Raman intensity) unless the numbers speak against it.

        Raises:
            SampleError: The file as a whole cannot be read.
        """
        if path.suffix == ".npz":
            for one in xtb.read(path, self.technique.name):
                columns = {"source": one.simulator, "rotational_constant": one.rotational_constant}
                known = {name: value for name, value in columns.items() if value is not None}
                measurement = sticks(one.position, one.intensity, "computed", one.kind, **known)
                yield Reading(measurement=measurement, smiles=one.smiles, location=one.location)
            return
        text = spectrum_text.decode(path)
        if jcamp.is_jcamp(text):
            yield from self._read_jcamp(text, str(path))
        else:
            yield self._read_columns(text, str(path))

    def _is_type(self, data_type: str) -> bool:
        """Return whether a ``DATA TYPE`` in capitals is of this technique; infrared is also written "FT-IR"."""
        short = self.technique.curve == "absorbance" and re.search(r"\b(FT-?)?IR\b", data_type)
        return self.technique.data_type in data_type or bool(short)

    def _names_itself(self, header: str) -> bool:
        lengths = {curve.length_unit(field) for line in header.splitlines() for field in _fields(line)}
        named = _named(header)
        return named == self._kind and (named == "Raman" or "nm" not in lengths)

    def _read_jcamp(self, text: str, name: str) -> Iterator[Reading | SampleError]:
        others = set()
        found = False
        for block in jcamp.parse(text, name):
            if isinstance(block, SampleError):
                found = True
                yield block
                continue
            data_type = block.labels.get("DATATYPE", "")
            if data_type and not self._is_type(data_type.upper()):
                others.add(data_type)
                continue
            found = True
            where = f"{name}:{block.line}"
            try:
                measurement = self._jcamp_measurement(block, where)
            except SampleError as error:
                yield error
                continue
            smiles = block.labels.get("$SMILES") or block.labels.get("SMILES")
            yield Reading(measurement=measurement, smiles=smiles or None, location=where)
        if not found:
            got = ", ".join(repr(text) for text in sorted(others)) or "no spectrum"
            raise SampleError(name, f"`DATA TYPE` says {got}; {self.technique.data_type.lower()} was expected")

    def _jcamp_measurement(self, block: jcamp.Block, where: str) -> Measurement:
        labels = block.labels
        columns = {
            "state": labels.get("STATE"),
            "source": labels.get("$NISTSOURCE") or labels.get("ORIGIN"),
            "instrument": labels.get("SPECTROMETERDATASYSTEM"),
        }
        x, y = self._in_units(where, block.x, block.y, labels.get("XUNITS", ""), labels.get("YUNITS", ""))
        if block.sticks:
            return sticks(x, y, "measured", None, ordinate=labels.get("YUNITS"), **columns)
        return self._curve(where, x, y, ordinate=labels.get("YUNITS"), **columns)

    def _read_columns(self, text: str, name: str) -> Reading:
        columns = spectrum_text.parse(text, name)
        named = _named(columns.header)
        if named not in (None, self._kind):
            raise SampleError(name, f"its header is that of {named} and not of {self._kind}; give it as what it is")
        x_unit, y_unit = columns.x_unit, columns.y_unit
        if x_unit is None:
            if not np.nanmax(columns.x, initial=-np.inf) > 100:
                raise SampleError(
                    name, "the abscissa stays below 100 and has no unit; put it in a header, as 'micrometers'"
                )
            x_unit = "cm^-1"
        if y_unit is None and self.technique.curve == "absorbance":
            if _hangs(columns.y):
                raise SampleError(name, "the curve looks like transmittance; put 'transmittance' or '%T' in a header")
            y_unit = "absorbance"
        x, y = self._in_units(name, columns.x, columns.y, x_unit, y_unit or "")
        measurement = self._curve(name, x, y, ordinate=columns.y_unit, origin=columns.origin)
        return Reading(measurement=measurement, smiles=columns.smiles, location=name)

    def _in_units(
        self, where: str, x: NDArray[np.float64], y: NDArray[np.float64], x_unit: str, y_unit: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.technique.curve == "absorbance":
            return curve.wavenumber(where, x, x_unit), curve.absorbance(where, y, y_unit)
        if curve.length_unit(x_unit) != "cm":
            raise SampleError(where, f"the abscissa is in {x_unit!r}; Raman shifts in 'cm-1' were expected")
        return x, y

    def _curve(self, where: str, x: NDArray[Any], y: NDArray[Any], **columns: str | None) -> Measurement:
        x, y = curve.clean(where, x, y)
        arrays = {"wavenumber": x.astype(np.float32), self.technique.curve: y.astype(np.float32)}
        return Measurement(arrays=arrays, columns={"origin": "measured", **columns})

    @property
    def _kind(self) -> str:
        return "infrared" if self.technique.curve == "absorbance" else "Raman"


def sticks(
    position: NDArray[Any],
    intensity: NDArray[Any],
    origin: str,
    kind: NDArray[Any] | None = None,
    **columns: str | float | None,
) -> Measurement:
    """Return the measurement of a stick spectrum.

    Args:
        position: Wavenumbers in cm^-1, (k,).
        intensity: (k,), in the technique's unit.
        origin: ``computed`` or ``measured``.
        kind: (k,), what each mode stretches, where that is known.
        columns: Metadata.

    Example:
        >>> sticks(np.array([1539.0]), np.array([90.0]), "computed").origin
        'computed'
    """
    arrays = {"stick_wavenumber": position.astype(np.float32), "stick_intensity": intensity.astype(np.float32)}
    if kind is not None:
        arrays["stick_kind"] = kind.astype(np.uint8)
    return Measurement(arrays=arrays, columns={"origin": origin, **columns})


def _named(header: str) -> str | None:
    """Return the technique that a header in lower case names."""
    if "raman" in header:
        return "Raman"
    return "infrared" if any(curve.ordinate_kind(line) is not None for line in header.splitlines()) else None


def _fields(line: str) -> list[str]:
    return line.replace(";", ",").replace("\t", ",").split(",")


def _hangs(y: NDArray[np.float64]) -> bool:
    """Say whether most of a curve is near its top, as transmittance is, and not near its bottom."""
    finite = y[np.isfinite(y)]
    return len(finite) > 0 and bool(np.median(finite) > (finite.min() + finite.max()) / 2)
