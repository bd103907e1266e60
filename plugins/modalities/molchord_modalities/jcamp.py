"""JCAMP-DX 4.24, 5.01 and 6.00 files: blocks, labels and data tables; pages of n-tuples are blocks of their own.

Sources: McDonald and Wilks, Appl. Spectrosc. 42 (1988) 151; Davies and Lampen, Appl. Spectrosc. 47 (1993) 1093 (packed
forms); Lampen et al., Appl. Spectrosc. 48 (1994) 1545 (n-tuples); Lampen et al., Appl. Spectrosc. 53 (1999)
481 (version 5.01).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from molchord.api import SampleError
from molchord_modalities import jcamp_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Block", "Record", "blocks", "data_types", "has_tables", "is_jcamp", "parse"]


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

    Each page of an ``NTUPLES`` table is a spectrum, whose label ``PAGE`` says which; blocks that only link others, or
    hold a structure (JCAMP-CS), are none.

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
            yield from _decode(records, name)
        except SampleError as error:
            yield error
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


def has_tables(text: str) -> bool:
    r"""Return whether any label of a text begins data as JCAMP-DX has them; else it is a table under such a head.

    Example:
        >>> has_tables("##TITLE=a\n##XYDATA=(X++(Y..Y))\n"), has_tables("##TITLE=a\n##XUNITS=1/CM\n400\t0.1\n")
        (True, False)
    """
    labels = {record.label for records, _ in blocks(text) for record in records}
    rows = re.search(r"^[ \t]*[-+.\d]+[ \t,;]+[-+.\d]", text, re.MULTILINE)
    return rows is None or not labels.isdisjoint({*_TABLES, *_UNREAD, "DATATABLE"})


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
            elif open_:  # an empty label is a comment, and so are the lines below it
                open_[-1].append(Record(label, [value], number))
        elif open_ and open_[-1]:
            open_[-1][-1].lines.append(line)
    for records in reversed(open_):
        yield records, False


# --- one block -------------------------------------------------------------------------------------------------------

_TABLES = ("XYDATA", "XYPOINTS", "PEAKTABLE", "PEAKASSIGNMENTS")
_UNREAD = {"NTUPLES": "`NTUPLES` without a page", "RADATA": "only an interferogram (`RADATA`)"}
_RUNNING = re.compile(r"\((\w+)\+\+\((\w+)\.\.\2\)\)")
_GROUPS = re.compile(r"\(([A-Z])([A-Z])([A-Z]*)(?:\.\.\1\2\3)?\)")


def _decode(records: list[Record], name: str) -> Iterator[Block | SampleError]:
    """Yield the spectra of one block; none for a block that only links others, or holds a structure."""
    labels = {record.label: record.value for record in records if record.label not in _TABLES}
    start = f"{name}:{records[0].line}"
    if "NTUPLES" in labels and "PAGE" in labels:
        yield from _pages(records, labels, name)
        return
    tables = [record for record in records if record.label in _TABLES]
    if not tables:
        if "LINK" in labels.get("DATATYPE", "").upper() or "JCAMPCS" in labels:
            return
        got = next((what for label, what in _UNREAD.items() if label in labels), "no data table")
        raise SampleError(
            start, f"the block has {got}; `XYDATA`, `XYPOINTS`, `PEAK TABLE` or a page of `NTUPLES` is read"
        )
    if len(tables) > 1:
        raise SampleError(start, f"the block has {len(tables)} data tables; one was expected")
    x, y = _table(tables[0], labels, name)
    _check(labels, x, y, start)
    sticks = tables[0].label.startswith("PEAK")
    yield Block(labels=labels, x=x, y=y, sticks=sticks, line=records[0].line)


def _table(
    table: Record, labels: Mapping[str, str], name: str, symbols: tuple[str, str] = ("X", "Y")
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read one table by the form that its first line states, which must be of the variables given."""
    form = re.sub(r"\s", "", table.lines[0]).upper()
    running, groups = _RUNNING.match(form), _GROUPS.match(form)
    found = running or groups
    if found is None or (found[1], found[2]) != symbols:
        raise SampleError(f"{name}:{table.line}", f"the form {form!r} is not read; '(X++(Y..Y))' or '(XY..XY)' is")
    return _running(table, labels, name) if groups is None else _tuples(table, labels, 2 + len(groups[3]), name)


def _pages(records: list[Record], labels: Mapping[str, str], name: str) -> Iterator[Block | SampleError]:
    """Yield each page of n-tuples as a block, with the labels that a table of its own would have."""
    variables = _variables(labels)
    symbols = [symbol.upper() for symbol in variables.get("SYMBOL", [])]
    own: dict[str, str] = {}
    for record in records:
        if record.label == "PAGE":
            own = {"PAGE": record.value}
        elif record.label != "DATATABLE":
            own[record.label] = record.value
            continue
        else:
            where = f"{name}:{record.line}"
            form = re.sub(r"\s", "", record.lines[0]).upper()
            found = _RUNNING.match(form) or _GROUPS.match(form)
            if found is None or not {found[1], found[2]} <= {*symbols}:
                yield SampleError(where, f"the form {form!r} is not one of the variables {symbols!r}")
                continue
            x, y = symbols.index(found[1]), symbols.index(found[2])
            said = _of_page(variables, x, y) | {k: v for k, v in own.items() if k in ("PAGE", "NPOINTS")}
            page = {**labels, **said}
            try:
                places, values = _table(record, page, name, (found[1], found[2]))
            except SampleError as error:
                yield error
                continue
            peaks = "PEAK" in form or variables.get("VARFORM", [""] * (y + 1))[y].upper() == "PEAK"
            yield Block(labels=page, x=places, y=values, sticks=peaks, line=record.line)


_ATTRIBUTES = ("SYMBOL", "UNITS", "VARDIM", "VARFORM", "FIRST", "LAST", "FACTOR")


def _variables(labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what the labels state of each variable, in the order of the symbols."""
    count = len(labels.get("SYMBOL", "").split(","))
    stated = {name: [part.strip() for part in labels.get(name, "").split(",")] for name in _ATTRIBUTES}
    return {name: (parts + [""] * count)[:count] for name, parts in stated.items()}


def _of_page(variables: Mapping[str, list[str]], x: int, y: int) -> dict[str, str]:
    """Return what the variables of a page state, under the labels of a table of its own."""
    return {
        "XUNITS": variables["UNITS"][x],
        "YUNITS": variables["UNITS"][y],
        "XFACTOR": variables["FACTOR"][x],
        "YFACTOR": variables["FACTOR"][y],
        "FIRSTX": variables["FIRST"][x],
        "LASTX": variables["LAST"][x],
        "NPOINTS": variables["VARDIM"][y],
    }


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
    starts, ordinates = jcamp_numbers.ordinates(table, name)
    points = int(_number(labels, "NPOINTS", where))
    ordinates = jcamp_numbers.without_closing_check(starts, ordinates, points, name)
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


def _tuples(
    table: Record, labels: Mapping[str, str], size: int, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read ``(XY..XY)``, ``(XYW..XYW)`` or ``(XYA)``: groups of plain numbers, whose first two are kept."""
    where = f"{name}:{table.line}"
    rows = [(table.line + offset, line) for offset, line in jcamp_numbers.rows(table)]
    if table.label == "PEAKASSIGNMENTS" or size > 2:
        numbers = _first_two(rows, size, name)
    else:
        numbers = [value for number, line in rows for value in jcamp_numbers.plain(line, f"{name}:{number}")]
    if len(numbers) % 2:
        raise SampleError(where, f"the table has {len(numbers)} numbers, an odd count; pairs were expected")
    if labels.get("NPOINTS") and int(_number(labels, "NPOINTS", where)) * 2 != len(numbers):
        raise SampleError(where, f"the table has {len(numbers) // 2} points, `NPOINTS` says {labels['NPOINTS']}")
    pairs = np.asarray(numbers, dtype=np.float64).reshape(-1, 2)
    scales = [_factor(labels, label, where) for label in ("XFACTOR", "YFACTOR")]
    return pairs[:, 0] * scales[0], pairs[:, 1] * scales[1]


def _first_two(rows: list[tuple[int, str]], size: int, name: str) -> list[float]:
    """Return the first two numbers of each group, such as ``(1650, 80, <C=O>)`` or ``1650, 80, 12``, on any line."""
    out: list[float] = []
    for number, line in rows:
        where = f"{name}:{number}"
        bare = re.sub(r"<[^>]*>", "", line)
        if "(" in bare:
            groups = [group.split(",")[:2] for group in re.findall(r"\(([^()]*)\)", bare)]
            values = [jcamp_numbers.plain(",".join(group), where) for group in groups]
        else:
            flat = jcamp_numbers.plain(bare, where)
            values = [flat[i : i + size] for i in range(0, len(flat), size)]
        for group in values:
            if len(group) < 2:
                raise SampleError(
                    where, f"a group has {len(group)} numbers; at least a place and a height were expected"
                )
            out += group[:2]
    return out


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
