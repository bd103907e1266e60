"""Tries settings of a model graph with optuna: one training per trial, several objectives, resumable studies."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from molchord.complaints import plain
from molchord.data.store import DataSet
from molchord.errors import DataError, GraphError, MolchordError, RunError, TrainingStopped
from molchord.files import write_csv
from molchord.graph.layers import Layers, laid_over, read_layers
from molchord.graph.resolve import ModelGraph
from molchord.graph.settings import RangeConfig, TuneConfig
from molchord.graph.strict_yaml import Document, dump
from molchord.lock import only_writer
from molchord.text_table import aligned

if TYPE_CHECKING:
    from molchord.run import Run

__all__ = ["Study", "Trial", "tune"]

JOURNAL = "study.jsonl"
"""The file of a study that all of it is read back from."""

DIRECTIONS = {"blind_mrr": "maximize", "loss": "minimize", "parameters": "minimize", "seconds": "minimize"}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training of a study.

    Attributes:
        number: Its number, from 0.
        settings: What it tried, by dotted path.
        metrics: Its objectives by name; empty where it failed.
        best: No other trial is as good in every objective and better in one.
        failure: Why it failed; empty where it did not.
        run: Its run folder.
    """

    number: int
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    best: bool
    failure: str
    run: Path


@dataclass(frozen=True, kw_only=True)
class Study:
    """All trials of a study, in their order."""

    path: Path
    objectives: tuple[str, ...]
    trials: tuple[Trial, ...]

    @property
    def best(self) -> tuple[Trial, ...]:
        """The trials that no other one beats, best in the first objective first."""
        sign = -1 if DIRECTIONS[self.objectives[0]] == "maximize" else 1
        return tuple(sorted((t for t in self.trials if t.best), key=lambda t: sign * t.metrics[self.objectives[0]]))

    def text(self) -> str:
        """Return all trials as a table; those that no other one beats have a star."""
        paths = list(dict.fromkeys(path for trial in self.trials for path in trial.settings))
        rows = [["", "trial", *self.objectives, *paths]]
        for t in self.trials:
            figures = [_shown(t.metrics[name]) if t.metrics else "failed" for name in self.objectives]
            tried = [_shown(t.settings[path]) if path in t.settings else "-" for path in paths]
            rows.append(["*" if t.best else "", str(t.number), *figures, *tried])
        failures = [f"trial {trial.number} failed: {trial.failure}" for trial in self.trials if trial.failure]
        return "\n".join([*aligned(rows), *failures])


def tune(
    graph: str | Path | Mapping[str, Any],
    data: DataSet | str | Path,
    out: str | Path,
    *,
    trials: int,
    overrides: Mapping[str, Any] | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Study:
    """Train a model graph again and again with other settings, as its section ``tune`` specifies.

    Settings are proposed by the tree-structured Parzen estimator (Bergstra et al. 2011), in its form for several
    objectives (Ozaki et al. 2022) where there are several. A study that was interrupted continues where it stopped, in
    the middle of a training too. One process at a time works on a study.

    Args:
        graph: YAML file, name of a built-in recipe, or a mapping, with a section ``tune``.
        data: A data set with validation molecules, or its folder.
        out: Folder of the study: its journal, a table, and one run folder per trial.
        trials: Trials in all; those that exist already count.
        overrides: Values to set in the graph, by dotted path.
        device: "cpu", "cuda", ...; None: a GPU where there is one.
        progress: Show progress bars.

    Raises:
        MolchordError: optuna is not installed, or the study is stopped by Ctrl-C.
        GraphError: The graph is wrong, or has no section ``tune``.
        DataError: An objective needs validation molecules, which the data set lacks.
        RunError: The folder is not a study, is damaged, or is of another graph or data set.
        FolderInUseError: Another process works on the study.
    """
    layers = _layers(graph, overrides)
    sweep = TuneConfig.model_validate_json(json.dumps(layers.data["tune"]))
    dataset = DataSet.opened(data)
    judged = [name for name in sweep.objectives if name in ("blind_mrr", "loss")]
    if judged and len(dataset.rows("val")) == 0:
        raise DataError(
            f"data set {str(dataset.path)!r} has no validation molecule, which objective {judged[0]!r} is measured on; "
            "change the split"
        )
    base = Layers({key: value for key, value in layers.data.items() if key != "tune"}, layers.places)
    with only_writer(Path(out)):
        study = _Study(Path(out), sweep, {"graph": dump(layers.data), "data": dataset.sha256})
        seed = ModelGraph.of_layers(base).seed
        while (trial := study.next(trials, seed)) is not None:
            number, chosen = trial
            folder = study.run(number)
            try:
                study.tell(number, _figures(_trained(base, chosen, dataset, folder, device, progress)))
            except TrainingStopped as error:
                stopped = MolchordError(f"tuning stopped in trial {number}; all is saved, go on with the same command")
                stopped.status = error.status
                raise stopped from None
            except MolchordError as error:
                study.fail(number, str(error))
            except Exception as error:  # plugins and devices raise anything, such as too little memory
                study.fail(number, f"{type(error).__name__}: {error}")
        return study.result()


def _layers(graph: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None) -> Layers:
    if isinstance(graph, Mapping):
        mapping, complaints = plain(graph)
        if complaints:
            raise GraphError([f"{path}: {message}" for path, message in complaints])
        layers = laid_over(Document(mapping, {}, ""), overrides=overrides)
    else:
        layers = read_layers(graph, overrides)
    ModelGraph.of_layers(layers)
    if layers.data.get("tune") is None:
        raise GraphError([layers.locate((), "`tune` is missing; say in `tune.space` what to try, by dotted path")])
    return layers


def _trained(
    base: Layers, chosen: Mapping[str, Any], dataset: DataSet, folder: Path, device: str | None, progress: bool
) -> Run:
    """Train with the chosen settings, or continue where that was interrupted."""
    from molchord.run import Run

    if (folder / "checkpoints" / "last.safetensors").is_file():
        return Run.resume(folder, device=device, progress=progress)
    return Run.train(ModelGraph.of_layers(base.over(chosen)), dataset, folder, device=device, progress=progress)


def _figures(run: Run) -> dict[str, float]:
    """Return every metric that can be an objective; those of validation are of the best epoch."""
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    best: dict[str, float] = next((t["val"] for t in lines if t["epoch"] == run.manifest.best.get("epoch")), {})
    return {
        "blind_mrr": best.get("blind_mrr", math.nan),
        "loss": best.get("loss", math.nan),
        "parameters": float(sum(parameter.numel() for parameter in run.model.parameters())),
        "seconds": sum(line["seconds"] for line in lines),
    }


def _shown(value: Any) -> str:
    if not isinstance(value, float):
        return json.dumps(value)
    return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"


class _Study:
    """A study in its folder; optuna keeps its journal.

    Args:
        path: The folder.
        sweep: What is tried, and what for.
        made_of: Texts by name that must be the same whenever the study continues.
    """

    def __init__(self, path: Path, sweep: TuneConfig, made_of: Mapping[str, str]) -> None:
        optuna = _optuna()
        if path.exists() and not (path / JOURNAL).is_file() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(f"folder {str(path)!r} is not a study; choose another folder")
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.sweep = sweep
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        journal = optuna.storages.journal.JournalFileBackend(str(path / JOURNAL))
        try:
            self._study = optuna.create_study(
                storage=optuna.storages.JournalStorage(journal),
                study_name="molchord",
                directions=[DIRECTIONS[name] for name in sweep.objectives],
                load_if_exists=True,
            )
        except (ValueError, KeyError) as error:
            raise RunError(f"study {str(path)!r} has a damaged {JOURNAL} ({error}); choose another folder") from error
        for name, text in made_of.items():
            if self._study.user_attrs.get(name, text) != text:
                raise RunError(f"study {str(path)!r} was begun with another {name}; choose another folder")
            self._study.set_user_attr(name, text)
        if self._study.trials:
            self._write()  # the table may lack what a stop left in the journal alone

    def run(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.path / f"trial-{number:03d}"

    def next(self, count: int, seed: int) -> tuple[int, dict[str, Any]] | None:
        """Return number and settings of the next trial: one that was interrupted, or a new one; None after `count`."""
        optuna = _optuna()
        known = self._study.get_trials(deepcopy=False)
        for trial in known:
            if trial.state == optuna.trial.TrialState.RUNNING:
                if trial.params.keys() == self.sweep.space.keys():
                    return trial.number, self._settings(trial)
                self.fail(trial.number, "interrupted before it began")
        if len(known) >= count:
            return None
        # A sampler's own state is not saved: with a seed per trial, a continued study proposes what it would have.
        self._study.sampler = optuna.samplers.TPESampler(seed=seed + len(known))
        trial = self._study.ask({path: _distribution(values) for path, values in self.sweep.space.items()})
        return trial.number, self._settings(trial)

    def tell(self, number: int, metrics: Mapping[str, float]) -> None:
        """Keep the metrics of a trial; one that has no number for an objective has failed."""
        missing = [name for name in self.sweep.objectives if not math.isfinite(metrics[name])]
        if missing:
            self.fail(number, f"objective {missing[0]!r} is {metrics[missing[0]]}")
            return
        self._study.tell(number, [metrics[name] for name in self.sweep.objectives])
        self._write()

    def fail(self, number: int, reason: str) -> None:
        """Keep why a trial failed; the others continue."""
        self._study.set_user_attr(f"failure {number}", reason)
        self._study.tell(number, state=_optuna().trial.TrialState.FAIL)
        self._write()

    def result(self) -> Study:
        """Return all trials that are done."""
        best = {trial.number for trial in self._study.best_trials}
        done = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.is_finished()]
        return Study(
            path=self.path,
            objectives=self.sweep.objectives,
            trials=tuple(
                Trial(
                    number=trial.number,
                    settings=self._settings(trial),
                    metrics=dict(zip(self.sweep.objectives, trial.values or (), strict=bool(trial.values))),
                    best=trial.number in best,
                    failure=self._study.user_attrs.get(f"failure {trial.number}", ""),
                    run=self.run(trial.number),
                )
                for trial in done
            ),
        )

    def _settings(self, trial: Any) -> dict[str, Any]:
        """Return what a trial tries; choices are kept as JSON, since optuna takes scalars only."""
        return {
            path: value if isinstance(self.sweep.space[path], RangeConfig) else json.loads(value)
            for path, value in trial.params.items()
        }

    def _write(self) -> None:
        study = self.result()
        header = ("trial", "best", *study.objectives, *self.sweep.space, "failure")
        rows = [
            (
                *(str(trial.number), str(int(trial.best))),
                *(str(trial.metrics.get(name, "")) for name in study.objectives),
                *(json.dumps(trial.settings[path]) if path in trial.settings else "" for path in self.sweep.space),
                trial.failure,
            )
            for trial in study.trials
        ]
        write_csv(self.path / "trials.csv", header, rows)


def _distribution(values: RangeConfig | tuple[Any, ...]) -> Any:
    """Return optuna's form of what is tried."""
    distributions = _optuna().distributions
    if not isinstance(values, RangeConfig):
        return distributions.CategoricalDistribution([json.dumps(value) for value in values])
    if isinstance(values.low, int) and isinstance(values.high, int):
        return distributions.IntDistribution(values.low, values.high, log=values.log)
    return distributions.FloatDistribution(values.low, values.high, log=values.log)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MolchordError("tuning needs optuna, which is not installed; run pip install 'molchord[tune]'") from error
    return optuna
