"""Wheel and source distribution: they build, and work where only they are installed."""

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
    for package in PACKAGES:
        where = python("-c", f"import {package}; print({package}.__file__)", **options)
        assert where.startswith(str(site)), where
    return lambda *arguments: python("-m", "molchord", *arguments, **options)


def test_installed_wheel_finds_its_plugins_recipes_and_templates(molchord, tmp_path):
    assert "dimenetpp" in molchord("plugins", "list")
    assert "no problem" in molchord("plugins", "check")
    assert "good" in molchord("graph", "check", ROOT / "recipes" / "demo.yaml")
    assert "embedding_dim: 8" in molchord("graph", "check", "demo", "--explain", "--set", "embedding_dim=8")
    (tmp_path / "mine.yaml").write_text("extends: vibrational\nmodalities: {raman: null}\n")
    assert "good (structure, ir; molchord:graph_centered)" in molchord("graph", "check", tmp_path / "mine.yaml")
    assert "7 files" in molchord("plugins", "new", "modality", "uvvis", "--out", tmp_path / "uvvis")


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
    molchord("data", "import", tmp_path / "computed.npz", "--out", data)
    molchord("train", tmp_path / "graph.yaml", "--data", data, "--out", run)
    molchord("evaluate", run, "--split", "train", "--pool", "all", "--mode", "blind", "--out", tmp_path / "figures")
    report = (tmp_path / "figures" / "report.html").read_text()
    assert 'aria-label="loss all_pairs aligns 1 pair: structure-ir"' in report
