"""JCAMP-DX 4.24 and 5.01 files: blocks, labels and data tables.

Sources: McDonald and Wilks, Appl. Spectrosc. 42 (1988) 151; Davies and Lampen, Appl. Spectrosc. 47 (1993) 1093 (packed
forms); Lampen et al., Appl. Spectrosc. 53 (1999) 481 (version 5.01).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from molchord.api import SampleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Block", "Record", "blocks", "data_types", "is_jcamp", "parse"]


@dataclass(frozen=True, kw_only=True)
class Block:
    """One spectrum of a file.

    Attributes:
        labels: Values by label, labels in capitals without blanks, ``-``, ``/`` and ``_`` (``DATATYPE``).
        x: Abscissa in the unit that ``XUNITS`` names, in the file's order.
        y: Ordinate in the unit that ``YUNITS`` names.
        sticks: True for a peak table, false for a curve.
        line: Line of the block's title.
    """

    labels: Mapping[str, str]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    sticks: bool
    line: int


def parse(text: str, name: str) -> Iterator[Block | SampleError]:
    r"""Read every spectrum of a file; one that is broken comes as a `SampleError`, and the next ones follow.

    Args:
        text: The whole file.
        name: Names the file in errors.

    Raises:
        SampleError: There is no block at all.

    Example:
        >>> table = "##FIRSTX=1\n##LASTX=3\n##NPOINTS=3\n##XYDATA=(X++(Y..Y))\n1A0J0K\n"
        >>> [block] = parse("##TITLE=a\n##XFACTOR=1\n##YFACTOR=0.1\n" + table + "##END=\n", "a.jdx")
        >>> block.x.tolist(), block.y.round(1).tolist()
        ([1.0, 2.0, 3.0], [1.0, 2.0, 2.2])
    """
    found = False
    for records, ended in blocks(text):
        found = True
        where = f"{name}:{records[0].line}"
        try:
            if not ended:
                raise SampleError(where, "the block has no `##END=`; the file was cut off, fetch it again")
            block = _decode(records, name)
        except SampleError as error:
            yield error
            continue
        if block is not None:
            yield block
    if not found:
        raise SampleError(name, "no `##TITLE=` was found; a JCAMP-DX file starts with one")


def is_jcamp(text: str) -> bool:
    r"""Return whether a text, or its beginning, is JCAMP-DX: labels, after comments alone, that say what the data are.

    Other formats have lines that start with ``##`` too: RRUFF's, and the heads that some instruments write.

    Example:
        >>> is_jcamp("$$ by hand\n##TITLE=a\n"), is_jcamp("##NAMES=Calcite\n504.0, 2.7\n##END=\n")
        (True, False)
    """
    lines = (line.partition("$$")[0].strip() for line in text.splitlines())
    first = next((line for line in lines if line), "")
    said = re.compile(r"^\s*##\s*(TITLE|JCAMP[ \-_/]*DX|DATA[ \-_/]*TYPE)\s*=", re.IGNORECASE | re.MULTILINE)
    return first.startswith("##") and said.search(text) is not None


def data_types(text: str) -> list[str]:
    r"""Return what each block declares itself to be, in capitals, whether or not its table can be read.

    Example:
        >>> data_types("##TITLE=a\n##DATA TYPE=Infrared Spectrum\n##XYDATA=broken\n")
        ['INFRARED SPECTRUM']
    """
    records = (record for records, _ in blocks(text) for record in records)
    return [record.value.upper() for record in records if record.label == "DATATYPE"]


# --- labels ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """A label with its value, as the file writes it.

    Attributes:
        label: In capitals without blanks, ``-``, ``/`` and ``_``.
        lines: Of the value, without comments.
        line: Number of the first one.
    """

    label: str
    lines: list[str]
    line: int

    @property
    def value(self) -> str:
        """Return the lines as one."""
        return " ".join(part.strip() for part in self.lines).strip()


def blocks(text: str) -> Iterator[tuple[list[Record], bool]]:
    r"""Yield the records of each block and whether it ended; blocks inside a block (a link) come one by one.

    Example:
        >>> [(records, ended)] = blocks("##TITLE= a $$ by hand\n##DATA TYPE= LINK\n")
        >>> {record.label: record.value for record in records}, ended
        ({'TITLE': 'a', 'DATATYPE': 'LINK'}, False)
    """
    open_: list[list[Record]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.partition("$$")[0]
        if line.lstrip().startswith("##"):
            label, _, value = line.lstrip()[2:].partition("=")
            label = re.sub(r"[\s\-/_]", "", label).upper()
            if label == "TITLE":
                open_.append([])
            if label == "END" and open_:
                yield open_.pop(), True
            elif open_ and label:
                open_[-1].append(Record(label, [value], number))
        elif open_ and open_[-1]:
            open_[-1][-1].lines.append(line)
    for records in reversed(open_):
        yield records, False


# --- one block -------------------------------------------------------------------------------------------------------

_TABLES = ("XYDATA", "XYPOINTS", "PEAKTABLE")
_UNREAD = ("NTUPLES", "PEAKASSIGNMENTS", "RADATA")


def _decode(records: list[Record], name: str) -> Block | None:
    """Read one block; None for a block that only links others."""
    labels = {record.label: record.value for record in records if record.label not in _TABLES}
    start = f"{name}:{records[0].line}"
    tables = [record for record in records if record.label in _TABLES]
    if not tables:
        if "LINK" in labels.get("DATATYPE", "").upper():
            return None
        others = [label for label in _UNREAD if label in labels]
        got = f"only {others[0]!r}" if others else "no data table"
        raise SampleError(start, f"the block has {got}; `XYDATA`, `XYPOINTS` or `PEAK TABLE` is read")
    if len(tables) > 1:
        raise SampleError(start, f"the block has {len(tables)} data tables; one was expected")
    table = tables[0]
    form = re.sub(r"\s", "", table.lines[0]).upper()
    if form.startswith("(X++(Y..Y))"):
        x, y = _running(table, labels, name)
    elif form.startswith("(XY..XY)"):
        x, y = _pairs(table, labels, name)
    else:
        raise SampleError(f"{name}:{table.line}", f"the form {form!r} is not read; '(X++(Y..Y))' or '(XY..XY)' is")
    _check(labels, x, y, start)
    return Block(labels=labels, x=x, y=y, sticks=table.label == "PEAKTABLE", line=records[0].line)


def _number(labels: Mapping[str, str], label: str, where: str) -> float:
    if not labels.get(label):
        raise SampleError(where, f"the label `{label}` is missing; the abscissa cannot be made without it")
    try:
        value = float(re.sub(r"^([+-]?\d*),(\d+)$", r"\1.\2", labels[label]))
    except ValueError:
        raise SampleError(where, f"the label `{label}` is {labels[label]!r}, not a number") from None
    if not np.isfinite(value):
        raise SampleError(where, f"the label `{label}` is {labels[label]!r}, not a finite number")
    return value


def _factor(labels: Mapping[str, str], label: str, where: str) -> float:
    return _number(labels, label, where) if labels.get(label) else 1.0


def _running(table: Record, labels: Mapping[str, str], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read ``(X++(Y..Y))``: the abscissa runs evenly from FIRSTX to LASTX, and each line's first number checks it."""
    where = f"{name}:{table.line}"
    first, last = _number(labels, "FIRSTX", where), _number(labels, "LASTX", where)
    scale = _factor(labels, "XFACTOR", where)
    starts, ordinates = _ordinates(table, name)
    points = int(_number(labels, "NPOINTS", where))
    if len(ordinates) != points:
        raise SampleError(where, f"the table has {len(ordinates)} points, `NPOINTS` says {points}")
    x = np.linspace(first, last, points)
    step = abs(last - first) / max(points - 1, 1)
    for line, index, written in starts:
        # Printed abscissae are rounded, and packed forms may print the one before: two steps are let pass.
        if abs(written * scale - x[min(index, points - 1)]) > 2 * step:
            expected = x[min(index, points - 1)]
            raise SampleError(f"{name}:{line}", f"the line starts at x = {written * scale:g}, expected {expected:g}")
    return x, np.asarray(ordinates) * _factor(labels, "YFACTOR", where)


def _pairs(table: Record, labels: Mapping[str, str], name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read ``(XY..XY)``: pairs in plain numbers."""
    where = f"{name}:{table.line}"
    numbers = [value for offset, line in _rows(table) for value in _plain(line, f"{name}:{table.line + offset}")]
    if len(numbers) % 2:
        raise SampleError(where, f"the table has {len(numbers)} numbers, an odd count; pairs were expected")
    if labels.get("NPOINTS") and int(_number(labels, "NPOINTS", where)) * 2 != len(numbers):
        raise SampleError(where, f"the table has {len(numbers) // 2} points, `NPOINTS` says {labels['NPOINTS']}")
    pairs = np.asarray(numbers, dtype=np.float64).reshape(-1, 2)
    scales = [_factor(labels, label, where) for label in ("XFACTOR", "YFACTOR")]
    return pairs[:, 0] * scales[0], pairs[:, 1] * scales[1]


def _check(labels: Mapping[str, str], x: NDArray[np.float64], y: NDArray[np.float64], where: str) -> None:
    """Check the table against what the labels state about it."""
    if len(x) == 0:
        raise SampleError(where, "the data table is empty")
    if labels.get("DELTAX") and len(x) > 1:
        said, got = abs(_number(labels, "DELTAX", where)), abs(x[-1] - x[0]) / (len(x) - 1)
        if abs(said - got) > 0.01 * got:
            raise SampleError(where, f"`DELTAX` says {said:g}, but FIRSTX, LASTX and NPOINTS give {got:g}")
    if labels.get("FIRSTY") and np.isfinite(y[0]):
        said, factor = _number(labels, "FIRSTY", where), _factor(labels, "YFACTOR", where)
        allowed = 0.01 * abs(y[0]) + 1e-3 * float(np.nanmax(np.abs(y)))
        # Some collections print FIRSTY before the factor is applied, and some writers print 0 whatever it is.
        if said != 0 and min(abs(said - y[0]), abs(said * factor - y[0])) > allowed:
            raise SampleError(where, f"`FIRSTY` says {said:g}, but the table starts with {y[0]:g}")


# --- numbers ---------------------------------------------------------------------------------------------------------

_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|\?")
_NOT_PLAIN = re.compile(r"[^0-9eE+\-.,; \t?]")
_PACKED = re.compile(r"([@A-Ia-i%J-Rj-r]|[+\-]?(?=\.?\d))(\d*\.?\d*)|([S-Zs])(\d*)|(\?)|[ \t,]+")
_PSEUDO_DIGITS = re.compile(r"[@A-DF-Ia-df-i%J-Zj-s]|(?<![0-9.])[Ee]")

_SQUEEZED = {letter: str(i) for i, letter in enumerate("@ABCDEFGHI")} | {
    letter: f"-{i}" for i, letter in enumerate("abcdefghi", start=1)
}
_DIFFERENCE = {letter: str(i) for i, letter in enumerate("%JKLMNOPQR")} | {
    letter: f"-{i}" for i, letter in enumerate("jklmnopqr", start=1)
}
_MOST_REPEATS = 1_000_000
"""More in one line can only be damage, and would fill the memory."""
_MOST_POINTS = 4_000_000
"""More in one table, likewise."""
_REPEATS = {letter: str(i) for i, letter in enumerate("STUVWXYZs", start=1)}


def _rows(table: Record) -> list[tuple[int, str]]:
    """Return the lines of a table that are not blank, with their distance from the label."""
    return [(i, line.rstrip()) for i, line in enumerate(table.lines) if i > 0 and line.strip()]


def _plain(line: str, where: str) -> list[float]:
    """Read free-format numbers; ``?`` is a missing one."""
    odd = _NOT_PLAIN.search(line)
    if odd is not None:
        raise SampleError(where, f"the table holds {odd.group()!r}, which is not part of a number")
    return [float("nan") if token == "?" else float(token) for token in _PLAIN.findall(line)]


def _ordinates(table: Record, name: str) -> tuple[list[tuple[int, int, float]], list[float]]:
    """Return (line number, index of its first point, abscissa) of each line, and all ordinates."""
    rows = _rows(table)
    packed = any(_PSEUDO_DIGITS.search(line) for _, line in rows)
    starts: list[tuple[int, int, float]] = []
    out: list[float] = []
    check = False
    for offset, line in rows:
        number = table.line + offset
        where = f"{name}:{number}"
        if not packed:
            values = _plain(line, where)
        else:
            values, ends_in_difference = _unpack(line, where)
        if not values:
            raise SampleError(where, "the line holds no number")
        starts.append((number, max(len(out) - check, 0), values[0]))
        ordinates = values[1:]
        if check and ordinates:
            if ordinates[0] != out[-1]:
                raise SampleError(where, f"the ordinate check fails: {ordinates[0]:g} after {out[-1]:g}")
            ordinates = ordinates[1:]
        out += ordinates
        if len(out) > _MOST_POINTS:
            raise SampleError(where, f"the table is longer than {_MOST_POINTS} points; is it damaged?")
        check = packed and ends_in_difference
    return starts, out


def _unpack(line: str, where: str) -> tuple[list[float], bool]:
    """Read a line in packed, squeezed, difference and duplicate form, and return whether it ends in a difference."""
    values: list[float] = []
    step: float | None = None
    at = 0
    while at < len(line):
        match = _PACKED.match(line, at)
        if match is None or match.end() == at:
            raise SampleError(where, f"the table holds {line[at]!r}, which is not part of a number")
        at = match.end()
        lead, digits, repeat, more, missing = match.groups()
        if missing:
            values.append(float("nan"))
            step = None
        elif repeat:
            if len(values) < 2:
                raise SampleError(where, f"the repeat {match.group()!r} has no ordinate before it")
            count = int(_REPEATS[repeat] + more)
            if len(values) + count > _MOST_REPEATS:
                raise SampleError(
                    where, f"the repeat {match.group()!r} is longer than {_MOST_REPEATS} points in a line"
                )
            last = values[-1]
            values += [last + step * i for i in range(1, count)] if step else [last] * (count - 1)
        elif digits is not None:
            if lead and lead in _DIFFERENCE:
                if len(values) < 2:
                    raise SampleError(where, f"the difference {match.group()!r} has no ordinate before it")
                step = float(_DIFFERENCE[lead] + digits)
                values.append(values[-1] + step)
            else:
                step = None
                values.append(float(_SQUEEZED.get(lead, lead) + digits))
    return values, step is not None
