"""Trains what a table asks for, puts it to the table's tests, and returns all there is to say as JSON values."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML

import molchord as mc
from benchmarks.accuracy.perturb import CONDITIONS
from benchmarks.accuracy.plan import System, Table, Test
from benchmarks.accuracy.sources import ROOT, SOURCES, Source, opened
from molchord.errors import DataError
from molchord.evaluate.repeats import out_of_fold, over_seeds
from molchord.evaluate.results import Evaluation, Row
from molchord.retrieval.metrics import METRICS
from molchord.run_folder import code_version, read_trained_on

__all__ = ["Bench", "measure"]

PRIOR_EPOCHS = 5
"""Of the candidates-only baseline: its loss is that of chance among a batch from the first epoch on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bench:
    """Where data sets and runs are kept, and what is changed for a shorter try.

    Attributes:
        work: Folder of data sets and runs; what is there already is not made again.
        sources: Data sets by name.
        change: Changes to every graph, after those of the systems.
        seeds: How many of a table's seeds to take; None: all.
        device: Where to train and embed.
    """

    work: Path
    sources: Mapping[str, Source] = dataclasses.field(default_factory=lambda: SOURCES)
    change: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: int | None = None
    device: str | None = None

    def data(self, name: str, fold: str | None = None) -> mc.DataSet:
        """Open a data set, split by a fold where one is given."""
        return mc.DataSet(opened(name, self.work, self.sources), split=fold)

    def graph(self, system: System, seed: int) -> mc.ModelGraph:
        """Return a system's model graph with its changes."""
        mapping = YAML(typ="safe").load((ROOT / system.graph).read_text(encoding="utf-8"))
        for path, value in {**system.change, **self.change, "seed": seed}.items():
            _set(mapping, path.split("."), value)
        return mc.ModelGraph.from_dict(mapping)

    def run(self, table: Table, system: System, seed: int, fold: str | None) -> mc.Run:
        """Return the run of a system, trained if it is not there yet; runs are shared by tables.

        Raises:
            DataError: `as_long_as` names no system of the table.
        """
        if system.as_long_as is not None:
            others = [other for other in table.systems if other.name == system.as_long_as]
            if not others:
                raise DataError(f"system {system.name!r} is `as_long_as` {system.as_long_as!r}, which the table lacks")
            limit = sum(_seconds(self.run(table, others[0], seed, fold)))
            free = dataclasses.replace(system, as_long_as=None)
            times = np.cumsum(_seconds(self.run(table, free, seed, fold)))
            epochs = max(1, int((times <= limit).sum()))
            return dataclasses.replace(self, change={**self.change, "train.epochs": epochs}).run(
                table, free, seed, fold
            )
        graph = self.graph(system, seed)
        data = self.data(system.data or table.data, None if system.own_split else fold)
        path = self._folder([graph.to_yaml(), data.sha256, data.rule])
        if not path.exists():
            unfinished = _unfinished(path)
            if (unfinished / "checkpoints" / "last.safetensors").exists():
                mc.Run.resume(unfinished, device=self.device)
            else:
                mc.Run.train(graph, data, unfinished, device=self.device, force=True)
            unfinished.rename(path)
        run = mc.load(path, device=self.device)
        return run if system.realign is None else self._realigned(run, system, fold)

    def _realigned(self, run: mc.Run, system: System, fold: str | None) -> mc.Run:
        again = system.realign
        if again is None:
            return run
        data = self.data(again.data, fold)
        epochs = int(self.change.get("train.epochs", again.epochs))
        path = self._folder([run.id, repr(again), epochs, data.sha256, data.rule])
        if not path.exists():
            run.realign(
                data, _unfinished(path), trainable=again.trainable, epochs=epochs, where=again.where or None, force=True
            )
            _unfinished(path).rename(path)
        return mc.load(path, device=self.device)

    def _folder(self, parts: Sequence[Any]) -> Path:
        text = json.dumps([*parts, self.device])
        (self.work / "runs").mkdir(parents=True, exist_ok=True)
        return self.work / "runs" / hashlib.sha256(text.encode()).hexdigest()[:16]


def measure(name: str, table: Table, bench: Bench) -> dict[str, Any]:
    """Measure a table.

    Args:
        name: Its name.
        table: Its definition.
        bench: Where to keep what is made.

    Raises:
        MissingData: A data set of the table cannot be made.
        DataError: A system was trained on a molecule that a test asks for.
    """
    for data in _names(table):
        bench.data(data)  # so that what is missing shows before any training
    seeds = table.seeds[: bench.seeds]
    systems, rows, audits, notes = [], [], {}, {}
    first: dict[str, Evaluation] = {}
    differences: list[dict[str, Any]] = []
    for system in table.systems:
        _say(f"{name}: {system.name}")
        own_seeds = seeds[: system.seeds]
        runs = {(seed, fold): bench.run(table, system, seed, fold) for seed in own_seeds for fold in _folds(table)}
        systems.append(_described(system, table, runs))
        for test in table.tests:
            own = system is table.systems[0]
            by_seed = [
                _tested(bench, table, system, test, runs, seed, beside=own and seed == seeds[0]) for seed in own_seeds
            ]
            found = over_seeds([_models(evaluation) for evaluation in by_seed])
            rows += [_row(_named(system, row), test, row, by_seed) for row in found.rows]
            notes[f"{system.name}, {test.name}"] = list(found.notes)
            if own:
                first[test.name] = found
                rows += [_row(row.system, test, row, []) for row in by_seed[0].rows if not _is_model(row)]
                audits[test.name] = by_seed[0].as_dict()["audit"]
            else:
                differences += _differences(system, test, found, first[test.name])
    return {
        key: _rounded(value)
        for key, value in {
            "table": name,
            "title": table.title,
            "text": table.text,
            "figure": None if table.figure is None else dataclasses.asdict(table.figure),
            "settings": {
                "seeds": list(seeds),
                "splits": list(table.splits),
                "change": dict(bench.change),
                **code_version(),
            },
            "hardware": hardware(),
            "data": {data: _data(bench.data(data)) for data in _names(table)},
            "systems": systems,
            "tests": [_plain(test, table) for test in table.tests],
            "rows": rows,
            "differences": differences,
            "audits": {test: audit for test, audit in audits.items() if audit is not None},
            "notes": {what: told for what, told in notes.items() if told},
        }.items()
    }


def hardware() -> dict[str, Any]:
    """Say what the figures and times were made on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


# --- tests -----------------------------------------------------------------------------------------------------------


def _tested(
    bench: Bench,
    table: Table,
    system: System,
    test: Test,
    runs: Mapping[tuple[int, str | None], mc.Run],
    seed: int,
    *,
    beside: bool,
) -> Evaluation:
    """Put one seed of a system to a test; `beside`: with the baselines and the split audit."""
    parts = []
    for fold in _folds(table):
        run, data = runs[seed, fold], bench.data(test.data or table.data, fold)
        seen = read_trained_on(run.path).intersection(data.keys(data.rows(test.split)))
        if seen:
            raise DataError(
                f"system {system.name!r} was trained on {len(seen)} molecules that test {test.name!r} asks for, "
                f"such as {min(seen)}; train it on data split alike"
            )
        prior = None
        if beside and table.candidates_only:
            short = system.changed(train__candidates_only=True, train__epochs=PRIOR_EPOCHS, as_long_as=None)
            prior = bench.run(table, short, seed, fold)
        condition = CONDITIONS[test.condition]
        evaluation = run.evaluate(
            data,
            pools=test.pools,
            modes=test.modes,
            fusions=test.fusions,
            split=test.split,
            where=_where(test, data),
            perturb=condition if condition is None else condition.reading(run.graph),
            candidates_only=prior,
            baselines=beside,
            audit=beside and test is table.tests[0],
            rerank=None
            if test.rerank is None
            else mc.Rerank(test.rerank, k=test.rerank_k, computed=[bench.data(other) for other in test.computed]),
            **test.options,
        )
        parts.append(evaluation if beside else _models(evaluation))
    return out_of_fold(parts) if len(parts) > 1 else parts[0]


def _where(test: Test, data: mc.DataSet) -> dict[str, dict[str, Any]] | None:
    where: dict[str, dict[str, Any]] = {name: dict(columns) for name, columns in test.where.items()}
    for name, column in test.known.items():
        values = {value for value in data.table(name).column(column).tolist() if value is not None}
        where.setdefault(name, {})[column] = sorted(values)
    return where or None


def _models(evaluation: Evaluation) -> Evaluation:
    return dataclasses.replace(evaluation, rows=tuple(row for row in evaluation.rows if _is_model(row)))


def _differences(system: System, test: Test, found: Evaluation, first: Evaluation) -> list[dict[str, Any]]:
    """Compare with the first system, row by row, where both have the row over the same molecules."""
    others = {_key(row): row for row in first.rows}
    out = []
    for row in found.rows:
        other = others.get(_key(row))
        if other is not None and np.array_equal(row.by_molecule[0], other.by_molecule[0]):
            gain = row.minus(other)["top1"]
            out.append(
                {
                    "system": _named(system, row),
                    "test": test.name,
                    **_what(row),
                    "top1": [gain.value, gain.low, gain.high],
                }
            )
    return out


def _is_model(row: Row) -> bool:
    """Tell rows of the model, re-ranked or not, from those of baselines."""
    return row.system.startswith("model")


def _named(system: System, row: Row) -> str:
    """Return a system's name with what came after the model, such as a re-ranker."""
    return f"{system.name}{row.system.removeprefix('model')}"


# --- what is said ----------------------------------------------------------------------------------------------------


def _key(row: Row) -> tuple[Any, ...]:
    return row.system, row.subset, row.mode, row.fusion, row.pool


def _what(row: Row) -> dict[str, Any]:
    return {"subset": list(row.subset), "mode": row.mode, "fusion": row.fusion, "pool": row.pool}


def _row(system: str, test: Test, row: Row, by_seed: Sequence[Evaluation]) -> dict[str, Any]:
    same = [other for evaluation in by_seed for other in evaluation.rows if _key(other) == _key(row)]
    counts = ("pool_size", "queries", "molecules", "left_out", "unreachable", "with_mass", "calibration_error")
    return {
        "system": system,
        "model": _is_model(row),
        "test": test.name,
        **_what(row),
        **{name: getattr(row, name) for name in counts},
        **{name: [row.metrics[name].value, row.metrics[name].low, row.metrics[name].high] for name in METRICS},
        "top1_by_seed": [other.metrics["top1"].value for other in same],
    }


def _described(system: System, table: Table, runs: Mapping[tuple[int, str | None], mc.Run]) -> dict[str, Any]:
    run = next(iter(runs.values()))
    return {
        "name": system.name,
        "line": system.line,
        "x": system.x,
        "recipe": system.graph,
        "change": dict(system.change),
        "data": system.data or table.data,
        "realign": None if system.realign is None else dataclasses.asdict(system.realign),
        "candidates": {"modality": run.candidate, **_shown(run.graph.modalities[run.candidate].config.model_dump())},
        "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
        "graph": run.graph.to_yaml(),
        "runs": [
            {
                "seed": seed,
                "fold": fold,
                "run": run.id[:12],
                "commit": run.manifest.commit,
                "molecules": run.manifest.molecules,
                "best": run.manifest.best,
                "epochs": len(_seconds(run)),
                "seconds": sum(_seconds(run)),
            }
            for (seed, fold), run in runs.items()
        ],
    }


def _shown(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that say what a candidate is made of, such as its geometry and number of conformers."""
    return {name: value for name, value in config.items() if isinstance(value, (str, int)) or value is None}


def _plain(test: Test, table: Table) -> dict[str, Any]:
    plain = dataclasses.asdict(test)
    condition = CONDITIONS[test.condition]
    return {**plain, "data": test.data or table.data, "condition": None if condition is None else repr(condition)}


def _names(table: Table) -> list[str]:
    named = [table.data, *(s.data for s in table.systems), *(t.data for t in table.tests)]
    named += [s.realign.data for s in table.systems if s.realign is not None]
    named += [name for test in table.tests for name in test.computed]
    return list(dict.fromkeys(name for name in named if name is not None))


def _data(dataset: mc.DataSet) -> dict[str, Any]:
    counts = {name: len(dataset.table(name)) for name in dataset.stored}
    return {"sha256": dataset.sha256[:12], "molecules": len(dataset), "measurements": counts}


def _seconds(run: mc.Run) -> list[float]:
    """Return the training time of each epoch, validation left out."""
    lines = (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [float(json.loads(line)["seconds"]) for line in lines]


def _rounded(value: Any) -> Any:
    """Return JSON values with five digits of what is not whole; a figure that is not defined is None."""
    if isinstance(value, Mapping):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if np.isfinite(value) else None
    return value


# --- helpers ---------------------------------------------------------------------------------------------------------


def _folds(table: Table) -> Iterator[str | None]:
    yield from table.splits or (None,)


def _set(mapping: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for key in path[:-1]:
        mapping = mapping.setdefault(key, {})
    if value is None:
        mapping.pop(path[-1], None)
    else:
        mapping[path[-1]] = value


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}-unfinished")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
