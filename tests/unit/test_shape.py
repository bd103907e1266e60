"""The shape of the code: each public name of the engine has one meaning; what is long is long for a reason."""

from pathlib import Path

import pytest
from benchmarks import house

ROOT = Path(__file__).parents[2]
SOURCES = list(house.sources(ROOT))
FACE = "the Python face, which imports what it delegates to when it is called"
REPEATED = {
    "CHECKS": "each module of the kit lists the checks of one type of plugin under the name that the kit looks for",
    "import_files": FACE,
    "Job": "a library's describes what is embedded, a page's is what waits for the model",
    "read_spectra": FACE,
    "simulate": FACE,
    "tune": FACE,
}
"""Public names that several modules of the engine may define, and why."""

ONE_SUBJECT = "one subject; in two files the way through it would be longer"
LONG_FILES = {
    "core/molchord/train/trainer.py": ONE_SUBJECT,
    "core/molchord/retrieval/scores.py": ONE_SUBJECT,
    "core/molchord/retrieval/exact.py": ONE_SUBJECT,
    "core/molchord/run.py": "the Python face: half of it documents arguments, errors and examples",
    "core/molchord/library/library.py": "what a library can do, as one class; 150 lines are documentation",
    "core/molchord/graph/resolve.py": "the resolved graph and its resolver, which fills every field of it",
    "core/molchord/evaluate/evaluation.py": "every row of an evaluation, a function for each kind",
    "core/molchord/case/case.py": "what a case can be told, as one class; a third documents and shows it",
    "core/molchord/page/desk.py": "what the page can do, as one class; a third documents it",
    "core/molchord/data/loader.py": "from a data set to batches: sources, draws, collation, workers",
    "core/molchord/testing/modalities.py": "the kit's checks of modalities, a function for each",
    "plugins/simulators/molchord_simulators/gfn2.py": "one method of computation, from the Hessian to the spectra",
}
"""Files that may be longer than 400 lines, and why."""

LONG_FUNCTIONS = {
    "core/molchord/run.py evaluate": "36 lines document its arguments and show an example; the body is one call",
    "core/molchord/run.py train": "41 lines document its arguments and show an example; the body is one call",
    "core/molchord/run.py identify": "40 lines document its arguments and show an example",
    "core/molchord/search.py search": "17 arguments, and the order in which hits are found, judged and warned of",
    "core/molchord/run.py search": "30 lines document its arguments and show an example",
    "core/molchord/evaluate/evaluation.py evaluate": "37 lines document its arguments and show an example",
    "core/molchord/evaluate/measure.py measure": "19 arguments and their way to what measures; no branch of its own",
    "core/molchord/library/library.py find": "27 lines document its arguments and show an example",
    "plugins/encoders/molchord_encoders/dimenetpp_neighbors.py find_neighbors": (
        "22 lines document it; the body is one pass over a table of pairs, whose every line needs those before it"
    ),
}
"""Functions that may be longer than 60 lines, and why."""


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


def long_files(sources):
    return [source.path for source in sources if source.lines > house.LONG_FILE]


def long_functions(sources):
    """Path and name of each, without the line it starts at."""
    found = [(s.path, place) for s in sources for n, place in house.functions_of(s) if n > house.LONG_FUNCTION]
    return [f"{path} {place.rpartition(' ')[2]}" for path, place in found]


def test_files_and_functions_are_short_or_long_for_a_reason():
    assert compared(long_files(SOURCES), LONG_FILES) == ([], [])
    assert compared(long_functions(SOURCES), LONG_FUNCTIONS) == ([], [])


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


def test_what_is_too_long_is_found_and_so_is_an_exception_that_is_no_longer_needed(tree):
    body = "".join(f"    x = {number}\n" for number in range(60))
    (tree / "core/molchord/long.py").write_text("\n" * 340 + f"class A:\n  def run(self):\n{body}")
    (tree / "core/molchord/short.py").write_text(f"def run():\n{body}".removesuffix("    x = 59\n") + "\n" * 340)
    found = list(house.sources(tree))
    assert compared(long_files(found), {}) == (["core/molchord/long.py"], [])
    assert compared(long_functions(found), {"core/molchord/short.py run": "it was long"}) == (
        ["core/molchord/long.py run"],
        ["core/molchord/short.py run"],
    )
