"""Answers as one self-contained page: each sample's spectra and structures, none of these as a card, what to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from molchord.embedder import Embedder
from molchord.files import replace_file
from molchord.identify.answers import Answer, Identified
from molchord.identify.measured import measured_for
from molchord.identify.pictures import Pictured
from molchord.library.hits import Hit, none_before
from molchord.look.structures import structure_svgs
from molchord.look.templates import environment
from molchord.look.words import titled, titles
from molchord.run_folder import RunManifest

__all__ = ["PICTURED", "write_page"]

PICTURED = 300
"""Samples of a report whose spectra are drawn."""

CARDS, FEWER_CARDS, MANY = 10, 3, 60
"""Hits of a sample that are drawn as cards; the same in a report of many samples; how many that is."""

FAR = 1000.0
"""Deviation of a mass in ppm from which on it says nothing."""

REPEATED = 3
"""Samples with the same advice, from which on it is said once for all."""


def write_page(
    found: Identified,
    path: Path,
    *,
    title: str,
    embedder: Embedder,
    manifest: RunManifest,
    pictures: Mapping[str, Pictured] | None = None,
) -> None:
    """Write the page.

    Args:
        found: The answers.
        path: HTML file to write.
        title: What the page is called.
        embedder: The model.
        manifest: Of its run.
        pictures: What to show of the spectra of samples, by sample.

    Raises:
        OutputError: It cannot be written.
    """
    pictures = pictures or {}
    names = titles(embedder.graph)
    cards = CARDS if len(found.answers) <= MANY else FEWER_CARDS
    sections = [
        _section(number, answer, pictures.get(answer.sample), names, cards)
        for number, answer in enumerate(found.answers, start=1)
    ]
    common = _common(sections)
    combinations = Counter(one.modalities for one in pictures.values())
    html = environment("molchord.identify").get_template("identify.html.j2").render(
        title=title,
        notes=found.notes,
        failures=found.failures,
        sections=sections,
        common=common,
        undrawn=sum(answer.sample not in pictures for answer in found.answers),
        run=embedder.path.name,
        measured=[
            {"row": row, "spectra": " + ".join(names.get(name, name) for name in row.spectra)}
            for row in measured_for(embedder.path, combinations)
        ],
        trained=_trained(manifest, list(dict.fromkeys(name for one in combinations for name in one)), names),
        version=manifest.molchord,
    )  # fmt: skip
    replace_file(path, html)


def _section(
    number: int, answer: Answer, shown: Pictured | None, names: Mapping[str, str], most: int
) -> dict[str, Any]:
    first = answer.hits[0] if answer.hits else None
    sure = None if first is None else first.probability
    none = answer.none_of_these
    cards = answer.hits[:most]
    drawings = structure_svgs([hit.smiles for hit in cards])
    asked = answer.asked.get("mass")

    def proper(text: str) -> str:
        return _proper(text, names)

    return {
        "id": f"sample-{number}",
        "sample": answer.sample,
        "read": [*map(proper, answer.read), *(() if shown is None else shown.done)],
        "asked": ", ".join(_asked(name, value) for name, value in answer.asked.items()),
        "candidates": answer.candidates,
        "spectra": "" if shown is None else " + ".join(names[name] for name in shown.modalities),
        "best": "" if first is None else first.name or first.smiles,
        "is_smiles": first is not None and not first.name,
        "sure": sure,
        "none": none,
        "none_first": none_before(none, sure),
        # What is said of none has a card of its own.
        "advice": [proper(line) for line in answer.summary if not line.startswith("none of these")]
        + [proper(line) for line in answer.warnings],
        "only": answer.candidates == 1 and not answer.uncalibrated,
        "cards": [(_hit(hit, answer, asked, proper), Markup(svg)) for hit, svg in zip(cards, drawings, strict=True)],
        "others": [_hit(hit, answer, asked, proper) for hit in answer.hits[most:]],
        "figures": [] if shown is None else [(title, Markup(svg), said) for title, svg, said in shown.figures],
        "reasons": () if shown is None else shown.reasons,
    }


def _common(sections: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    """Take out of the sections the advice that many samples have, which is said once, and return it with how many."""
    counts = Counter(line for one in sections for line in dict.fromkeys(one["advice"]))
    many = {line: count for line, count in counts.items() if count >= REPEATED}
    for one in sections:
        one["advice"] = [line for line in one["advice"] if line not in many]
    return [(count, line) for line, count in many.items()]


def _hit(hit: Hit, answer: Answer, asked: float | None, proper: Any) -> dict[str, Any]:
    return {
        "rank": hit.rank,
        "name": hit.name,
        "smiles": hit.smiles,
        "formula": hit.formula,
        "mass": hit.exact_mass,
        "deviation_ppm": _deviation(hit.exact_mass, asked),
        "probability": hit.probability,
        "warnings": [proper(one) for one in hit.quality_warnings if one not in answer.warnings],
        "columns": hit.columns,
        "merged": hit.merged,
        "reference": hit.reference,
        "svg": "",
        "agreement": [(proper(f"{name}: "), value) for name, value in hit.cosines.items()],
    }


def _asked(name: str, value: Any) -> str:
    """Say what was known of a sample besides its spectra."""
    said = str(value).removesuffix(".0")
    known = {"mass": f"mass {said} Da", "ppm": f"within {said} ppm", "da": f"within {said} Da"}
    return known.get(name, f"{name} {said}")


def _deviation(mass: float, asked: float | None) -> float | None:
    """Return by how many ppm a mass is beside the one asked for; None where it is nowhere near, or none was."""
    found = None if asked is None else 1e6 * (mass - asked) / asked
    return found if found is not None and abs(found) < FAR else None


def _proper(text: str, names: Mapping[str, str]) -> str:
    """Return a sentence in which the modalities of a graph have their proper names."""
    start = re.match(r"(\w+): ", text)
    if start is not None and start[1] in names:
        text = f"{names[start[1]]}: {text[start.end() :]}"
    return titled(text, names)


def _trained(manifest: RunManifest, asked: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Say what the model was trained and calibrated on, for each technique that was asked with."""
    lines = []
    for name in asked:
        line = f"{names[name]}: "
        if name in manifest.molecules:
            line += f"trained on spectra of {manifest.molecules[name]:,} molecules"
        domain = manifest.domain.get(name)
        if domain is not None:
            few, many = domain.heavy_atoms
            line += f" of {few} to {many} heavy atoms ({', '.join(sorted(domain.elements))})"
        if name in manifest.calibrated_on:
            line += f"; probabilities calibrated on {manifest.calibrated_on[name]} spectra"
        lines.append(line)
    return lines
