"""How things are called on paper: techniques by their proper names, numbers with their units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from molchord.errors import PluginError
from molchord.graph import ModelGraph
from molchord.host import installed

__all__ = ["formula", "modality_title", "percent", "ppm", "titled", "titles", "unit"]

_LOWERED, _RAISED = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"), str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def titles(graph: ModelGraph) -> dict[str, str]:
    """Return what each modality of a graph is called, by its name there; the name follows where two have one title."""
    found = {name: _filled(node.record.title, node.where) or _plain(name) for name, node in graph.modalities.items()}
    several = [title for title in found.values() if [*found.values()].count(title) > 1]
    return {name: f"{title} ({_plain(name)})" if title in several else title for name, title in found.items()}


def modality_title(name: str) -> str:
    """Return what an installed modality is called; a name that no plugin has is its own title, without underscores.

    Example:
        >>> modality_title("a_technique_of_tomorrow")
        'a technique of tomorrow'
    """
    try:
        title = _filled(installed().modality(name).title, {})
    except PluginError:
        title = ""
    return title or _plain(name)


def titled(text: str, names: Mapping[str, str]) -> str:
    """Return a sentence with modalities by their titles in place of their quoted names.

    Example:
        >>> titled("'ir' contradicts 'msms', not 'other'", {"ir": "IR", "msms": "MS/MS"})
        "IR contradicts MS/MS, not 'other'"
    """
    return re.sub(r"'(\w+)'", lambda quoted: names.get(quoted[1], quoted[0]), text)


def _filled(title: str, where: Mapping[str, Any]) -> str:
    """Put in place of each ``{column}`` what is asked of it, the mass number of a nucleus raised; nothing else."""

    def said(column: re.Match[str]) -> str:
        value = where.get(column[1], "")
        return (
            re.sub(r"^\d+(?=[A-Z])", lambda mass: mass[0].translate(_RAISED), value) if isinstance(value, str) else ""
        )

    return " ".join(re.sub(r"\{(\w+)\}", said, title).split())


def _plain(name: str) -> str:
    return name.replace("_", " ")


def percent(value: float) -> str:
    """Return a probability in percent; never quite none or all.

    Example:
        >>> percent(0.634), percent(0.9999), percent(1e-9)
        ('63.4 %', '> 99.9 %', '< 0.1 %')
    """
    if value > 0.999:
        return "> 99.9 %"
    return "< 0.1 %" if value < 0.001 else f"{100 * value:.1f} %"


def ppm(value: float) -> str:
    """Return a deviation of a mass, with its sign.

    Example:
        >>> ppm(-1.234), ppm(25000.0)
        ('-1.2 ppm', '+25,000 ppm')
    """
    return f"{value:+,.1f} ppm" if abs(value) < 1000 else f"{value:+,.0f} ppm"


def formula(text: str) -> str:
    """Return a sum formula with its numbers lowered.

    Example:
        >>> formula("C8H9NO2")
        'C₈H₉NO₂'
    """
    return text.translate(_LOWERED)


def unit(text: str) -> str:
    """Return a unit, or a title that has one, with its exponents raised.

    Example:
        >>> unit("wavenumber / cm^-1")
        'wavenumber / cm⁻¹'
    """
    return re.sub(r"\^(-?\d+)", lambda power: power[1].translate(_RAISED), text)
