"""What the documentation and the recipes show is accepted as it stands."""

import importlib
import os
import re
from pathlib import Path

import pytest

from molchord.cli.main import main
from molchord.host import PLUGIN_TYPES

ROOT = Path(__file__).parent.parent.parent
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


def test_there_is_something_to_check():
    assert len(RECIPES) >= 3
    assert len(BLOCKS) >= 1


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_passes_graph_check(path, capsys):
    assert main(["graph", "check", str(path)]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: text.splitlines()[0])
def test_a_graph_of_the_readme_passes_graph_check(text, tmp_path, capsys):
    (tmp_path / "readme.yaml").write_text(text)
    assert main(["graph", "check", str(tmp_path / "readme.yaml")]) == 0, capsys.readouterr().err


# --- the site --------------------------------------------------------------------------------------------------------

HOOKS = [row.hook for row in PLUGIN_TYPES.values()]
PAGES = {name: ROOT / "docs" / "hooks" / f"{name.removeprefix('molchord_')}.md" for name in HOOKS}


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_page_whose_plugin_passes_the_kit(hook, tmp_path, monkeypatch):
    """The page's first block is a module of a plugin, the second one checks it."""
    module, check = re.findall(r"```python\n(.*?)```", PAGES[hook].read_text(encoding="utf-8"), re.DOTALL)
    name = f"page_{hook}"
    (tmp_path / f"{name}.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])))
    page = importlib.import_module(name)
    assert len(getattr(page, hook)()) == 1
    exec(compile(check, str(PAGES[hook]), "exec"), vars(page))


def test_every_hook_is_listed_on_the_first_page_of_hooks():
    text = (ROOT / "docs" / "hooks" / "index.md").read_text(encoding="utf-8")
    assert [hook for hook in HOOKS if f"[`{hook}`]({PAGES[hook].name})" not in text] == []


def test_the_glossary_has_the_words_of_the_architecture():
    words = set(re.findall(r"\*([a-z0-9 ]+)\*", _section("ARCHITECTURE.md", "## Words")))
    glossary = set(re.findall(r"\*([a-z0-9 ]+)\*", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")))
    assert words
    assert words - glossary == set()


def _section(path, heading):
    return (ROOT / path).read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]


PAGES_WITH_YAML = [
    page for page in sorted((ROOT / "docs").rglob("*.md")) if "```yaml" in page.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("page", PAGES_WITH_YAML, ids=lambda page: page.stem)
def test_settings_that_a_page_shows_fit_a_graph(page, tmp_path, capsys):
    """What a page shows of a graph is laid over a recipe that has the same modalities."""
    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
        path = tmp_path / f"{number}.yaml"
        path.write_text(text if "schema:" in text or "extends:" in text else f"extends: demo\n{text}")
        assert main(["graph", "check", str(path)]) == 0, capsys.readouterr().err
