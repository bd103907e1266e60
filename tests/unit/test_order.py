"""The engine's modules stand in one order and import downwards only; imports for types and late ones count."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ORDER = [
    "errors",
    "vocabulary",
    "complaints",
    "files",
    "places",
    "unpacking",
    "checksums",
    "lock",
    "text_table",
    "deprecation",
    "api",
    "seeding",
    "chem",
    "absence",
    "agreement",
    "prospects",
    "reference_weights",
    "clean_up",
    "domain",
    "eight_bits",
    "host",
    "graph",
    "data",
    "simulation",
    "device",
    "model",
    "run_place",
    "run_folder",
    "embedder",
    "references",
    "retrieval",
    "train",
    "library",
    "rerank",
    "query",
    "reference_search",
    "search",
    "properties",
    "explain",
    "look",
    "identify",
    "case",
    "evaluate",
    "run",
    "study",
    "verify",
    "page",
    "assistant",
    "cli",
    "testing",
]
"""From the ground up; `molchord/__init__.py` hands out names of any of them, when they are asked for."""


def modules(root):
    """Every module below a folder of packages, by dotted name."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in root.rglob("*.py")
    }


def arrows(name, path, known):
    """The modules of `known` that one imports, wherever in it; a package stands for what it hands out."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            for alias in node.names:
                full = f"{base}.{alias.name}"
                if full in known:
                    yield full
                elif base in known:
                    yield base


def circles(graph):
    """Strongly connected modules, by Tarjan's algorithm."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = [stack.pop()]
            while part[-1] != node:
                part.append(stack.pop())
            if len(part) > 1:
                found.append(sorted(part))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def graph_of(root):
    known = modules(root)
    return {name: sorted(set(arrows(name, path, known)) - {name}) for name, path in known.items()}


PACKAGES = [f"{part}/{path.name}" for part in ("plugins", "examples") for path in sorted((ROOT / part).iterdir())]


@pytest.mark.parametrize("root", ["core", *(package for package in PACKAGES if (ROOT / package).is_dir())])
def test_no_module_imports_itself_by_a_detour(root):
    assert circles(graph_of(ROOT / root)) == []


def test_a_late_and_a_type_only_import_make_a_circle(tmp_path):
    (tmp_path / "a.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\n")
    (tmp_path / "b.py").write_text("def f():\n    from a import x\n")
    assert circles(graph_of(tmp_path)) == [["a", "b"]]


def test_packages_import_downwards_only():
    place = {name: number for number, name in enumerate(ORDER)}
    upwards = []
    for name, imported in graph_of(ROOT / "core").items():
        if name in ("molchord", "molchord.__main__"):
            continue
        own = name.split(".")[1]
        assert own in place, f"{name} has no place in the order"
        below = [other for other in imported if other != "molchord"]
        upwards += [f"{name} -> {other}" for other in below if place[other.split(".")[1]] > place[own]]
    assert upwards == []
