"""One self-contained HTML page about a run: how it learned, how well it finds molecules, some searches to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure

from molchord.api import (
    Measurement,
    PeaksBatch,
    PeaksSpec,
    Real,
    SampleError,
    SpectrumBatch,
    SpectrumSpec,
    Trace,
)
from molchord.data.loader import sources
from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.evaluate.common import in_common
from molchord.evaluate.embedded import Embedded
from molchord.evaluate.pictures_page import pictures_page
from molchord.evaluate.results import Evaluation, Row, SplitAudit
from molchord.explain.reasons import trace_of
from molchord.files import replace_file
from molchord.graph.drawing import as_svg
from molchord.look.charts import LIGHT_GRID, LIGHT_INK, LIGHT_MARK, LIGHT_QUIET, chart_svg, themed
from molchord.look.spectra import spectrum_svg
from molchord.look.structures import structure_svgs
from molchord.look.templates import environment
from molchord.look.words import formula, titles
from molchord.model import pairs_of
from molchord.retrieval.metrics import Interval
from molchord.retrieval.scores import geometric_mean, scores
from molchord.run_folder import RunManifest

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
    spectra: tuple[tuple[str, str], ...]
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
    names = titles(embedder.graph)
    metrics = _metrics(embedder.path / "metrics.jsonl")
    modelled = [r for r in evaluation.rows if r.system == "model"]
    shown = modelled[0].fusion if modelled else ""
    blind = [r for r in modelled if r.mode == "blind" and r.fusion == shown]
    library = [r for r in modelled if r.mode == "library" and r.fusion == shown]
    html = environment("molchord.evaluate").get_template("evaluation.html.j2").render(
        graph=embedder.graph,
        manifest=manifest,
        name=embedder.path.name,
        titles=names,
        pairs=_pairs(manifest, names),
        drawing=Markup(themed(as_svg(embedder.graph, pairs_of(embedder.graph)))),
        curves=Markup(_curves(metrics)) if metrics else "",
        pools=[_pool(evaluation, blind, pool, names) for pool in dict.fromkeys(r.pool for r in blind)],
        library=[
            {**_line(r, names), **{key: _beside(evaluation, r, system) for key, system in BESIDE_LIBRARY.items()}}
            for r in library
        ],
        library_common=[_common(rows, names) for rows in _by_pool(library)],
        fusion=shown,
        split=split,
        split_rule=evaluation.settings["split_rule"],
        consistency={_named(label.split(" + "), names): v for label, v in evaluation.self_consistency.items()},
        audit=None if evaluation.audit is None else _audit(evaluation.audit, names),
        notes=evaluation.notes,
        settings=evaluation.settings,
        searches=list(_searches(embedder, dataset, embedded, indices, split, examples)),
        table=evaluation.table(),
        pictures=pictures_page(evaluation.pictures),
    )  # fmt: skip
    replace_file(path, html)


# --- figures ---------------------------------------------------------------------------------------------------------


def _metrics(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _axes(figure: Figure, *position: int, title: str, label: str) -> Any:
    axes = figure.add_subplot(*position)
    axes.set_title(title, loc="left", fontsize=11, color=LIGHT_INK)
    axes.set_xlabel(label, fontsize=10, color=LIGHT_QUIET)
    axes.tick_params(labelsize=9.5, colors=LIGHT_QUIET, length=0)
    axes.grid(color=LIGHT_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    figure = Figure(figsize=(10, 2.8))
    epochs = [line["epoch"] for line in metrics]
    judged = [line for line in metrics if "val" in line]
    loss = _axes(figure, 1, 2, 1, title="Loss", label="epoch")
    loss.plot(epochs, [line["loss"] for line in metrics], color=LIGHT_INK, label="training")
    if judged:
        loss.plot(
            [j["epoch"] for j in judged], [j["val"]["loss"] for j in judged], color=LIGHT_MARK, label="validation"
        )
        loss.legend(frameon=False, fontsize=10, labelcolor=LIGHT_INK)
    if judged and "blind_mrr" in judged[0]["val"]:
        rank = _axes(figure, 1, 2, 2, title="Mean reciprocal rank of blind validation queries", label="epoch")
        rank.plot(
            [j["epoch"] for j in judged], [j["val"]["blind_mrr"] for j in judged], color=LIGHT_MARK, marker="o", ms=3
        )
        rank.set_ylim(0, 1)
    figure.tight_layout()
    return chart_svg(figure, label="loss and validation by epoch")


def _bars(rows: Sequence[Row], names: Mapping[str, str]) -> str:
    figure = Figure(figsize=(9, 0.34 * len(rows) + 0.9))
    axes = _axes(figure, 1, 1, 1, title="", label="molecules found, %")
    for place, row in enumerate(reversed(rows)):
        top1, top10 = row.metrics["top1"], row.metrics["top10"]
        low, high = 100 * (top1.value - top1.low), 100 * (top1.high - top1.value)
        first = place == 0
        axes.barh(place, 100 * top1.value, color=LIGHT_MARK, alpha=0.55, height=0.6, label="Top-1" if first else None)
        axes.errorbar(
            100 * top1.value, place, xerr=[[max(low, 0)], [max(high, 0)]], fmt="none", ecolor=LIGHT_INK, elinewidth=1.4,
            capsize=3, label="95 % interval" if first else None,
        )  # fmt: skip
        axes.plot(
            100 * top10.value,
            place,
            "D",
            color=LIGHT_INK,
            markersize=5,
            clip_on=False,
            label="Top-10" if first else None,
        )
    axes.set_yticks(range(len(rows)), [_named(row.subset, names) for row in reversed(rows)], color=LIGHT_INK)
    axes.set_xlim(0, 100)
    axes.grid(visible=False, axis="y")
    order = {"Top-1": 0, "95 % interval": 1, "Top-10": 2}
    entries = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda entry: order[entry[1]])
    axes.legend(
        [handle for handle, _ in entries], [label for _, label in entries], loc="lower left", ncols=3, frameon=False,
        bbox_to_anchor=(0, 1), borderaxespad=0.2, borderpad=0, fontsize=10, labelcolor=LIGHT_INK,
    )  # fmt: skip
    return chart_svg(figure, label="molecules found by each set of spectra, which the table below has as numbers")


def _named(subset: Sequence[str], names: Mapping[str, str]) -> str:
    return " + ".join(names.get(name, name) for name in subset)


def _by_pool(rows: Sequence[Row]) -> list[list[Row]]:
    return [[row for row in rows if row.pool == pool] for pool in dict.fromkeys(row.pool for row in rows)]


def _common(rows: Sequence[Row], names: Mapping[str, str]) -> dict[str, Any]:
    """Return what rows of different molecules are on those that they have in common."""
    groups = [
        {
            "molecules": group.molecules,
            "lines": [{"query": _named(subset, names), "top": _tops(metrics)} for subset, metrics in group.lines],
        }
        for group in in_common(rows)
    ]
    differ = len({row.by_molecule[0].tobytes() for row in rows}) > 1
    return {"groups": groups, "differ": differ, "pool": rows[0].pool if rows else ""}


def _pool(evaluation: Evaluation, blind: Sequence[Row], pool: str, names: Mapping[str, str]) -> dict[str, Any]:
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
        "bars": Markup(_bars(rows, names)),
        "common": _common(rows, names),
        "baselines": [BASELINES[system] for system in systems],
        "lines": [
            {**_line(row, names), "baselines": [beside.get((system, row.subset), "-") for system in systems]}
            for row in rows
        ],
    }


def _beside(evaluation: Evaluation, row: Row, system: str) -> str:
    """Return the Top-1 of a baseline of library mode next to a row of library queries."""
    for other in evaluation.rows:
        if (other.system, other.subset, other.pool) == (system, row.subset, row.pool):
            return f"{100 * other.metrics['top1'].value:.1f}"
    return "-"


def _audit(audit: SplitAudit, names: Mapping[str, str]) -> dict[str, Any]:
    near = list(dict.fromkeys(name for bins in audit.top1_by_nearest.values() for name in bins))
    return {
        "overlap": audit.overlap,
        "tautomers": audit.tautomers,
        "unchecked": audit.tautomers_unchecked,
        "unknown": audit.unknown,
        "bins": near,
        "lines": [
            (
                _named(subset.split(" + "), names),
                [f"{100 * bins[n][1]:.1f} of {bins[n][0]}" if n in bins and bins[n][0] else "-" for n in near],
            )
            for subset, bins in audit.top1_by_nearest.items()
        ],
    }


def _line(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    several = f" ({row.queries} queries)" if row.queries != row.molecules else ""
    return {
        "query": _named(row.subset, names) + (" *" if row.with_mass else ""),
        "pool": row.pool,
        "molecules": f"{row.molecules}{several}",
        "top": _tops(row.metrics),
        "mrr": f"{row.metrics['mrr'].value:.3f}",
    }


def _tops(metrics: Mapping[str, Interval]) -> list[tuple[str, str]]:
    """Return shares in percent with their intervals."""
    found = [metrics[name] for name in ("top1", "top5", "top10", "top25")]
    return [(f"{100 * one.value:.1f}", f"[{100 * one.low:.1f}, {100 * one.high:.1f}]") for one in found]


def _pairs(manifest: RunManifest, names: Mapping[str, str]) -> list[tuple[str, int]]:
    return [
        ("all" if name == "molecules" else _named(name.split("+"), names), count)
        for name, count in manifest.molecules.items()
    ]


# --- searches to look at ---------------------------------------------------------------------------------------------


def _searches(
    embedder: Embedder, dataset: DataSet, embedded: Embedded, indices: Mapping[str, Any], split: str, examples: int
) -> Iterator[ReportedQuery]:
    """Search with every spectrum of some held-out molecules, those with the most spectra first."""
    proper = titles(embedder.graph)
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
            trace = _trace(embedder, name, measurement)
            if trace is not None:
                pictures.append((proper[name], Markup(spectrum_svg(trace, title=proper[name]))))
        found = [int(pool[i]) for i in best]
        drawings = structure_svgs([embedded.smiles[i] for i in found])
        yield ReportedQuery(
            title=f"{formula(embedded.formula[row])}, from {_named(names, proper)}",
            spectra=tuple(pictures),
            rank=int((values >= values[truth] - 1e-6).sum()),
            pool=len(pool),
            hits=tuple(
                {**_hit(embedded, i, float(value), tau, row), "svg": Markup(svg)}
                for i, value, svg in zip(found, values[best].tolist(), drawings, strict=True)
            ),
            truth=_hit(embedded, row, float(values[truth]), tau, row),
        )


def _hit(embedded: Embedded, row: int, value: float, tau: Sequence[float], truth: int) -> dict[str, Any]:
    return {
        "smiles": embedded.smiles[row],
        "formula": embedded.formula[row],
        "score": f"{geometric_mean(value, fusion='gm-exp', tau=tau):.3g}",
        "right": row == truth,
    }


def _trace(embedder: Embedder, name: str, measurement: Measurement) -> Trace | None:
    """Return what a measurement looks like: as its modality draws it, or else as its encoder gets it."""
    modality, spec = embedder.modalities[name], embedder.graph.modalities[name].spec
    drawn = trace_of(modality, measurement)
    if drawn is not None:
        return drawn
    try:
        batch = modality.prepare(modality.collate([modality.transform(measurement, None)]), None)
    except SampleError:
        return None
    if isinstance(batch, SpectrumBatch) and isinstance(spec, SpectrumSpec):
        place = np.linspace(spec.start, spec.stop, spec.points)
        return Trace(position=place, height=batch.values[0, 0].numpy(), axis=spec.unit, scale="")
    if isinstance(batch, PeaksBatch) and isinstance(spec, PeaksSpec):
        numbers = [column for column, kind in spec.peak.items() if isinstance(kind, Real)]
        place = batch.peak[numbers[0]][0][batch.mask[0]].numpy()
        height = batch.peak[numbers[1]][0][batch.mask[0]].numpy() if len(numbers) > 1 else np.ones(len(place))
        order = np.argsort(place, kind="stable")
        return Trace(position=place[order], height=height[order], axis=spec.unit, scale="", sticks=True)
    return None
