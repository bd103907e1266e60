"""Set-up, and `make demo` from every state that an earlier one can leave behind.

Stand-ins for molchord, Python and pip note their words.
"""

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
# `python -m venv DIR` makes one whose pip is the other stand-in; whatever else Python is asked for succeeds.
PYTHON = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
cp pip "$3/bin/pip"
"""
# `unreachable` and `fail` are files that make the torch index, or the installation of torch from it, fail.
PIP = """#!/bin/sh
echo "pip $@ [$PIP_EXTRA_INDEX_URL $PIP_FIND_LINKS]" >> words
case "$*" in
  index*) [ ! -e unreachable ] || { echo "WARNING: one of hundreds" >&2; exit 1; };;
  *--index-url*) [ ! -e fail ];;
esac
"""
INDEX = "https://torch.invalid/cpu"
# Without what a `make test` around this one hands down, and what pip is told elsewhere.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PIP_", "TORCH_INDEX"))}

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


@pytest.fixture
def bare(tree):
    """The tree before set-up, with the stand-ins for Python and pip."""
    shutil.rmtree(tree / ".venv")
    (tree / "requirements.lock").write_text("numpy==2.4.6\ntorch-geometric==2.8.1\ntorch==2.13.0\ntqdm==4.66\n")
    for name, text in (("python", PYTHON), ("pip", PIP)):
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    return tree


def set_up(tree, index=INDEX, status=0):
    """Return pip's calls, without the options that all of them have, and what make said."""
    command = [".venv/.installed", f"PYTHON={tree / 'python'}", f"TORCH_INDEX={index}"]
    said = make(tree, *command, status=status)[1]
    calls = [line for line in said.splitlines() if line.startswith("pip ")]
    for option in ("--quiet ", "-qq ", "--disable-pip-version-check ", "--no-compile ", "--retries 1 "):
        calls = [call.replace(option, "") for call in calls]
    return calls, said


REST = [
    "pip install -r requirements.lock [ ]",
    "pip install --no-deps --no-build-isolation --editable . [ ]",
]


def test_the_torch_index_is_asked_for_torch_alone_and_alone(bare):
    calls, _ = set_up(bare)
    assert calls == [
        f"pip index versions torch --retries 0 --timeout 5 --index-url {INDEX} [{INDEX} .venv]",
        f"pip install --no-deps --index-url {INDEX} torch==2.13.0 [{INDEX} .venv]",
        *REST,
    ]
    assert (bare / ".venv/.installed").exists()


def test_a_torch_index_out_of_reach_takes_one_line(bare):
    (bare / "unreachable").touch()
    calls, said = set_up(bare)
    assert calls[1:] == REST
    rest = [line for line in said.splitlines() if not line.startswith("pip ")]
    assert rest == [f"{INDEX} cannot be reached: torch comes from where pip takes everything else"]
    assert (bare / ".venv/.installed").exists()


def test_an_index_without_this_torch_stops_the_set_up(bare):
    (bare / "fail").touch()
    calls, _ = set_up(bare, status=2)
    assert len(calls) == 2
    assert not (bare / ".venv/.installed").exists()


def test_no_torch_index_is_asked_where_none_is_given(bare):
    assert set_up(bare, index="")[0] == REST


def test_packages_without_their_dependencies_come_after_the_others(bare):
    (bare / "requirements-no-deps.lock").write_text("Auto3D==2.3.1\n")
    calls, _ = set_up(bare, index="")
    assert calls == [REST[0], "pip install --no-deps -r requirements-no-deps.lock [ ]", REST[1]]
    os.utime(bare / "requirements-no-deps.lock", (2e9, 2e9))
    assert set_up(bare, index="")[0] == calls


def test_the_lock_file_names_one_torch():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert len([line for line in lines if line.startswith("torch==")]) == 1
