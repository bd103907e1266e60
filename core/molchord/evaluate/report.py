"""One self-contained HTML page about a run: how it learned, how well it finds molecules, some searches to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure

from molchord.api import Measurement, PeaksBatch, PeaksSpec, Real, SampleError, SpectrumBatch, SpectrumSpec
from molchord.chemistry import drawing
from molchord.data.loader import feeds
from molchord.data.store import DataSet
from molchord.evaluate.embedded import Embedded
from molchord.evaluate.results import Evaluation, Row
from molchord.retrieval.scores import geometric_mean, scores

if TYPE_CHECKING:
    from molchord.run import Run

INK, QUIET, MARK, GRID = "#1d2733", "#6b7785", "#0b7a75", "#e4e8ec"
HITS = 5


@dataclass(frozen=True, kw_only=True)
class Search:
    """One held-out query of the report: its spectra as pictures, and its first hits."""

    title: str
    spectra: tuple[tuple[str, str], ...]
    rank: int
    pool: int
    hits: tuple[dict[str, Any], ...]
    truth: dict[str, Any]


def write_report(
    run: Run,
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
        run: The run.
        dataset: The data set that was evaluated.
        embedded: It, embedded by the run.
        indices: Index in the modality's table of every row of ``embedded.spectra``.
        evaluation: What was measured.
        path: HTML file to write.
        split: The split whose molecules were queries.
        examples: Number of searches to show.
    """
    from jinja2 import Environment, StrictUndefined

    source = resources.files("molchord.evaluate").joinpath("report.html.j2").read_text(encoding="utf-8")
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    metrics = _metrics(run.path / "metrics.jsonl")
    blind = [r for r in evaluation.rows if r.system == "model" and r.mode == "blind" and r.map == "gm-exp"]
    html = template.from_string(source).render(
        run=run,
        name=run.path.name,
        pairs=_pairs(run),
        curves=_curves(metrics) if metrics else "",
        pools=[_pool(evaluation, blind, pool) for pool in dict.fromkeys(r.pool for r in blind)],
        library=[
            _line(r) for r in evaluation.rows if r.system == "model" and r.mode == "library" and r.map == "gm-exp"
        ],
        consistency=evaluation.self_consistency,
        audit=None if evaluation.audit is None else evaluation.audit.text(),
        notes=evaluation.notes,
        settings=evaluation.settings,
        searches=list(_searches(run, dataset, embedded, indices, split, examples)),
        table=evaluation.table(),
    )
    path.write_text(html, encoding="utf-8")


# --- figures ---------------------------------------------------------------------------------------------------------


def _metrics(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _svg(figure: Figure) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _axes(figure: Figure, *position: int, title: str, label: str) -> Any:
    axes = figure.add_subplot(*position)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.set_xlabel(label, fontsize=9, color=QUIET)
    axes.tick_params(labelsize=8, colors=QUIET, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def _curves(metrics: Sequence[Mapping[str, Any]]) -> str:
    figure = Figure(figsize=(9, 2.6))
    epochs = [line["epoch"] for line in metrics]
    judged = [line for line in metrics if "val" in line]
    loss = _axes(figure, 1, 2, 1, title="Loss", label="epoch")
    loss.plot(epochs, [line["loss"] for line in metrics], color=INK, label="training")
    if judged:
        loss.plot([j["epoch"] for j in judged], [j["val"]["loss"] for j in judged], color=MARK, label="validation")
        loss.legend(frameon=False, fontsize=8, labelcolor=QUIET)
    if judged and "blind_mrr" in judged[0]["val"]:
        rank = _axes(figure, 1, 2, 2, title="Mean reciprocal rank of blind validation queries", label="epoch")
        rank.plot([j["epoch"] for j in judged], [j["val"]["blind_mrr"] for j in judged], color=MARK, marker="o", ms=3)
        rank.set_ylim(0, 1)
    figure.tight_layout()
    return _svg(figure)


def _bars(rows: Sequence[Row]) -> str:
    figure = Figure(figsize=(7.2, 0.36 * len(rows) + 0.7))
    axes = _axes(figure, 1, 1, 1, title="", label="Top-1, % (bar), Top-10 (dot), 95 % interval")
    for place, row in enumerate(reversed(rows)):
        top1, top10 = row.figures["top1"], row.figures["top10"]
        axes.barh(place, 100 * top1.value, color=MARK, height=0.55)
        axes.plot([100 * top1.low, 100 * top1.high], [place, place], color=INK, linewidth=1.2)
        axes.plot(100 * top10.value, place, "o", color=INK, markersize=4)
    axes.set_yticks(range(len(rows)), [" + ".join(row.subset) for row in reversed(rows)])
    axes.set_xlim(0, 100)
    return _svg(figure)


def _pool(evaluation: Evaluation, blind: Sequence[Row], pool: str) -> dict[str, Any]:
    rows = [row for row in blind if row.pool == pool]
    lines = []
    for row in rows:
        beside = [
            other
            for other in evaluation.rows
            if other.subset == row.subset and other.pool == pool and other.system != "model" and other.mode == ""
        ]
        lines.append({**_line(row), "baselines": [_line(other) for other in beside]})
    sizes = sorted({int(row.pool_size) for row in rows})
    return {
        "name": pool,
        "size": " to ".join(str(size) for size in (sizes[:1] + sizes[1:][-1:])),
        "bars": _bars(rows),
        "lines": lines,
    }


def _line(row: Row) -> dict[str, Any]:
    def percent(metric: str) -> str:
        figure = row.figures[metric]
        return f"{100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"

    return {
        "query": " + ".join(row.subset),
        "system": row.system,
        "pool": row.pool,
        "with_mass": row.with_mass,
        "queries": row.queries,
        "molecules": row.molecules,
        "top": [percent(metric) for metric in ("top1", "top5", "top10", "top25")],
        "mrr": f"{row.figures['mrr'].value:.3f}",
    }


def _pairs(run: Run) -> list[tuple[str, int]]:
    return [(name.replace("+", " + "), count) for name, count in run.manifest.molecules.items()]


# --- searches to look at ---------------------------------------------------------------------------------------------


def _searches(
    run: Run, dataset: DataSet, embedded: Embedded, indices: Mapping[str, Any], split: str, examples: int
) -> Iterator[Search]:
    """Search with every spectrum of some held-out molecules, those with the most spectra first."""
    opened = feeds(run.graph, run.modalities, dataset)
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
            pictures.append((name, _spectrum(run, name, measurement)))
        yield Search(
            title=f"{embedded.formula[row]}, from {' + '.join(names)}",
            spectra=tuple(pictures),
            rank=int((values >= values[truth] - 1e-6).sum()),
            pool=len(pool),
            hits=tuple(_hit(embedded, int(pool[i]), float(values[i]), tau, row) for i in best),
            truth=_hit(embedded, row, float(values[truth]), tau, row),
        )


def _hit(embedded: Embedded, row: int, value: float, tau: Sequence[float], truth: int) -> dict[str, Any]:
    return {
        "smiles": embedded.smiles[row],
        "formula": embedded.formula[row],
        "score": f"{geometric_mean(value, map='gm-exp', tau=tau):.3f}",
        "cosine": f"{value:.3f}",
        "right": row == truth,
        "svg": drawing(embedded.smiles[row]),
    }


def _spectrum(run: Run, name: str, measurement: Measurement) -> str:
    """Draw a measurement as its encoder gets it, whatever the modality: by its kind alone."""
    modality, spec = run.modalities[name], run.graph.modalities[name].spec
    try:
        batch = modality.prepare(modality.collate([modality.transform(measurement, None)]), None)
    except SampleError:
        return ""
    figure = Figure(figsize=(4.2, 1.5))
    axes = _axes(figure, 1, 1, 1, title=name, label=spec.unit if isinstance(spec, (SpectrumSpec, PeaksSpec)) else "")
    axes.set_yticks([])
    if isinstance(batch, SpectrumBatch):
        axes.plot(np.linspace(spec.start, spec.stop, spec.points), batch.values[0, 0].numpy(), color=INK, linewidth=0.9)
    elif isinstance(batch, PeaksBatch):
        numbers = [column for column, kind in spec.peak.items() if isinstance(kind, Real)]
        place = batch.peak[numbers[0]][0][batch.mask[0]].numpy()
        height = batch.peak[numbers[1]][0][batch.mask[0]].numpy() if len(numbers) > 1 else np.ones(len(place))
        axes.vlines(place, 0, height, color=INK, linewidth=1.1)
    else:
        return ""
    return _svg(figure)
