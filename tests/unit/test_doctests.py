"""Every example in a docstring runs."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def modules():
    for base in (
        "core",
        "plugins/encoders",
        "plugins/indexes",
        "plugins/loggers",
        "plugins/losses",
        "plugins/modalities",
        "plugins/properties",
        "plugins/rerankers",
        "plugins/simulators",
    ):
        for path in sorted((ROOT / base).rglob("*.py")):
            parts = path.relative_to(ROOT / base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if not name.endswith("__main__") and ">>> " in path.read_text():
                yield name


@pytest.mark.parametrize("name", list(modules()))
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried > 0
    assert failed == 0
