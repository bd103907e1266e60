"""The pictures of an evaluation as a part of its report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from molchord.api import SampleError
from molchord.chem import drawing
from molchord.evaluate import charts
from molchord.evaluate.pictures import Confusion, Curve, Neighbour, Pictures
from molchord.look.templates import environment

__all__ = ["pictures_page"]

_METRICS = {"top1": "Top-1", "top10": "Top-10"}


def pictures_page(pictures: Pictures | None) -> Markup:
    """Return the pictures as markup for the body of a page, empty where there are none.

    The page has the colours ``--ink``, ``--quiet``, ``--grid``, ``--mark`` and ``--paper``.

    Example:
        >>> pictures_page(None)
        Markup('')
    """
    if pictures is None:
        return Markup()
    html = (
        environment("molchord.evaluate")
        .get_template("pictures.html.j2")
        .render(
            pictures=pictures,
            space=_space(pictures),
            neighbourhoods=[
                {
                    "whole": near,
                    "svg": _drawn(near.smiles),
                    "structures": _cards(near.structures),
                    "spectra": [(name, near.own_rank.get(name), _cards(found)) for name, found in near.spectra.items()],
                }
                for near in pictures.neighbourhoods
            ],
            reliability=[(one, Markup(charts.reliability_chart(one))) for one in pictures.reliability],
            confusions=[_confusion(one) for one in pictures.confusions if one.wrong and one.lost.any()],
            curves=list(_curves(pictures.curves)),
        )
    )
    return Markup(html)


def _space(pictures: Pictures) -> dict[str, Any] | None:
    space = pictures.space
    if space is None:
        return None
    first, *others = space.numbers
    svg, keys = charts.number_map(space, first, joined=True, size=620)
    panels = []
    for name in others:
        picture, steps = charts.number_map(space, name)
        panels.append((name, Markup(picture), steps))
    panels += [(name, Markup(charts.group_map(space, name)), []) for name in space.groups]
    named = [*space.numbers, *space.groups]
    return {
        "whole": space,
        "title": first,
        "svg": Markup(svg),
        "keys": keys,
        "shapes": [(name, Markup(mark)) for name, mark in charts.shapes(space)],
        "panels": panels,
        "columns": [*named, *(f"{name}, {axis}" for name in ("molecule", *space.spectra) for axis in "xy")],
        "rows": [
            [
                *(_number({**space.numbers, **space.groups}[name][row]) for name in named),
                *(_number(part[row, axis]) for part in (space.molecules, *space.spectra.values()) for axis in (0, 1)),
            ]
            for row in range(len(space.key14))
        ],
    }


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.4g}"


def _cards(found: tuple[Neighbour, ...]) -> list[tuple[Neighbour, Markup]]:
    return [(one, _drawn(one.smiles)) for one in found]


def _drawn(smiles: str) -> Markup:
    try:
        return Markup(drawing(smiles, 170, 120))
    except SampleError:
        return Markup()


def _confusion(one: Confusion) -> dict[str, Any]:
    rows, columns = charts.shown_names(one)
    return {
        "whole": one,
        "svg": Markup(charts.confusion_chart(one)),
        "columns": [one.names[column] for column in columns],
        "rows": [
            (
                one.names[row],
                int(one.has[row]),
                int(one.wrong_has[row]),
                int(one.lost[row]),
                one.instead[row, columns].tolist(),
            )
            for row in rows
        ],
    }


def _curves(curves: tuple[Curve, ...]) -> Iterator[dict[str, Any]]:
    styles = {subset: index for index, subset in enumerate(dict.fromkeys(curve.subset for curve in curves))}
    for over in ("pool size", "noise"):
        of_it = [curve for curve in curves if curve.over == over and len(curve.at) > 1]
        if of_it:
            svgs = [(title, Markup(charts.curve_chart(of_it, name, title, styles))) for name, title in _METRICS.items()]
            yield {
                "over": over,
                "svgs": svgs,
                "keys": [(" + ".join(c.subset), Markup(charts.line_key(styles[c.subset]))) for c in of_it],
                "metrics": _METRICS,
                "curves": of_it,
            }
