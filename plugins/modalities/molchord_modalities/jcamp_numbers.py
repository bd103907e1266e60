"""Numbers of JCAMP-DX tables: free format (AFFN), packed (PAC), squeezed (SQZ), differences (DIF) and repeats (DUP)."""

from __future__ import annotations

import re
from typing import Protocol

from molchord.api import SampleError

__all__ = ["ordinates", "plain", "rows", "without_closing_check"]


class Table(Protocol):
    """The lines of a table, the first of which says its form, and the number of that one."""

    @property
    def lines(self) -> list[str]: ...

    @property
    def line(self) -> int: ...


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


def rows(table: Table) -> list[tuple[int, str]]:
    """Return the lines of a table that are not blank, with their distance from the label."""
    return [(i, line.rstrip()) for i, line in enumerate(table.lines) if i > 0 and line.strip()]


def plain(line: str, where: str) -> list[float]:
    """Read free-format numbers; ``?`` is a missing one."""
    odd = _NOT_PLAIN.search(line)
    if odd is not None:
        raise SampleError(where, f"the table holds {odd.group()!r}, which is not part of a number")
    return [float("nan") if token == "?" else float(token) for token in _PLAIN.findall(line)]


def ordinates(table: Table, name: str) -> tuple[list[tuple[int, int, float]], list[float]]:
    """Return (line number, index of its first point, abscissa) of each line, and all ordinates."""
    lines = rows(table)
    packed = any(
        _PSEUDO_DIGITS.search(line) or _PLAIN.sub("", line).strip(" \t,;Ee") != _PLAIN.sub("", line).strip(" \t,;")
        for _, line in lines
    )
    starts: list[tuple[int, int, float]] = []
    out: list[float] = []
    check = False
    for offset, line in lines:
        number = table.line + offset
        where = f"{name}:{number}"
        if not packed:
            values = plain(line, where)
        else:
            values, ends_in_difference = _unpack(line, where)
        if not values:
            raise SampleError(where, "the line holds no number")
        starts.append((number, max(len(out) - check, 0), values[0]))
        found = values[1:]
        if check and found:
            _agree(found[0], out[-1], where)
            found = found[1:]
        out += found
        if len(out) > _MOST_POINTS:
            raise SampleError(where, f"the table is longer than {_MOST_POINTS} points; is it damaged?")
        check = packed and ends_in_difference
    return starts, out


def without_closing_check(
    starts: list[tuple[int, int, float]], values: list[float], points: int, name: str
) -> list[float]:
    """Drop an ordinate that is one too many and alone on the last line: it checks the one before.

    Raises:
        SampleError: It is another.
    """
    alone = len(values) == points + 1 and len(starts) > 1 and starts[-1][1] == points
    if not alone:
        return values
    _agree(values[-1], values[-2], f"{name}:{starts[-1][0]}")
    return values[:-1]


def _agree(check: float, value: float, where: str) -> None:
    if check != value:
        raise SampleError(where, f"the ordinate check fails: {check:g} after {value:g}")


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
