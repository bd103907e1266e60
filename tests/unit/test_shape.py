"""The shape of the code: each public name of the engine has one meaning."""

from pathlib import Path

import pytest
from benchmarks import house

ROOT = Path(__file__).parents[2]
SOURCES = list(house.sources(ROOT))
FACE = "the Python face, which imports what it delegates to when it is called"
REPEATED = {
    "CHECKS": "each module of the kit lists the checks of one type of plugin under the name that the kit looks for",
    "import_files": FACE,
    "simulate": FACE,
    "tune": FACE,
}
"""Public names that several modules of the engine may define, and why."""


def core(sources):
    return [source for source in sources if source.path.startswith("core/")]


def compared(found, excepted):
    """What breaks the rule without an exception, and exceptions that nothing needs any more."""
    return sorted(set(found) - set(excepted)), sorted(set(excepted) - set(found))


def test_a_public_name_of_the_engine_is_defined_once():
    assert compared(house.repeated_names(core(SOURCES)), REPEATED) == ([], [])


def test_faces_are_defined_by_the_package_itself_and_one_module():
    found = house.repeated_names(core(SOURCES))
    faces = [name for name, reason in REPEATED.items() if reason is FACE]
    assert [(name, len(found[name]), found[name][0]) for name in faces] == [(name, 2, "molchord") for name in faces]


@pytest.fixture
def tree(tmp_path):
    for name, text in {
        "core/molchord/data.py": "LIMIT = 3\n_OWN = 4\ndef read(): ...\nclass Table: ...\n",
        "core/molchord/model.py": "LIMIT: int = 5\n_OWN = 6\nasync def read(): ...\nclass Model: ...\n",
        "plugins/losses/molchord_losses/clip.py": "class Model: ...\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_names_that_two_modules_define_are_found_and_those_of_plugins_and_private_ones_are_not(tree):
    found = house.repeated_names(core(house.sources(tree)))
    assert compared(found, {"read": "a reason", "gone": "a reason"}) == (["LIMIT"], ["gone"])
