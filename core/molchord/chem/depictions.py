"""Molecules drawn at one scale: a bond is as long in all drawings of a list."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rdkit.Chem.Draw import rdMolDraw2D

from molchord.chem.parsing import one_error, parse
from molchord.errors import SampleError

__all__ = ["depictions"]

_SCALE = 22.0
"""Units of a drawing for an angstrom."""

_LEAST = 0.5
"""A drawing that fits at no more than this part is shrunk alone, and the others are not."""

_COLOURS = {
    "#000000": "currentColor", "#0000FF": "var(--atom-n, #2746c4)", "#FF0000": "var(--atom-o, #b3261e)",
    "#CCCC00": "var(--atom-s, #7d6400)", "#33CCCC": "var(--atom-f, #1c7a3d)", "#00CC00": "var(--atom-f, #1c7a3d)",
    "#FF7F00": "var(--atom-p, #a3521a)", "#7F4C19": "var(--atom-p, #a3521a)", "#A01EEF": "var(--atom-i, #7b2d8e)",
}  # fmt: skip
_STYLE = re.compile(r" style='([^']*)'")
_LINE = re.compile(r"<path d='([^']*)'( stroke=\"[^\"]*\") ?/>")
_CLASS = re.compile(r" class='[^']*'")


def depictions(smiles: Sequence[str], width: float = 200.0, height: float = 140.0) -> list[str]:
    """Draw molecules as SVG text in the colours of the page that they are put in, all at one scale.

    Args:
        smiles: The molecules; one that cannot be drawn gives an empty text.
        width: Pixels at most.
        height: Pixels at most.

    Example:
        >>> [one[:4] for one in depictions(["CCO", "no molecule"])]
        ['<svg', '']
    """
    drawn = [_drawn(one) for one in smiles]
    needed = [min(width / w, height / h) for text in drawn if text for w, h in [_size(text)]]
    common = min([1.0, *(part for part in needed if part >= _LEAST)])
    return [_sized(text, common, width, height) if text else "" for text in drawn]


def _drawn(smiles: str) -> str:
    """Return RDKit's drawing at the scale of all, its size that of the molecule; empty where there is none."""
    try:
        mol = parse(smiles)
        with one_error(smiles, "RDKit cannot draw it"):
            canvas = rdMolDraw2D.MolDraw2DSVG(-1, -1, -1, -1, True)
            options = canvas.drawOptions()
            options.clearBackground = False  # type: ignore[assignment]  # RDKit's stub is wrong
            options.scalingFactor = _SCALE  # type: ignore[assignment]
            rdMolDraw2D.PrepareAndDrawMolecule(canvas, mol)
            canvas.FinishDrawing()
            return str(canvas.GetDrawingText())
    except SampleError:
        return ""


def _size(text: str) -> tuple[float, float]:
    found = re.search(r"viewBox='0 0 (\d+) (\d+)'", text)
    return (1.0, 1.0) if found is None else (float(found[1]), float(found[2]))


def _sized(text: str, common: float, width: float, height: float) -> str:
    w, h = _size(text)
    scale = min(common, width / w, height / h)
    body = text[text.index("<!-- END OF HEADER -->") + len("<!-- END OF HEADER -->") :]
    body = _merged(_STYLE.sub(lambda style: _attributes(style[1]), _CLASS.sub("", body)).replace("\n", ""))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="structure" viewBox="0 0 {w:g} {h:g}" width="{scale * w:.0f}" '
        f'height="{scale * h:.0f}" fill="none" stroke-width="2" font-family="system-ui, sans-serif" '
        f'aria-hidden="true">{body}'
    )


def _merged(body: str) -> str:
    """Return a drawing in which all lines of one colour are one path."""
    lines: dict[str, list[str]] = {}
    for way, said in _LINE.findall(body):
        lines.setdefault(said, []).append(way.replace(" L ", "L").replace("M ", "M").replace(",", " "))
    paths = "".join(f'<path d="{"".join(ways)}"{said}/>' for said, ways in lines.items())
    return paths + _LINE.sub("", body)


def _attributes(style: str) -> str:
    """Return a style as attributes, which any policy of a page's content allows."""
    said = dict(part.split(":", 1) for part in style.rstrip(";").split(";"))
    out = ""
    for name in ("fill", "stroke"):
        value = said.get(name, "none")
        if value != "none":
            out += f' {name}="{_COLOURS.get(value, "currentColor")}"'
    for name in ("font-size", "text-anchor"):
        if name in said:
            out += f' {name}="{said[name]}"'
    if said.get("stroke-width", "2.0px") != "2.0px":
        out += f' stroke-width="{said["stroke-width"].removesuffix("px")}"'
    return out
