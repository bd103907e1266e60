"""A training from its run folder's first file to its last: begun anew or resumed, in one process or in several."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGINT
from tempfile import mkdtemp
from typing import TypeAlias

from molchord.api import Logger
from molchord.checksums import checksums_of
from molchord.data.store import DataSet
from molchord.domain import Domain, domain_of
from molchord.embedder import Embedder
from molchord.errors import RunError, TrainingStopped
from molchord.files import discard, replace_file, replace_files, replace_folder, write_csv
from molchord.graph.changes import changed
from molchord.graph.resolve import ModelGraph, Use
from molchord.lock import only_writer, unfinished
from molchord.run_folder import (
    PluginStamp,
    RunManifest,
    check_run_output,
    code_version,
    read_run_manifest,
    read_weights,
    saved_graph,
    taken_towers,
    trained_smiles,
    training_data,
    write_run_manifest,
    write_trained_on,
)
from molchord.run_place import find_run
from molchord.train.loggers import Log, build_loggers
from molchord.train.processes import distributed
from molchord.train.trainer import Trainer

__all__ = ["Trained", "resume_training", "train"]

_GRAPH, _FINAL = "graph.yaml", ("metrics.jsonl", "absent.csv")

Trained: TypeAlias = Callable[[Path, DataSet, str], None]
"""What the first process does with a trained run: ``trained(run folder, data set, device)``."""


def train(
    graph: ModelGraph,
    dataset: DataSet,
    out: Path | None,
    *,
    trained: Trained,
    device: str | None = None,
    force: bool = False,
    progress: bool = True,
    start: Embedder | None = None,
    fitted: Mapping[str, Mapping[str, object]] | None = None,
    loggers: Sequence[str | Use] = (),
) -> tuple[Path, Path | None, str]:
    """Train a graph into a new run folder, as `Run.train` has it.

    `trained` runs once the weights exist; `start` is a model whose weights to start from, and `fitted` holds the states
    of modalities that were fitted for it.

    Returns:
        The run folder, the temporary folder that it is in, if any, and the device.

    Raises:
        OutputExistsError: `out` exists and `force` is not set.
        FolderInUseError: Another process trains there.
        RunError: `out` is not a run, or overlaps the data set or a run that weights come from.
        TrainingStopped: Ctrl-C, or another signal that ends it; the state is saved.
    """
    with distributed(device) as (processes, own_device), ExitStack() as alone:
        with processes.main_process_first():
            built = build_loggers(loggers) if processes.rank == 0 else {}
            if out is not None and processes.rank == 0:
                alone.enter_context(only_writer(out))
            sources = [find_run(source.partition("#")[0]) for source in graph.train.init.values()]
            sources += [] if start is None else [start.path]
            if out is not None and processes.rank == 0:
                kept = [("data set", dataset.path), *(("run that weights come from", source) for source in sources)]
                check_run_output(out, kept, force=force)
            trainer = Trainer(
                graph,
                dataset,
                device=own_device,
                fitted=fitted,
                missing="refuse" if start is None else "empty",
                progress=progress,
                processes=processes,
            )
            trainer.start_from(None if start is None else start.model.state_dict())
            for source in trainer.sources.values():
                if source.missing is not None:
                    warnings.warn(f"{source.missing}; its tower stays as it is", stacklevel=3)
            temporary = Path(mkdtemp(prefix="molchord-run-")) if out is None and processes.rank == 0 else None
            path = temporary / "run" if temporary is not None else Path() if out is None else out
            with _discarding(temporary):
                if processes.rank == 0:
                    _write_folder(trainer, path, sources, start)
        path = processes.broadcast(path)
        with _discarding(temporary, keep=TrainingStopped):
            _run(trainer, path, built, trained)
    return path, temporary, str(trainer.device)


def resume_training(
    path: Path,
    *,
    trained: Trained,
    data: Path | None = None,
    epochs: int | None = None,
    accept_graph: bool = False,
    device: str | None = None,
    progress: bool = True,
    loggers: Sequence[str | Use] = (),
) -> str:
    """Continue a training exactly where it stopped, and return the device; other arguments as for `train`.

    Args:
        path: The run folder.
        trained: As for `train`.
        data: Where the data set is now, the same one; None: where it was.
        epochs: Passes over the data in all, in place of those of the graph.
        accept_graph: Take the run's ``graph.yaml`` as it is, edited or not.
        device: As for `train`.
        progress: As for `train`.
        loggers: As for `train`.

    Raises:
        RunError: There is no checkpoint, or the data set or the graph has changed since.
        FolderInUseError: Another process trains there.
        TrainingStopped: Ctrl-C, or another signal that ends it; the state is saved.
    """
    with distributed(device) as (processes, own_device), ExitStack() as alone:
        with processes.main_process_first():
            built = build_loggers(loggers) if processes.rank == 0 else {}
            left = unfinished(path.resolve())
            if not (path / "manifest.json").is_file() and left:
                raise RunError(f"run {str(path)!r} was ended before its first checkpoint; train it again")
            manifest = read_run_manifest(path)
            if processes.rank == 0:
                alone.enter_context(only_writer(path))
                _take_up(path, manifest, data, epochs, accept_graph)
            trainer = Trainer(
                saved_graph(path, manifest),
                training_data(path, manifest),
                device=own_device,
                fitted=manifest.fitted,
                missing="empty",  # what the data set lacked was accepted when the training began
                progress=progress,
                processes=processes,
            )
            trainer.restore(path)
            _prolong(trainer, epochs)
        _run(trainer, path, built, trained)
        return str(trainer.device)


def _prolong(trainer: Trainer, epochs: int | None) -> None:
    """Let a training that has ended go on to so many epochs."""
    if epochs is None:
        return
    if epochs <= trainer.state.epoch:
        raise RunError(
            f"`epochs` is {epochs}, but the run has done {trainer.state.epoch}; give a larger number, or leave it out"
        )
    trainer.state.done = False


def _run(trainer: Trainer, path: Path, loggers: Mapping[str, Logger], trained: Trained) -> None:
    """Train to the end and complete the folder; all processes wait for the first one to do so."""
    log, finished = Log(loggers, path, trainer.graph, trainer.state.epoch), False
    try:
        finished = trainer.run(path, log.epoch)
    finally:
        log.close(finished)
    if not finished:
        status = 128 + (trainer.signal or SIGINT)
        stopped = TrainingStopped(path, trainer.state.epoch, trainer.state.step, status)
        if trainer.processes.rank > 0:
            raise SystemExit(stopped.status)  # process 0 reports it
        raise stopped
    if trainer.processes.rank == 0:
        _complete(trainer, path)
        if len(trainer.rows["val"]):
            trained(path, trainer.dataset, str(trainer.device))
    trainer.processes.barrier()


def _complete(trainer: Trainer, path: Path) -> None:
    """Write what is known of a run once it is trained."""
    manifest, state = read_run_manifest(path), trainer.state
    if state.best is not None:
        best = -state.best if trainer.config.stopping.metric == "loss" else state.best
        manifest.best = {"epoch": state.best_epoch, trainer.config.stopping.metric: best}
    if state.absent:
        write_csv(path / "absent.csv", ("modality", "id", "reason"), state.absent)
    trainer.model.load_state_dict(read_weights(path / "model.safetensors")[0])
    manifest.tau = trainer.model.temperatures()
    manifest.files |= checksums_of(path, _FINAL)
    write_run_manifest(path, manifest)


def _take_up(path: Path, manifest: RunManifest, data: Path | None, epochs: int | None, accept_graph: bool) -> None:
    """Write down what changes when a training is taken up, all of it or nothing.

    Raises:
        RunError: The data set is another one, or the run has done as many epochs already.
    """
    if accept_graph:
        manifest.files |= checksums_of(path, (_GRAPH,))
    if data is not None:
        found = DataSet(data, split=manifest.data.get("split"))
        if found.sha256 != manifest.data["sha256"]:
            raise RunError(
                f"data set {str(data)!r} is not the one that run {str(path)!r} was trained on (by its checksum it has "
                "other molecules, measurements or splits); train anew, or adapt the run with `molchord realign`"
            )
        manifest.data["path"] = str(found.path.resolve())
    with replace_files(path) as folder:
        if epochs is not None:
            replace_file(folder / _GRAPH, changed(saved_graph(path, manifest), train={"epochs": epochs}).to_yaml())
            manifest.files |= checksums_of(folder, (_GRAPH,))
        # What a training goes on writing has its checksum again when it ends.
        manifest.files = {name: entry for name, entry in manifest.files.items() if name not in _FINAL}
        write_run_manifest(folder, manifest)


def _write_folder(trainer: Trainer, path: Path, sources: Sequence[Path], start: Embedder | None) -> None:
    """Write the folder of a run that is about to be trained, from parts of the runs in `sources` or all of `start`."""
    rows = trainer.rows["train"]
    trained_on = {key: text for source in sources for key, text in trained_smiles(source).items()}
    trained_on |= dict(zip(trainer.dataset.keys(rows), trainer.dataset.smiles(rows), strict=True))
    with replace_folder(path) as folder:
        replace_file(folder / _GRAPH, trainer.graph.to_yaml())
        write_trained_on(folder, trained_on)
        manifest = _manifest(trainer, start)
        manifest.files = checksums_of(folder, (_GRAPH, "trained_on.txt"))
        write_run_manifest(folder, manifest)
        trainer.save(folder)


def _manifest(trainer: Trainer, start: Embedder | None) -> RunManifest:
    graph, code = trainer.graph, code_version()
    versions = graph.config_versions()
    return RunManifest(
        molchord=code["version"] or "",
        commit=code["commit"],
        device=str(trainer.device),
        plugins=[
            PluginStamp(type=p.type, name=p.qualified, version=p.version, config_version=versions[p.type][p.qualified])
            for p in graph.plugins()
        ],
        specs={name: {"kind": n.kind, "spec": dataclasses.asdict(n.spec)} for name, n in graph.modalities.items()},
        candidate=graph.candidate,
        data={
            "path": str(trainer.dataset.path.resolve()),
            "sha256": trainer.dataset.sha256,
            **({} if trainer.dataset.rule is None else {"split": trainer.dataset.rule}),
        },
        fitted=trainer.fitted,
        molecules=trainer.counts(),
        domain=_domains(trainer, start),
    )


def _domains(trainer: Trainer, start: Embedder | None) -> dict[str, Domain]:
    """Return the domain of each spectrum: what its tower is trained on here, joined with what it was before.

    A tower from a run that does not know its domain, since an earlier version trained it, has none.
    """
    graph, rows = trainer.graph, trainer.rows["train"]
    before = [*taken_towers(graph.train.init)]
    if start is not None:
        manifest = read_run_manifest(start.path)
        before += [(name, manifest, name) for name in manifest.specs]
    out = {}
    for name in graph.modalities:
        taken = [run.domain.get(other) for own, run, other in before if own == name]
        known = [domain for domain in taken if domain is not None]
        here = rows[(trainer.present[name] & trainer.present[graph.candidate])[rows]]
        if name == graph.candidate or len(known) < len(taken) or not (known or len(here)):
            continue
        if len(here):
            known.append(domain_of(trainer.dataset.formulas(here)))
        out[name] = functools.reduce(Domain.joined, known)
    return out


@contextmanager
def _discarding(temporary: Path | None, keep: type[BaseException] | tuple[()] = ()) -> Iterator[None]:
    """Remove a temporary folder where the block fails, save for one kind of error."""
    try:
        yield
    except BaseException as error:
        if temporary is not None and not isinstance(error, keep):
            discard(temporary)
        raise
