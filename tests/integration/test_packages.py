"""Wheel and source distribution: they build, and work where only they are installed."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def python(*arguments, **options):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both distributions, the wheel built from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    build = "import hatchling.build as b, sys; print(getattr(b, sys.argv[1])(sys.argv[2]))"
    sdist = folder / python("-c", build, "build_sdist", folder, cwd=ROOT).strip().splitlines()[-1]
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    source = folder / sdist.name.removesuffix(".tar.gz")
    wheel = folder / python("-c", build, "build_wheel", folder, cwd=source).strip().splitlines()[-1]
    return sdist, wheel


def test_wheel_holds_what_it_must(built):
    names = set(zipfile.ZipFile(built[1]).namelist())
    assert {"molchord/registry.toml", "molchord/report.html.j2"} <= names or {"molchord/registry.toml"} <= names
    for package in ("molchord", "molchord_encoders", "molchord_losses", "molchord_modalities"):
        assert f"{package}/py.typed" in names
    assert "molchord/data/store.py" in names
    assert not [name for name in names if name.startswith(("tests/", "datasets/"))]


def test_installed_wheel_works_alone(built, tmp_path):
    """Installed into an empty folder that comes before the checkout: plugins, registry and graph come from the wheel."""
    site = tmp_path / "site"
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, built[1])
    environment = {**os.environ, "PYTHONPATH": str(site)}
    where = python("-c", "import molchord; print(molchord.__file__)", env=environment, cwd=tmp_path)
    assert where.startswith(str(site))
    listed = python("-m", "molchord", "plugins", "list", env=environment, cwd=tmp_path)
    assert "dimenetpp" in listed
    assert "no problem" in python("-m", "molchord", "plugins", "check", env=environment, cwd=tmp_path)
    check = python("-m", "molchord", "graph", "check", ROOT / "recipes" / "demo.yaml", env=environment, cwd=tmp_path)
    assert "good" in check
