"""Trainings in several processes for `test_processes.py`: ``python several_processes.py DATASET FOLDER``.

Processes are forked once everything is imported, so that many of them start in no time.
"""

import dataclasses
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from molchord.data.store import DataSet
from molchord.errors import RunError, TrainingStopped
from molchord.graph.resolve import ModelGraph, Use
from molchord.run import Run
from molchord.run_folder import write_weights
from molchord.train import trainer as trainer_module
from molchord.train.optimization import training_mode
from molchord.train.processes import Processes, distributed
from molchord.train.trainer import Trainer


def make_graph(loss, *, batch_norm=True, drawn=False, train=None):
    """Small towers; with `drawn`, what is drawn on the device (jitter, dropout) is drawn."""
    dropout = 0.3 if drawn else 0.0
    jitter = {} if drawn else {"jitter": {}}
    curve = Use("mlp", width=8, hidden=[8], batch_norm=batch_norm)
    if batch_norm:
        curve = Use(
            "resnet1d",
            width=8,
            stages=[{"channels": 4, "kernel": 5, "stride": 4}],
            readout={"use": "flatten", "hidden": 8, "dropout": dropout},
        )
    towers = {
        "structure": Use("structure", encoder=Use("gine", width=8, hidden=8, layers=1)),
        "ir": Use("ir", grid={"points": 60}, encoder=curve, **jitter),
        "raman": Use("raman", grid={"points": 60}, encoder=curve, **jitter),
        "msms": Use("msms", encoder=Use("peak_transformer", width=8, hidden=8, layers=1, dropout=dropout)),
    }
    return ModelGraph.of(
        embedding_dim=8,
        seed=3,
        candidate="structure",
        scalar_features=["exact_mass"],
        modalities=towers,
        loss=Use(loss),
        train={"batch_size": 9, "epochs": 2, "workers": 0, "optimizer": {"lr": 3e-3}, **(train or {})},
    )


def doubled(value):
    """Turn every floating tensor of a batch into fp64."""
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: doubled(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        parts = {f.name: doubled(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    return value


def exact(graph, dataset, processes=None, *, drawn=False):
    """Return a trainer that computes in fp64; without `drawn` modalities prepare as in evaluation."""
    with modalities_in_fp64(drawn=drawn):
        trainer = Trainer(graph, dataset, progress=False, processes=processes)
    model_in_fp64(trainer)
    return trainer


def model_in_fp64(trainer):
    trainer.model.double()
    training_mode(trainer.model, trainer.config)


def prepared_in_fp64(prepare, drawn, inputs, generator):
    torch.set_default_dtype(torch.float64)  # of the grid
    try:
        return doubled(prepare(doubled(inputs), generator if drawn else None))
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def modalities_in_fp64(*, drawn=False):
    """Let the modalities of trainers prepare in fp64; without `drawn` as in evaluation."""
    build = trainer_module.build_modalities

    def built(graph, fitted):
        modalities = build(graph, fitted)
        for modality in modalities.values():
            modality.prepare = partial(prepared_in_fp64, modality.prepare, drawn)
        return modalities

    trainer_module.build_modalities = built
    try:
        yield
    finally:
        trainer_module.build_modalities = build


def gradients(trainer):
    """Return the gradients of an epoch's batches, each anew, and the statistics that they left."""
    parameters = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    out = {}
    for number, share in enumerate(trainer.batches(trainer.rows["train"], shuffle=True).shares()):
        trainer.optimizer.zero_grad()
        output = trainer.learn(share, number)
        trainer.processes.sum_gradients(list(parameters.values()))
        out[f"{number}.loss"] = trainer.processes.sum(output.total)
        out |= {f"{number}.{name}": p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    return out | {f"buffer.{name}": b.clone() for name, b in trainer.model.named_buffers()}


# --- what is done in one process and in distributed


def same_gradients(processes, dataset, folder):
    """With statistics of whole batches, every loss; and with chunks in each process, without."""
    graphs = {loss: make_graph(loss) for loss in ("all_pairs", "tanimoto_infonce")}
    train = {"mini_batch_size": 1, "hard_negatives": 2, "modality_dropout": 0.3}
    graphs["chunked"] = make_graph("all_pairs", batch_norm=False, train=train)
    for name, graph in graphs.items():
        found = gradients(exact(graph, dataset, processes))
        if processes.rank == 0:
            write_weights(folder / f"{name}-{processes.size}.safetensors", found)


def chunks_and_processes(processes, dataset, folder):
    """With jitter, dropout and hidden modalities: two processes, or one that encodes halves of batches."""
    train = {"batch_size": 4, "mini_batch_size": 2 if processes.size == 1 else None, "modality_dropout": 0.3}
    graph = make_graph("all_pairs", batch_norm=False, drawn=True, train=train)
    found = gradients(exact(graph, dataset, processes, drawn=True))
    if processes.rank == 0:
        write_weights(folder / f"drawn-{processes.size}.safetensors", found)


def two_epochs(processes, dataset, folder):
    """Train whole runs in fp64; the processes are found by their environment. Process 1 must not write."""
    written = []

    def watch(event, arguments):
        name = str(arguments[0]) if arguments else ""
        changes = event in ("os.rename", "os.remove", "os.rmdir") or (event == "os.mkdir" and not os.path.exists(name))
        if changes or (event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")):
            written.append(f"{event} {name}")

    rank = int(os.environ.get("RANK", 0))
    if rank == 1:
        sys.addaudithook(watch)
    start_from = Trainer.start_from
    Trainer.start_from = lambda self, weights: (start_from(self, weights), model_in_fp64(self))
    graph = make_graph("all_pairs")
    size = os.environ.get("WORLD_SIZE", "1")
    with modalities_in_fp64():
        run = Run.train(graph, dataset, folder / f"run-{size}", progress=False, loggers=["tensorboard"])
    assert run.path == folder / f"run-{size}"
    if rank == 1:
        own = [line for line in written if str(folder) in line or str(dataset.path) in line]
        assert not own, own


def interrupted(processes, dataset, folder):
    """Ctrl-C reaches one process only, in the second epoch; all stop, and go on where they stopped."""
    rank, learn = int(os.environ["RANK"]), Trainer.learn

    def interrupting(self, share, number, weight):
        if rank == 1 and self.state.epoch == 1 and number == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return learn(self, share, number, weight)

    train = {"hard_negatives": 2, "batch_size": 5, "accumulate_grad_batches": 2}
    graph = make_graph("all_pairs", drawn=True, train=train)
    Run.train(graph, dataset, folder / "run-through", progress=False)
    Trainer.learn = interrupting
    stopped = None
    try:
        Run.train(graph, dataset, folder / "run-stopped", progress=False)
    except TrainingStopped as error:
        stopped = error
    except SystemExit as error:
        assert rank == 1
        stopped = error
    assert stopped is not None
    Trainer.learn = learn
    Run.resume(folder / "run-stopped", progress=False)


def lost(processes, dataset, folder):
    """Process 1 dies without a word; process 0 says so."""
    graph = make_graph("all_pairs", train={"epochs": 1000})
    if processes.rank == 1:
        learn = Trainer.learn
        Trainer.learn = lambda self, *given: os._exit(9) if self.state.step == 2 else learn(self, *given)
    try:
        Trainer(graph, dataset, device="cpu", progress=False, processes=processes).run(folder)
    except RunError as error:
        (folder / "lost.txt").write_text(str(error))
        return
    raise AssertionError("the training went on without process 1")


def refused(processes, dataset, folder):
    """What is wrong with the input is said by process 0 alone."""
    try:
        Run.train(make_graph("all_pairs"), dataset, dataset.path, force=True, progress=False)
    except (RunError, SystemExit) as error:
        (folder / f"refused-{os.environ['RANK']}.txt").write_text(f"{type(error).__name__}: {error}")


# --- starting processes


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _one(work, rank, size, port, dataset, folder, joined):
    try:
        torch.set_num_threads(1)
        if size > 1:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), LOCAL_WORLD_SIZE=str(size))
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        if joined and size > 1:
            with distributed("cpu") as (processes, _):
                work(processes, dataset, folder)
        else:
            work(Processes(), dataset, folder)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def start(work, size, dataset, folder, *, joined=True):
    fork = multiprocessing.get_context("fork")
    port = free_port()
    jobs = [fork.Process(target=_one, args=(work, r, size, port, dataset, folder, joined)) for r in range(size)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    return [job.exitcode for job in jobs]


def main(data, folder):
    dataset, folder = DataSet(Path(data)), Path(folder)
    # imports what towers need and derives the structures, before there is a second process
    Trainer(make_graph("tanimoto_infonce"), dataset, progress=False)
    ends = {f"{work.__name__} in 4": start(work, 4, dataset, folder) for work in (same_gradients,)}
    for size in (1, 2):
        for work in (same_gradients, chunks_and_processes):
            ends[f"{work.__name__} in {size}"] = start(work, size, dataset, folder)
        ends[f"two_epochs in {size}"] = start(two_epochs, size, dataset, folder, joined=False)
    ends["interrupted"] = start(interrupted, 2, dataset, folder, joined=False)
    ends["refused"] = start(refused, 2, dataset, folder, joined=False)
    failed = {name: codes for name, codes in ends.items() if any(codes)}
    assert not failed, failed
    assert start(lost, 2, dataset, folder) == [0, 9]


if __name__ == "__main__":
    main(*sys.argv[1:])
