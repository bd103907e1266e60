"""A drawing of a few kinds of shapes, as SVG text for pages and files or as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from io import BytesIO
from itertools import pairwise
from typing import Any, Literal, final

__all__ = ["BELOW", "GRID", "INK", "MARK", "PALE", "QUIET", "Canvas", "standalone"]

INK = "currentColor"
QUIET, MARK, BELOW, PALE, GRID = (
    "var(--quiet, #55616d)", "var(--mark, #0b7a75)", "var(--below, #b35c00)", "var(--pale, #c79a5b)",
    "var(--grid, #dde3e8)",
)  # fmt: skip
"""Colours of the style sheet, each with what it is where a drawing is a file of its own."""

_STANDALONE = (
    "<style>svg{color:#1d2733;color-scheme:light dark}@media(prefers-color-scheme:dark){svg{color:#e6ebf0;"
    "--quiet:#9fabb7;--mark:#4cc4bb;--below:#f0a04b;--pale:#8d7148;--grid:#323c47;--atom-n:#94a8ff;--atom-o:#ff8a80;"
    "--atom-s:#e0c64a;--atom-f:#7bd69a;--atom-p:#f0a468;--atom-i:#d79ae6}}</style>"
)

Anchor = Literal["start", "middle", "end"]


@final
@dataclass(frozen=True, kw_only=True)
class _Shape:
    """A path through points (x, y), a filled box of two corners, or a text at one point."""

    kind: Literal["path", "box", "text"]
    points: Sequence[Sequence[tuple[float, float]]]
    colour: str
    width: float = 1.0
    opacity: float = 1.0
    text: str = ""
    size: float = 12.0
    anchor: Anchor = "start"
    late: bool = False


@final
@dataclass
class Canvas:
    """Shapes on a ground of `width` by `height` units, y downwards; colours are those of this module.

    Example:
        >>> canvas = Canvas(width=10.0, height=5.0)
        >>> canvas.path([[(0.0, 0.0), (10.0, 5.0)]], INK)
        >>> canvas.svg(label="a <line>")[:60]
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 5" r'
    """

    width: float
    height: float
    shapes: list[_Shape] = field(default_factory=list)

    def path(
        self, pieces: Sequence[Sequence[tuple[float, float]]], colour: str, width: float = 1.0, opacity: float = 1.0
    ) -> None:
        """Draw lines through points, each piece one of its own."""
        self.shapes.append(_Shape(kind="path", points=pieces, colour=colour, width=width, opacity=opacity))

    def box(self, left: float, top: float, right: float, bottom: float, colour: str, opacity: float, text: str) -> None:
        """Fill a box; the text is shown where a pointer rests on it."""
        corners = [[(left, top), (right, bottom)]]
        self.shapes.append(_Shape(kind="box", points=corners, colour=colour, opacity=opacity, text=text))

    def text(
        self, x: float, y: float, text: str, *, colour: str = QUIET, size: float = 12.0, anchor: Anchor = "start",
        late: bool = False,
    ) -> None:  # fmt: skip
        """Write a text on the line `y`; a `late` one is left out where a small screen has no room."""
        self.shapes.append(
            _Shape(kind="text", points=[[(x, y)]], colour=colour, text=text, size=size, anchor=anchor, late=late)
        )

    def svg(self, *, label: str) -> str:
        """Return it as SVG text that takes the colours of the page it is put in.

        Args:
            label: What it shows, for those who do not see it.
        """
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_number(self.width)} {_number(self.height)}" '
            f'role="img" class="spectrum" font-family="system-ui, sans-serif" aria-label="{escape(label)}">'
        )
        return head + "".join(map(_svg, self.shapes)) + "</svg>"

    def png(self) -> bytes:
        """Return it as a PNG file on white, two pixels a unit."""
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        figure = Figure(figsize=(self.width / 100, self.height / 100))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(0, self.width), ylim=(self.height, 0))
        axes.set_axis_off()
        for shape in self.shapes:
            colour: Any = _plain(shape.colour)
            x, y = shape.points[0][0] if shape.points and shape.points[0] else (0.0, 0.0)
            if shape.kind == "text":
                aligned = {"start": "left", "middle": "center", "end": "right"}[shape.anchor]
                axes.text(x, y, shape.text, color=colour, fontsize=0.72 * shape.size, ha=aligned, parse_math=False)  # type: ignore[arg-type]
            elif shape.kind == "box":
                right, bottom = shape.points[0][1]
                axes.add_patch(Rectangle((x, y), right - x, bottom - y, color=colour, alpha=shape.opacity, linewidth=0))
            else:
                for piece in shape.points:
                    width = 0.72 * shape.width
                    axes.plot(*zip(*piece, strict=True), color=colour, linewidth=width, alpha=shape.opacity)
        out = BytesIO()
        figure.savefig(out, format="png", dpi=200)
        return out.getvalue()


def standalone(svg: str) -> str:
    """Return SVG text as the content of a file, which is dark where its viewer is."""
    end = svg.index(">") + 1
    return f'<?xml version="1.0" encoding="utf-8"?>\n{svg[:end]}{_STANDALONE}{svg[end:]}\n'


def _svg(shape: _Shape) -> str:
    if shape.kind == "path":
        lines = "".join(map(_lines, shape.points))
        faint = "" if shape.opacity == 1 else f' stroke-opacity="{shape.opacity:.2f}"'
        return (
            f'<path d="{lines}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width:g}"{faint} '
            'stroke-linejoin="round"/>'
        )
    (x, y), *rest = shape.points[0]
    if shape.kind == "box":
        width, height = rest[0][0] - x, rest[0][1] - y
        return (
            f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}" '
            f'fill="{shape.colour}" fill-opacity="{shape.opacity:.2f}"><title>{escape(shape.text)}</title></rect>'
        )
    late = ' class="late"' if shape.late else ""
    return (
        f'<text x="{_number(x)}" y="{_number(y)}" fill="{shape.colour}" font-size="{shape.size:g}" '
        f'text-anchor="{shape.anchor}"{late}>{escape(shape.text)}</text>'
    )


def _lines(piece: Sequence[tuple[float, float]]) -> str:
    """Return lines through points, each by its distance from the one before, which takes half as much room."""
    tenths = [(round(10 * x), round(10 * y)) for x, y in piece]
    steps = [(x - a, y - b) for (a, b), (x, y) in pairwise(tenths)]
    start = f"M{_number(tenths[0][0] / 10)} {_number(tenths[0][1] / 10)}"
    if not steps:
        return start
    return start + "l" + " ".join(f"{_number(x / 10)} {_number(y / 10)}" for x, y in steps)


def _number(value: float) -> str:
    text = f"{value:.1f}".removesuffix(".0")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _plain(colour: str) -> str:
    """Return a colour without the style sheet."""
    return "#1d2733" if colour == INK else colour[colour.index("#") :].rstrip(")")
