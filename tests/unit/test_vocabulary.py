"""A word that several modules share is written once."""

import ast
import inspect
from pathlib import Path

import pytest

from molchord import vocabulary
from molchord.cli.main import main_parser
from molchord.evaluate.evaluation import evaluate
from molchord.run import Run

CORE = Path(vocabulary.__file__).parent
SEVERAL = {name: getattr(vocabulary, name) for name in vocabulary.__all__ if name.isupper()}
LISTS = {name: value for name, value in SEVERAL.items() if isinstance(value, tuple)}
FILES = {name: value for name, value in SEVERAL.items() if isinstance(value, str)}
OTHERS = sorted(path for path in CORE.rglob("*.py") if path.name != "vocabulary.py")


def literals(path):
    """Values of the tuples, lists and texts written in a file, docstrings apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    spared = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Tuple, ast.List)):
            yield node.lineno, tuple(getattr(item, "value", None) for item in node.elts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spared:
            yield node.lineno, node.value


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(CORE)))
def test_no_other_module_writes_one_again(path):
    again = {(line, name) for line, value in literals(path) for name, word in SEVERAL.items() if value == word}
    assert again == set()


def test_writing_one_again_is_found(tmp_path):
    (tmp_path / "a.py").write_text('"""failures.csv"""\nMAPS = ("gm-exp", "gm-half", "gm-clamp")\nF = "failures.csv"\n')
    found = {value for _, value in literals(tmp_path / "a.py")}
    assert LISTS["FUSIONS"] in found
    assert FILES["FAILURES"] in found
    (tmp_path / "a.py").write_text('"""failures.csv"""\n')
    assert FILES["FAILURES"] not in {value for _, value in literals(tmp_path / "a.py")}


def test_an_evaluation_has_one_default_in_python_and_on_the_command_line():
    for function in (Run.evaluate, evaluate):
        defaults = {name: p.default for name, p in inspect.signature(function).parameters.items()}
        assert defaults["pools"] == vocabulary.DEFAULT_POOLS
        assert (defaults["modes"], defaults["fusions"]) == (vocabulary.MODES, vocabulary.FUSIONS)
    arguments = main_parser().parse_args(["evaluate", "run"])
    assert (arguments.pool, arguments.mode, arguments.fusion) == (None, None, None)  # Python's default holds


def test_the_default_comes_first():
    arguments = main_parser().parse_args(["embed", "run", "a.smi", "--out", "lib"])
    defaults = {name: p.default for name, p in inspect.signature(Run.library).parameters.items()}
    assert arguments.storage == defaults["storage"] == vocabulary.STORAGES[0]
    assert arguments.engine == defaults["engine"] == vocabulary.ENGINES[0]
