"""Measure the shape of the code, by name where it is long or knotted: ``python -m benchmarks.house``.

Any checkout or commit is measured, by its syntax alone: nothing of it is imported, and nothing but the standard library
is needed.
"""

from __future__ import annotations

import argparse
import ast
import io
import math
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["House", "circles", "main", "measured", "page"]

ROOT = Path(__file__).resolve().parent.parent
LONG_FILE, LONG_FUNCTION = 400, 60
PLUGIN_LOADING = (
    "host.py",
    "hookspecs.py",
    "registry.py",
    "host/discovery.py",
    "host/hookspecs.py",
    "host/registry.py",
    "host/types.py",
    "host/collector.py",
    "host/record_check.py",
    "host/build.py",
)
"""What one reads to understand how plugins are loaded, in core/molchord, in the old layout or the new one."""

TITLE = """\
# The house

What the code is like to read, measured by `python -m benchmarks.house --write benchmarks/house.md --before {before}`,
never by hand. Files are the Python files of core/ and plugins/. Imports for type hints alone and inside functions
count. A function's lines begin at its `def`; p95 is the value that 95 % do not exceed.
"""


@dataclass(frozen=True)
class Source:
    """A Python file of core/ or plugins/.

    Attributes:
        path: Relative to the root, with slashes.
        module: Dotted name.
        is_package: Whether it is an `__init__.py`.
        lines: Number of lines.
        tree: Its syntax.
    """

    path: str
    module: str
    is_package: bool
    lines: int
    tree: ast.Module


@dataclass(frozen=True)
class House:
    """What was measured.

    Attributes:
        figures: Text of a cell by the name of the figure.
        lists: Names, by what is wrong with them.
    """

    metrics: Mapping[str, str]
    lists: Mapping[str, Sequence[str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Print or write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.house", description="Measure the shape of the code.")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout; default: this one")
    parser.add_argument("--rev", help="measure this commit of it instead of its files")
    parser.add_argument("--before", metavar="REV", help="compare with this commit, in a column of its own")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page instead of printing it")
    arguments = parser.parse_args(argv)
    columns: dict[str, House] = {}
    if arguments.before is not None:
        columns[f"before ({arguments.before})"] = at(arguments.root, arguments.before)
    if arguments.rev is None:
        columns[f"after ({described(arguments.root)})" if columns else described(arguments.root)] = measured(
            arguments.root
        )
    elif arguments.rev != arguments.before:
        columns[f"after ({arguments.rev})" if columns else arguments.rev] = at(arguments.root, arguments.rev)
    text = page(columns)
    if arguments.write is None:
        print(text, end="")
    else:
        arguments.write.write_text(TITLE.format(before=arguments.before or "COMMIT") + "\n" + text, encoding="utf-8")
    return 0


def page(columns: Mapping[str, House]) -> str:
    """Return the table, a column for each house, and the lists of the last one."""
    last = list(columns)[-1]
    header = ["", *columns]
    lines = [[name, *(house.metrics[name] for house in columns.values())] for name in columns[last].metrics]
    table = "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *lines])
    parts = [table]
    for title, names in columns[last].lists.items():
        parts.append(f"## {title}, {last}\n\n" + ("\n".join(f"- {name}" for name in names) or "None."))
    return "\n\n".join(parts) + "\n"


def measured(root: Path) -> House:
    """Measure a tree that holds core/, plugins/ and tests/."""
    files = list(sources(root))
    functions = [found for source in files for found in functions_of(source)]
    file_lines, function_lines = [source.lines for source in files], [lines for lines, _ in functions]
    tests = sum(_lines(path.read_text(encoding="utf-8")) for path in (root / "tests").rglob("*.py"))
    graph = import_graph(files)
    knots, bare = circles(graph), circles(import_graph(files, packages=False))
    loading = [root / "core" / "molchord" / name for name in PLUGIN_LOADING]
    to_read = [_lines(path.read_text(encoding="utf-8")) for path in loading if path.exists()]
    repeated = repeated_names([source for source in files if source.path.startswith("core/")])
    fields = list(config_fields(files))
    silent = [name for name, is_described in fields if not is_described]
    long_files = sorted(((s.lines, s.path) for s in files if s.lines > LONG_FILE), reverse=True)
    long_functions = sorted((found for found in functions if found[0] > LONG_FUNCTION), reverse=True)
    return House(
        metrics={
            "lines of a file: median / p95 / max": _spread(file_lines),
            "lines of a function: median / p95 / longest": _spread(function_lines),
            "tests / code, lines": f"{tests / sum(file_lines):.2f} ({tests:,} / {sum(file_lines):,})",
            "circles of modules (sizes)": _sizes(knots),
            "the same without the `__init__.py` of packages": _sizes(bare),
            "lines to read to understand plugin loading": f"{sum(to_read):,} in {len(to_read)} files",
            "public names defined in several modules of core": str(len(repeated)),
            "configuration fields without a description": f"{len(silent)} of {len(fields)}",
            f"files over {LONG_FILE} lines": str(len(long_files)),
            f"functions over {LONG_FUNCTION} lines": str(len(long_functions)),
        },
        lists={
            f"Files over {LONG_FILE} lines": [f"{lines} {path}" for lines, path in long_files],
            f"Functions over {LONG_FUNCTION} lines": [f"{lines} {name}" for lines, name in long_functions],
            "Circles of modules": [", ".join(circle) for circle in knots],
            "Public names defined in several modules of core": [f"`{k}`: {', '.join(v)}" for k, v in repeated.items()],
            "Configuration fields without a description": silent,
        },
    )


def at(root: Path, rev: str) -> House:
    """Measure a commit of a checkout."""
    command = ["git", "-C", str(root), "archive", rev, "core", "plugins", "tests"]
    packed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for member in archive:
                content = archive.extractfile(member) if member.name.endswith(".py") else None
                if content is not None:
                    path = Path(folder, member.name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content.read())
        return measured(Path(folder))


def described(root: Path) -> str:
    """Name the commit that a checkout is at, marked where its files differ."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or root.resolve().name


# --- files and functions ---------------------------------------------------------------------------------------------


def sources(root: Path) -> Iterator[Source]:
    """Yield the Python files of core/ and plugins/."""
    for top, depth in (("core", 1), ("plugins", 2)):
        for path in sorted((root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts[depth:]
            is_package = parts[-1] == "__init__"
            text = path.read_text(encoding="utf-8")
            module = ".".join(parts[:-1] if is_package else parts)
            yield Source(path.relative_to(root).as_posix(), module, is_package, _lines(text), ast.parse(text))


def functions_of(source: Source) -> Iterator[tuple[int, str]]:
    """Yield the lines and the place of every function, those inside others included."""
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{source.path}:{node.lineno} {node.name}"


# --- imports ---------------------------------------------------------------------------------------------------------


def import_graph(files: Sequence[Source], *, packages: bool = True) -> dict[str, set[str]]:
    """Return the modules that each one imports; `packages`: whether the `__init__.py` files are among them."""
    known = {source.module for source in files}
    kept = {source.module for source in files if packages or not source.is_package}
    graph = {source.module: set(imported(source, known)) for source in files}
    return {module: (graph[module] & kept) - {module} for module in sorted(kept)}


def imported(source: Source, known: set[str]) -> Iterator[str]:
    """Yield the modules of the project that a file imports, wherever in it."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*_package(source, node.level), *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            while name not in known and "." in name:
                name = name.rpartition(".")[0]
            if name in known:
                yield name


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the groups of modules that reach each other (strongly connected components), the largest first.

    Example:
        >>> circles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]})
        [['a', 'b', 'c']]
    """
    reached = {module: _reached(graph, module) for module in graph}
    found = {frozenset(other for other in reached[module] if module in reached[other]) for module in graph}
    return sorted((sorted(group) for group in found if len(group) > 1), key=lambda group: (-len(group), group))


def _reached(graph: Mapping[str, Iterable[str]], start: str) -> set[str]:
    reached, left = {start}, [start]
    while left:
        new = set(graph[left.pop()]) - reached
        reached |= new
        left += new
    return reached


def _package(source: Source, level: int) -> list[str]:
    """Return the parts of the package that a relative import of so many dots begins at; none for an absolute one."""
    parts = source.module.split(".")
    return parts[: len(parts) + source.is_package - level] if level else []


# --- names and configurations ----------------------------------------------------------------------------------------


def repeated_names(files: Sequence[Source]) -> dict[str, list[str]]:
    """Return the public functions, classes and constants that several modules define, with these modules."""
    modules: dict[str, list[str]] = {}
    for source in files:
        for name in sorted({name for node in source.tree.body for name in _defined(node)}):
            modules.setdefault(name, []).append(source.module)
    return {name: where for name, where in sorted(modules.items()) if len(where) > 1}


def _defined(node: ast.stmt) -> list[str]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        names = [node.name]
    return [name for name in names if not name.startswith("_")]


def config_fields(files: Sequence[Source]) -> Iterator[tuple[str, bool]]:
    """Yield the fields of every configuration, a class derived from `Config`, and whether each is described.

    A description is `Field(description=...)`, as the value or in an `Annotated`, be it an alias of one, or a docstring
    below the field.
    """
    assigned = [node for s in files for node in s.tree.body if isinstance(node, ast.Assign)]
    aliases = {_last_name(target) for node in assigned if _annotated(node.value) for target in node.targets}
    classes = [(s, node) for s in files for node in ast.walk(s.tree) if isinstance(node, ast.ClassDef)]
    configs, before = {"Config"}, 0
    while len(configs) > before:
        before = len(configs)
        configs |= {node.name for _, node in classes if configs & {_last_name(base) for base in node.bases}}
    for source, node in classes:
        if not configs & {_last_name(base) for base in node.bases}:
            continue
        for field, below in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_field(field):
                name = f"{source.module}.{node.name}.{field.target.id}"
                by_type = _annotated(field.annotation) or _last_name(field.annotation) in aliases
                yield name, by_type or _describes(field.value) or _is_docstring(below)


def _is_field(node: ast.AnnAssign) -> bool:
    outer = node.annotation.value if isinstance(node.annotation, ast.Subscript) else node.annotation
    name = node.target.id if isinstance(node.target, ast.Name) else ""
    return _last_name(outer) != "ClassVar" and not name.startswith("_") and name != "model_config"


def _annotated(node: ast.expr) -> bool:
    """Say whether this is an `Annotated` that carries a description."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Tuple):
        return False
    return _last_name(node.value) == "Annotated" and any(_describes(part) for part in node.slice.elts)


def _describes(node: ast.expr | None) -> bool:
    if not isinstance(node, ast.Call):
        return False
    return _last_name(node.func) == "Field" and any(keyword.arg == "description" for keyword in node.keywords)


def _is_docstring(node: ast.stmt | None) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


# --- numbers ---------------------------------------------------------------------------------------------------------


def _lines(text: str) -> int:
    return len(text.splitlines())


def _spread(values: Sequence[int]) -> str:
    ordered = sorted(values)
    return f"{statistics.median(ordered):g} / {ordered[math.ceil(0.95 * len(ordered)) - 1]} / {ordered[-1]}"


def _sizes(groups: Sequence[Sequence[str]]) -> str:
    return f"{len(groups)} ({', '.join(str(len(group)) for group in groups)})" if groups else "0"


if __name__ == "__main__":
    raise SystemExit(main())
