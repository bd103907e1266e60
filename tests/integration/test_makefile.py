"""`make demo` from every state that an earlier one can leave behind, with a stand-in for molchord that notes its words."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MOLCHORD = """#!/bin/sh
echo "$@" >> words
case "$1" in
  train) mkdir -p runs/demo/checkpoints; touch runs/demo/checkpoints/last.safetensors;;
  evaluate) touch runs/demo/report.html; [ ! -e fail ];;
  embed) mkdir -p runs/demo-library; touch runs/demo-library/manifest.json;;
esac
"""
# Without what a `make test` around this one hands down.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def tree(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml", ".venv/.installed", ".venv/bin/molchord"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".venv/bin/molchord").write_text(MOLCHORD)
    (tmp_path / ".venv/bin/molchord").chmod(0o755)
    return tmp_path


def make(tree, *arguments, status=0):
    """Return what molchord was asked to do, and what make said."""
    (tree / "words").write_text("")
    done = subprocess.run(["make", *arguments], cwd=tree, env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode == 0) == (status == 0), done.stdout + done.stderr
    words = (tree / "words").read_text()
    return [line.split()[0] for line in words.splitlines()], words + done.stderr


def test_a_second_demo_trains_nothing_anew(tree):
    assert make(tree, "demo")[0] == ["train", "evaluate", "embed", "search"]
    assert make(tree, "demo")[0] == ["search"]


def test_an_interrupted_training_goes_on(tree):
    (tree / "runs/demo/checkpoints").mkdir(parents=True)
    (tree / "runs/demo/checkpoints/last.safetensors").touch()
    assert "train --resume runs/demo\n" in make(tree, "demo")[1]


def test_a_training_without_a_checkpoint_starts_anew(tree):
    (tree / "runs/demo").mkdir(parents=True)
    said = make(tree, "demo")[1]
    assert "--out runs/demo --force\n" in said
    assert "--resume" not in said


def test_a_failed_evaluation_leaves_no_report(tree):
    (tree / "fail").touch()
    make(tree, "demo", status=2)
    assert not (tree / "runs/demo/report.html").exists()
    (tree / "fail").unlink()
    commands, said = make(tree, "demo")
    assert commands == ["train", "evaluate", "embed", "search"]
    assert "train --resume" in said
    assert "--pool all --force\n" in said


def test_a_later_set_up_trains_nothing_anew(tree):
    make(tree, "demo")
    os.utime(tree / ".venv/.installed", (2e9, 2e9))
    assert make(tree, "demo")[0] == ["search"]


def test_an_old_python_is_named_before_anything_is_made(tree):
    shutil.rmtree(tree / ".venv")
    old = tree / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit\nexit 1\n')
    old.chmod(0o755)
    said = make(tree, "demo", f"PYTHON={old}", status=2)[1]
    assert "molchord needs Python 3.11 or newer" in said
    assert "Python 3.9.1" in said
    assert not (tree / ".venv").exists()


def test_this_python_passes_the_check(tree):
    shutil.rmtree(tree / ".venv")
    command = ["make", "-n", "demo", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=tree, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    check = done.stdout.partition("||")[0]
    assert subprocess.run(["sh", "-c", check], check=False).returncode == 0
