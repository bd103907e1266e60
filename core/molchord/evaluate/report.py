"""One self-contained HTML page about a run: how it learned, how well it finds molecules, some searches to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from molchord.api import Measurement, PeaksBatch, PeaksSpec, Real, SampleError, SpectrumBatch, SpectrumSpec
from molchord.chem import drawing
from molchord.data.loader import sources
from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.evaluate.embedded import Embedded
from molchord.evaluate.pictures_page import pictures_page
from molchord.evaluate.results import Evaluation, Row, SplitAudit
from molchord.files import replace_file
from molchord.graph.drawing import as_svg
from molchord.model import pairs_of
from molchord.retrieval.scores import geometric_mean, scores
from molchord.run_folder import RunManifest

INK, QUIET, MARK, GRID = "#1d2733", "#5b6672", "#0b7a75", "#e4e8ec"
HITS = 5
BASELINES = {
    "random (expected)": "random",
    "mass alone": "mass alone *",
    "nearest training spectrum": "nearest training spectrum",
    "candidates only": "candidates only",
}
"""Baselines shown next to the model, and what the page calls them."""
BESIDE_LIBRARY = {"own": "own similarity", "peaks": "peak coincidence"}
"""Baselines shown next to library queries, by the name of their column."""


@dataclass(frozen=True, kw_only=True)
class ReportedQuery:
    """One held-out query of the report: its spectra as pictures, and its first hits."""

    title: str
    spectra: tuple[str, ...]
    rank: int
    pool: int
    hits: tuple[dict[str, Any], ...]
    truth: dict[str, Any]


def write_report(
    embedder: Embedder,
    manifest: RunManifest,
    dataset: DataSet,
    embedded: Embedded,
    indices: Mapping[str, Any],
    evaluation: Evaluation,
    path: Path,
    *,
    split: str = "test",
    examples: int = 6,
) -> None:
    """Write the report of a run.

    Args:
        embedder: The model.
        manifest: Of its run.
        dataset: The data set that was evaluated.
        embedded: It, embedded by the model.
        indices: Index in the modality's table of every row of ``embedded.spectra``.
        evaluation: What was measured.
        path: HTML file to write.
        split: The split whose molecules were queries.
        examples: Number of searches to show.
    """
    from jinja2 import Environment, StrictUndefined

    source = resources.files("molchord.evaluate").joinpath("report.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    metrics = _metrics(embedder.path / "metrics.jsonl")
    modelled = [r for r in evaluation.rows if r.system == "model"]
    shown = modelled[0].fusion if modelled else ""
    blind = [r for r in modelled if r.mode == "blind" and r.fusion == shown]
    library = [r for r in modelled if r.mode == "library" and r.fusion == shown]
    html = template.from_string(source).render(
        graph=embedder.graph,
        manifest=manifest,
        name=embedder.path.name,
        pairs=_pairs(manifest),
        drawing=as_svg(embedder.graph, pairs_of(embedder.graph)),
        curves=_curves(metrics) if metrics else "",
        pools=[_pool(evaluation, blind, pool) for pool in dict.fromkeys(r.pool for r in blind)],
        library=[
            {**_line(r), **{key: _beside(evaluation, r, system) for key, system in BESIDE_LIBRARY.items()}}
            for r in library
        ],
        fusion=shown,
        split=split,
        split_rule=evaluation.settings["split_rule"],
        consistency=evaluation.self_consistency,
        audit=None if evaluation.audit is None else _audit(evaluation.audit),
        notes=evaluation.notes,
        settings=evaluation.settings,
        searches=list(_searches(embedder, dataset, embedded, indices, split, examples)),
        table=evaluation.table(),
        pictures=pictures_page(evaluation.pictures),
    )
    replace_file(path, html)


# --- figures ---------------------------------------------------------------------------------------------------------


def _metrics(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _svg(figure: Figure, box: str | None = "tight") -> str:
    text = StringIO()
    figure.savefig(text, format="svg", bbox_inches=box, transparent=True, metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _axes(figure: Figure, *position: int, title: str, label: str) -> Any:
    axes = figure.add_subplot(*position)
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(label, fontsize=10, color=QUIET)
    axes.tick_params(labelsize=9.5, colors=QUIET, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    figure = Figure(figsize=(10, 2.8))
    epochs = [line["epoch"] for line in metrics]
    judged = [line for line in metrics if "val" in line]
    loss = _axes(figure, 1, 2, 1, title="Loss", label="epoch")
    loss.plot(epochs, [line["loss"] for line in metrics], color=INK, label="training")
    if judged:
        loss.plot([j["epoch"] for j in judged], [j["val"]["loss"] for j in judged], color=MARK, label="validation")
        loss.legend(frameon=False, fontsize=10, labelcolor=INK)
    if judged and "blind_mrr" in judged[0]["val"]:
        rank = _axes(figure, 1, 2, 2, title="Mean reciprocal rank of blind validation queries", label="epoch")
        rank.plot([j["epoch"] for j in judged], [j["val"]["blind_mrr"] for j in judged], color=MARK, marker="o", ms=3)
        rank.set_ylim(0, 1)
    figure.tight_layout()
    return _svg(figure)


def _bars(rows: Sequence[Row]) -> str:
    figure = Figure(figsize=(9, 0.34 * len(rows) + 0.9))
    axes = _axes(figure, 1, 1, 1, title="", label="molecules found, %")
    for place, row in enumerate(reversed(rows)):
        top1, top10 = row.metrics["top1"], row.metrics["top10"]
        low, high = 100 * (top1.value - top1.low), 100 * (top1.high - top1.value)
        first = place == 0
        axes.barh(place, 100 * top1.value, color=MARK, alpha=0.55, height=0.6, label="Top-1" if first else None)
        axes.errorbar(
            100 * top1.value, place, xerr=[[max(low, 0)], [max(high, 0)]], fmt="none", ecolor=INK, elinewidth=1.4,
            capsize=3, label="95 % interval" if first else None,
        )  # fmt: skip
        axes.plot(
            100 * top10.value, place, "D", color=INK, markersize=5, clip_on=False, label="Top-10" if first else None
        )
    axes.set_yticks(range(len(rows)), [" + ".join(row.subset) for row in reversed(rows)], color=INK)
    axes.set_xlim(0, 100)
    axes.grid(visible=False, axis="y")
    order = {"Top-1": 0, "95 % interval": 1, "Top-10": 2}
    entries = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda entry: order[entry[1]])
    axes.legend(
        [handle for handle, _ in entries], [label for _, label in entries], loc="lower left", ncols=3, frameon=False,
        bbox_to_anchor=(0, 1), borderaxespad=0.2, borderpad=0, fontsize=10, labelcolor=INK,
    )  # fmt: skip
    return _svg(figure)


def _pool(evaluation: Evaluation, blind: Sequence[Row], pool: str) -> dict[str, Any]:
    rows = [row for row in blind if row.pool == pool]
    beside = {
        (other.system, other.subset): f"{100 * other.metrics['top1'].value:.1f}"
        for other in evaluation.rows
        if other.pool == pool and other.system in BASELINES and other.mode == ""
    }
    systems = [system for system in BASELINES if any(system == name for name, _ in beside)]
    sizes = sorted({round(row.pool_size) for row in rows})
    return {
        "name": pool,
        "size": " to ".join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1]))),
        "bars": _bars(rows),
        "baselines": [BASELINES[system] for system in systems],
        "lines": [
            {**_line(row), "baselines": [beside.get((system, row.subset), "-") for system in systems]} for row in rows
        ],
    }


def _beside(evaluation: Evaluation, row: Row, system: str) -> str:
    """Return the Top-1 of a baseline of library mode next to a row of library queries."""
    for other in evaluation.rows:
        if (other.system, other.subset, other.pool) == (system, row.subset, row.pool):
            return f"{100 * other.metrics['top1'].value:.1f}"
    return "-"


def _audit(audit: SplitAudit) -> dict[str, Any]:
    near = list(dict.fromkeys(name for bins in audit.top1_by_nearest.values() for name in bins))
    return {
        "overlap": audit.overlap,
        "tautomers": audit.tautomers,
        "unchecked": audit.tautomers_unchecked,
        "unknown": audit.unknown,
        "bins": near,
        "lines": [
            (subset, [f"{100 * bins[n][1]:.1f} of {bins[n][0]}" if n in bins and bins[n][0] else "-" for n in near])
            for subset, bins in audit.top1_by_nearest.items()
        ],
    }


def _line(row: Row) -> dict[str, Any]:
    def percent(metric: str) -> tuple[str, str]:
        figure = row.metrics[metric]
        return f"{100 * figure.value:.1f}", f"[{100 * figure.low:.1f}, {100 * figure.high:.1f}]"

    several = f" ({row.queries} queries)" if row.queries != row.molecules else ""
    return {
        "query": " + ".join(row.subset) + (" *" if row.with_mass else ""),
        "pool": row.pool,
        "molecules": f"{row.molecules}{several}",
        "top": [percent(metric) for metric in ("top1", "top5", "top10", "top25")],
        "mrr": f"{row.metrics['mrr'].value:.3f}",
    }


def _pairs(manifest: RunManifest) -> list[tuple[str, int]]:
    return [
        ("all" if name == "molecules" else name.replace("+", " + "), count)
        for name, count in manifest.molecules.items()
    ]


# --- searches to look at ---------------------------------------------------------------------------------------------


def _searches(
    embedder: Embedder, dataset: DataSet, embedded: Embedded, indices: Mapping[str, Any], split: str, examples: int
) -> Iterator[ReportedQuery]:
    """Search with every spectrum of some held-out molecules, those with the most spectra first."""
    opened = sources(embedder.graph, embedder.modalities, dataset, missing="empty")
    first = {
        name: dict(zip(part.molecule[::-1].tolist(), range(len(part.molecule) - 1, -1, -1), strict=True))
        for name, part in embedded.spectra.items()
    }
    queried = np.flatnonzero(embedded.in_split(split) & embedded.present)
    richness = np.array([sum(int(row) in rows for rows in first.values()) for row in queried])
    shuffled = np.random.default_rng(0).permutation(len(queried))
    order = shuffled[np.argsort(-richness[shuffled], kind="stable")]
    pool = torch.from_numpy(np.flatnonzero(embedded.present))
    for row in queried[order][:examples].tolist():
        names = [name for name, rows in first.items() if row in rows]
        if not names:
            return
        vectors = {name: embedded.spectra[name].vectors[first[name][row]][None] for name in names}
        values = scores(vectors, embedded.candidates[pool], tau=embedded.tau)[0]
        best = torch.argsort(values, descending=True)[:HITS]
        truth = int((pool == row).nonzero())
        tau = [(embedded.tau or {}).get(name, 1.0) for name in names]
        pictures = []
        for name in names:
            measurement = opened[name].table.read(int(indices[name][first[name][row]]))
            pictures.append(_spectrum(embedder, name, measurement))
        yield ReportedQuery(
            title=f"{_subscript(embedded.formula[row])}, from {' + '.join(names)}",
            spectra=tuple(pictures),
            rank=int((values >= values[truth] - 1e-6).sum()),
            pool=len(pool),
            hits=tuple(_hit(embedded, int(pool[i]), float(values[i]), tau, row) for i in best),
            truth=_hit(embedded, row, float(values[truth]), tau, row),
        )


def _hit(embedded: Embedded, row: int, value: float, tau: Sequence[float], truth: int) -> dict[str, Any]:
    return {
        "smiles": embedded.smiles[row],
        "formula": _subscript(embedded.formula[row]),
        "score": f"{geometric_mean(value, fusion='gm-exp', tau=tau):.3g}",
        "right": row == truth,
        "svg": drawing(embedded.smiles[row]),
    }


def _subscript(formula: str) -> str:
    return formula.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _spectrum(embedder: Embedder, name: str, measurement: Measurement) -> str:
    """Draw a measurement as its encoder gets it, whatever the modality: by its kind alone."""
    modality, spec = embedder.modalities[name], embedder.graph.modalities[name].spec
    try:
        batch = modality.prepare(modality.collate([modality.transform(measurement, None)]), None)
    except SampleError:
        return ""
    figure = Figure(figsize=(3.6, 1.7))
    unit = spec.unit.replace("^-1", "⁻¹") if isinstance(spec, (SpectrumSpec, PeaksSpec)) else ""
    axes = _axes(figure, 1, 1, 1, title=name, label=unit)
    figure.subplots_adjust(left=0.02, right=0.96, bottom=0.28, top=0.86)  # alike, so that they line up
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=5, steps=[1, 2, 5, 10])
    if isinstance(batch, SpectrumBatch) and isinstance(spec, SpectrumSpec):
        axes.plot(np.linspace(spec.start, spec.stop, spec.points), batch.values[0, 0].numpy(), color=INK, linewidth=1)
        axes.set_xlim(spec.start, spec.stop)
    elif isinstance(batch, PeaksBatch) and isinstance(spec, PeaksSpec):
        numbers = [column for column, kind in spec.peak.items() if isinstance(kind, Real)]
        place = batch.peak[numbers[0]][0][batch.mask[0]].numpy()
        height = batch.peak[numbers[1]][0][batch.mask[0]].numpy() if len(numbers) > 1 else np.ones(len(place))
        axes.vlines(place, 0, height, color=INK, linewidth=1.5)
        axes.set_ylim(0, None)
        axes.set_xlim(*_padded(place))
    else:
        return ""
    return _svg(figure, None)


def _padded(places: Any) -> tuple[float, float]:
    """Return limits around peaks that do not magnify a lone one."""
    low, high = float(places.min()), float(places.max())
    margin = max(5.0, 0.05 * (high - low), (40.0 - (high - low)) / 2)
    return low - margin, high + margin
