"""Two handles of one library: whatever one does, the other gives what a fresh one gives, or one sentence."""

import shutil

import pytest
import torch
from tests.unit.library.candidates import unit
from tests.unit.library.test_library import entry_of, make, query_of

from molchord.errors import FolderInUseError, QueryError
from molchord.library.library import Library
from molchord.lock import only_writer

ACTS = {
    "search": lambda library, first: found(library),
    "append": lambda library, first: library.append([entry_of(number) for number in range(first, first + 5)]),
    "remove": lambda library, first: library.remove([entry_of(first - 95).molecule.key14]),
    "compact": lambda library, first: library.compact(),
}


def found(library):
    """All hits, blind and by spectra, with what makes each of them."""
    hits = [library.search(query_of("ir"), k=200, mode=mode) for mode in ("blind", "library")]
    return [[(hit.key14, hit.smiles, hit.score, hit.exact_mass) for hit in one] for one in hits]


def expected(acts):
    """The molecules there are after these, in any order that they may be done in."""
    numbers = set(range(30))
    for act, first in acts:
        numbers |= set(range(first, first + 5)) if act == "append" else set()
        numbers -= {first - 95} if act == "remove" else set()
    return sorted(entry_of(number).molecule.key14 for number in numbers)


@pytest.mark.parametrize("second", ACTS)
@pytest.mark.parametrize("first", ACTS)
def test_what_one_handle_does_the_other_knows(tmp_path, first, second):
    make(tmp_path / "lib", count=30)
    one, other = Library(tmp_path / "lib"), Library(tmp_path / "lib")
    found(one), found(other)  # both have read their files
    ACTS[first](one, 100)
    ACTS[second](other, 110)
    fresh = found(Library(tmp_path / "lib"))
    assert found(one) == found(other) == fresh
    assert sorted(hit[0] for hit in fresh[0]) == expected([(first, 100), (second, 110)])


def test_rows_of_a_search_before_a_compaction_are_refused_after_it(tmp_path):
    make(tmp_path / "lib", count=30)
    one, other = Library(tmp_path / "lib"), Library(tmp_path / "lib")
    rows = one.find({"ir": torch.from_numpy(unit(3))[None]}, k=5).rows[0].tolist()
    other.append([entry_of(100)])
    other.remove([entry_of(7).molecule.key14])
    assert len(one.candidates(rows)) == 5  # they have their numbers still
    other.compact()
    for taken in (one.candidates, one.molecules, one.vectors, lambda r: one.blocks([r])):
        with pytest.raises(QueryError, match="was changed by another process meanwhile; search again"):
            taken(rows)


def test_a_library_that_is_gone_is_one_sentence(tmp_path):
    library = make(tmp_path / "lib", count=30)
    shutil.rmtree(tmp_path / "lib")
    with pytest.raises(QueryError, match="does not exist"):
        found(library)


def test_a_library_is_changed_by_one_at_a_time(tmp_path):
    library = make(tmp_path / "lib", count=30)
    with only_writer(tmp_path / "lib"):
        for act in ("append", "remove", "compact"):
            with pytest.raises(FolderInUseError, match="lib' is being changed by process"):
                ACTS[act](library, 100)
        found(library)
