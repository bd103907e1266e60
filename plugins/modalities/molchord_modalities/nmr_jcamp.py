"""NMR peak tables in JCAMP-DX, with multiplicities and assignments.

Source: Davies and Lampen, JCAMP-DX for NMR, Appl. Spectrosc. 47 (1993) 1093.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from molchord.api import SampleError
from molchord_modalities import jcamp
from molchord_modalities.nmr_lists import PeakList

__all__ = ["names_itself", "parse"]

_TYPES = ("NMR PEAK TABLE", "NMR PEAK ASSIGNMENTS")
_TABLES = ("PEAKTABLE", "PEAKASSIGNMENTS")
_FORMS = ("XY", "XYM", "XYA", "XYMA")
"""What a group holds: shift, height, multiplicity, assignment."""


def names_itself(text: str) -> bool:
    r"""Return whether a file's beginning declares that it holds NMR peaks.

    Example:
        >>> names_itself("##TITLE= ethanol\n##DATA TYPE= NMR PEAK TABLE\n"), names_itself("##DATA TYPE=NMR SPECTRUM")
        (True, False)
    """
    found = re.search(r"##\s*DATA[ \-_/]*TYPE\s*=\s*(.*)", text, re.IGNORECASE)
    return found is not None and found[1].strip().upper().startswith(_TYPES)


def parse(text: str, name: str) -> Iterator[PeakList | SampleError]:
    r"""Read every peak table of a file.

    Args:
        text: The whole file.
        name: Names the file in errors.

    Raises:
        SampleError: There is no block at all.

    Example:
        >>> head = "##TITLE= ethanol\n##DATA TYPE= NMR PEAK TABLE\n##.OBSERVE NUCLEUS= ^13C\n##XUNITS= PPM\n"
        >>> [table] = parse(head + "##PEAK TABLE= (XYM)\n(18.1, 5, Q)(57.8, 4, T)\n##END=\n", "a.jdx")
        >>> table.nucleus, table.shifts, table.patterns
        ('^13C', (18.1, 57.8), ('Q', 'T'))
    """
    found = False
    for records, ended in jcamp.blocks(text):
        found = True
        where = f"{name}:{records[0].line}"
        labels = {record.label: record.value for record in records}
        if "LINK" in labels.get("DATATYPE", "").upper():
            continue  # the blocks in it come by themselves
        try:
            if not ended:
                raise SampleError(where, "the block has no `##END=`; the file was cut off, fetch it again")
            yield _decoded(records, labels, where)
        except SampleError as error:
            yield error
    if not found:
        raise SampleError(name, "no `##TITLE=` was found; a JCAMP-DX file starts with one")


def _decoded(records: Sequence[jcamp.Record], labels: Mapping[str, str], where: str) -> PeakList:
    said = labels.get("DATATYPE", "").upper()
    tables = [record for record in records if record.label in _TABLES]
    if not said.startswith(_TYPES) or len(tables) != 1:
        raise SampleError(where, f"the block is {said or 'of no type'!r}, not an NMR peak table; export the peak list")
    form, *rows = tables[0].lines
    kind = re.sub(r"[\s()]", "", form).upper().replace("XY..XY", "XY")
    if kind not in _FORMS:
        raise SampleError(where, f"the table has the form {form.strip()!r}; '(XY..XY)', '(XYM)' and '(XYMA)' are read")
    frequency = _positive(labels, ".OBSERVEFREQUENCY", where)
    scale = _scale(labels, frequency, where)
    peaks = list(_peaks("\n".join(rows), kind, where))
    if (labels.get("NPOINTS") or str(len(peaks))) != str(len(peaks)):
        raise SampleError(where, f"the table has {len(peaks)} peaks, `NPOINTS` says {labels['NPOINTS']!r}")
    return PeakList(
        shifts=tuple(shift * scale for shift, _ in peaks),
        patterns=tuple(pattern for _, pattern in peaks),
        counts=(math.nan,) * len(peaks),  # heights of lines are not integrals
        nucleus=labels.get(".OBSERVENUCLEUS"),
        frequency=frequency,
        solvent=labels.get(".SOLVENTNAME") or None,
        smiles=labels.get("$SMILES") or None,
        where=where,
    )


def _scale(labels: Mapping[str, str], frequency: float | None, where: str) -> float:
    """Return what turns the table's positions into ppm; Hz are counted from the shift reference, at 0 ppm."""
    unit = labels.get("XUNITS", "").upper()
    factor = _positive(labels, "XFACTOR", where) or 1.0
    if unit == "PPM":
        return factor
    if unit not in ("HZ", "HERTZ"):
        raise SampleError(where, f"`XUNITS` is {unit!r}; state 'PPM' or 'HZ'")
    if frequency is None:
        raise SampleError(where, "the table is in Hz, but `.OBSERVE FREQUENCY` is missing; state it in MHz")
    return factor / frequency


def _positive(labels: Mapping[str, str], label: str, where: str) -> float | None:
    if not labels.get(label):
        return None
    try:
        value = float(re.sub(r"^(\d+),(\d+)$", r"\1.\2", labels[label]))
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise SampleError(where, f"the label `{label}` is {labels[label]!r}, not a positive number")
    return value


def _peaks(body: str, kind: str, where: str) -> Iterator[tuple[float, str | None]]:
    """Yield shift and multiplicity of each group, in brackets or, for pairs, free."""
    groups = (
        re.findall(r"\(([^()]*(?:<[^>]*>)?[^()]*)\)", body)
        if "(" in body
        else re.split(r"[;\n]+|\s{2,}|(?<=\d)\s(?=[-+.\d]+,)", body)
    )
    for group in groups:
        if not group.strip():
            continue
        cells = [cell.strip() for cell in re.split(r",(?![^<]*>)", group)]
        if "(" not in body and len(cells) == 1:
            cells = group.split()
        if len(cells) != len(kind):
            raise SampleError(where, f"the peak {group.strip()!r} has {len(cells)} parts, `({kind})` says {len(kind)}")
        try:
            yield float(cells[0]), cells[2] if "M" in kind else None
        except ValueError:
            raise SampleError(where, f"the peak {group.strip()!r} does not start with a number") from None
