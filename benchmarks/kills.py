"""Kills a small training at random moments and at each of its writes, resumes it, and compares it with one left alone.

    python -m benchmarks.kills --moments 100 --writes 200

A training is a process of its own, ended by SIGKILL: after a random part of the time that a whole one takes, or before
or after the first call that names or flushes a file or folder, the second one, and so on. Resumed, it must have the
same bits in weights, optimiser, moving average and progress, and the same history but for what is a time. One that was
killed before its first checkpoint must leave nothing but a sentence. The count is kept in
``benchmarks/results/kills.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from molchord import files
from molchord.errors import RunError
from molchord.graph.resolve import ModelGraph, Use
from molchord.run import Run
from molchord.run_folder import read_weights
from molchord.testing import tiny_data
from molchord.train.trainer import Trainer

__all__ = ["content_of", "graph_of", "killed", "resumed"]

RESULTS = Path(__file__).parent / "results" / "kills.json"
TIMES = ("seconds", "molecules_per_second")


def graph_of(workers: int = 0) -> ModelGraph:
    """Return a graph with all that an exact resume has to keep: accumulation, a moving average, dropout."""
    return ModelGraph.of(
        embedding_dim=4,
        seed=5,
        modalities={
            "structure": Use("structure", encoder=Use("gine", width=4, hidden=4, layers=1)),
            "ir": Use("ir", grid={"points": 50}, encoder=Use("mlp", width=4, hidden=[])),
        },
        loss=Use("all_pairs"),
        train={
            "batch_size": 3, "epochs": 3, "workers": workers, "accumulate_grad_batches": 2, "ema": 0.9,
            "modality_dropout": 0.2,
        },
    )  # fmt: skip


def content_of(run: Path) -> dict[str, Any]:
    """Return all of a run that must be the same, bit for bit."""
    weights, _ = read_weights(run / "model.safetensors")
    state, metadata = read_weights(run / "checkpoints" / "last.safetensors")
    tensors = {f"model {name}": t for name, t in weights.items()} | {f"state {name}": t for name, t in state.items()}
    progress = json.loads(metadata["progress"])
    del progress["history"]  # bytes of a file that holds times
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    history = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
    return {
        "tensors": {name: (str(t.dtype), tuple(t.shape), t.numpy().tobytes()) for name, t in tensors.items()},
        "progress": progress,
        "history": history,
    }


def killed(run: Path, graph: ModelGraph, *, after: float | None = None, write: int | None = None) -> bool:
    """Train in a process that is killed after so many seconds, or at a write, and return whether it was."""
    child = os.fork()
    if child == 0:
        _quietly(lambda: _trained(run, graph, write))
    if after is not None:
        ended = os.pidfd_open(child)
        if not select.select([ended], [], [], after)[0]:
            os.kill(child, signal.SIGKILL)
        os.close(ended)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def resumed(run: Path, graph: ModelGraph) -> str:
    """Resume in a process of its own, or train anew where nothing was saved, and return what went wrong, or nothing."""
    if not run.exists():
        try:
            Run.resume(run, progress=False)
        except RunError as error:
            if not str(error).endswith(("train it again", "or 'pretrained'")):
                return f"no sentence: {error}"
    fresh = not run.exists()
    child = os.fork()
    if child == 0:
        _quietly(lambda: _trained(run, graph, None) if fresh else Run.resume(run, device="cpu", progress=False))
    _, status = os.waitpid(child, 0)
    left = sorted(path.name for path in run.parent.iterdir() if path != run)
    return f"it ended with {status}" if status else f"left behind: {left}" if left else ""


def _trained(run: Path, graph: ModelGraph, write: int | None) -> None:
    if write is not None:
        _kill_at(write)
    Run.train(graph, tiny_data(), run, device="cpu", progress=False)


def _kill_at(write: int) -> None:
    """Kill this process at a call that names something: odd numbers before it, even ones after it."""
    calls = 0

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def one(*given: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == write:
                os.kill(os.getpid(), signal.SIGKILL)
            out = call(*given, **more)
            calls += 1
            if calls == write:
                os.kill(os.getpid(), signal.SIGKILL)
            return out

        return one

    for name in ("rename", "replace", "link", "mkdir", "fsync"):
        setattr(os, name, counted(getattr(os, name)))
    files._exchanged = counted(files._exchanged)


def _quietly(act: Callable[[], Any]) -> None:
    """Do something in a child process, and end that; it prints nothing."""
    status = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            act()
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(status)


def main() -> None:
    """Kill, resume, compare, and write the count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=100, help="kills at random moments")
    parser.add_argument("--writes", type=int, default=200, help="kills at writes, at most; it ends after the last one")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    graph, generator = graph_of(arguments.workers), random.Random(arguments.seed)
    Trainer(graph, tiny_data(), device="cpu", progress=False)  # loads, once for all processes, what they need
    counts, wrong = {"moments": 0, "writes": 0}, []
    with TemporaryDirectory() as home:
        began = time.perf_counter()
        killed(Path(home) / "alone" / "run", graph)
        whole = time.perf_counter() - began
        expected = content_of(Path(home) / "alone" / "run")

        def compare(kind: str, **when: Any) -> bool:
            run = Path(home) / "killed" / "run"
            shutil.rmtree(run.parent, ignore_errors=True)
            run.parent.mkdir()
            if not killed(run, graph, **when):
                return False
            counts[kind] += 1
            fault = resumed(run, graph)
            if not fault:
                found = content_of(run)
                fault = ", ".join(part for part in expected if found[part] != expected[part])
            if fault:
                wrong.append(f"{when}: {fault}")
                print(wrong[-1], flush=True)
            return True

        for number in range(1, arguments.writes + 1):
            if not compare("writes", write=number):
                break
        while counts["moments"] < arguments.moments:
            began = time.perf_counter()
            if not compare("moments", after=generator.uniform(0.0, whole)):
                whole = time.perf_counter() - began  # it ended before: trainings are faster than the first one was
    total = sum(counts.values())
    result = {**counts, "equal": total - len(wrong), "workers": arguments.workers, "seed": arguments.seed}
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(
        json.dumps({**known, f"{arguments.workers} workers": {**result, "wrong": wrong}}, indent=1) + "\n"
    )
    print(f"{total - len(wrong)} of {total} killed trainings went on to the same bits ({counts})")


if __name__ == "__main__":
    main()
