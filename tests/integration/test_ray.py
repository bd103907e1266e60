"""The Ray engine: the library of the local engine, though a worker is killed while it works."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.unit.library.same import assert_same_library

from molchord.library.build import embed_items
from molchord.library.files import LibraryManifest
from molchord.testing import tiny_run

SMILES = [f"{'C' * n}{end}" for n in range(1, 11) for end in ("O", "N", "C#N", "F")]
GIVEN = [*SMILES[:20], "C(C", *SMILES[10:], "OC"]
SLOW = """
import sys, time
from pathlib import Path
import ray
from molchord.library import ray_engine
from molchord.library.build import embed_items
from molchord.library.files import LibraryManifest
from molchord.run import Run

def slow(*given):
    time.sleep(1.0)
    return encoded(*given)

encoded, ray_engine.encoded = ray_engine.encoded, slow
ray.cloudpickle.register_pickle_by_value(ray_engine)  # so that Ray's processes are slow too
run = Run.load(sys.argv[1], device="cpu")
manifest = LibraryManifest(run=run.id, candidate=run.candidate, embedding_dim=run.graph.embedding_dim)
embed_items(run.embedder, {given!r}, Path(sys.argv[2]), manifest, block=4, engine="ray", workers=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_a_killed_worker_of_ray_loses_nothing(tmp_path):
    run = tiny_run()
    manifest = LibraryManifest(run=run.id, candidate=run.candidate, embedding_dim=run.graph.embedding_dim)
    embed_items(run.embedder, GIVEN, tmp_path / "local", manifest, block=4, workers=1)
    script = tmp_path / "embed.py"
    script.write_text(SLOW.replace("{given!r}", repr(GIVEN)))
    job = subprocess.Popen([sys.executable, script, run.path, tmp_path / "ray"], stderr=subprocess.PIPE, text=True)
    try:
        done = tmp_path / "ray.parts" / "done"
        while not any(done.glob("*.json")):
            assert job.poll() is None, job.stderr.read()
            time.sleep(0.2)
        kept = {file: file.stat().st_mtime_ns for file in done.glob("*.json")}
        [*_, victim] = _workers(job.pid)
        os.kill(victim, signal.SIGKILL)
        errors = job.communicate(timeout=300)[1]
    finally:
        job.kill()
        job.wait()
        job.stderr.close()
    assert job.returncode == 0, errors
    assert 0 < len(kept) < 10
    assert not done.exists()
    assert_same_library(tmp_path / "ray", tmp_path / "local")


def _workers(parent):
    """Return the processes below one that hold a model."""
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # of a thread or process that ends meanwhile
            for child in (task / "children").read_text().split():
                found += _workers(child)
                if b"MapWorker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
    return found
