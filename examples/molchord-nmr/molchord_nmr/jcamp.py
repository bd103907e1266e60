"""NMR peak tables in JCAMP-DX: the short part of the format that they need.

Source: Davies and Lampen, JCAMP-DX for NMR, Appl. Spectrosc. 47 (1993) 1093.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from molchord.api import SampleError

__all__ = ["PeakTable", "is_peak_table", "parse"]

_TYPES = ("NMR PEAK TABLE", "NMR PEAK ASSIGNMENTS")
_TABLES = ("PEAKTABLE", "PEAKASSIGNMENTS")
_FORMS = ("XY", "XYM", "XYA", "XYMA")
"""What stands in a group: shift, height, multiplicity, assignment."""


@dataclass(frozen=True, kw_only=True)
class PeakTable:
    """One table of a file.

    Attributes:
        shifts: In ppm.
        patterns: Multiplicities as they are written, None where the table has none.
        nucleus: Such as "13C"; None where the file does not say.
        field: Frequency of this nucleus in MHz.
        solvent: As the file names it.
        smiles: Of the label ``##$SMILES``.
        line: Line of the block's title.
    """

    shifts: tuple[float, ...]
    patterns: tuple[str | None, ...]
    nucleus: str | None
    field: float | None
    solvent: str | None
    smiles: str | None
    line: int


def is_peak_table(text: str) -> bool:
    r"""Say whether a file's beginning says that it holds NMR peaks.

    Example:
        >>> is_peak_table("##TITLE= ethanol\n##DATA TYPE= NMR PEAK TABLE\n"), is_peak_table("##DATA TYPE=NMR SPECTRUM")
        (True, False)
    """
    found = re.search(r"##\s*DATA[ \-_/]*TYPE\s*=\s*(.*)", text, re.IGNORECASE)
    return found is not None and found[1].strip().upper().startswith(_TYPES)


def parse(text: str, name: str) -> Iterator[PeakTable | SampleError]:
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
        ('13C', (18.1, 57.8), ('Q', 'T'))
    """
    found = False
    for labels, line, ended in _blocks(text):
        found = True
        where = f"{name}:{line}"
        if _links(labels):
            continue
        try:
            if not ended:
                raise SampleError(where, "the block has no `##END=`; the file was cut off, fetch it again")
            yield _decoded(labels, line, where)
        except SampleError as error:
            yield error
    if not found:
        raise SampleError(name, "no `##TITLE=` was found; a JCAMP-DX file starts with one")


def _links(labels: Mapping[str, str]) -> bool:
    """Say whether a block only holds others, which come after its own labels."""
    return "LINK" in labels.get("DATATYPE", "").upper()


def _blocks(text: str) -> Iterator[tuple[Mapping[str, str], int, bool]]:
    """Yield the labels of each block, its line, and whether it ended; `$$` starts a comment."""
    labels: dict[str, str] = {}  # of the open block, which `TITLE` opens
    line, last = 1, "TITLE"
    for number, raw in enumerate(text.splitlines(), 1):
        written = raw.partition("$$")[0].strip()
        label, equals, value = written.removeprefix("##").partition("=")
        if not (written.startswith("##") and equals):
            if labels:
                labels[last] += "\n" + written
            continue
        last = re.sub(r"[\s\-/_]", "", label).upper()
        if last in ("TITLE", "END") and labels:
            yield labels, line, last == "END" or _links(labels)
            labels = {}
        if last == "TITLE":
            line = number
        if last == "TITLE" or labels:
            labels[last] = value.strip()
    if labels:
        yield labels, line, False


def _decoded(labels: Mapping[str, str], line: int, where: str) -> PeakTable:
    said = labels.get("DATATYPE", "").upper()
    tables = [labels[label] for label in _TABLES if label in labels]
    if not said.startswith(_TYPES) or len(tables) != 1:
        raise SampleError(where, f"the block is {said or 'of no type'!r}, no NMR peak table; export the peak list")
    form, _, body = tables[0].partition("\n")
    kind = re.sub(r"[\s()]", "", form).upper().replace("XY..XY", "XY")
    if kind not in _FORMS:
        raise SampleError(where, f"the table has the form {form.strip()!r}; '(XY..XY)', '(XYM)' and '(XYMA)' are read")
    frequency = _positive(labels, ".OBSERVEFREQUENCY", where)
    scale = _scale(labels, frequency, where)
    peaks = list(_peaks(body, kind, where))
    if labels.get("NPOINTS", str(len(peaks))).strip() != str(len(peaks)):
        raise SampleError(where, f"the table has {len(peaks)} peaks, `NPOINTS` says {labels['NPOINTS']!r}")
    nucleus = labels.get(".OBSERVENUCLEUS")
    return PeakTable(
        shifts=tuple(shift * scale for shift, _ in peaks),
        patterns=tuple(pattern for _, pattern in peaks),
        nucleus=None if nucleus is None else nucleus.strip().lstrip("^"),
        field=frequency,
        solvent=labels.get(".SOLVENTNAME") or None,
        smiles=labels.get("$SMILES") or None,
        line=line,
    )


def _scale(labels: Mapping[str, str], frequency: float | None, where: str) -> float:
    """Return what turns the table's positions into ppm; Hz are counted from the shift reference, at 0 ppm."""
    unit = labels.get("XUNITS", "").strip().upper()
    factor = _positive(labels, "XFACTOR", where) or 1.0
    if unit == "PPM":
        return factor
    if unit not in ("HZ", "HERTZ"):
        raise SampleError(where, f"`XUNITS` is {unit!r}; state 'PPM' or 'HZ'")
    if frequency is None:
        raise SampleError(where, "the table is in Hz, but `.OBSERVE FREQUENCY` is missing; state it in MHz")
    return factor / frequency


def _positive(labels: Mapping[str, str], label: str, where: str) -> float | None:
    if label not in labels:
        return None
    try:
        value = float(labels[label])
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SampleError(where, f"the label `{label}` is {labels[label]!r}, not a positive number")
    return value


def _peaks(body: str, kind: str, where: str) -> Iterator[tuple[float, str | None]]:
    """Yield shift and multiplicity of each group, in brackets or, for pairs, free."""
    groups = re.findall(r"\(([^()]*(?:<[^>]*>)?[^()]*)\)", body) if "(" in body else re.split(r"[;\n]+|\s{2,}", body)
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
