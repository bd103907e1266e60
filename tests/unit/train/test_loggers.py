"""Loggers show what metrics.jsonl holds, read back by each library itself, and never change or end a training."""

import json
import os
import signal
import sys

import numpy as np
import pytest

from molchord.api import Config, LoggerRecord
from molchord.cli.main import main
from molchord.errors import PluginError, TrainingStopped
from molchord.graph.resolve import Use
from molchord.host import Plugin, installed
from molchord.host import discovery as host
from molchord.run import Run
from molchord.testing import tiny_data
from molchord.train.loggers import build_loggers

GRAPH = """
schema: 1
embedding_dim: 8
modalities:
  structure: {use: structure, encoder: {use: gine, width: 8, hidden: 8, layers: 1}}
  ir: {use: ir, grid: {points: 60}, encoder: {use: mlp, width: 8, hidden: [8]}}
loss: {use: all_pairs}
train: {batch_size: 5, epochs: 3, workers: 0, stopping: {every: 2}}
"""
LINES = ("loss", "step", "pairs/structure-ir", "val/blind_mrr")
MLFLOW = "ignore:The ``noload`` loader strategy:DeprecationWarning"  # of mlflow's own tables


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "graph.yaml"
    path.write_text(GRAPH)
    return path


@pytest.fixture(scope="module")
def plain(graph, tmp_path_factory):
    """The training without a logger."""
    return Run.train(graph, tiny_data(), tmp_path_factory.mktemp("plain") / "run", device="cpu", progress=False)


def written(run):
    """Every figure of metrics.jsonl, by name and epoch."""
    found = {}
    for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
        epoch = line.pop("epoch")
        while line:
            name, value = line.popitem()
            if isinstance(value, dict):
                line |= {f"{name}/{key}": inner for key, inner in value.items()}
            else:
                found[name, epoch] = value
    assert {name for name, _ in found} >= {*LINES, "lr", "tau/ir", "absent", "seconds"}
    assert {epoch for name, epoch in found if name == "val/loss"} == {2, 3}
    return found


def in_tensorboard(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "logs" / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    assert "embedding_dim" in str(events.Tensors("graph/text_summary")[0].tensor_proto)
    tags = events.Tags()["scalars"]
    assert [e for tag in tags for e in events.Scalars(tag) if e.step < 1] == []
    return [((tag, event.step), event.value) for tag in tags for event in events.Scalars(tag)]


def in_wandb(run):
    from wandb.proto.wandb_internal_pb2 import Record
    from wandb.sdk.internal.datastore import DataStore

    found, ids = [], set()
    for path in sorted((run / "logs" / "wandb").rglob("run-*.wandb")):
        store = DataStore()
        store.open_for_scan(str(path))
        records = []
        while (data := store.scan_data()) is not None:
            records.append(Record.FromString(data))
        store.close()
        [about] = [record.run for record in records if record.WhichOneof("record_type") == "run"]
        ids.add(about.run_id)
        assert about.display_name == run.name
        assert {item.key: json.loads(item.value_json) for item in about.config.update}["embedding_dim"] == 8
        for row in (record.history for record in records if record.WhichOneof("record_type") == "history"):
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in row.item}
            epoch = items.pop("epoch")
            found += [((name, epoch), value) for name, value in items.items() if not name.startswith("_")]
    assert len(ids) == 1
    return found


def in_mlflow(run):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run / 'logs' / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("molchord")
    [about] = client.search_runs([experiment.experiment_id])
    assert (about.info.run_name, about.info.status) == (run.name, "FINISHED")
    assert json.loads(about.data.tags["graph"])["embedding_dim"] == 8
    history = [m for name in about.data.metrics for m in client.get_metric_history(about.info.run_id, name)]
    return [((m.key, m.step), m.value) for m in history]


READERS = {"tensorboard": in_tensorboard, "wandb": in_wandb, "mlflow": in_mlflow}


@pytest.fixture(params=[*READERS])
def logger(request, monkeypatch):
    pytest.importorskip(request.param)
    for variable in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    return request.param


def check_equal(shown, run):
    """Each figure is shown once, and is that of metrics.jsonl, in fp32 at least."""
    expected = written(run)
    assert len(shown) == len(dict(shown))
    assert dict(shown).keys() == expected.keys()
    for place, value in shown:
        assert np.float32(value) == np.float32(expected[place]), place


@pytest.mark.filterwarnings(MLFLOW)
def test_what_a_logger_shows_is_metrics_jsonl_and_the_run_is_the_same(logger, graph, plain, tmp_path):
    run = Run.train(graph, tiny_data(), tmp_path / "mine", device="cpu", progress=False, loggers=[logger])
    assert run.id == plain.id
    check_equal(READERS[logger](tmp_path / "mine"), tmp_path / "mine")


class Recorder:
    """What loggers were told; raises in the methods it is asked to, and presses Ctrl-C in the first epoch if asked."""

    def __init__(self, wrong=(), stop=False):
        self.wrong, self.stop, self.told = wrong, stop, []

    def open(self, training):
        self.told.append(training)
        self._told("open")

    def log(self, epoch, figures):
        self.told.append((epoch, dict(figures)))
        if self.stop:
            os.kill(os.getpid(), signal.SIGINT)
        self._told("log")

    def close(self, finished):
        self.told.append(finished)
        self._told("close")

    def _told(self, method):
        if method in self.wrong:
            raise RuntimeError("the server\nis away")


def with_loggers(monkeypatch, **built):
    """Have loggers installed that give these objects."""
    records = [
        LoggerRecord(name=name, summary="a test", api=1, config=Config, build=lambda config, it=it: it)
        for name, it in built.items()
    ]
    more = tuple(Plugin("logger", record, "other", "1.0") for record in records)
    everything = host.Host(plugins=(*installed().plugins, *more), registry=installed().registry)
    monkeypatch.setattr("molchord.train.loggers.installed", lambda: everything)


@pytest.mark.filterwarnings(MLFLOW)
def test_a_logger_goes_on_with_a_training_that_was_stopped(logger, graph, plain, tmp_path, monkeypatch):
    """Ctrl-C reaches the training while the logger is open; both go on, the logger with the same run."""
    path, stopping = tmp_path / "mine", Recorder(stop=True)
    with_loggers(monkeypatch, stopping=stopping)
    with pytest.raises(TrainingStopped):
        Run.train(graph, tiny_data(), path, device="cpu", progress=False, loggers=["stopping", logger])
    assert stopping.told[-1] is False
    run = Run.resume(path, device="cpu", progress=False, loggers=[logger])
    assert run.id == plain.id
    check_equal(READERS[logger](path), path)


def test_a_logger_is_told_where_it_is_and_how_it_ended(graph, tmp_path, monkeypatch):
    first, second = Recorder(stop=True), Recorder()
    with_loggers(monkeypatch, first=first, second=second)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainingStopped):
        Run.train(graph, tiny_data(), "run", device="cpu", progress=False, loggers=["first"])
    run = Run.resume("run", device="cpu", progress=False, loggers=[Use("second")])
    training, (epoch, figures), finished = first.told
    assert (training.run, training.folder, training.epochs) == (tmp_path / "run", tmp_path / "run/logs/first", 0)
    assert training.folder.is_dir()
    assert training.settings == json.loads(json.dumps(run.graph.to_dict()))
    assert (epoch, finished) == (1, False)
    assert {*LINES[:-1]} <= figures.keys()
    assert {type(value) for value in figures.values()} == {float}
    assert [second.told[0].epochs, *(told[0] for told in second.told[1:-1]), second.told[-1]] == [1, 2, 3, True]


@pytest.mark.parametrize(("method", "lines"), [("open", 1), ("log", 2), ("close", 5)])
def test_a_logger_that_fails_is_said_once_and_the_training_goes_on(method, lines, graph, plain, tmp_path, monkeypatch):
    wrong, right = Recorder(wrong=[method]), Recorder()
    with_loggers(monkeypatch, wrong=wrong, right=right)
    said = r"^logger 'wrong' failed \(RuntimeError: the server is away\); training goes on without it, and all figures"
    with pytest.warns(UserWarning, match=said) as caught:
        run = Run.train(graph, tiny_data(), tmp_path / "run", device="cpu", progress=False, loggers=["wrong", "right"])
    assert len(caught) == 1
    assert (len(wrong.told), len(right.told)) == (lines, 5)
    assert run.id == plain.id
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 3


def test_a_training_that_fails_closes_its_loggers(graph, tmp_path, monkeypatch):
    recorder = Recorder()
    with_loggers(monkeypatch, recorder=recorder)

    def fail(self, *_):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr("molchord.train.trainer.Trainer.learn", fail)
    with pytest.raises(RuntimeError, match="the device is gone"):
        Run.train(graph, tiny_data(), tmp_path / "run", device="cpu", progress=False, loggers=["recorder"])
    assert recorder.told[1:] == [False]


@pytest.mark.parametrize("name", [*READERS])
def test_a_missing_library_is_one_sentence_before_anything_is_written(name, graph, tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, f"molchord_loggers.{name}_logger", raising=False)
    for module in [name, *(module for module in sys.modules if module.startswith((f"{name}.", f"torch.utils.{name}")))]:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    data, out = str(tiny_data().path), tmp_path / "run"
    assert main(["train", str(graph), "--data", data, "--out", str(out), "--log", name]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"molchord: logger '{name}' cannot be used (")
    assert err.endswith(f"run pip install 'molchord[{name}]'\n")
    assert len(err.splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("tensorbord", "unknown logger 'tensorbord'; did you mean 'tensorboard'?"),
        ("{use: wandb, projct: mine}", "logger 'wandb': `projct`: unknown key for logger 'wandb'; did you mean 'project'?"),
        ("{use: wandb, mode: no}", "logger 'wandb': `mode`: got 'no'"),
        ("3", "`--log` got '3'; write NAME or '{use: NAME, KEY: VALUE}'"),
        ("{project: mine}", "`--log` got '{project: mine}'; write NAME"),
        ("[", "--log:1: not valid YAML"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dry", [True, False])
def test_a_wrong_logger_is_said_before_training(given, said, dry, graph, tmp_path, capsys):
    more = ["--dry-run"] if dry else ["--out", str(tmp_path / "run")]
    assert main(["train", str(graph), "--data", str(tiny_data().path), *more, "--log", given]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_logger_is_asked_for_once():
    with pytest.raises(PluginError, match="logger 'tensorboard' is asked for twice; name it once"):
        build_loggers(["tensorboard", Use("molchord:tensorboard")])


PACKAGE = """
from molchord.api import Config, LoggerRecord, hookimpl

class ScreenConfig(Config):
    title: str = ""

class Screen:
    def __init__(self, config): self.title = config.title
    def open(self, training): self.file = training.folder / "screen.txt"
    def log(self, epoch, figures): self.file.write_text(f"{self.title} {epoch} {figures['loss']}")
    def close(self, finished): pass

@hookimpl
def molchord_loggers():
    return [LoggerRecord(name="screen", summary="a screen", api=1, config=ScreenConfig, build=Screen)]
"""


def test_an_outside_logger_follows_train_resume_and_realign(graph, tmp_path, monkeypatch, capsys):
    info = tmp_path / "site" / "molchord_screen-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: molchord-screen\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[molchord]\nscreen = molchord_screen\n")
    (tmp_path / "site" / "molchord_screen.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)  # plugins are looked for anew
    asked, data = ["--log", "{use: screen, title: mine}"], ["--data", str(tiny_data().path)]
    assert main(["train", str(graph), *data, "--out", "run", "--device", "cpu", *asked]) == 0
    shown = tmp_path / "run" / "logs" / "screen" / "screen.txt"
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert shown.read_text() == f"mine 3 {last['loss']}"
    assert "screen" not in (tmp_path / "run" / "manifest.json").read_text()
    assert "screen" not in (tmp_path / "run" / "graph.yaml").read_text()
    assert main(["train", "--resume", "run", "--device", "cpu", *asked]) == 0
    assert main(["realign", "run", *data, "--out", "moved", "--epochs", "1", *asked, "--device", "cpu"]) == 0
    assert (tmp_path / "moved" / "logs" / "screen" / "screen.txt").read_text().startswith("mine 1 ")
    assert "warning" not in capsys.readouterr().err
