"""What a report shows of a sample's spectra: each drawn once, beside a reference and with the parts that decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from molchord.api import CleaningStep, Measurement, Trace
from molchord.clean_up import recorded, step_text
from molchord.embedder import Embedder
from molchord.errors import MolchordError
from molchord.explain.reasons import Explanation, Reason, explain, stored_spectra, trace_of
from molchord.library.hits import Hit
from molchord.look.spectra import SHADED, shades, spectrum_svg
from molchord.look.words import titles, unit
from molchord.references import References
from molchord.run_folder import RunManifest

__all__ = ["Pictured", "pictured"]

MOST_SPECTRA = 12
"""Spectra of a sample that are drawn."""


@final
@dataclass(frozen=True, kw_only=True)
class Pictured:
    """The spectra of a sample, for a report.

    Attributes:
        modalities: Names of what was measured.
        figures: Title, SVG text and caption of each drawing.
        done: What was done to the spectra, a sentence each.
        reasons: Which parts decide for the first hit, a sentence each.
    """

    modalities: tuple[str, ...]
    figures: tuple[tuple[str, str, str], ...] = ()
    done: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


def pictured(
    embedder: Embedder,
    manifest: RunManifest,
    spectra: Mapping[str, Sequence[Measurement]],
    hits: Sequence[Hit],
    *,
    before: Mapping[str, Sequence[Measurement]] | None = None,
    steps: Mapping[str, Sequence[CleaningStep]] | None = None,
    references: References | None = None,
    mass: float | None = None,
    why: bool = False,
) -> Pictured:
    """Draw the spectra of a sample.

    Args:
        embedder: The model.
        manifest: Of its run.
        spectra: Measurements by modality, as they were searched with.
        hits: What was found, the best first.
        before: The measurements before clean-up.
        steps: Of clean-up, by modality.
        references: Measurements of known molecules: one of the first hit is drawn below the sample's.
        mass: Exact mass in Da that was searched with.
        why: Shade what speaks for the first hit, which takes a second or two.
    """
    names, before, steps = titles(embedder.graph), before or {}, steps or {}
    reference = _reference(embedder, hits, references, list(spectra))
    explained = _explained(embedder, manifest, spectra, hits, mass) if why and hits else None
    figures: list[tuple[str, str, str]] = []
    for name, measurements in spectra.items():
        raw_ones = before.get(name, ())
        for number, measurement in enumerate(measurements):
            trace = trace_of(embedder.modalities[name], measurement)
            if trace is None or len(figures) == MOST_SPECTRA:
                continue
            raw = trace_of(embedder.modalities[name], raw_ones[number]) if number < len(raw_ones) else None
            below = reference.get(name)
            said = [] if explained is None or number else explained.first(name, SHADED)
            title = names[name] if len(measurements) == 1 else f"{names[name]}, {number + 1} of {len(measurements)}"
            picture = spectrum_svg(
                trace, below=below, shaded=shades(said), raw=raw, title=title,
                legend=("this sample", f"reference of {hits[0].name or hits[0].formula}") if below else ("", ""),
            )  # fmt: skip
            figures.append((title, picture, _caption(hits, raw, below, bool(said))))
    return Pictured(
        modalities=tuple(spectra),
        figures=tuple(figures),
        done=tuple(
            f"{names[name]}: cleaned up by "
            + ", ".join(step_text(step) for step in recorded(embedder.modalities[name], own))
            for name, own in steps.items()
            if own and name in spectra
        ),
        reasons=() if explained is None else tuple(_sentences(explained, names)),
    )


def _reference(
    embedder: Embedder, hits: Sequence[Hit], references: References | None, names: Sequence[str]
) -> dict[str, Trace]:
    if references is None or not hits:
        return {}
    found = stored_spectra(embedder, references.dataset, hits[0].key14, names)
    drawn = {name: trace_of(embedder.modalities[name], one) for name, one in found.items()}
    return {name: trace for name, trace in drawn.items() if trace is not None}


def _explained(
    embedder: Embedder,
    manifest: RunManifest,
    spectra: Mapping[str, Sequence[Measurement]],
    hits: Sequence[Hit],
    mass: float | None,
) -> Explanation | None:
    """Explain the first hit; a spectrum that cannot be explained leaves the report without the reasons."""
    try:
        return explain(embedder, manifest, hits, {name: list(own) for name, own in spectra.items()}, mass=mass)
    except MolchordError:
        return None


def _caption(hits: Sequence[Hit], raw: Trace | None, below: Trace | None, shaded: bool) -> str:
    said = []
    if raw is not None:
        said.append("pale: before clean-up")
    if below is not None:
        said.append("below the line: a spectrum of candidate 1")
    if shaded:
        said.append("shaded: what speaks most for candidate 1")
    return "; ".join(said)


def _sentences(explained: Explanation, names: Mapping[str, str]) -> list[str]:
    lines = []
    for name in explained.reasons:
        found = explained.first(name, SHADED)
        if found:
            lines.append(f"{names[name]}: for candidate 1 speak most {', '.join(map(_part, found))}")
        contrary = explained.first(name, SHADED, against=True)
        if contrary:
            lines.append(f"{names[name]}: against it speak {', '.join(map(_part, contrary))}")
    return lines


def _part(reason: Reason) -> str:
    return unit(reason.window.name) + (f" ({reason.notes[0]})" if reason.notes else "")
