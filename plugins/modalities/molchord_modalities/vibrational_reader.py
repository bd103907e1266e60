"""From files to infrared or Raman measurements: ``.npz`` sticks, JCAMP-DX, columns of text, files of vendors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from molchord.api import Measurement, Reading, ReadingOptions, SampleError
from molchord_modalities import curve, jcamp, spectrum_text, vendor_files, xtb
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

        It does by the arrays of an ``.npz`` file, by the ``DATA TYPE`` of JCAMP-DX, by what a vendor's file says it
        holds, or by a header above two columns that names "Raman", or absorbance or transmittance over anything but
        nanometres.
        """
        if path.suffix == ".npz":
            return {"smiles", "modes", "freq", self.technique.name} <= xtb.names(path)
        try:
            if (vendor := vendor_files.vendor_of(path)) is not None:
                return any(one.technique == self._kind for one in islice(vendor_files.spectra(path, vendor), 1))
            start = spectrum_text.decode(path, limit=1 << 16)
            if jcamp.is_jcamp(start):
                text = spectrum_text.decode(path)
                types = jcamp.data_types(text)
                if types or jcamp.has_tables(text):
                    return any(self._is_type(one) for one in types)
        except SampleError:
            return False
        return self._names_itself(spectrum_text.headings(start))

    def read(self, path: Path, options: ReadingOptions | None = None) -> Iterator[Reading | SampleError]:
        """Yield every spectrum of a file: ``.npz`` sticks, a vendor's, JCAMP-DX or columns of text (also ``.gz``).

        Wavelengths become wavenumbers and transmittance becomes absorbance here. Two columns without a header are
        taken as cm^-1 and absorbance (or Raman intensity) unless the numbers speak against it. Options go before what
        the file states.

        Raises:
            SampleError: The file as a whole cannot be read, or an option does not fit it.
        """
        options = options or ReadingOptions()
        if path.suffix == ".npz":
            if options.given:
                raise SampleError(str(path), f"computed sticks state all themselves; leave out {_flags(options)}")
            for one in xtb.read(path, self.technique.name):
                columns = {"source": one.simulator, "rotational_constant": one.rotational_constant}
                known = {name: value for name, value in columns.items() if value is not None}
                measurement = sticks(one.position, one.intensity, "computed", one.kind, **known)
                yield Reading(measurement=measurement, smiles=one.smiles, location=one.location)
            return
        if (vendor := vendor_files.vendor_of(path)) is not None:
            yield from self._read_vendor(path, vendor, options)
            return
        text = spectrum_text.decode(path)
        if jcamp.is_jcamp(text) and jcamp.has_tables(text):
            yield from self._read_jcamp(text, str(path), options)
        else:
            yield from self._read_columns(text, str(path), options)

    def _read_vendor(
        self, path: Path, vendor: vendor_files.Vendor, options: ReadingOptions
    ) -> Iterator[Reading | SampleError]:
        if options.column is not None or options.skip:
            raise SampleError(str(path), f"a {vendor.name} file has no columns; leave out `--column` and `--skip`")
        for one in vendor_files.spectra(path, vendor):
            where = f"{path}: {one.place}" if one.place else str(path)
            if one.technique not in (None, self._kind):
                yield SampleError(where, f"it says that it is {one.technique}, and not {self._kind}; give it as that")
                continue
            y_unit = options.y_unit or one.y_unit
            try:
                yield self._reading(
                    where, one.x, one.y, (options.x_unit or one.x_unit, y_unit),
                    {"format": vendor.name, "title": one.title}, None, {**one.columns, "ordinate": y_unit or None},
                )  # fmt: skip
            except SampleError as error:
                yield error

    def _is_type(self, data_type: str) -> bool:
        """Return whether a ``DATA TYPE`` in capitals is of this technique; infrared is also written "FT-IR"."""
        short = self.technique.curve == "absorbance" and re.search(r"\b(FT-?)?IR\b", data_type)
        return self.technique.data_type in data_type or bool(short)

    def _names_itself(self, header: str) -> bool:
        fields = [field for line in header.splitlines() for field in _fields(line)]
        lengths = {curve.length_unit(field) for field in fields}
        # A wavelength without a unit may be that of visible light.
        visible = "nm" in lengths or (lengths == {None} and any("wavelength" in field for field in fields))
        named = _named(header)
        return named == self._kind and (named == "Raman" or not visible)

    def _read_jcamp(self, text: str, name: str, options: ReadingOptions) -> Iterator[Reading | SampleError]:
        if options.column is not None or options.skip:
            raise SampleError(name, "JCAMP-DX states its columns itself; leave out `--column` and `--skip`")
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
            try:
                yield self._jcamp_reading(block, f"{name}:{block.line}", options)
            except SampleError as error:
                yield error
        if not found:
            got = ", ".join(repr(text) for text in sorted(others)) or "no spectrum"
            raise SampleError(
                name, f"`DATA TYPE` says {got}; {self.technique.data_type.lower()} was expected; give it as that"
            )

    def _jcamp_reading(self, block: jcamp.Block, where: str, options: ReadingOptions) -> Reading:
        labels = block.labels
        columns = {
            "state": labels.get("STATE"),
            "source": labels.get("$NISTSOURCE") or labels.get("ORIGIN"),
            "instrument": labels.get("SPECTROMETERDATASYSTEM"),
        }
        if labels.get("$ORIGIN", "").strip().lower() == "computed":
            columns["origin"] = "computed"
        version = labels.get("JCAMPDX", "").split("$")[0].strip()
        understood = {"format": f"JCAMP-DX {version}".strip(), "title": labels.get("TITLE", "")}
        understood |= {"page": labels["PAGE"]} if "PAGE" in labels else {}
        columns["ordinate"] = options.y_unit or labels.get("YUNITS")
        units = (options.x_unit or labels.get("XUNITS", ""), columns["ordinate"] or "")
        smiles = labels.get("$SMILES") or labels.get("SMILES") or None
        return self._reading(where, block.x, block.y, units, understood, smiles, columns, sticks=block.sticks)

    def _read_columns(self, text: str, name: str, options: ReadingOptions) -> Iterator[Reading | SampleError]:
        columns = [asp] if (asp := _asp(text, options)) else spectrum_text.tables(text, name, options)
        named = _named(columns[0].header)
        if named not in (None, self._kind):
            raise SampleError(name, f"its header is that of {named} and not of {self._kind}; give it as what it is")
        for one in columns:
            try:
                yield self._column(one, name if len(columns) == 1 else f"{name}: column {one.title!r}")
            except SampleError as error:
                yield error

    def _column(self, columns: spectrum_text.Columns, where: str) -> Reading:
        x_unit, y_unit = columns.x_unit, columns.y_unit
        if x_unit is None:
            if not np.nanmax(columns.x, initial=-np.inf) > _LEAST_WAVENUMBER:
                raise SampleError(
                    where, "the abscissa stays below 100 and has no unit; give `--x-unit um`, or put it in a header"
                )
            x_unit = "cm^-1"
        if y_unit is None and self.technique.curve == "absorbance":
            if _hangs(columns.y):
                raise SampleError(
                    where,
                    "the curve looks like transmittance and has no unit; give `--y-unit %T`, or `--y-unit absorbance` "
                    "if it is",
                )
            y_unit = "absorbance"
        assumed = ["an abscissa in cm^-1"] if columns.x_unit is None else []
        assumed += ["an ordinate in absorbance"] if columns.y_unit is None and y_unit is not None else []
        understood = {"format": "a table of text", "column": columns.title, "assumed": " and ".join(assumed)}
        metadata = {"ordinate": columns.y_unit, "origin": columns.origin}
        units = (x_unit, y_unit or "")
        return self._reading(where, columns.x, columns.y, units, understood, columns.smiles, metadata)

    def _reading(
        self, where: str, x: NDArray[np.float64], y: NDArray[np.float64], units: tuple[str, str],
        understood: Mapping[str, str], smiles: str | None, columns: Mapping[str, str | None], *, sticks: bool = False,
    ) -> Reading:  # fmt: skip
        """Return the reading of an abscissa and an ordinate in their units, with how they were understood."""
        infrared = self.technique.curve == "absorbance"
        if infrared:
            positions, heights = curve.wavenumber(where, x, units[0]), curve.absorbance(where, y, units[1])
        elif curve.length_unit(units[0]) == "cm":
            positions, heights = x, y
        else:
            raise SampleError(where, f"the abscissa is in {units[0]!r}; Raman shifts in 'cm-1' were expected")
        said = {**understood, **_directions(x), **curve.conversions(units, y, infrared=infrared)}
        if sticks:
            measurement = _sticks(positions, heights, "measured", None, **columns)
        else:
            measurement = self._curve(where, positions, heights, **columns)
            left_out = len(x) - int(np.count_nonzero(np.isfinite(x) & np.isfinite(y)))
            said |= {"left out": f"{left_out} of {len(x)} points, which have no value"} if left_out else {}
        return Reading(
            measurement=measurement, smiles=smiles, location=where, understood={k: v for k, v in said.items() if v}
        )

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


_sticks = sticks  # which is the name of an argument too

_LEAST_WAVENUMBER = 100.0
"""cm^-1; no vibrational spectrum ends below, and every infrared one over micrometres does."""


def _asp(text: str, options: ReadingOptions) -> spectrum_text.Columns | None:
    """Return the columns of PerkinElmer's ``.asp``, which states its abscissa by its ends; None for other text."""
    found = vendor_files.asp_values(text)
    if found is None or options.column is not None or options.skip:
        return None
    x, y = found
    return spectrum_text.Columns(
        x=x, y=y, x_unit=options.x_unit or "cm^-1", y_unit=options.y_unit, smiles=None, origin="measured", header="",
        title="",
    )  # fmt: skip


def _flags(options: ReadingOptions) -> str:
    return " and ".join(f"`--{name.replace('_', '-')}`" for name in options.given)


def _directions(x: NDArray[np.float64]) -> dict[str, str]:
    """Say in which direction a file's abscissa runs."""
    finite = x[np.isfinite(x)]
    if len(finite) < 2:
        return {}
    return {"direction": "ascending in the file" if finite[-1] > finite[0] else "descending in the file"}


def _named(header: str) -> str | None:
    """Return the technique that a header in lower case names."""
    if "raman" in header:
        return "Raman"
    lines = header.splitlines()
    if any(curve.ordinate_kind(line) is not None for line in lines):
        return "infrared"
    # "A" or "T" means something as the title of a column beside one of wavenumbers.
    kinds = [{bool(curve.length_unit(f)): curve.ordinate_kind(f) for f in _fields(line)} for line in lines]
    return "infrared" if any(kind.get(True, "") is None and kind.get(False) for kind in kinds) else None


def _fields(line: str) -> list[str]:
    return line.replace(";", ",").replace("\t", ",").split(",")


def _hangs(y: NDArray[np.float64]) -> bool:
    """Say whether most of a curve is near its top, as transmittance is, and not near its bottom."""
    finite = y[np.isfinite(y)]
    return len(finite) > 0 and bool(np.median(finite) > (finite.min() + finite.max()) / 2)
