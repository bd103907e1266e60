"""Scaling: how much faster a training is in two processes than in one."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from benchmarks.accuracy.sources import ROOT

__all__ = ["TEXT", "TITLE", "measure"]

TITLE = "Two processes: scaling"
TEXT = (
    "`torchrun --nproc-per-node N -m molchord train` with the graph of `recipes/demo.yaml` on `datasets/demo`, N = 1 "
    "and 2 in turns with the same batches; on a CPU each process has one thread, else one GPU. The rate is the median "
    "over epochs after the first, then over rounds; `efficiency` is the rate of two over twice that of one."
)


def measure(device: str, *, small: bool = False) -> list[dict[str, Any]]:
    """Compare the rates of one and two processes."""
    rounds = 1 if small else 5
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for size, found in rates.items():
            found.append(_rate(size, device, fraction=0.1 if small else 1.0))
    shares = [two / (2 * one) for one, two in zip(*rates.values(), strict=True)]
    efficiency = {"efficiency": round(statistics.median(shares), 3), "lowest": min(shares), "highest": max(shares)}
    print(f"two processes: {efficiency['efficiency']:.0%} of twice the rate of one", file=sys.stderr)
    one, two = (
        {"case": case, "molecules_per_second": round(statistics.median(found), 1), "rounds": rounds}
        for case, found in zip(("one process", "two processes"), rates.values(), strict=True)
    )
    return [one, two | {key: round(value, 3) for key, value in efficiency.items()}]


def _rate(size: int, device: str, *, fraction: float) -> float:
    """Train for a few epochs and return molecules a second."""
    yaml = YAML(typ="safe")
    graph = yaml.load(ROOT / "recipes" / "demo.yaml")
    graph["train"] |= {"epochs": 3, "fraction": fraction, "workers": 0}
    with TemporaryDirectory() as folder:
        path, run = Path(folder) / "graph.yaml", Path(folder) / "run"
        yaml.dump(graph, path)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
        command += ["-m", "molchord", "train", str(path), "--data", str(ROOT / "datasets" / "demo"), "--out", str(run)]
        threads = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
        subprocess.run([*command, "--device", device], check=True, env={**os.environ, **threads})
        epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return statistics.median(float(epoch["molecules_per_second"]) for epoch in epochs[1:])
