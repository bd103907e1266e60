"""The shape of the code, measured on a tiny tree."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks import house

ROOT = Path(__file__).parent.parent.parent
TREE = {
    "core/molchord/__init__.py": "from molchord.run import Run\n",
    "core/molchord/run.py": """
        from typing import TYPE_CHECKING
        from molchord import model
        if TYPE_CHECKING:
            from molchord.train.loop import train
        LIMIT = 3
        _LIMIT = 4
        class Run:
            def fit(self):
                def once():
                    return 1
                return once
        """,
    "core/molchord/model.py": "import numpy\nLIMIT: int = 5\n_LIMIT = 6\n",
    "core/molchord/train/__init__.py": "",
    "core/molchord/train/loop.py": """
        from . import step
        async def train():
            from molchord.run import Run
        def Run():
            pass
        """,
    "core/molchord/train/step.py": "from ..model import LIMIT\n",
    "core/molchord/host/discovery.py": "a = 1\n\nb = 2\n",
    "core/molchord/registry.py": "a = 1\n",
    "plugins/losses/molchord_losses/__init__.py": """
        from typing import Annotated, ClassVar, Literal
        Form = Annotated[str, Field(description="which")]
        Size = Annotated[int, Field(gt=0)]
        class Base(api.Config):
            model_config = {}
            kind: ClassVar[str] = "a"
            _hidden: int = 0
            plain: int = 1
            told: int = Field(2, description="told")
            below: int = 3
            \"\"\"Told below.\"\"\"
            inside: Annotated[int, Field(description="told")] = 4
            bounded: Size = 5
            form: Form = "a"
        class Derived(Base):
            silent: tuple[Annotated[int, Field(description="of an entry")], ...] = ()
        class Other:
            free: int = 1
        """,
    "plugins/losses/molchord_losses/clip.py": "from molchord_losses import Base\n",
    "tests/unit/test_run.py": "\n" * 10,
}


@pytest.fixture
def tree(tmp_path):
    for name, text in TREE.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.split("\n")[1:] if text.startswith("\n ") else text.split("\n")
        path.write_text("\n".join(line.removeprefix(" " * 8) for line in lines))
    return tmp_path / "tree"


def test_lines_of_files_and_functions(tree, monkeypatch):
    monkeypatch.setattr(house, "LONG_FILE", 10)
    monkeypatch.setattr(house, "LONG_FUNCTION", 2)
    found = house.measured(tree)
    code = sum(len(path.read_text().splitlines()) for top in ("core", "plugins") for path in (tree / top).rglob("*.py"))
    assert found.metrics["lines of a file: median / p95 / max"] == "2 / 18 / 18"
    assert found.metrics["lines of a function: median / p95 / longest"] == "2 / 4 / 4"
    assert found.metrics["tests / code, lines"] == f"{10 / code:.2f} (10 / {code})"
    assert found.lists["Files over 10 lines"] == [
        "18 plugins/losses/molchord_losses/__init__.py",
        "11 core/molchord/run.py",
    ]
    assert found.lists["Functions over 2 lines"] == ["4 core/molchord/run.py:8 fit"]
    assert found.metrics["functions over 2 lines"] == "1"


def test_circles_go_through_type_hints_and_late_imports(tree):
    found = house.measured(tree)
    assert found.lists["Circles of modules"] == ["molchord.run, molchord.train.loop"]
    assert found.metrics["circles of modules (sizes)"] == "1 (2)"


def test_circles_through_the_init_of_a_package_are_told_apart(tree):
    (tree / "plugins/losses/molchord_losses/__init__.py").write_text("def build():\n    from .clip import Clip\n")
    found = house.measured(tree)
    assert found.metrics["circles of modules (sizes)"] == "2 (2, 2)"
    assert found.metrics["the same without the `__init__.py` of packages"] == "1 (2)"


def test_imports_are_those_of_the_project(tree):
    graph = house.import_graph(list(house.sources(tree)))
    assert graph["molchord.run"] == {"molchord.model", "molchord.train.loop"}
    assert graph["molchord.train.loop"] == {"molchord.train.step", "molchord.run"}
    assert graph["molchord.train.step"] == {"molchord.model"}
    assert graph["molchord.model"] == set()
    assert graph["molchord_losses.clip"] == {"molchord_losses"}


def test_plugin_loading_is_read_in_whichever_files_there_are(tree):
    assert house.measured(tree).metrics["lines to read to understand plugin loading"] == "4 in 2 files"


def test_public_names_of_several_modules(tree):
    found = house.measured(tree)
    assert found.lists["Public names defined in several modules of core"] == [
        "`LIMIT`: molchord.model, molchord.run",
        "`Run`: molchord.run, molchord.train.loop",
        "`a`: molchord.host.discovery, molchord.registry",
    ]


def test_fields_of_configurations_without_a_description(tree):
    found = house.measured(tree)
    silent = [
        name.removeprefix("molchord_losses.") for name in found.lists["Configuration fields without a description"]
    ]
    assert silent == ["Base.plain", "Base.bounded", "Derived.silent"]
    assert found.metrics["configuration fields without a description"] == "3 of 7"


@pytest.fixture
def repository(tree):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        done = subprocess.run(["git", *identity, *words], cwd=tree, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    first = git("rev-parse", "--short", "HEAD")
    (tree / "core/molchord/model.py").write_text("x = 1\n" * 30)
    return first


def test_a_commit_stands_beside_what_became_of_it(tree, repository, tmp_path, capsys):
    words = ["--root", str(tree), "--before", repository]
    assert house.main([*words, "--write", str(tmp_path / "house.md")]) == 0
    written = (tmp_path / "house.md").read_text()
    assert f"|  | before ({repository}) | after ({repository}-dirty) |" in written
    assert "| lines of a file: median / p95 / max | 2 / 18 / 18 | 2 / 30 / 30 |" in written
    assert f"## Files over 400 lines, after ({repository}-dirty)\n\nNone.\n" in written
    assert f"--before {repository}`" in written
    assert house.main([*words, "--rev", repository]) == 0
    assert f"|  | before ({repository}) |\n" in capsys.readouterr().out
    assert house.main(["--root", str(tree)]) == 0
    assert f"|  | {repository}-dirty |\n" in capsys.readouterr().out


def test_it_needs_the_standard_library_alone():
    code = "import sys, benchmarks.house; print(*{m.split('.')[0] for m in sys.modules} - {*sys.stdlib_module_names})"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {code}"], cwd=ROOT,
                          check=True, capture_output=True, text=True)  # fmt: skip
    assert set(done.stdout.split()) <= {"benchmarks", "__main__", "__mp_main__"}


def test_examples_run():
    assert doctest.testmod(house) == (0, 1)
