"""A training that a signal, damage or a measurement that is not finite disturbs goes on to what it would have become."""

import dataclasses
import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from tests.unit.train.test_trainer import graph_of, trained

import molchord as mc
from molchord.checksums import check_seal
from molchord.errors import DataError, FolderInUseError, GraphError, OutputExistsError, RunError, TrainingStopped
from molchord.lock import only_writer
from molchord.run import Run
from molchord.run_folder import read_run_manifest, read_weights, write_run_manifest
from molchord.testing import MOLECULES, examples_of, tiny_data, tiny_run
from molchord.train.trainer import Trainer

SETTINGS = {"batch_size": 4, "epochs": 4, "accumulate_grad_batches": 2, "ema": 0.9, "modality_dropout": 0.2}


def trainer_of(data=None, **train):
    return Trainer(graph_of(**{**SETTINGS, **train}), data or tiny_data(), device="cpu", progress=False)


def history(folder):
    """The lines of a training's history, without what is a time."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    times = ("seconds", "molecules_per_second")
    return [{key: value for key, value in line.items() if key not in times} for line in lines]


def bits(folder):
    """Every tensor of the last checkpoint and of the best weights, and the progress but for the bytes of times."""
    state, metadata = read_weights(folder / "checkpoints" / "last.safetensors")
    best = read_weights(folder / "model.safetensors")[0]
    progress = json.loads(metadata["progress"])
    del progress["history"]
    tensors = {**state, **{f"best {name}": values for name, values in best.items()}}
    return {name: values.numpy().tobytes() for name, values in tensors.items()}, progress


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A training that nothing disturbed."""
    folder = tmp_path_factory.mktemp("alone")
    assert trainer_of().run(folder)
    return folder


def stopped(folder, number=signal.SIGTERM, epoch=2):
    """Train until a signal ends it in the epoch after this one; return the trainer."""
    trainer = trainer_of()

    def at_epoch(record):
        if record["epoch"] == epoch:
            os.kill(os.getpid(), number)

    folder.mkdir(exist_ok=True)
    assert trainer.run(folder, at_epoch) is False
    return trainer


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("left", ["", '{"epoch": 3, "lo', '{"epoch": 3}\n{"epoch": 4}\n'])
def test_a_signal_ends_the_step_and_the_training_goes_on_exactly(tmp_path, alone, number, left):
    before = signal.getsignal(number)
    trainer = stopped(tmp_path / "run", number)
    assert (trainer.signal, trainer.state.epoch) == (number, 2)
    assert signal.getsignal(number) is before
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write(left)  # what a kill after the checkpoint would have left
    again = trainer_of()
    again.restore(tmp_path / "run")
    assert again.run(tmp_path / "run")
    assert history(tmp_path / "run") == history(alone)
    assert bits(tmp_path / "run") == bits(alone)


def test_where_the_last_checkpoint_is_damaged_the_one_before_is_taken(tmp_path, alone):
    stopped(tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    content = last.read_bytes()
    last.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again = trainer_of()
    with pytest.warns(
        UserWarning, match=r"last.safetensors.* checksum.*; the training goes on from the checkpoint before"
    ):
        again.restore(tmp_path / "run")
    assert again.run(tmp_path / "run")
    assert history(tmp_path / "run") == history(alone)
    assert bits(tmp_path / "run") == bits(alone)
    (tmp_path / "run" / "checkpoints" / "previous.safetensors").unlink()
    last.write_bytes(content[:40])
    with pytest.raises(RunError, match=r"weights .*last.safetensors' cannot be read"):
        trainer_of().restore(tmp_path / "run")


def test_a_checkpoint_of_a_later_version_is_named_with_both(tmp_path):
    from molchord.run_folder import write_weights

    (tmp_path / "checkpoints").mkdir()
    write_weights(
        tmp_path / "checkpoints" / "last.safetensors", {"a": torch.ones(1)}, {"format": "3", "progress": "{}"}
    )
    with pytest.raises(RunError, match="has format 3, this molchord reads 1; .* update molchord"):
        trainer_of().restore(tmp_path)


def spoiled(strength):
    """The kit's data, with lines of this strength in the first spectrum, which is a training one."""
    spectra = examples_of("ir", 16)
    strong = np.full_like(spectra[0].arrays["stick_intensity"], strength)
    spectra[0] = dataclasses.replace(spectra[0], arrays={**spectra[0].arrays, "stick_intensity": strong})
    return mc.from_measurements(MOLECULES, {"ir": spectra}, splits=["train"] * 10 + ["val"] * 2 + ["test"] * 4)


def test_a_measurement_that_is_not_finite_is_named_and_its_steps_are_skipped(tmp_path):
    data = spoiled(3e38)
    key = data.keys([0])[0]
    trainer = trainer_of(data, accumulate_grad_batches=1)
    with pytest.warns(UserWarning, match=f"step is skipped in epoch ., batch .*: modality 'ir' .*measurement of {key}"):
        assert trainer.run(tmp_path)
    assert trainer.state.skipped == 4  # of three steps an epoch, the one that it is in
    assert all(values.isfinite().all() for values in trainer.model.state_dict().values() if values.is_floating_point())
    assert [math.isfinite(line["loss"]) for line in history(tmp_path)] == [True] * 4
    assert history(tmp_path)[-1]["skipped"] == 4


@pytest.mark.parametrize(
    ("limit", "said"),
    [(10, "no step of epoch 1 was finite"), (2, "epoch 1, batch 3: 2 steps in a row were not finite")],
)
def test_a_gradient_that_is_not_finite_ends_the_training_where_it_stays_so(tmp_path, monkeypatch, limit, said):
    monkeypatch.setattr("molchord.train.trainer.SKIPPED_IN_A_ROW", limit)
    trainer = trainer_of(epochs=20)
    start = {name: values.clone() for name, values in trainer.model.state_dict().items()}
    name, parameter = next(iter(trainer.model.named_parameters()))
    parameter.register_hook(lambda gradient: gradient * math.inf)
    said = f"training stopped.*{said}; loss 'molchord:all_pairs': .* first that of '{name}'"
    with pytest.warns(UserWarning, match="a step is skipped"), pytest.raises(RunError, match=said):
        trainer.run(tmp_path)
    assert all(torch.equal(values, start[name]) for name, values in trainer.model.state_dict().items())


def test_a_validation_figure_that_is_no_number_is_never_the_best(tmp_path):
    with pytest.warns(UserWarning, match="validation figure 'blind_mrr' of epoch 1 is nan"):
        trainer, _, _ = trained(tmp_path / "r", [math.nan, 0.2, 0.1], epochs=3)
    assert (trainer.state.best, trainer.state.best_epoch) == (0.2, 2)


def test_a_modality_without_training_measurements_is_refused_by_name():
    spectra = examples_of("ir", 16)
    raman = [None] * 10 + examples_of("raman", 16)[10:]
    data = mc.from_measurements(
        MOLECULES, {"ir": spectra, "raman": raman}, splits=["train"] * 10 + ["val"] * 2 + ["test"] * 4
    )
    graph = graph_of().to_dict()
    graph["modalities"]["raman"] = {"use": "raman", "grid": {"points": 50}, "encoder": {"use": "mlp", "width": 4}}
    with pytest.raises(DataError, match="has measurements for modality 'raman', but none of a training molecule"):
        Trainer(mc.ModelGraph.from_dict(graph), data, device="cpu", progress=False)


@pytest.mark.parametrize(
    "setting",
    [
        {"optimizer": {"lr": 100.0}}, {"optimizer": {"weight_decay": math.inf}}, {"schedule": {"warmup": math.inf}},
        {"schedule": {"minimum": math.inf}}, {"clip_norm": math.inf}, {"workers": 100_000}, {"epochs": 10**9},
        {"batch_size": 10**9},
    ],
)  # fmt: skip
def test_settings_have_bounds(setting):
    with pytest.raises(GraphError, match=f"train.{next(iter(setting))}"):
        graph_of(**setting)


# --- taking a run up


@pytest.fixture
def run(tmp_path):
    shutil.copytree(tiny_run().path, tmp_path / "run")
    return tmp_path / "run"


def test_a_finished_run_goes_on_to_more_epochs(run):
    before = read_weights(run / "checkpoints" / "last.safetensors")[0]
    longer = Run.resume(run, epochs=3, progress=False, device="cpu")
    assert longer.graph.train.epochs == 3
    assert [line["epoch"] for line in history(run)] == [1, 2, 3]
    after = read_weights(run / "checkpoints" / "last.safetensors")[0]
    steps = {name for name in before if name.endswith(".step")}
    assert {float(after[name]) for name in steps} == {
        3 * float(before[name]) for name in steps
    }  # the optimizer's state
    assert Run.load(run, device="cpu").graph == longer.graph
    with pytest.raises(RunError, match="`epochs` is 3, but the run has done 3; give a larger number"):
        Run.resume(run, epochs=3, progress=False, device="cpu")


def test_data_that_moved_is_known_by_its_checksum(run, tmp_path):
    manifest = read_run_manifest(run)
    write_run_manifest(run, manifest.model_copy(update={"data": {**manifest.data, "path": str(tmp_path / "gone")}}))
    with pytest.raises(RunError, match="was trained on a data set that cannot be opened: .*gone' does not exist"):
        Run.resume(run, progress=False, device="cpu")
    other = spoiled(2.0)
    with pytest.raises(RunError, match="is not the one that run .* was trained on .*; train anew, or adapt the run"):
        Run.resume(run, data=other.path, progress=False, device="cpu")
    shutil.copytree(tiny_data().path, tmp_path / "moved")
    Run.resume(run, data=tmp_path / "moved", progress=False, device="cpu")
    assert read_run_manifest(run).data["path"] == str(tmp_path / "moved")


def test_an_edited_graph_is_noticed_and_taken_where_that_is_said(run):
    with (run / "graph.yaml").open("a") as file:
        file.write("# edited\n")
    with pytest.raises(RunError, match="graph.yaml of run .* is not the one .*--resume .*run --accept-graph"):
        Run.load(run)
    Run.resume(run, accept_graph=True, progress=False, device="cpu")
    Run.load(run)


def test_a_run_that_is_trained_is_not_resumed_by_another(run):
    with only_writer(run), pytest.raises(FolderInUseError, match="run' is being changed by process"):
        Run.resume(run, progress=False, device="cpu")
    with only_writer(run), pytest.raises(FolderInUseError):
        Run.train(tiny_run().graph, tiny_data(), run, force=True, progress=False, device="cpu")


def test_a_run_that_was_ended_before_its_first_checkpoint_is_one_sentence(tmp_path):
    (tmp_path / ".run.0123abcd.partial").mkdir()
    with pytest.raises(RunError, match="was ended before its first checkpoint; train it again"):
        Run.resume(tmp_path / "run")


def test_every_tensor_file_of_a_run_holds_its_checksum_and_has_the_rights_of_the_umask(run):
    mask = os.umask(0)
    os.umask(mask)
    for file in run.rglob("*.safetensors"):
        assert b"sha256:" in file.read_bytes()[:2000]
        assert check_seal(file) is None
        assert file.stat().st_mode & 0o777 == 0o666 & ~mask


# --- the command line


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_command_that_a_signal_ends_says_so(tmp_path, number, status):
    os.mkfifo(tmp_path / "graph.yaml")  # reading it waits
    command = [sys.executable, "-m", "molchord", "graph", "check", str(tmp_path / "graph.yaml")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        with (tmp_path / "graph.yaml").open("w"):  # returns once it is read
            process.send_signal(number)
            assert process.wait(60) == status
        assert process.stderr.read() == "molchord: stopped\n"


@pytest.mark.parametrize(
    "error",
    [
        TrainingStopped("runs/a", 1, 7, 143),
        GraphError(["a.yaml:1: x: unknown", "a.yaml:2: y: unknown"]),
        OutputExistsError("runs/a"),
        FolderInUseError("runs/a", "process 3"),
    ],
)
def test_errors_cross_process_borders_whole(error):
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), type(again), again.status) == (str(error), type(error), error.status)


def test_nothing_is_warned_of_where_nothing_is_wrong(tmp_path, alone):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trainer_of().run(tmp_path)
    assert bits(tmp_path) == bits(alone)
