"""Rows of cells as aligned text."""

from __future__ import annotations

from collections.abc import Sequence


def padded(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Pad every cell to the widest of its column.

    Example:
        >>> padded([["a", "b"], ["long", "c"]])
        [['a   ', 'b'], ['long', 'c']]
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line per row, columns two blanks apart.

    Example:
        >>> aligned([["a", "b"], ["long", "c"]])
        ['a     b', 'long  c']
    """
    return ["  ".join(row).rstrip() for row in padded(rows)]
