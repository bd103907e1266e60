"""Tests see what a user or a plugin's author sees: none reaches for a private name of molchord without a reason."""

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
WAY = "which way a search takes is seen in no result of it, as all ways find the same"
HOST = "all that is installed, in place of what this environment has; every part of molchord asks for it"
EXCEPTED = {
    "unit/host/test_types.py _installed": HOST,
    "unit/library/test_indexes.py _installed": HOST,
    "unit/simulation/test_simulate.py _installed": HOST,
    "unit/test_replacing.py _installed": HOST,
    "unit/plugins/encoders/test_dimenetpp.py _widest": "it waits for the device, which tensors without values cannot",
    "unit/retrieval/test_exact.py _SAMPLE": WAY,
    "unit/retrieval/test_exact.py _SPARE": WAY,
    "unit/retrieval/test_exact.py _TILTS": WAY,
    "unit/retrieval/test_exact.py _cosines": WAY,
    "unit/retrieval/test_library_mode.py _values": WAY,
}
"""Private names by the test that uses them, and why."""

OWN = ("self", "cls", "os")  # and `os._exit`, which is public
REPLACED_BY_NAME = ("setattr", "getattr", "delattr", "hasattr", "patch", "setitem", "delitem")


def private_names(text):
    """Names with one leading underscore that a module takes from others, scripts in its strings included.

    Attributes of a class's own are not; nor are names of other packages that are imported.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0].startswith("molchord"):
            yield from (part for part in [*node.module.split("."), *(alias.name for alias in node.names)])
        elif isinstance(node, ast.Import):
            yield from (part for a in node.names if a.name.startswith("molchord") for part in a.name.split("."))
        elif isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id in OWN):
            yield node.attr
        elif isinstance(node, ast.Call) and called(node) in REPLACED_BY_NAME:
            strings = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield from (part for string in strings[:2] for part in string.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and is_script(node.value):
            yield from private_names(node.value)


def called(node):
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def is_script(text):
    """Whether a string is Python that imports molchord."""
    try:
        return "import" in text and "molchord" in text and bool(ast.parse(text))
    except SyntaxError:
        return False


def reached(text):
    return sorted({name for name in private_names(text) if name.startswith("_") and not name.startswith("__")})


def test_no_test_reaches_for_a_private_name_without_a_reason():
    found = {
        f"{path.relative_to(TESTS).as_posix()} {name}"
        for path in TESTS.rglob("*.py")
        if path != Path(__file__)
        for name in reached(path.read_text(encoding="utf-8"))
    }
    assert (sorted(found - EXCEPTED.keys()), sorted(EXCEPTED.keys() - found)) == ([], [])


def test_every_way_to_a_private_name_is_seen():
    assert reached("from molchord.run import Run, _opened") == ["_opened"]
    assert reached("from molchord_losses._tiles import size\nimport molchord._private") == ["_private", "_tiles"]
    assert reached("run._data(None)\nrun.model._prepare['ir'] = 1") == ["_data", "_prepare"]
    assert reached("monkeypatch.setattr(Run, '_data', None)\nsetattr(run, '_a', 1)") == ["_a", "_data"]
    assert reached("monkeypatch.setattr('molchord.run._data', None)") == ["_data"]
    assert reached("SCRIPT = '''\nfrom molchord.run import _opened\nRun._data = 1\n'''") == ["_data", "_opened"]


def test_own_public_special_and_foreign_names_are_free():
    text = (
        "from torch._tensor import _C\nclass A:\n    def run(self):\n        return self._kept\n_own = A().__class__\n"
    )
    assert reached(text) == []
    assert reached("SENTENCE = 'import molchord, then call _nothing'\nuse(a_b.c_d)") == []
