"""Rules that the tree itself must keep."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from molchord.host import installed

ROOT = Path(__file__).parent.parent.parent
CORE = sorted((ROOT / "core" / "molchord").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("molchord-*"))
BUILTIN_MODALITIES = {p.record.name for p in installed().plugins if p.type == "modality" and p.dist == "molchord"}


@cache
def parsed(path):
    return ast.parse(path.read_text())


def docstrings(tree):
    owners = [
        n for n in ast.walk(tree) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    bodies = [node.body[0] for node in owners if node.body]
    return {id(b.value) for b in bodies if isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)}


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.name)
def test_the_engine_names_no_modality(path):
    """No string constant or identifier of the engine equals a built-in modality's name, docstrings apart."""
    tree = parsed(path)
    spared = docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spared:
            assert node.value not in BUILTIN_MODALITIES, f"{path.name}:{node.lineno}"
        names = [getattr(node, field, None) for field in ("id", "attr", "arg", "name")]
        assert not BUILTIN_MODALITIES & {n for n in names if isinstance(n, str)}, f"{path.name}:{node.lineno}"


def imports(path):
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", CORE, ids=lambda p: p.name)
def test_the_engine_imports_no_plugin(path):
    assert not [name for name in imports(path) if name.startswith("molchord_")]


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").rglob("*.py")), ids=lambda p: p.name)
def test_a_plugin_imports_the_api_the_chemistry_and_itself_only(path):
    own = path.relative_to(ROOT / "plugins").parts[1]
    for name in imports(path):
        if name.split(".")[0].startswith("molchord"):
            public = name in ("molchord.api", "molchord.chem")
            assert public or name.split(".")[0] == own, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", [*CORE, *sorted((ROOT / "plugins").rglob("*.py"))], ids=lambda p: p.name)
def test_rdkit_is_imported_by_the_chemistry_alone(path):
    """So that no two places disagree about a molecule, and each refusal of RDKit is one error."""
    if path.is_relative_to(ROOT / "core" / "molchord" / "chem"):
        return
    assert not [name for name in imports(path) if name.split(".")[0] == "rdkit"]


RECORDS_ELSEWHERE = {
    "gfn2": "gfn2.py runs by itself on machines without molchord",
}


@pytest.mark.parametrize(
    "plugin", [p for p in installed().plugins if p.dist == "molchord"], ids=lambda p: f"{p.type} {p.name}"
)
def test_a_built_in_plugin_is_where_its_name_says(plugin):
    """`<plugin>.py` or the folder `<plugin>/` holds the record's `build`, and its configuration or settings lie beside."""
    package, _, module = plugin.record.build.__module__.partition(".")
    assert module.split(".")[0] == plugin.name or plugin.name in RECORDS_ELSEWHERE
    assert plugin.record.config.__module__.startswith(package)


def test_the_chemistry_imports_no_torch():
    code = "import sys, molchord.chem; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("package", EXAMPLES, ids=lambda p: p.name)
def test_an_example_is_typed_and_imports_no_other_plugin(package):
    own = package.name.replace("-", "_")
    assert (package / own / "py.typed").is_file()
    for path in sorted(package.rglob("*.py")):
        others = {name.split(".")[0] for name in imports(path) if name.startswith("molchord_")} - {own}
        assert not others, f"{path.name} imports {others}"


def test_there_are_examples():
    assert {"molchord-ccs", "molchord-formula", "molchord-isotopes", "molchord-uvvis"} <= {p.name for p in EXAMPLES}


def test_registry_lists_the_builtins_both_ways():
    catalogue = tomllib.loads((ROOT / "registry.toml").read_text())
    listed = {(entry["type"], entry["name"]) for entry in catalogue["builtin"]}
    assert listed == {(p.type, p.record.name) for p in installed().plugins if p.dist == "molchord"}


def test_nothing_is_pickled():
    for path in (*CORE, *(ROOT / "plugins").rglob("*.py"), *(ROOT / "examples").rglob("*.py")):
        if "testing" in path.parts:
            continue  # the kit pickles a modality as a loader worker does
        found = set(imports(path)) & {"pickle", "joblib", "dill", "shelve"}
        assert not found, f"{path.name} imports {found}"
        assert "torch.load(" not in path.read_text(), path.name
        assert "torch.save(" not in path.read_text(), path.name


def test_no_unfinished_places():
    for path in (*CORE, *(ROOT / "plugins").rglob("*.py"), *(ROOT / "examples").rglob("*.py")):
        assert not re.search(r"\b(TODO|FIXME|XXX|NotImplementedError)\b", path.read_text()), path.name
