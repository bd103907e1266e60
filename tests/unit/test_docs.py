"""What the documentation and the recipes show is accepted as it stands."""

import re
from pathlib import Path

import pytest

from molchord.cli import main

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
