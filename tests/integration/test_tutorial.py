"""Pages to follow, word for word: every command is run and every block of code is put where the page says."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from itertools import groupby
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parent.parent.parent / "docs"
SHOWN = {
    "tutorial.md": r"\buv\b(?s:.*)(16 candidates|of 16)",
    "how-to/write-a-loss.md": r"loss focal(?s:.*)runs/focal: trained(?s:.*)Top-1",
}
"""The pages, and what their commands print."""


@pytest.fixture
def environment(tmp_path):
    """A fresh environment that sees what is installed here, and a `pip` that asks no network."""
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    # As in the tests' own process, nothing waits for the disk.
    (site / "shared.pth").write_text(
        f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n"
        "import os; os.fsync = lambda descriptor: None\n"
    )
    for name, command in {
        "pip": f'exec {sys.executable} -m pip --python {venv}/bin/python "$@" -q --no-deps --no-build-isolation --no-index',
        "pytest": f'exec {venv}/bin/python -m pytest -p no:cacheprovider "$@"',
    }.items():
        (venv / "bin" / name).write_text(f"#!/bin/sh\n{command}\n")
        (venv / "bin" / name).chmod(0o755)
    return {**os.environ, "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize("page", SHOWN)
def test_a_page_works_word_for_word(page, environment, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    shown = ""
    written = (DOCS / page).read_text(encoding="utf-8")
    for block in re.finditer(r"```(\w+)([^\n]*)\n(.*?)```", written, re.DOTALL):
        language, option, text = block.groups()
        if language == "sh":
            later = written[block.end() :].splitlines()
            for command in commands(line for line in text.splitlines() if line not in later):
                done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
                assert done.returncode == 0, text + done.stdout + done.stderr
                shown += done.stdout
        elif "title=" in option:
            (folder / option.split('"')[1]).write_text(text, encoding="utf-8")
        else:
            path = folder / option.split('"')[1]
            path.write_text(replaced(path.read_text(encoding="utf-8"), text), encoding="utf-8")
    assert re.search(SHOWN[page], shown), shown


IN_ONE = "import json, sys; from molchord.cli.main import main; sys.exit(any(map(main, json.loads(sys.argv[1]))))"


def commands(lines):
    """Each line as a command; those of molchord that follow each other run in one process, which imports torch once.

    A line that the page has once more, such as the tests of a package that is changed meanwhile, is run the last time
    alone: those of new packages are run by `test_new_plugin.py`.
    """
    for ours, several in groupby(lines, lambda line: line.startswith("molchord ")):
        if ours:
            yield ["python", "-c", IN_ONE, json.dumps([shlex.split(line)[1:] for line in several])]
        else:
            yield from (["bash", "-ec", line] for line in several)


def replaced(source, changes):
    """Replace the functions and methods of a module by those of the same name."""
    new = {name: (changes, node) for name, node in functions(changes)}
    lines = source.splitlines()
    for name, node in sorted(functions(source), key=lambda item: -item[1].lineno):
        if name in new:
            text, other = new.pop(name)
            lines[node.lineno - 1 : node.end_lineno] = text.splitlines()[other.lineno - 1 : other.end_lineno]
    assert new == {}, "the page replaces functions that the template lacks"
    return "\n".join(line for line in lines if line != "import json") + "\n"


def functions(source):
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    found = [(node.name, node) for node in tree.body if isinstance(node, ast.FunctionDef)]
    return found + [(f"{c.name}.{n.name}", n) for c in classes for n in c.body if isinstance(n, ast.FunctionDef)]
