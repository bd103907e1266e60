"""The answers of a batch as one self-contained page: a section per sample, none of these as a row of its own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from molchord.chem import drawing
from molchord.errors import SampleError
from molchord.files import replace_file
from molchord.identify.answers import Answer, Identified
from molchord.library.hits import Hit

__all__ = ["write_page"]


def write_page(found: Identified, path: Path, *, title: str) -> None:
    """Write the page.

    Raises:
        OutputError: It cannot be written.
    """
    from jinja2 import Environment, StrictUndefined

    source = resources.files("molchord.identify").joinpath("report.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    html = template.from_string(source).render(
        title=title,
        notes=found.notes,
        failures=found.failures,
        sections=[_section(number, answer) for number, answer in enumerate(found.answers, start=1)],
    )
    replace_file(path, html)


def _section(number: int, answer: Answer) -> dict[str, Any]:
    first = answer.hits[0] if answer.hits else None
    none = answer.none_of_these
    return {
        "id": f"sample-{number}",
        "sample": answer.sample,
        "read": answer.read,
        "asked": "; ".join(f"{name} {value}" for name, value in answer.asked.items()),
        "candidates": f"{answer.candidates:,}",
        "best": "" if first is None else first.name or first.smiles,
        "sure": "" if first is None else _percent(first.probability),
        "none": None if none is None else _percent(none),
        "none_width": 0 if none is None else round(100 * none, 2),
        # What is said of none stands in its own row.
        "summary": [line for line in answer.summary if not line.startswith("none of these")],
        "only": answer.candidates == 1 and not answer.uncalibrated,
        "warnings": answer.warnings,
        "hits": [_hit(hit, answer) for hit in answer.hits],
    }


def _hit(hit: Hit, answer: Answer) -> dict[str, Any]:
    try:
        picture = drawing(hit.smiles, 180, 120)
    except SampleError:
        picture = ""
    return {
        "rank": hit.rank,
        "picture": picture,
        "name": hit.name,
        "merged": ", ".join(hit.merged),
        "smiles": hit.smiles,
        "formula": hit.formula,
        "mass": f"{hit.exact_mass:.4f}",
        "chance": _percent(hit.probability),
        "width": 0 if hit.probability is None else round(100 * hit.probability, 2),
        "cosines": ", ".join(f"{name} {value:.2f}" for name, value in hit.cosines.items()),
        "columns": [(title, value) for title, value in hit.columns.items()],
        "warnings": [one for one in hit.quality_warnings if one not in answer.warnings],
    }


def _percent(value: float | None) -> str:
    return "not calibrated" if value is None else f"{100 * value:.1f} %"
