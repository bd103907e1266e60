"""Memory of a training against the size of its data set."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import molchord as mc
from benchmarks.accuracy.sources import qm9_smiles
from benchmarks.speed.timing import bytes_of
from molchord.api import Molecule
from molchord.host import installed

__all__ = ["TEXT", "TITLE", "measure"]

TITLE = "Training: memory against data size"
TEXT = (
    "`molchord train` in a process of its own on the first molecules of `datasets/qm9_smiles.csv.gz` (beyond its "
    "120,146: each with one more carbon) with made-up infrared sticks: all molecules are derived, 20 steps of 128, "
    "validation, calibration on all. `peak` is that of the process and its workers together, a page that several of "
    "them hold counted once (PSS), mapped files and libraries included."
)
STEPS, BATCH = 20, 128
GRAPH = """
schema: 1
embedding_dim: 512
modalities:
  structure: {{use: structure, encoder: {{use: gine, width: 64, hidden: 64, layers: 3}}}}
  ir: {{use: ir, grid: {{start: 500, stop: 4000, points: 351}}, encoder: {{use: mlp, width: 64, hidden: [64]}}}}
loss: {{use: all_pairs}}
train: {{epochs: 1, batch_size: {batch}, fraction: {fraction}}}
"""


def measure(device: str, *, small: bool = False) -> list[dict[str, Any]]:
    """Train on data sets of several sizes."""
    rows = []
    for size in (200, 400) if small else (2_000, 20_000, 130_000):
        with TemporaryDirectory(prefix="molchord-speed-") as folder:
            stored = _data(Path(folder) / "data", size)
            graph = Path(folder) / "graph.yaml"
            graph.write_text(GRAPH.format(batch=BATCH, fraction=min(1.0, STEPS * BATCH / (0.8 * size))))
            command = ["train", str(graph), "--data", str(Path(folder) / "data"), "--out", str(Path(folder) / "run")]
            start = time.perf_counter()
            peak = _peak([sys.executable, "-m", "molchord", *command, "--device", device])
            spent = round(time.perf_counter() - start)
        rows.append(
            {"case": f"{size:,} molecules", "peak_GB": round(peak / 1e9, 2), "data_MB": stored, "took_s": spent}
        )
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def _data(path: Path, size: int) -> float:
    """Write a data set, and return its megabytes."""
    known = qm9_smiles()
    kept = list(islice(chain(known, ("C" + text for text in known if text.startswith("C"))), size))
    record: Any = installed().modality("ir")
    modality = record.build(record.config(), record.kinds[0])
    molecules = [Molecule(key14=str(i), smiles=text, formula="", exact_mass=0.0) for i, text in enumerate(kept)]
    mc.from_measurements(kept, {"ir": modality.example(molecules, 7)}, path)
    return round(sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6, 1)


def _peak(command: list[str]) -> int:
    """Run a command and return the most bytes that its processes held at once, looked at five times a second."""
    most = 0
    with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as job:
        while job.poll() is None:
            most = max(most, _resident(job.pid))
            time.sleep(0.2)
    if job.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with status {job.returncode}")
    return most


def _resident(process: int) -> int:
    """Return the bytes of a process and all below it, of shared pages its part; 0 where it has gone."""
    try:
        tasks = [*Path(f"/proc/{process}/task").iterdir()]
        children = " ".join((task / "children").read_text() for task in tasks).split()
        own = bytes_of(Path(f"/proc/{process}/smaps_rollup"), "Pss")
    except OSError:
        return 0
    return own + sum(_resident(int(child)) for child in children)
