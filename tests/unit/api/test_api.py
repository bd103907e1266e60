"""The plugin API keeps its promises: what was promised is still there, and what goes says so in time.

`api_1.txt` is what API version 1 promises. New names are added by `python tests/unit/api/test_api.py`.
"""

import ast
import inspect
import warnings
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from typing_extensions import is_protocol

import molchord.api
import molchord.chem
import molchord.testing
from molchord import deprecation
from molchord.cli.main import main
from molchord.deprecation import DEPRECATED, Deprecation, overdue
from molchord.host import Host, Plugin, installed
from molchord.host.scaffold import new_plugin

ROOT = Path(__file__).parents[3]
PROMISED = Path(__file__).parent / f"api_{molchord.api.API_VERSION}.txt"
OLD = Deprecation(name="molchord.api.Old", since="0.2", remove_in="0.4", instead="use molchord.api.Real",
                  at="molchord.api.declarations:Real")  # fmt: skip


# --- the surface


def surface():
    """Every public name with its arguments; protocols method by method."""
    found = {}
    for module in (molchord.api, molchord.chem, molchord.testing):
        for name in module.__all__:
            thing = getattr(module, name)
            found |= described(f"{module.__name__}.{name}", thing)
    return found


def described(name, thing):
    if inspect.isclass(thing) and is_protocol(thing):
        own = {key: value for key, value in vars(thing).items() if inspect.isfunction(value)}
        methods = {k: v for k, v in own.items() if not k.startswith("_") or k == "__call__"}
        attributes = [key for key in vars(thing).get("__annotations__", {})]
        return {f"protocol {name}.{k}": arguments(v) for k, v in methods.items()} | {
            f"protocol {name}.{k}": "" for k in attributes
        }
    if inspect.isfunction(thing) or (inspect.isclass(thing) and thing.__init__ is not object.__init__):
        return {name: arguments(thing)}
    assert not isinstance(thing, ModuleType), f"{name} is a module"
    return {name: ""}


def arguments(thing):
    if hasattr(thing, "model_rebuild"):
        thing.model_rebuild()  # or its arguments are known only once something has made one
    marks = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    try:
        parameters = inspect.signature(thing).parameters.values()
    except ValueError:  # a class made in C
        return ""
    shown = [
        marks.get(p.kind, "") + p.name + ("" if p.default is inspect.Parameter.empty else "=")
        for p in parameters
        if p.name != "self"
    ]
    return f"({', '.join(shown)})"


def split(text):
    return [part for part in text.strip("()").split(", ") if part]


def promised():
    lines = PROMISED.read_text().splitlines()
    return {line.partition("(")[0]: line[len(line.partition("(")[0]) :] for line in lines}


def broken(old, new):
    """Sentences about what an old surface promised and a new one does not keep."""
    for name, said in old.items():
        if name not in new:
            if name not in DEPRECATED:
                yield f"{name} is gone"
        elif name.startswith("protocol "):
            if said != new[name]:
                yield f"{name}{said} is {new[name]} now, which no plugin written for it can be called with"
        else:
            before, now = split(said), split(new[name])
            yield from (f"{name} no longer takes {part!r}" for part in before if part not in now)
            added = [part for part in now if part not in before and not part.endswith("=") and not part.startswith("*")]
            yield from (f"{name} needs {part!r}, which it did not" for part in added)
    protocols = {name.rpartition(".")[0] for name in old if name.startswith("protocol ")}
    for name in new:
        if name not in old and name.rpartition(".")[0] in protocols:
            yield f"{name} is new in a protocol that plugins have already; make a protocol of its own"


def test_nothing_promised_is_gone_or_changed():
    assert list(broken(promised(), surface())) == []


def test_everything_public_is_promised():
    missing = sorted(set(surface()) - set(promised()))
    assert missing == [], "new names: run python tests/unit/api/test_api.py, and promise no more than you mean"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"a.f": "(x)"}, {}, "a.f is gone"),
        ({"a.f": "(x, y=)"}, {"a.f": "(x)"}, "a.f no longer takes 'y='"),
        ({"a.f": "(x, y=)"}, {"a.f": "(x, y)"}, "a.f no longer takes 'y='"),
        ({"a.f": "(x)"}, {"a.f": "(x, z)"}, "a.f needs 'z', which it did not"),
        ({"protocol a.P.m": "(x)"}, {"protocol a.P.m": "(x, y=)"}, "protocol a.P.m(x) is (x, y=) now"),
        ({"protocol a.P.m": "()"}, {"protocol a.P.m": "()", "protocol a.P.n": "()"}, "protocol a.P.n is new in a protocol"),
    ],
)  # fmt: skip
def test_broken_promises_are_found(old, new, said):
    found = list(broken(old, new))
    assert any(line.startswith(said) for line in found), found


def test_what_may_be_added_is_no_broken_promise():
    old = {"a.f": "(x)", "protocol a.P.m": "(x)"}
    new = {"a.f": "(x, y=, **more)", "a.g": "(z)", "protocol a.P.m": "(x)", "protocol a.Q.n": "()"}
    assert list(broken(old, new)) == []


# --- who may import what


def imported(path):
    """Every name that a file imports from molchord, as (module, name)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "molchord")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "molchord":
            yield from ((node.module, alias.name) for alias in node.names)


def forbidden(path, in_package):
    """What a plugin's file imports and may not: packages see `molchord.api` and `molchord.chem`, their tests the kit too."""
    allowed = {"molchord.api": molchord.api.__all__, "molchord.chem": molchord.chem.__all__}
    if not in_package:
        allowed |= {"molchord.testing": molchord.testing.__all__}
        allowed |= {"molchord": ["", *molchord.__all__, "testing", "api", "chem"]}
    return [(module, name) for module, name in imported(path) if name not in allowed.get(module, ())]


def authors_files():
    """Built-in plugins and the outside packages of examples."""
    for folder in ("plugins", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, (path.parent / "__init__.py").is_file()


@pytest.mark.parametrize(("path", "in_package"), list(authors_files()), ids=lambda value: getattr(value, "stem", ""))
def test_plugins_import_the_public_names_only(path, in_package):
    assert forbidden(path, in_package) == []


def test_new_plugins_import_the_public_names_only(tmp_path):
    for type in ("modality", "encoder", "loss"):
        files = [path for path in new_plugin(type, "mine", folder=tmp_path / type, host=Host()) if path.suffix == ".py"]
        assert len(files) == 4
        assert [found for path in files for found in forbidden(path, path.parent.name != "tests")] == []


def test_forbidden_imports_are_found(tmp_path):
    path = tmp_path / "plugin.py"
    path.write_text(
        "import molchord.host\nfrom molchord.api import Config, pluggy\nfrom molchord.testing import checks\n"
    )
    assert forbidden(path, True) == [("molchord.host", ""), ("molchord.api", "pluggy"), ("molchord.testing", "checks")]
    assert forbidden(path, False) == [("molchord.host", ""), ("molchord.api", "pluggy")]


# --- deprecation


def test_nothing_is_overdue():
    assert overdue(version("molchord"), DEPRECATED.values()) == []


def test_every_deprecation_is_sound():
    for name, entry in DEPRECATED.items():
        assert name == entry.name
        assert overdue(entry.since, [entry]) == [], f"{name} would go in the release that deprecates it"


def test_the_test_fails_when_one_is_overdue():
    assert overdue("0.3.0", [OLD]) == []
    assert overdue("0.4.0.dev1", [OLD]) == overdue("0.4.0", [OLD]) == overdue("1.0", [OLD]) == [OLD]


@pytest.mark.parametrize("module", [molchord.api, molchord.chem, molchord.testing])
def test_a_deprecated_name_is_served_with_a_sentence(module, monkeypatch):
    name = f"{module.__name__}.Old"
    said = f"'{name}' is deprecated since molchord 0.2 and goes in 0.4; use molchord.api.Real"
    monkeypatch.setitem(deprecation.DEPRECATED, name, Deprecation(**{**vars(OLD), "name": name}))
    with pytest.warns(DeprecationWarning, match="is deprecated") as caught:
        assert module.Old is molchord.api.Real
    assert [str(warning.message) for warning in caught] == [said]
    assert caught[0].filename == __file__  # the line to change is named
    with pytest.raises(AttributeError, match="has no attribute 'Older'"):
        _ = module.Older


def test_a_deprecated_field_of_a_record_is_named(monkeypatch):
    field = "molchord.api.ModalityRecord.mass_needs"
    entry = Deprecation(name=field, since="0.2", remove_in="0.4", instead="use `needs`")
    monkeypatch.setitem(deprecation.DEPRECATED, field, entry)
    host = Host.discover(entry_points=[e for e in installed().entry_points if e.name == "modalities"])
    users = [p for p in host.plugins if p.record.mass_needs is not None]
    assert len(users) == 1
    assert isinstance(users[0], Plugin)
    assert host.warnings == (f"modality {users[0].name!r} of molchord {users[0].version} uses {entry}",)


# --- another version


def test_a_plugin_for_another_version_is_named_and_the_rest_works(tmp_path, monkeypatch, capsys):
    new_plugin("loss", "ours", folder=tmp_path / "ours")
    package = tmp_path / "ours" / "molchord_ours"
    plugin, hook = package / "ours.py", package / "__init__.py"
    record = plugin.read_text()[plugin.read_text().index("OURS = ") :]
    newer = record.replace("OURS = ", "NEWER = ").replace('"ours"', '"newer"').replace("api=1", "api=2")
    plugin.write_text(f"{plugin.read_text()}\n{newer}")
    hook.write_text(hook.read_text().replace("import OURS", "import NEWER, OURS").replace("[OURS]", "[OURS, NEWER]"))
    info = tmp_path / "ours" / "molchord_ours-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: molchord-ours\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[molchord]\nours = molchord_ours\n")
    monkeypatch.syspath_prepend(str(tmp_path / "ours"))
    monkeypatch.chdir(tmp_path)  # plugins are looked for anew
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(["plugins", "check"]) == 1
    sentence = "plugin 'newer' (molchord-ours 0.1.0) was written for plugin API 2, and this molchord speaks 1; upgrade molchord"
    assert capsys.readouterr().out.splitlines() == [sentence]
    assert main(["plugins", "list"]) == 0
    listed = capsys.readouterr().out
    assert "ours " in listed
    assert "newer" not in listed
    graph = "schema: 1\nembedding_dim: 4\nloss: {use: newer}\nmodalities: {structure: {use: structure, encoder: {use: gine}}}\n"
    (tmp_path / "graph.yaml").write_text(graph)
    assert main(["graph", "check", "graph.yaml"]) == 2
    assert f"loss.use: loss 'newer' is not there: {sentence}" in capsys.readouterr().err


if __name__ == "__main__":
    old = promised() if PROMISED.is_file() else {}
    PROMISED.write_text("".join(f"{name}{said}\n" for name, said in sorted({**surface(), **old}.items())))
