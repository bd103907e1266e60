"""Columns of a table: their titles, which one is the abscissa, and which ones the ordinates are."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

import numpy as np

from molchord.api import ReadingOptions, SampleError
from molchord_modalities.curve import length_unit, ordinate_kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "COMMENT",
    "abscissa_column",
    "cells",
    "named_column",
    "ordinate_columns",
    "refuse_swapped",
    "titles_of",
]

COMMENT = re.compile(r"\s*(#|//|%|!)")
"""How a line begins that is no row of a table."""

_RUNNING = ("", "no", "no.", "nr", "nr.", "#", "index", "point", "row", "pixel")
"""Titles of columns that count."""
_LEAST_WAVENUMBER = 100.0
"""cm^-1; no vibrational spectrum ends below."""
_SHOWN = 6
"""Titles that an error lists."""


def titles_of(header: list[str], columns: int) -> list[str]:
    """Return the columns' titles if the last header line has as many fields as there are columns."""
    if not header:
        return []
    last = COMMENT.sub("", header[-1], count=1) if header[-1].lstrip()[:1] in "#/!" else header[-1]
    titles = cells(last.strip(" \r\n"))
    while len(titles) > columns and not titles[-1]:
        titles.pop()
    return titles if len(titles) == columns else []


def cells(line: str) -> list[str]:
    """Split a line whose fields may be in quotes."""
    bare = re.sub(r'"[^"]*"', "", line)
    separator = next((sign for sign in (";", "\t", ",") if sign in bare), " ")
    return [field.strip() for field in next(csv.reader([line], delimiter=separator), []) if field or separator != " "]


def named_column(titles: list[str], columns: int, column: str | None, name: str) -> int | None:
    """Return the column that a user chose by its title or its number; None where none or all were."""
    if column is None:
        return None
    same = [i for i, title in enumerate(titles) if title.lower() == column.strip().lower()]
    if len(same) == 1:
        return same[0]
    if column.strip().lower() == "all":
        return None
    if column.strip().isdigit() and 1 <= int(column) <= columns:
        return int(column) - 1
    raise SampleError(
        name,
        f"`--column` got {column!r}, which is none of {_listed(titles, columns)}; give a title, a number, or 'all'",
    )


def abscissa_column(titles: list[str], columns: int, chosen: int | None, options: ReadingOptions, name: str) -> int:
    """Return the first column that is titled with a wavenumber or a wavelength; without one, the first of all."""
    others = [i for i in range(columns) if i != chosen]
    named = [i for i in others if titles and length_unit(titles[i]) and not ordinate_kind(titles[i])]
    if named:
        return named[0]
    running = len(titles) > 2 and titles[others[0]].lower() in _RUNNING
    if running and options.x_unit is None:
        raise SampleError(
            name, f"none of the columns {titles!r} is titled as an abscissa; title one 'cm-1' or so, or give `--x-unit`"
        )
    return others[1] if running else others[0]


def ordinate_columns(
    titles: list[str], columns: int, across: int, chosen: int | None, options: ReadingOptions, name: str
) -> list[int]:
    """Return the columns that hold ordinates: the one chosen, all, the only one, or the one titled as such."""
    if chosen is not None:
        return [chosen]
    others = [i for i in range(columns) if i != across]
    if options.column is not None:
        return [i for i in others if not titles or titles[i].lower() not in _RUNNING] or others
    if len(others) == 1:
        return others
    named = [i for i in others if titles and (ordinate_kind(titles[i]) or "intensity" in titles[i].lower())]
    if len(named) != 1:
        got = f"{len(named)} of them named as an ordinate" if titles else "without titles"
        raise SampleError(
            name,
            f"the table has {columns} columns, {got}; choose one of {_listed(titles, columns)} with `--column`, or "
            "read each as a spectrum with `--column all`",
        )
    return named


def _listed(titles: list[str], columns: int) -> str:
    """List the columns by number and title, as an error shows them."""
    shown = [f"{i + 1} {titles[i]!r}" if titles else str(i + 1) for i in range(min(columns, _SHOWN))]
    return ", ".join(shown) + (", ..." if columns > _SHOWN else "")


def refuse_swapped(table: NDArray[np.float64], name: str) -> None:
    """Refuse a table without titles whose second column is the abscissa.

    Raises:
        SampleError: The second one runs in one direction up to wavenumbers, and the first one does neither.
    """
    first, second = (np.diff(table[:, i]) for i in (0, 1))
    turns = (first > 0).any() and (first < 0).any()
    one_way = np.all(second > 0) or np.all(second < 0)
    if one_way and table[:, 1].max() > _LEAST_WAVENUMBER and (turns or table[:, 0].max() < _LEAST_WAVENUMBER):
        raise SampleError(
            name,
            "the second column looks like the abscissa, not the first; say with `--column 1` that the first is the "
            "ordinate, or title the columns",
        )
