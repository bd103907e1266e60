"""Several processes and chunks of batches: the same gradients as one process with whole batches, and clear ends."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
import torch
from tests.once import made_once
from tests.unit.train.several_processes import exact, free_port, gradients, make_graph
from torch import nn

from molchord.data.loader import Batch, divided
from molchord.data.store import DataSet
from molchord.errors import RunError
from molchord.host import installed
from molchord.model import Embeddings
from molchord.run import Run
from molchord.run_folder import read_weights
from molchord.testing import molecules
from molchord.train import batch_statistics
from molchord.train.batch_statistics import Synchronised, synchronise
from molchord.train.processes import Processes
from molchord.train.trainer import Trainer

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Sixteen molecules: all have IR, two of three Raman, and some MS/MS."""
    mols = molecules()
    given, stores = {}, {}
    for name in ("ir", "raman", "msms"):
        record = installed().find("modality", name).record
        built = record.build(record.config(), record.kinds[0])
        stores[name] = record.stores
        there = {"ir": lambda i: True, "raman": lambda i: i % 3 != 2, "msms": lambda i: i % 4 < 2 and i != 12}[name]
        given[name] = [m if there(i) else None for i, m in enumerate(built.example(mols, 0))]
    splits = ["val" if i in (3, 7) else "test" if i in (5, 9) else "train" for i in range(len(mols))]
    path = tmp_path_factory.mktemp("data") / "set"
    return DataSet.from_measurements([m.smiles for m in mols], given, path, stores=stores, splits=splits)


@pytest.fixture(scope="module")
def results(dataset, tmp_path_factory):
    """What `several_processes.py` leaves."""

    def make(folder):
        command = [sys.executable, str(HERE / "several_processes.py"), str(dataset.path), str(folder)]
        subprocess.run(command, check=True, timeout=900, env={**os.environ, "OMP_NUM_THREADS": "1"})

    return made_once(tmp_path_factory, "several-processes", make)


def assert_same(one, other, tolerance):
    """Compare tensor by tensor, by norm; those below 0.1 (some gradients are zero but for rounding) as if they were."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        apart = float((value.double() - other[name].double()).norm())
        assert apart <= tolerance * max(float(other[name].double().norm()), 0.1), name


def steady(tensors):
    """Leave out what AdamW makes of gradients that are zero but for rounding, and its state."""
    return {k: t for k, t in tensors.items() if not k.startswith("optimizer.") and "query_key_value.bias" not in k}


# --- several processes


def test_batches_are_such_that_processes_differ(dataset):
    """Of four, one has no row of the last batch, and one has rows of the first one but no MS/MS."""
    trainer = Trainer(make_graph("all_pairs"), dataset, progress=False)
    first, last = (batch.present["msms"] for batch in trainer.batches(trainer.rows["train"], shuffle=True).epoch())
    assert divided(len(last), 4) == (0, 1, 1, 1)
    assert {bool(there.any()) for there in first.split(divided(len(first), 4))} == {False, True}


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("what", ["all_pairs", "tanimoto_infonce", "chunked"])
def test_processes_have_the_gradients_of_one(what, size, results):
    alone, together = (read_weights(results / f"{what}-{n}.safetensors")[0] for n in (1, size))
    assert sum(name.startswith("1.") for name in alone) > 50
    assert float(alone["0.modalities.msms.head.out.weight"].norm()) > 0.01
    assert_same(together, alone, 1e-9)


def test_what_is_drawn_follows_from_the_first_row(results):
    """Jitter, dropout and hidden modalities: two processes draw what one draws that encodes halves."""
    assert_same(*(read_weights(results / f"drawn-{n}.safetensors")[0] for n in (2, 1)), 1e-9)


def test_a_training_of_two_processes_is_that_of_one(results):
    for name in ("model.safetensors", "checkpoints/last.safetensors"):
        assert_same(*(read_weights(results / f"run-{n}" / name)[0] for n in (2, 1)), 1e-6)
    lines = [
        [json.loads(line) for line in (results / f"run-{n}/metrics.jsonl").read_text().splitlines()] for n in (1, 2)
    ]
    assert [len(line) for line in lines] == [2, 2]
    for alone, together in zip(*lines, strict=True):
        for name in ("loss", "grad_norm"):
            assert together[name] == pytest.approx(alone[name], rel=1e-9), name
        assert together["pairs"] == pytest.approx(alone["pairs"], rel=1e-9)
        assert together["val"]["loss"] == pytest.approx(alone["val"]["loss"], rel=1e-9)
    assert [len([*(results / f"run-{n}/logs/tensorboard").iterdir()]) for n in (1, 2)] == [1, 1]
    ended = json.loads((results / "run-2/manifest.json").read_text())
    assert ended["best"]
    assert ended["tau"]


def test_a_training_interrupted_in_one_process_goes_on_in_both(results):
    for name in ("model.safetensors", "checkpoints/last.safetensors"):
        through, again = (read_weights(results / f"run-{n}" / name)[0] for n in ("through", "stopped"))
        assert_same(again, through, 0.0)


def test_a_lost_process_is_named(results):
    message = (results / "lost.txt").read_text()
    assert message.startswith("process 0 ends, as another process of this training has ended")
    assert "molchord train --resume RUN" in message
    assert not (results / "run-1.partial").exists()


def test_a_refusal_is_said_by_the_first_process_alone(results):
    assert "overlaps the data set" in (results / "refused-0.txt").read_text()
    assert (results / "refused-1.txt").read_text() == "SystemExit: 2"


def test_torchrun_prints_once_and_ends_when_a_process_is_killed(dataset, tmp_path):
    graph = tmp_path / "graph.yaml"
    graph.write_text(make_graph("all_pairs", train={"epochs": 5000}).to_yaml())
    run = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    torchrun += ["--master-addr", "127.0.0.1", "--master-port", str(free_port()), "-m", "molchord"]
    command = [*torchrun, "train", str(graph), "--data", str(dataset.path), "--out", str(run), "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as job:
        try:
            lines = run / "metrics.jsonl"
            while not lines.exists() or len(lines.read_text().splitlines()) < 3:
                assert job.poll() is None, job.stdout.read()
                time.sleep(0.2)
            os.kill(_process(job.pid, rank=1), signal.SIGKILL)
            began = time.monotonic()
            said = job.communicate(timeout=60)[0]
        finally:
            job.kill()
    assert time.monotonic() - began < 60
    assert job.returncode not in (0, None)
    assert said.count("epoch 1/5000: ") == 1
    assert "another process of this training has ended" in said
    assert "molchord train --resume" in said


def _process(parent, rank):
    """Return the process of a rank below `torchrun`."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(int(pid) for pid in children if f"\0RANK={rank}\0" in f"\0{Path(f'/proc/{pid}/environ').read_text()}")


# --- one process


def test_rows_are_divided_without_rest():
    for count in range(9):
        for parts in (1, 2, 3, 4):
            sizes = divided(count, parts)
            assert (len(sizes), sum(sizes)) == (parts, count)
            assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3,), (3, 2), (0, 2, 2), (0,)])
def test_gathering_keeps_type_and_shape(dtype, shape, monkeypatch):
    """Two processes of which the other one has two rows less, or none."""
    own = torch.arange(math.prod(shape)).reshape(shape).to(dtype)
    other = own[: max(0, len(own) - 2)]

    def all_gather(received, sent, group):
        received[0].copy_(sent)
        received[1][: len(other)] = sent[: len(other)]

    monkeypatch.setattr("torch.distributed.all_gather", all_gather)
    found = Processes(0, 2).gather(own, (len(own), len(other)))
    assert found.dtype == dtype
    assert torch.equal(found, torch.cat([own, other]))


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 7), (2, 4), (1, 4), (0, 4, 7)])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_synchronised_statistics_are_torchs(shape, momentum, monkeypatch):
    monkeypatch.setattr(batch_statistics, "gathered", lambda own: own[None])
    torch.manual_seed(0)
    theirs = nn.BatchNorm1d(4, momentum=momentum, dtype=torch.float64)
    ours = nn.Sequential(nn.BatchNorm1d(4, momentum=momentum, dtype=torch.float64))
    synchronise(ours)
    synchronise(ours)  # twice changes nothing
    assert isinstance(ours[0], Synchronised)
    assert ours.state_dict().keys() == {f"0.{name}" for name in theirs.state_dict()}
    for norm in (theirs, ours[0]):
        norm.weight.data.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    if len(x) < 2:
        torch.testing.assert_close(ours(x), ours.eval()(x), rtol=1e-13, atol=1e-13)
        assert int(ours[0].num_batches_tracked) == 0
        assert torch.equal(ours[0].running_mean, torch.zeros(4))
        return
    weight = torch.randn(shape, dtype=torch.float64)
    found = [
        torch.autograd.grad((norm(x) * weight).sum(), (x, p))
        for norm, p in ((theirs, theirs.weight), (ours, ours[0].weight))
    ]
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(getattr(ours[0], name), getattr(theirs, name), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_statistics_that_are_not_kept_are_refused():
    with pytest.raises(RunError, match="keeps no running statistics"):
        synchronise(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)))


# --- chunks


@pytest.mark.parametrize("loss", ["all_pairs", "tanimoto_infonce"])
def test_chunks_have_the_gradient_of_the_whole(loss, dataset):
    """In chunks of 4 rows of batches of 9 and 3, with missing and hidden measurements."""
    found = {}
    for chunk in (None, 4):
        graph = make_graph(loss, batch_norm=False, train={"mini_batch_size": chunk, "modality_dropout": 0.3})
        found[chunk] = gradients(exact(graph, dataset))
    assert len(found[None]) > 100
    assert_same(found[4], found[None], 1e-10)


def test_chunks_draw_the_same_twice(dataset):
    """With dropout and jitter: the reference keeps every chunk's graph, as if memory were no matter."""
    train = {"mini_batch_size": 2, "scalar_feature_dropout": 0.0}
    graph = make_graph("all_pairs", batch_norm=False, drawn=True, train=train)
    trainer = exact(graph, dataset, drawn=True)
    share = next(trainer.batches(trainer.rows["train"], shuffle=True).shares())
    loss = trainer.learn(share, 0).total
    found = {name: p.grad.clone() for name, p in trainer.model.named_parameters()}
    trainer.optimizer.zero_grad()
    parts = [
        trainer.step.encode(chunk, (3, 0, 0), slice(2 * i, 2 * i + 2), None) for i, chunk in enumerate(share.chunks)
    ]
    assert [len(part.present["ir"]) for part in parts] == [2, 2, 2, 2, 1]
    raw = {name: torch.cat([part.raw[name] for part in parts]) for name in parts[0].raw}
    embeddings = Embeddings.of(raw, {name: torch.cat([part.present[name] for part in parts]) for name in raw})
    molecule = torch.cat([chunk.molecule for chunk in share.chunks])
    whole = Batch(molecule=molecule, present=embeddings.present, inputs={}, scalar_features=torch.zeros(9, 0))
    expected = trainer.model.compute_loss(embeddings, whole).total
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-12, atol=0)
    assert_same(found, {name: p.grad for name, p in trainer.model.named_parameters()}, 1e-10)
    again = trainer.step.encode(share.chunks[0], (3, 0, 1), slice(0, 2), None)
    assert not torch.equal(again.raw["ir"], parts[0].raw["ir"])  # another batch draws otherwise


def test_one_chunk_at_a_time_keeps_its_graph(dataset, monkeypatch):
    graph = make_graph("all_pairs", batch_norm=False, train={"mini_batch_size": 4})
    trainer = exact(graph, dataset)
    alive, encode = weakref.WeakSet(), trainer.step.encode
    most = []

    def encoded(*given):
        found = encode(*given)
        if found.raw["ir"].requires_grad:
            alive.add(found)
        most.append(len(alive))
        return found

    monkeypatch.setattr(Embeddings, "__hash__", object.__hash__)
    monkeypatch.setattr(trainer.step, "encode", encoded)
    trainer.learn(next(trainer.batches(trainer.rows["train"], shuffle=True).shares()), 0)
    assert most[:3] == [0, 0, 0]  # first without graphs
    assert len(most) == 6
    assert max(most) <= 2  # the new one, while the last one's name is still bound


def test_chunks_and_accumulated_batches_train_alike(dataset, tmp_path):
    found = []
    for chunk in (None, 2):
        train = {"mini_batch_size": chunk, "accumulate_grad_batches": 2, "batch_size": 5, "epochs": 1}
        graph = make_graph("all_pairs", batch_norm=False, train=train)
        run = Run.train(graph, dataset, tmp_path / f"run-{chunk}", progress=False)
        found.append(steady(run.model.state_dict()))
    assert_same(found[1], found[0], 1e-4)


def test_chunks_of_a_tower_with_batch_statistics_are_refused(dataset):
    with pytest.raises(
        RunError, match=r"`train.mini_batch_size` 4 divides batches of 9, but 'modalities.ir.encoder.stages.0.1'"
    ):
        Trainer(make_graph("all_pairs", train={"mini_batch_size": 4}), dataset, progress=False)
    Trainer(make_graph("all_pairs", train={"mini_batch_size": 9}), dataset, progress=False)
    frozen = ["modalities.ir.encoder", "modalities.raman.encoder"]
    Trainer(
        make_graph("all_pairs", train={"mini_batch_size": 4, "trainable": dict.fromkeys(frozen, False)}),
        dataset,
        progress=False,
    )
