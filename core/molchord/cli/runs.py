"""Commands that make runs and measure them: `train`, `tune`, `evaluate`, `calibrate`, `realign`."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molchord.cli.options import (
    Group,
    add_command,
    add_device,
    add_force,
    add_graph,
    add_log,
    add_renamed,
    add_rerank,
    add_run,
    add_where,
    graph_of,
    loggers_of,
    rerank_of,
    where_of_run,
)
from molchord.cli.output import say
from molchord.errors import GraphError, MolchordError, RunError
from molchord.vocabulary import DEFAULT_POOLS, FUSIONS, MODES, POOLS, PROJECTIONS

if TYPE_CHECKING:
    from molchord.run import Run

__all__ = ["add_runs"]


def add_runs(group: Group) -> None:
    """Declare the commands."""
    command = add_command(group, "train", _train, "train a model graph on a data set")
    add_graph(command, nargs="?")
    command.add_argument("--data", metavar="DATASET")
    command.add_argument("--out", metavar="RUN", help="folder to write")
    command.add_argument("--resume", metavar="RUN", help="continue a training where it stopped")
    command.add_argument(
        "--dry-run", action="store_true",
        help="run one batch and describe it; no run is written, but derived structures are cached in the data set",
    )  # fmt: skip
    add_log(command)
    add_device(command)
    add_force(command)
    command = add_command(group, "tune", _tune, "try settings of a model graph, as its section `tune` says")
    add_graph(command)
    command.add_argument("--data", required=True, metavar="DATASET")
    command.add_argument("--out", required=True, metavar="STUDY", help="folder to write; a study there is continued")
    command.add_argument(
        "--trials", required=True, type=int, metavar="N", help="trainings in all, those there included"
    )
    add_device(command)
    _add_evaluate(group)
    command = add_command(
        group, "calibrate", _calibrate, "fit temperatures, probabilities and none-of-these on validation queries"
    )
    add_run(command)
    command.add_argument("--data", metavar="DATASET", help="whose molecules to search for, but those of its test split")
    command.add_argument(
        "--references", metavar="DATASET",
        help="fit how much `search --references` counts, on molecules with several measurements",
    )  # fmt: skip
    command.add_argument("--out", metavar="RUN2", help="folder to write a calibrated copy to (default: RUN is changed)")
    add_where(command)
    add_force(command)
    command = add_command(group, "realign", _realign, "adapt a run to other data, such as measured spectra")
    add_run(command)
    command.add_argument("--data", required=True, metavar="DATASET")
    command.add_argument("--out", required=True, metavar="RUN2", help="folder to write")
    add_renamed(
        command, "--trainable", "--free", action="append", metavar="PART",
        help="part to train, or heads: the last layer of every head; repeatable (default: every tower)",
    )  # fmt: skip
    add_where(command)
    command.add_argument("--epochs", type=int, default=40, help="passes over the data (default: 40)")
    command.add_argument("--lr", type=float, help="learning rate (default: that of the run's graph)")
    add_log(command)
    add_force(command)


def _add_evaluate(group: Group) -> None:
    command = add_command(group, "evaluate", _evaluate, "measure a run on held-out molecules, and report")
    add_run(command)
    command.add_argument("--data", metavar="DATASET", help="default: what the run was trained on")
    pools = f"{', '.join(POOLS)}; repeatable (default: {' and '.join(DEFAULT_POOLS)})"
    command.add_argument("--pool", action="append", metavar="POOL", help=pools)
    command.add_argument("--mode", action="append", choices=MODES, help="default: both, apart")
    add_renamed(command, "--fusion", "--map", action="append", choices=FUSIONS, help="default: all three")
    command.add_argument("--split", default="test", metavar="NAME", help="whose molecules are queries (default test)")
    command.add_argument(
        "--combine", action="store_true", help="search with all of a molecule's measurements of a modality at once"
    )
    command.add_argument("--candidates-only", metavar="RUN", help="a run trained with train.candidates_only")
    add_rerank(command)
    command.add_argument("--rerank-k", type=int, metavar="N", help="how many of the first candidates (default 25)")
    command.add_argument(
        "--pictures", action=argparse.BooleanOptionalAction, default=True,
        help="draw what the run learned: map, neighbours, stated against found, confusions, Top-k (default)",
    )  # fmt: skip
    command.add_argument(
        "--projection", choices=PROJECTIONS, default=PROJECTIONS[0],
        help="how the map is laid out (default pca; umap needs the extra `umap`)",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="of the bootstrap and the drawn mass errors")
    command.add_argument("--full", action="store_true", help="print every fusion, metric and baseline")
    command.add_argument("--out", metavar="FOLDER", help="for figures and report.html (default: the run)")
    add_where(command)
    add_force(command)


def _train(arguments: argparse.Namespace) -> int:
    """Train a model graph on a data set, or continue a training."""
    from molchord.run import Run
    from molchord.train.processes import launched

    first = launched()[0] == 0  # of several processes, only one prints
    _check_train(arguments)
    if arguments.dry_run:
        return _dry_run(arguments) if first else 0
    options = {"device": arguments.device, "progress": not arguments.json, "loggers": loggers_of(arguments.log)}
    if arguments.resume is not None:
        run = Run.resume(arguments.resume, **options)
    else:
        graph = _graph_of(arguments, first)
        run = Run.train(graph, arguments.data, arguments.out, force=arguments.force, **options)
    return _trained(arguments, run) if first else 0


def _check_train(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together."""
    if arguments.resume is not None:
        if arguments.graph or arguments.data or arguments.out or arguments.dry_run or arguments.set:
            raise MolchordError("`--resume RUN` takes graph and data from the run; leave the other options out")
    elif arguments.graph is None or arguments.data is None:
        raise MolchordError("`molchord train` needs GRAPH and `--data DATASET`, or `--resume RUN`")
    elif arguments.out is None and not arguments.dry_run:
        raise MolchordError("`molchord train` needs `--out RUN`, the folder to write")


def _graph_of(arguments: argparse.Namespace, first: bool) -> Any:
    """Read the graph; its complaints are printed by the first process only."""
    try:
        return graph_of(arguments)
    except GraphError as error:
        if first:
            raise
        raise SystemExit(error.status) from error


def _trained(arguments: argparse.Namespace, run: Run) -> int:
    best = ", ".join(f"{name} {value:.4g}" for name, value in run.manifest.best.items())
    say(arguments, {"run": str(run.path), **run.manifest.model_dump()}, f"{run.path}: trained; best {best}")
    return 0


def _dry_run(arguments: argparse.Namespace) -> int:
    from molchord.data.store import DataSet
    from molchord.train.dry_run import dry_run
    from molchord.train.loggers import build_loggers
    from molchord.train.trainer import Trainer

    build_loggers(loggers_of(arguments.log))  # whether they could be used
    found = dry_run(Trainer(graph_of(arguments), DataSet(arguments.data), device=arguments.device, progress=False))
    lines = [f"one batch on {found['device']}: loss {found['loss']:.4f}, peak memory {found['memory_mb']} MB"]
    for part in ("molecules", "batch", "parameters"):
        lines += [part, *(f"  {name}: {count}" for name, count in found[part].items())]
    for name, shapes in found["shapes"].items():
        lines += [f"shapes of {name}", *(f"  {field}: {shape}" for field, shape in shapes.items())]
    say(arguments, found, "\n".join(lines))
    return 0


def _tune(arguments: argparse.Namespace) -> int:
    """Try settings of a model graph; exit 1 if every trial failed."""
    from molchord.graph.layers import settings
    from molchord.study import tune

    study = tune(
        arguments.graph, arguments.data, arguments.out, trials=arguments.trials, overrides=settings(arguments.set),
        device=arguments.device, progress=not arguments.json,
    )  # fmt: skip
    trials = [{**vars(trial), "run": str(trial.run)} for trial in study.trials]
    best = ", ".join(str(trial.run) for trial in study.best) or "none: every trial failed"
    say(arguments, {"study": str(study.path), "trials": trials}, f"{study.text()}\nbest: {best}")
    return 0 if study.best else 1


def _evaluate(arguments: argparse.Namespace) -> int:
    """Measure a run on held-out molecules, and write the report."""
    from molchord.run import Run
    from molchord.run_place import SHIPPED

    run = Run.load(arguments.run_folder, device=arguments.device)
    if arguments.out is None and run.path == SHIPPED:
        raise RunError("the shipped run keeps no figures; name a folder for them with `--out`")
    prior = None if arguments.candidates_only is None else Run.load(arguments.candidates_only, device=arguments.device)
    evaluation = run.evaluate(
        arguments.data, pools=arguments.pool or DEFAULT_POOLS, modes=arguments.mode or MODES,
        fusions=arguments.fusion or FUSIONS, split=arguments.split, where=where_of_run(run, arguments.where),
        candidates_only=prior, combine=arguments.combine, rerank=rerank_of(arguments, arguments.rerank_k),
        pictures=arguments.pictures, projection=arguments.projection, seed=arguments.seed,
        out=run.path if arguments.out is None else Path(arguments.out), force=arguments.force,
        progress=not arguments.json,
    )  # fmt: skip
    out = arguments.run_folder if arguments.out is None else arguments.out
    tail = f"every fusion and baseline: {out}/evaluation.csv; to look at: {out}/report.html"
    say(arguments, evaluation.as_dict(), evaluation.text() if arguments.full else f"{evaluation.summary()}\n{tail}")
    return 0


def _calibrate(arguments: argparse.Namespace) -> int:
    """Fit what probabilities need on other queries, such as measured ones; the weights stay."""
    from molchord.files import replace_folder
    from molchord.run import Run
    from molchord.run_folder import check_run_output
    from molchord.run_place import SHIPPED

    given = [Path(folder) for folder in (arguments.data, arguments.references) if folder is not None]
    if not given:
        raise MolchordError("`molchord calibrate` needs `--data DATASET` or `--references DATASET`, or both")
    run = Run.load(arguments.run_folder, device=arguments.device)
    if arguments.out is not None:
        out = Path(arguments.out)
        check_run_output(out, [("run", run.path), *(("data set", data) for data in given)], force=arguments.force)
        with replace_folder(out) as unfinished:
            shutil.copytree(run.path, unfinished, dirs_exist_ok=True)
        run = Run.load(out, device=arguments.device)
    elif run.path == SHIPPED:
        raise RunError("the shipped run is not changed; name a folder for a calibrated copy with `--out`")
    where = where_of_run(run, arguments.where)
    if arguments.data is not None:
        run.calibrate(arguments.data, where=where)
    if arguments.references is not None:
        run.calibrate(arguments.references, where=where, references=True)
    on = ", ".join(f"{name} {origin}" for name, origin in run.manifest.calibrated_on.items())
    for origin, fitted in run.manifest.references.items():
        on += f"; {origin} references of {', '.join(fitted)}"
    say(arguments, {"run": str(run.path), **run.manifest.model_dump()}, f"{run.path}: calibrated; {on}")
    return 0


def _realign(arguments: argparse.Namespace) -> int:
    """Adapt a run to other data by training some of its parts a little longer."""
    from molchord.run import Run

    run = Run.load(arguments.run_folder, device=arguments.device)
    done = run.realign(
        arguments.data, arguments.out, trainable=arguments.trainable or None, epochs=arguments.epochs,
        lr=arguments.lr, force=arguments.force,
        where=where_of_run(run, arguments.where), progress=not arguments.json, loggers=loggers_of(arguments.log),
    )  # fmt: skip
    return _trained(arguments, done)
