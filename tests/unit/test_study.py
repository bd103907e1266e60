"""Tuning: what may be tried is checked with the graph; a study keeps all of its trials and goes on exactly."""

import copy
import csv
import json
import os
import signal
import sys
from pathlib import Path

import pytest

import molchord as mc
from molchord.cli.main import main
from molchord.errors import DataError, GraphError, MolchordError, RunError
from molchord.graph.resolve import ModelGraph
from molchord.study import Study, Trial, tune
from molchord.testing import MOLECULES, examples_of, tiny_data
from molchord.train.trainer import Trainer

GRAPH = {
    "schema": 1,
    "embedding_dim": 8,
    "seed": 3,
    "modalities": {
        "structure": {"use": "structure", "encoder": {"use": "gine", "width": 8, "hidden": 8, "layers": 1}},
        "ir": {"use": "ir", "grid": {"points": 200}, "encoder": {"use": "mlp", "width": 8, "hidden": [8]}},
    },
    "loss": {"use": "all_pairs"},
    "train": {"epochs": 2, "batch_size": 4, "workers": 0},
    "tune": {
        "objectives": ["blind_mrr", "loss", "parameters"],
        "space": {
            "train.optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
            "embedding_dim": {"low": 4, "high": 16},
            "modalities.ir.encoder": [{"use": "mlp", "hidden": [4]}, {"use": "mlp", "hidden": []}],
        },
    },
}


@pytest.fixture(scope="module")
def data():
    return tiny_data()


def changed(**space):
    graph = copy.deepcopy(GRAPH)
    graph["tune"]["space"] = space
    return graph


# --- the section `tune`


def test_a_space_is_no_part_of_the_resolved_graph():
    graph = ModelGraph.from_dict(GRAPH)
    assert "tune" not in graph.to_dict()
    assert graph == ModelGraph.from_dict({key: value for key, value in GRAPH.items() if key != "tune"})


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        ("{}", "mine.yaml:2: tune.space: required key of the model graph is missing; add it"),
        ("{space: {train.epochs: {low: 3, high: 3}}}",
         "mine.yaml:2: tune.space.train.epochs: the range from 3 to 3 is none; give `low` below `high`"),
        ("{space: {train.epochs: {low: 0, high: 3, log: true}}}",
         "mine.yaml:2: tune.space.train.epochs: the range from 0 to 3 is none in the logarithm; give `low` below `high`, above 0"),
        ("{space: {seed: [1]}}", "mine.yaml:2: tune.space.seed: got [1]; expected a mapping or a list of at least 2"),
        ("{space: {seed: [1, 2]}, objectives: [blind_mr]}", "mine.yaml:2: tune.objectives.0: got 'blind_mr'; did you mean 'blind_mrr'?"),
        ("{space: {seed: [1, 2]}, objectives: []}", "mine.yaml:2: tune.objectives: got []; expected a list of at least 1"),
        ("{space: {embedding_dim: {low: 0, high: 4}}}",
         "mine.yaml:2: tune.space.embedding_dim: 0 cannot be tried: embedding_dim: got 0; expected greater than or equal to 1"),
        ("{space: {modalities.ir.encoder.widht: [8, 9]}}",
         "mine.yaml:2: tune.space.modalities.ir.encoder.widht: 8 cannot be tried: modalities.ir.encoder.widht: "
         "unknown key for encoder 'resnet1d'; did you mean 'width'?"),
        ("{space: {modalities.irr.encoder.width: [8, 9]}}",
         "mine.yaml:2: tune.space.modalities.irr.encoder.width: 8 cannot be tried: modalities.irr: unknown modality 'irr' "
         "in this graph; did you mean 'ir'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_tried_is_said_by_graph_check(tune, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"extends: vibrational\ntune: {tune}\n")
    assert main(["graph", "check", "mine.yaml"]) == 2
    assert capsys.readouterr().err.strip() == said


def test_all_faults_of_a_space_are_said_at_once(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "extends: vibrational\ntune:\n  space:\n    seed: [1, -1]\n    train.ema: [0.9, 2]\n    train.epochs: [1, 2]\n"
    )
    with pytest.raises(GraphError) as error:
        ModelGraph.load(tmp_path / "mine.yaml")
    assert [line.split("mine.yaml")[1].split(" cannot")[0] for line in error.value.complaints] == [
        ":4: tune.space.seed: -1",
        ":5: tune.space.train.ema: 2",
    ]


def test_a_graph_without_a_space_is_refused(data, tmp_path):
    with pytest.raises(GraphError, match="`tune` is missing; say in `tune.space` what to try, by dotted path"):
        tune("vibrational", data, tmp_path / "study", trials=1)
    assert not (tmp_path / "study").exists()


def test_without_optuna_a_sentence_says_what_to_install(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MolchordError, match=r"^tuning needs optuna, .*; run pip install 'molchord\[tune\]'$"):
        tune(GRAPH, data, tmp_path / "study", trials=1)


# --- studies


@pytest.fixture(scope="module")
def study(data, tmp_path_factory):
    pytest.importorskip("optuna")
    path = tmp_path_factory.mktemp("tune") / "study"
    return tune(GRAPH, data, path, trials=4, device="cpu", progress=False)


def same(study, other):
    return [(t.number, t.settings, t.metrics, t.best) for t in study.trials] == [
        (t.number, t.settings, t.metrics, t.best) for t in other.trials
    ]


def test_every_trial_is_a_run_with_its_settings_and_figures(study):
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    for trial in study.trials:
        graph = ModelGraph.load(trial.run / "graph.yaml")
        assert graph.train.optimizer.lr == trial.settings["train.optimizer.lr"]
        assert graph.embedding_dim == trial.settings["embedding_dim"]
        assert isinstance(trial.settings["embedding_dim"], int)
        assert 1e-4 <= graph.train.optimizer.lr <= 1e-1
        assert list(graph.modalities["ir"].encoder.config.hidden) == trial.settings["modalities.ir.encoder"]["hidden"]
        run = mc.load(trial.run, device="cpu")
        lines = [json.loads(line) for line in (trial.run / "metrics.jsonl").read_text().splitlines()]
        assert trial.metrics == {
            "blind_mrr": run.manifest.best["blind_mrr"],
            "loss": lines[int(run.manifest.best["epoch"]) - 1]["val"]["loss"],
            "parameters": sum(p.numel() for p in run.model.parameters()),
        }
    assert len({trial.settings["embedding_dim"] for trial in study.trials}) > 1


def test_the_best_are_those_that_no_other_beats(study):
    def beats(a, b):
        signs = {"blind_mrr": -1, "loss": 1, "parameters": 1}
        mine, theirs = ([signs[name] * t.metrics[name] for name in signs] for t in (a, b))
        return mine != theirs and all(x <= y for x, y in zip(mine, theirs, strict=True))

    for trial in study.trials:
        assert trial.best == (not any(beats(other, trial) for other in study.trials))
    assert {t.number for t in study.best} == {t.number for t in study.trials if t.best}
    first = [trial.metrics["blind_mrr"] for trial in study.best]
    assert first == sorted(first, reverse=True)


def test_a_study_that_goes_on_is_the_one_that_did_not_stop(study, data, tmp_path, monkeypatch):
    """Stopped between trials and within one, by Ctrl-C, it ends as the one that ran through."""
    path, learn, calls = tmp_path / "study", Trainer.learn, []

    def interrupted(*batch):
        calls.append(batch)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return learn(*batch)

    tune(GRAPH, data, path, trials=1, device="cpu", progress=False)
    monkeypatch.setattr(Trainer, "learn", interrupted)
    with pytest.raises(
        MolchordError, match="^tuning stopped in trial 1; all is saved, go on with the same command$"
    ) as error:
        tune(GRAPH, data, path, trials=4, device="cpu", progress=False)
    assert error.value.status == 130
    assert (path / "trial-001" / "checkpoints" / "last.safetensors").is_file()
    monkeypatch.setattr(Trainer, "learn", learn)
    again = tune(GRAPH, data, path, trials=4, device="cpu", progress=False)
    assert same(again, study)
    # Nothing is left to do, and less than there is asks for nothing.
    monkeypatch.setattr(Trainer, "run", None)
    assert same(tune(GRAPH, data, path, trials=2, device="cpu", progress=False), study)


def test_a_failed_trial_is_named_and_the_others_go_on(data, tmp_path, capsys):
    pytest.importorskip("optuna")
    graph = changed(**{"train.batch_size": [1, 4]})
    graph["tune"]["objectives"] = ["seconds"]
    found = tune(graph, data, tmp_path / "study", trials=5, device="cpu", progress=False)
    by_size = {trial.settings["train.batch_size"]: trial for trial in found.trials}
    assert by_size.keys() == {1, 4}
    assert "in batches of 1; a contrastive loss needs two molecules" in by_size[1].failure
    assert by_size[1].metrics == {}
    assert not by_size[1].best
    assert by_size[4].failure == ""
    assert f"trial {by_size[1].number} failed: data set" in found.text()
    rows = list(csv.DictReader((tmp_path / "study" / "trials.csv").read_text().splitlines()))
    assert [row["train.batch_size"] for row in rows] == [str(t.settings["train.batch_size"]) for t in found.trials]
    assert [row["best"] for row in rows] == [str(int(t.best)) for t in found.trials]


def test_a_study_of_something_else_is_not_gone_on_with(study, data, tmp_path):
    with pytest.raises(RunError, match="was begun with another graph; choose another folder"):
        tune(GRAPH, data, study.path, trials=9, overrides={"seed": 4}, progress=False)
    others = mc.from_measurements(MOLECULES, {"ir": examples_of("ir", 16, seed=1)}, splits=["train"] * 14 + ["val"] * 2)
    with pytest.raises(RunError, match="was begun with another data; choose another folder"):
        tune(GRAPH, others, study.path, trials=9, progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="is not a study; choose another folder"):
        tune(GRAPH, data, tmp_path / "mine", trials=1, progress=False)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_whatever_a_trial_raises_the_others_go_on(data, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    train, raised = Trainer.run, iter([RuntimeError("out of memory"), None])

    def run(*given):
        error = next(raised)
        if error is not None:
            raise error
        return train(*given)

    monkeypatch.setattr(Trainer, "run", run)
    found = tune(GRAPH, data, tmp_path / "study", trials=2, device="cpu", progress=False)
    assert [trial.failure for trial in found.trials] == ["RuntimeError: out of memory", ""]
    assert [trial.number for trial in found.best] == [1]


def test_a_damaged_study_is_said(data, tmp_path):
    pytest.importorskip("optuna")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.jsonl").write_text("not json\n{}\n")
    with pytest.raises(RunError, match=r"has a damaged study\.jsonl"):
        tune(GRAPH, data, tmp_path / "study", trials=1)


def test_figures_of_validation_need_validation_molecules(tmp_path):
    pytest.importorskip("optuna")
    none = mc.from_measurements(MOLECULES, {"ir": examples_of("ir", 16)}, splits=["train"] * 16)
    with pytest.raises(DataError, match="has no validation molecule, which objective 'blind_mrr' is measured on"):
        tune(GRAPH, none, tmp_path / "study", trials=1)


def test_the_command_prints_the_study(study, data, capsys, tmp_path):
    graph = tmp_path / "graph.yaml"
    graph.write_text(json.dumps(GRAPH))  # JSON is YAML
    command = ["tune", str(graph), "--data", str(data.path), "--out", str(study.path), "--trials", "4"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.startswith(study.text())
    assert f"best: {study.best[0].run}" in said
    assert main([*command, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [trial["metrics"] for trial in shown["trials"]] == [dict(trial.metrics) for trial in study.trials]


# --- what is shown


def trial(number, metrics=None, *, best=False, failure="", **settings):
    return Trial(
        number=number,
        settings=settings,
        metrics=metrics or {},
        best=best,
        failure=failure,
        run=Path(f"trial-{number:03d}"),
    )


def study_of(*trials, objectives=("blind_mrr", "parameters")):
    return Study(path=Path("study"), objectives=objectives, trials=trials)


def test_a_table_shows_every_trial_with_what_it_tried():
    found = study_of(
        trial(0, {"blind_mrr": 0.123456, "parameters": 1200.0}, best=True, lr=1e-5, encoder={"use": "mlp"}),
        trial(1, failure="loss became nan", lr=0.5, encoder={"use": "gine"}),
        trial(2, failure="interrupted before it began", lr=0.25),  # by whatever ended the process
    )
    assert [line.split() for line in found.text().splitlines()[:4]] == [
        ["trial", "blind_mrr", "parameters", "lr", "encoder"],
        ["*", "0", "0.1235", "1200", "1e-05", '{"use":', '"mlp"}'],
        ["1", "failed", "failed", "0.5", '{"use":', '"gine"}'],
        ["2", "failed", "failed", "0.25", "-"],
    ]
    assert found.text().splitlines()[4:] == [
        "trial 1 failed: loss became nan", "trial 2 failed: interrupted before it began",
    ]  # fmt: skip
    assert study_of().text().split() == ["trial", "blind_mrr", "parameters"]


@pytest.mark.parametrize(
    ("objectives", "order"),
    [
        (("blind_mrr", "loss"), [2, 0, 3]),
        (("loss", "blind_mrr"), [3, 0, 2]),
        (("parameters",), [0, 3, 2]),
        (("seconds",), [2, 3, 0]),
    ],
)
def test_the_best_are_sorted_by_the_first_objective_in_its_direction(objectives, order):
    figures = {
        0: {"blind_mrr": 0.5, "loss": 2.0, "parameters": 1.0, "seconds": 9.0},
        2: {"blind_mrr": 0.9, "loss": 3.0, "parameters": 3.0, "seconds": 1.0},
        3: {"blind_mrr": 0.1, "loss": 1.0, "parameters": 2.0, "seconds": 5.0},
    }
    found = study_of(
        *(trial(number, metrics, best=True) for number, metrics in figures.items()),
        trial(4, {"blind_mrr": 1.0, "loss": 0.0, "parameters": 0.0, "seconds": 0.0}),
        trial(5, failure="x"),
        objectives=objectives,
    )
    assert [t.number for t in found.best] == order


def test_a_process_killed_while_a_trial_was_proposed_costs_this_trial_alone(data, tmp_path):
    """The journal then holds a trial without all of its settings."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (tmp_path / "study").mkdir()
    journal = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study" / "study.jsonl"))
    begun = optuna.create_study(
        storage=optuna.storages.JournalStorage(journal),
        study_name="molchord",
        directions=["maximize", "minimize", "minimize"],
    )
    begun.ask().suggest_int("embedding_dim", 4, 16)
    found = tune(GRAPH, data, tmp_path / "study", trials=1, progress=False)
    (only,) = found.trials
    assert (only.failure, only.best, only.metrics) == ("interrupted before it began", False, {})
    assert list(only.settings) == ["embedding_dim"]
    assert "trial 0 failed: interrupted before it began" in found.text()
    with (tmp_path / "study" / "trials.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["train.optimizer.lr"], row["embedding_dim"]) == ("", str(only.settings["embedding_dim"]))
