"""Charts of matplotlib in the colours of the page that they are put in."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

__all__ = ["LIGHT_GRID", "LIGHT_INK", "LIGHT_MARK", "LIGHT_QUIET", "chart_svg", "themed"]

LIGHT_INK, LIGHT_QUIET, LIGHT_MARK, LIGHT_GRID = "#1d2733", "#5b6672", "#0b7a75", "#e4e8ec"
"""Colours to draw with: `themed` puts those of the style sheet in their place."""

_THEME = {
    LIGHT_INK: "currentColor", LIGHT_QUIET: "var(--quiet, #55616d)", LIGHT_MARK: "var(--mark, #0b7a75)",
    LIGHT_GRID: "var(--grid, #dde3e8)", "#ffffff": "var(--paper, #ffffff)", "#eef7f6": "var(--wash, #e8f4f3)",
    "#c9d1d8": "var(--grid, #dde3e8)",
}  # fmt: skip


def chart_svg(figure: Figure, *, label: str, box: str | None = "tight") -> str:
    """Return a figure as SVG text to put into a page, its words as text.

    Args:
        figure: The figure, drawn in the colours of this module.
        label: What it shows, for those who do not see it.
        box: As `savefig` takes it: "tight" cuts empty borders off.
    """
    text = StringIO()
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": label, "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        figure.savefig(text, format="svg", bbox_inches=box, transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    # Rules and names of a drawing would be those of the whole page.
    svg = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", svg)
    svg = re.sub(r' style="([^"]*)"', lambda style: _attributes(style[1]), svg)
    label = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return themed(svg.replace("<svg", f'<svg class="chart" role="img" aria-label="{label}"', 1)).strip()


def themed(svg: str) -> str:
    """Return SVG text in which the colours of this module are those of the style sheet."""
    for colour, name in _THEME.items():
        svg = svg.replace(colour, name)
    return svg


def _attributes(style: str) -> str:
    """Return a style as attributes, which any policy of a page's content allows."""
    parts = [part.split(":", 1) for part in style.split(";") if ":" in part]
    out = ""
    for name, value in ((name.strip(), value.strip()) for name, value in parts):
        if name == "font":  # size and family in one
            size = re.search(r"([\d.]+)px", value)
            out += "" if size is None else f' font-size="{size[1]}" font-family="system-ui, sans-serif"'
        else:
            out += f' {name}="{value.replace(chr(34), chr(39))}"'
    return out
