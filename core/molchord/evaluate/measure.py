"""Measure a trained model on a data set: embed it, measure every table, write metrics and report."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from molchord.data.store import DataSet
from molchord.embedder import Embedder
from molchord.errors import DataError, RunError, check_whole
from molchord.evaluate.embedding import EmbeddedData, Perturb, baselines_of, check_pools, embed_dataset, readers
from molchord.evaluate.evaluation import evaluate
from molchord.evaluate.picturing import make_pictures
from molchord.evaluate.reranking import Reranked, fit_reranking
from molchord.evaluate.results import Evaluation
from molchord.evaluate.space import check_projection
from molchord.files import remove, replace_files, write_csv
from molchord.graph.changes import changed
from molchord.rerank.rerank import Rerank, Reranking
from molchord.rerank.weights import WEIGHTS
from molchord.run_folder import RunManifest, check_output
from molchord.run_place import SHIPPED
from molchord.vocabulary import UNUSABLE

__all__ = ["measure"]


def measure(
    embedder: Embedder,
    manifest: RunManifest,
    dataset: DataSet,
    *,
    run: str,
    pools: Sequence[str],
    modes: Sequence[str],
    fusions: Sequence[str],
    split: str = "test",
    candidates_only: Embedder | None = None,
    where: Mapping[str, Mapping[str, Any]] | None = None,
    perturb: Perturb | None = None,
    combine: bool = False,
    rerank: Rerank | str | None = None,
    baselines: bool = True,
    audit: bool = True,
    pictures: bool | None = None,
    projection: str = "pca",
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Measure a model on held-out molecules; `run` is its identity, the other arguments are those of `Run.evaluate`.

    Raises:
        OutputExistsError: One of the files exists and `force` is not set.
        DataError: The data set has a measurement of none of the modalities, or no query; `seed` is below 0; or the
            projection is unknown or needs a package that is not installed.
        RunError: A re-ranker's weights would go into the run that is shipped.
    """
    drawn = out is not None if pictures is None else pictures
    if drawn:
        check_projection(projection)
    check_whole(seed, "seed", least=0, failed="evaluation", error=DataError)
    _check_output(embedder, out, rerank, force=force)
    _check_modes(modes, fusions, perturb, rerank)
    if where is not None:
        embedder = dataclasses.replace(embedder, graph=changed(embedder.graph, where))
    check_pools(embedder, dataset, pools, split=split, seed=seed)
    found = embed_dataset(embedder, dataset, mass_seed=seed, split=split, perturb=perturb, progress=progress)
    found = found.combined() if combine else found
    beside, second, embedded = None, None, found.embedded
    if baselines:
        beside = baselines_of(
            embedder, dataset, embedded, found.indices, split=split, perturb=perturb, candidates_only=candidates_only
        )
    if rerank is not None:
        by = Reranking.of(embedder, rerank)
        read = readers(embedder, dataset, found, split=split, perturb=perturb)
        second = fit_reranking(embedded, by, read, pools=pools, calibration=manifest.beta, seed=seed, alone=baselines)
    evaluation = evaluate(
        embedded,
        pools=pools,
        modes=modes,
        fusions=fusions,
        split=split,
        seed=seed,
        baselines=beside,
        audit=audit,
        calibration=manifest.beta or None,
        reranked=second,
        settings=_settings(embedder, dataset, run, perturb, combine=combine),
    )
    notes = () if second is None else second.notes()
    evaluation = dataclasses.replace(evaluation, notes=(*evaluation.notes, *found.notes(), *notes))
    if drawn:
        made = make_pictures(
            embedder, manifest, dataset, found, split=split, seed=seed, perturb=perturb, projection=projection
        )
        evaluation = dataclasses.replace(evaluation, pictures=made)
    if out is not None:
        _write(embedder, manifest, dataset, found, evaluation, second, out, split=split)
    return evaluation


def _check_output(embedder: Embedder, out: Path | None, rerank: Rerank | str | None, *, force: bool) -> None:
    """Refuse what already exists before anything is measured."""
    if out is None:
        return
    written = [out / name for name in ("evaluation.json", "evaluation.csv", "report.html", UNUSABLE)]
    if rerank is not None and embedder.path == SHIPPED:
        raise RunError("the shipped run keeps no weights of a re-ranker; copy its folder, or realign it, first")
    for path in written if rerank is None else [*written, embedder.path / WEIGHTS]:
        check_output(path, force=force)


def _check_modes(
    modes: Sequence[str], fusions: Sequence[str], perturb: Perturb | None, rerank: Rerank | str | None
) -> None:
    if perturb is not None and "library" in modes:
        raise DataError("evaluation failed: `perturb` changes queries of blind mode only; set `modes=['blind']`")
    if rerank is not None and ("blind" not in modes or "gm-exp" not in fusions):
        raise DataError("evaluation failed: `rerank` needs mode 'blind' and fusion 'gm-exp' among those measured")


def _settings(
    embedder: Embedder, dataset: DataSet, run: str, perturb: Perturb | None, *, combine: bool
) -> Mapping[str, Any]:
    """Return what a metric depends on besides its pool."""
    config = embedder.graph.modalities[embedder.candidate].config.model_dump()
    return {
        "run": run[:12],
        "graph": hashlib.sha256(embedder.graph.to_yaml().encode()).hexdigest()[:12],
        "data": dataset.sha256[:12],
        "split_rule": dataset.rule or dataset.manifest.split,
        "candidates": embedder.candidate,
        **{key: value for key, value in config.items() if isinstance(value, (str, int))},
        **({"perturb": repr(perturb)} if perturb is not None else {}),
        **({"combine": True} if combine else {}),
    }


def _write(
    embedder: Embedder,
    manifest: RunManifest,
    dataset: DataSet,
    found: EmbeddedData,
    evaluation: Evaluation,
    second: Reranked | None,
    out: Path,
    *,
    split: str,
) -> None:
    from molchord.evaluate.report import write_report  # matplotlib is imported only where a report is written

    with replace_files(out) as folder:
        evaluation.save(folder)
        if found.unusable:
            write_csv(folder / UNUSABLE, ("modality", "key14", "reason"), found.unusable)
        report = folder / "report.html"
        write_report(embedder, manifest, dataset, found.embedded, found.indices, evaluation, report, split=split)
    if not found.unusable:
        remove(out / UNUSABLE)
    if second is not None:
        second.reranking.file(second.weights).write(embedder.path / WEIGHTS)
