"""What each command of the command line does: reads arguments, calls the Python API, prints."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molchord.errors import DataError, GraphError, MolchordError, RunError, did_you_mean
from molchord.text_table import aligned

if TYPE_CHECKING:
    from molchord.api import ModalityRecord
    from molchord.graph.resolve import ModelGraph, Use
    from molchord.rerank.rerank import Rerank

SPECTRUM = "spectrum "
"""Start of the place of a spectrum's files among the arguments of `search`; no other argument has a blank in it."""


def say(arguments: argparse.Namespace, data: Any, text: str) -> None:
    """Print JSON where it was asked for, else text."""
    print(json.dumps(data, indent=2) if arguments.json else text)


def warn(sentences: Sequence[str]) -> None:
    """Print warnings to standard error."""
    for sentence in sentences:
        print(f"molchord: warning: {sentence}", file=sys.stderr)


# --- plugins and graphs ----------------------------------------------------------------------------------------------


def plugins_list(arguments: argparse.Namespace) -> int:
    """List the usable plugins."""
    from molchord.host import installed
    from molchord.host.report import plugin_row, plugin_table

    host = installed()
    warn(host.warnings)
    say(arguments, [plugin_row(plugin) for plugin in host.plugins], plugin_table(host))
    if host.problems:
        warn([f"{len(host.problems)} not loaded; run 'molchord plugins check'"])
    return 0


def plugins_check(arguments: argparse.Namespace) -> int:
    """Name every plugin that cannot be used; exit 1 if there is one."""
    from molchord.host import installed
    from molchord.host.report import heavy_imports

    host = installed()
    warn([*host.warnings, *map(str, host.blocked)])
    problems = [*host.problems, *heavy_imports(host)]
    text = "\n".join(map(str, problems)) or f"{len(host.plugins)} plugins, no problem"
    say(arguments, [{**vars(problem), "text": str(problem)} for problem in problems], text)
    return 1 if problems else 0


def graph_check(arguments: argparse.Namespace) -> int:
    """Show every error of a model graph; exit 2 if there is one."""
    graph = graph_of(arguments)
    names = ", ".join(graph.modalities)
    text = graph.to_yaml().rstrip() if arguments.explain else f"{arguments.graph}: good ({names}; {graph.loss.use})"
    say(arguments, graph.to_dict(), text)
    return 0


def graph_of(arguments: argparse.Namespace) -> ModelGraph:
    """Read the model graph that the arguments name, with what `--set` says."""
    from molchord.graph.layers import settings
    from molchord.graph.resolve import load

    return load(arguments.graph, overrides=settings(arguments.set))


# --- data ------------------------------------------------------------------------------------------------------------


def data_import(arguments: argparse.Namespace) -> int:
    """Make a data set of files, merged by molecule."""
    from molchord.data.importer import import_files
    from molchord.host import installed

    report = import_files(
        [Path(p) for p in arguments.files],
        Path(arguments.out),
        host=installed(),
        as_=[(name, Path(path)) for name, path in arguments.as_],
        table=None if arguments.table is None else Path(arguments.table),
        columns=[pair(text, "--column", "MODALITY=COLUMN") for text in arguments.column],
        numeric=arguments.numeric,
        limit=arguments.limit,
        split=arguments.split,
        where=_where(arguments.where, installed().modality),
        force=arguments.force,
        progress=_progress(arguments),
    )
    say(
        arguments,
        {**vars(report), "path": str(report.path), "measurements": dict(report.measurements)},
        report.summary(),
    )
    return 0


def data_simulate(arguments: argparse.Namespace) -> int:
    """Simulate the spectra of molecules, here or, as files of jobs, on other machines."""
    from molchord.host import installed
    from molchord.simulation.simulate import simulate, write_jobs

    if arguments.out is None and arguments.jobs is None:
        raise DataError("`molchord data simulate` has no folder to write; give `--out DATASET`, or `--jobs FOLDER`")
    jobs = None if arguments.jobs is None else Path(arguments.jobs)
    options = {name: getattr(arguments, name) for name in ("use", "workers", "limit")}
    options |= {"host": installed(), "progress": _progress(arguments)}
    if arguments.out is None and jobs is not None:
        report = write_jobs(arguments.source, jobs, **options)
    else:
        report = simulate(arguments.source, Path(arguments.out), jobs=jobs, force=arguments.force, **options)
    say(arguments, {**vars(report), "path": str(report.path)}, report.summary())
    return 0


def data_info(arguments: argparse.Namespace) -> int:
    """Count what a data set holds."""
    from molchord.data.info import data_info as counted
    from molchord.data.store import DataSet

    dataset = DataSet(arguments.data)
    if arguments.verify:
        dataset.verify()
    info = counted(dataset)
    lines = [f"{info['path']}: {info['molecules']} molecules, split by {info['split_rule']} {info['splits']}"]
    for name, entry in info["modalities"].items():
        origin = ", ".join(f"{count} {kind}" for kind, count in entry["origin"].items())
        by = ", ".join(f"{count} by {source}" for source, count in entry["computed_by"].items())
        lines.append(f"  {name}: {entry['molecules']} molecules, {origin}; {entry['by_split']}")
        lines += [f"    computed: {by}"] if len(entry["computed_by"]) > 1 else []
    lines += [f"  {pair}: {count} molecules" for pair, count in info["pairs"].items()]
    lines += ["  all checksums agree"] if arguments.verify else []
    say(arguments, info, "\n".join(lines))
    return 0


def data_split(arguments: argparse.Namespace) -> int:
    """Give the molecules of a data set new splits."""
    from molchord.data.info import data_info as counted
    from molchord.data.info import resplit

    table = None if arguments.table is None else Path(arguments.table)
    info = counted(resplit(Path(arguments.data), arguments.by, table))
    say(arguments, info, f"{info['path']}: split by {info['split_rule']} {info['splits']}")
    return 0


# --- runs ------------------------------------------------------------------------------------------------------------


def train(arguments: argparse.Namespace) -> int:
    """Train a model graph on a data set, or go on with a training."""
    from molchord.run import Run
    from molchord.train.processes import launched

    first = launched()[0] == 0  # of several processes, one says what there is to say
    show = _progress(arguments)
    if arguments.resume is not None:
        if arguments.graph or arguments.data or arguments.out or arguments.dry_run or arguments.set:
            raise MolchordError("`--resume RUN` takes graph and data from the run; leave the other options out")
        run = Run.resume(arguments.resume, device=arguments.device, progress=show, loggers=_loggers(arguments.log))
        return _trained(arguments, run) if first else 0
    if arguments.graph is None or arguments.data is None:
        raise MolchordError("`molchord train` needs GRAPH and `--data DATASET`, or `--resume RUN`")
    if arguments.dry_run:
        return _dry_run(arguments) if first else 0
    if arguments.out is None:
        raise MolchordError("`molchord train` needs `--out RUN`, the folder to write")
    try:
        graph = graph_of(arguments)
    except GraphError as error:
        if first:
            raise
        raise SystemExit(error.status) from error
    run = Run.train(
        graph, arguments.data, arguments.out, device=arguments.device, force=arguments.force, progress=show,
        loggers=_loggers(arguments.log),
    )  # fmt: skip
    return _trained(arguments, run) if first else 0


def _trained(arguments: argparse.Namespace, run: Any) -> int:
    best = ", ".join(f"{name} {value:.4g}" for name, value in run.manifest.best.items())
    say(arguments, {"run": str(run.path), **run.manifest.model_dump()}, f"{run.path}: trained; best {best}")
    return 0


def _dry_run(arguments: argparse.Namespace) -> int:
    from molchord.data.store import DataSet
    from molchord.train.dry_run import dry_run
    from molchord.train.loggers import build_loggers
    from molchord.train.trainer import Trainer

    build_loggers(_loggers(arguments.log))  # whether they could be used
    found = dry_run(Trainer(graph_of(arguments), DataSet(arguments.data), device=arguments.device, progress=False))
    lines = [f"one batch on {found['device']}: loss {found['loss']:.4f}, peak memory {found['memory_mb']} MB"]
    for part in ("molecules", "batch", "parameters"):
        lines += [part, *(f"  {name}: {count}" for name, count in found[part].items())]
    for name, shapes in found["shapes"].items():
        lines += [f"shapes of {name}", *(f"  {field}: {shape}" for field, shape in shapes.items())]
    say(arguments, found, "\n".join(lines))
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure a run on held-out molecules, and write the report."""
    from molchord.run import Run
    from molchord.run_folder import SHIPPED

    run = Run.load(arguments.run_folder, device=arguments.device)
    if arguments.out is None and run.path == SHIPPED:
        raise RunError("the shipped run keeps no figures; name a folder for them with `--out`")
    prior = None if arguments.candidates_only is None else Run.load(arguments.candidates_only, device=arguments.device)
    evaluation = run.evaluate(
        arguments.data,
        pools=arguments.pool or ("test", "all"),
        modes=arguments.mode or ("blind", "library"),
        maps=arguments.map or ("gm-exp", "gm-half", "gm-clamp"),
        split=arguments.split,
        where=_where_of(run, arguments.where),
        candidates_only=prior,
        combine=arguments.combine,
        rerank=_rerank_of(arguments, arguments.rerank_k),
        seed=arguments.seed,
        out=Path(arguments.out) if arguments.out is not None else run.path,
        force=arguments.force,
        progress=_progress(arguments),
    )
    out = arguments.out if arguments.out is not None else arguments.run_folder
    tail = f"every map and baseline: {out}/evaluation.csv; to look at: {out}/report.html"
    say(arguments, evaluation.as_dict(), evaluation.text() if arguments.full else f"{evaluation.summary()}\n{tail}")
    return 0


def realign(arguments: argparse.Namespace) -> int:
    """Adapt a run to other data by training the last layers only."""
    from molchord.run import Run

    run = Run.load(arguments.run_folder, device=arguments.device)
    done = run.realign(
        arguments.data, arguments.out, free=arguments.free or None, epochs=arguments.epochs, force=arguments.force,
        where=_where_of(run, arguments.where), progress=_progress(arguments), loggers=_loggers(arguments.log),
    )  # fmt: skip
    return _trained(arguments, done)


def embed(arguments: argparse.Namespace) -> int:
    """Embed candidate structures as a library."""
    from molchord.run import Run

    run = Run.load(arguments.run_folder, device=arguments.device)
    library = run.library(
        arguments.source, arguments.out, spectra=arguments.spectra, storage=arguments.storage,
        engine=arguments.engine, address=arguments.address, workers=arguments.workers, force=arguments.force,
        progress=_progress(arguments),
    )  # fmt: skip
    failed = library.path / "failures.csv"
    lost = max(0, len(failed.read_text().splitlines()) - 1) if failed.exists() else 0
    text = f"{library.path}: {len(library)} candidates" + (f", {lost} left out (see failures.csv)" if lost else "")
    say(arguments, {"library": str(library.path), "candidates": len(library), "failures": lost}, text)
    return 0


def search(arguments: argparse.Namespace) -> int:
    """Rank the candidates of a library by their similarity to spectra."""
    from molchord.library.library import Library
    from molchord.run import Run

    run = Run.load(arguments.run_folder, device=arguments.device)
    files = {name: given for name in run.spectra if (given := getattr(arguments, SPECTRUM + name, None))}
    spectra = {name: run.measurements(name, given) for name, given in files.items()}
    hits = run.search(
        Library(arguments.library), k=arguments.k, map=arguments.map, mode=arguments.mode, mass=arguments.mass,
        ppm=arguments.ppm, da=arguments.da, formula=arguments.formula, rerank=_rerank_of(arguments),
        index=arguments.index, **spectra,
    )  # fmt: skip
    text = hit_table(hits)
    for name, measurements in spectra.items():
        if len(measurements) > 1:
            text += f"\n{name}: {len(measurements)} measurements, together one factor of the score"
    if arguments.index is not None and not hits[0].proven:
        text += f"\nnot proven: index {arguments.index!r} may have missed a better candidate; without it none is missed"
    say(arguments, [vars_of(hit) for hit in hits], text)
    return 0


def library_info(arguments: argparse.Namespace) -> int:
    """Say what a library holds."""
    from molchord.library.library import Library

    info = Library(arguments.library).info()
    lines = [f"{info['path']}: {info['candidates']} candidates"]
    lines += [f"  {key}: {value}" for key, value in info.items() if key not in ("path", "candidates")]
    say(arguments, info, "\n".join(lines))
    return 0


def library_compact(arguments: argparse.Namespace) -> int:
    """Merge the shards of a library, without what was removed."""
    from molchord.library.library import Library

    library = Library(arguments.library)
    indexes, before = library.indexes, len(library.manifest.shards)
    dropped = library.compact(storage=arguments.storage)
    done = {"library": str(library.path), "candidates": len(library), "dropped": dropped, "indexes": indexes}
    text = f"{library.path}: {len(library)} candidates in {len(library.manifest.shards)} shards, before {before}"
    text += f"; {dropped} removed rows dropped" if dropped else ""
    text += f"; make its indexes again: {', '.join(indexes)}" if indexes else ""
    say(arguments, done, text)
    return 0


def library_index(arguments: argparse.Namespace) -> int:
    """Make an index of a library."""
    from molchord.graph.strict_yaml import parse
    from molchord.library.library import Library

    library = Library(arguments.library)
    config = {key: parse(f"- {value}").data[0] for key, value in (pair(t, "--set", "KEY=VALUE") for t in arguments.set)}
    folder = library.write_index(arguments.index, config, force=arguments.force)
    say(arguments, {"index": str(folder), "candidates": len(library)}, f"{folder}: {len(library)} candidates")
    return 0


def _rerank_of(arguments: argparse.Namespace, k: int | None = None) -> Rerank | None:
    """Read what to re-rank by; None where it was not asked for."""
    from molchord.rerank.rerank import Rerank

    if arguments.rerank is not None:
        return Rerank(arguments.rerank, k=k, computed=arguments.computed, simulator=arguments.simulator)
    if arguments.computed or arguments.simulator is not None or k is not None:
        raise MolchordError("`--computed`, `--simulator` and `--rerank-k` belong to `--rerank NAME`; name a re-ranker")
    return None


def add_spectra(parser: argparse.ArgumentParser, run: str) -> tuple[str, ...]:
    """Give `search` one option for each spectrum of the run at hand, and return their names."""
    from molchord.run_folder import find_run, read_manifest

    manifest = read_manifest(find_run(run))
    names = tuple(name for name in manifest.specs if name != manifest.candidate)
    group = parser.add_argument_group(f"spectra of {run}")
    for name in names:
        kind, files = manifest.specs[name]["kind"], SPECTRUM + name
        group.add_argument(
            f"--{name}", dest=files, nargs="+", action="extend", metavar="FILE", help=f"measurement ({kind})"
        )
    return names


def hit_table(hits: Sequence[Any]) -> str:
    """Return hits as an aligned table."""
    names = list(hits[0].cosines)
    sure = hits[0].probability is not None
    seen = list(hits[0].features)
    header = [
        "rank",
        "score",
        *(["probability"] if sure else []),
        *(["re-ranked", *seen] if seen else []),
        *(f"cos {n}" for n in names),
        "formula",
        "mass",
        "SMILES",
    ]
    lines = [header]
    for hit in hits:
        chance = [f"{100 * hit.probability:.1f} %"] if sure else []
        cosines = [f"{hit.cosines[name]:.3f}" for name in names]
        again = [] if hit.rerank_score is None else [f"{hit.rerank_score:.3f}", *map(_shown, hit.features.values())]
        again += ["-"] * (len(seen) + 1 - len(again)) if seen else []
        facts = [*cosines, hit.formula, f"{hit.exact_mass:.4f}", hit.smiles]
        lines.append([str(hit.rank), f"{hit.score:.3g}", *chance, *again, *facts])
    return "\n".join(aligned(lines))


def vars_of(hit: Any) -> dict[str, Any]:
    """Return a hit as JSON values."""
    import dataclasses

    features = {name: None if math.isnan(value) else value for name, value in hit.features.items()}
    return {**dataclasses.asdict(hit), "cosines": dict(hit.cosines), "features": features}


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


# --- arguments -------------------------------------------------------------------------------------------------------


def pair(text: str, option: str, form: str) -> tuple[str, str]:
    """Split ``name=value``.

    Raises:
        DataError: There is no ``=``.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise DataError(f"`{option}` got {text!r}; write {form}")
    return name, value


def _loggers(texts: Sequence[str]) -> list[str | Use]:
    """Read what `--log` names: a logger, or a logger with its configuration as YAML."""
    from molchord.graph.strict_yaml import parse

    given: list[Any] = [parse(f"- {text}", "--log").data[0] for text in texts]
    for text, use in zip(texts, given, strict=True):
        name = use.get("use") if isinstance(use, dict) else use
        if not isinstance(name, str):
            raise MolchordError(f"`--log` got {text!r}; write NAME or '{{use: NAME, KEY: VALUE}}'")
    return given


def _where(texts: Sequence[str], record: Callable[[str], ModalityRecord]) -> dict[str, dict[str, Any]]:
    """Read what measurements must have, by modality and column; `record` finds the declaration of a modality."""
    from molchord.api import Real

    out: dict[str, dict[str, Any]] = {}
    for text in texts:
        left, value = pair(text, "--where", "MODALITY.COLUMN=VALUE[,VALUE]")
        name, _, column = left.partition(".")
        if not column:
            raise DataError(f"`--where` got {text!r}; write MODALITY.COLUMN=VALUE[,VALUE]")
        declared = record(name).stores.columns.get(column)
        values = value.split(",")
        out.setdefault(name, {})[column] = [_number(v) for v in values] if isinstance(declared, Real) else values
    return out


def _where_of(run: Any, texts: Sequence[str]) -> dict[str, dict[str, Any]] | None:
    """Read `--where` for the modalities of a run; None where it was not given."""

    def record(name: str) -> ModalityRecord:
        if name not in run.graph.modalities:
            known = did_you_mean(name, run.graph.modalities)
            raise DataError(f"`--where` got modality {name!r}, which run {str(run.path)!r} lacks; {known}")
        found: ModalityRecord = run.graph.modalities[name].record
        return found

    return _where(texts, record) or None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"`--where` got {text!r} for a column of numbers; write a number") from None


def _progress(arguments: argparse.Namespace) -> bool:
    return not arguments.json
