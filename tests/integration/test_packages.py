"""Wheel and source distribution: they build, and work where only they are installed."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.once import made_once

from molchord.testing import molecules

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
PLUGINS = ("encoders", "indexes", "loggers", "losses", "modalities", "properties", "rerankers", "simulators")
PACKAGES = ("molchord", *(f"molchord_{name}" for name in PLUGINS))


def python(*arguments, **options):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both distributions, the wheel built from the source distribution."""
    build = "import hatchling.build as b, sys; print(getattr(b, sys.argv[1])(sys.argv[2]))"

    def make(folder):
        sdist = folder / python("-c", build, "build_sdist", folder, cwd=ROOT).strip().splitlines()[-1]
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        python("-c", build, "build_wheel", folder, cwd=folder / sdist.name.removesuffix(".tar.gz"))

    folder = made_once(tmp_path_factory, "dist", make)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def test_wheel_holds_what_it_must(built):
    names = set(zipfile.ZipFile(built[1]).namelist())
    assert {
        "molchord/registry.toml",
        "molchord/evaluate/evaluation.html.j2",
        "molchord/host/templates/README.md.j2",
    } <= names
    assert {f"molchord/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")} <= names
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
    assert "molchord/data/store.py" in names
    assert not [name for name in names if name.startswith(("tests/", "datasets/"))]


GRAPH = """
schema: 1
embedding_dim: 8
modalities:
  structure: {use: structure, encoder: {use: gine, width: 8, hidden: 8, layers: 1}}
  ir: {use: ir, grid: {points: 100}, encoder: {use: mlp, width: 8, hidden: [8]}}
loss: {use: all_pairs}
train: {batch_size: 8, epochs: 1, workers: 0}
"""


@pytest.fixture(scope="module")
def molchord(built, tmp_path_factory):
    """The command line of the wheel, installed into an empty folder that comes before the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    site, elsewhere = folder / "site", folder / "elsewhere"
    elsewhere.mkdir()
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, built[1])
    options = {"env": {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}, "cwd": elsewhere}
    where = python(
        "-c", f"import {', '.join(PACKAGES)}\nfor p in ({', '.join(PACKAGES)}): print(p.__file__)", **options
    )
    assert len(where.splitlines()) == len(PACKAGES)
    assert all(line.startswith(str(site)) for line in where.splitlines()), where

    def run(*commands):
        """Run a command, or several in one process, which imports torch once; return what they print."""
        if len(commands) == 1:
            return python("-m", "molchord", *commands[0], **options)
        code = "import json, sys; from molchord.cli.main import main; sys.exit(any(map(main, json.loads(sys.argv[1]))))"
        return python("-c", code, json.dumps(commands, default=str), **options)

    return run


def test_installed_wheel_finds_its_plugins_recipes_and_templates(molchord, tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: vibrational\nmodalities: {raman: null}\n")
    for command, said in (
        (["plugins", "list"], "dimenetpp"),
        (["plugins", "check"], "no problem"),
        (["graph", "check", ROOT / "recipes" / "demo.yaml"], "good"),
        (["graph", "check", "demo", "--explain", "--set", "embedding_dim=8"], "embedding_dim: 8"),
        (["graph", "check", tmp_path / "mine.yaml"], "good (structure, ir; molchord:graph_centered)"),
        (["plugins", "new", "modality", "uvvis", "--out", tmp_path / "uvvis"], "7 files"),
    ):
        assert said in molchord(command)


def test_installed_wheel_imports_trains_and_evaluates(molchord, tmp_path):
    """Whatever file a command needs beside the code, such as the page of the report, must be in the wheel."""
    rng, mols = np.random.default_rng(0), molecules()
    lines = rng.uniform(600, 3500, 10 * len(mols)).astype(np.float32)
    np.savez(
        tmp_path / "computed.npz", smiles=np.array([m.smiles for m in mols]), freq=lines,
        modes=np.arange(0, len(lines) + 1, 10), ir=rng.random(len(lines), dtype=np.float32),
    )  # fmt: skip
    (tmp_path / "graph.yaml").write_text(GRAPH)
    data, run = tmp_path / "data", tmp_path / "run"
    molchord(
        ["data", "import", tmp_path / "computed.npz", "--out", data],
        ["train", tmp_path / "graph.yaml", "--data", data, "--out", run],
        ["evaluate", run, "--split", "train", "--pool", "all", "--mode", "blind", "--out", tmp_path / "figures"],
    )
    report = (tmp_path / "figures" / "report.html").read_text()
    assert 'aria-label="loss all_pairs aligns 1 pair: structure-ir"' in report
