"""Files are found below the folders that were named, and nowhere else."""

import os

import pytest

from molchord.assistant.roots import Roots
from molchord.errors import QueryError


@pytest.fixture
def roots(tmp_path):
    """Two folders, one of them with a link out, beside a file that is in neither."""
    for name in ("one/a.csv", "one/deep/b.csv", "one/.secret/key", "two/a.csv", "two/c.csv", "outside.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1,2\n")
    (tmp_path / "one" / "link.csv").symlink_to(tmp_path / "outside.csv")
    (tmp_path / "one" / "inside.csv").symlink_to(tmp_path / "two" / "c.csv")
    (tmp_path / "one" / "folder").symlink_to(tmp_path)
    (tmp_path / "one" / "loop").symlink_to(tmp_path / "one" / "loop")
    return Roots([tmp_path / "one", tmp_path / "two"])


def test_a_name_is_that_of_the_first_folder_that_has_it(roots, tmp_path):
    assert roots.find("a.csv") == tmp_path / "one" / "a.csv"
    assert roots.find("c.csv") == tmp_path / "two" / "c.csv"
    assert roots.find("deep") == tmp_path / "one" / "deep"
    assert roots.find(str(tmp_path / "two" / "a.csv")) == tmp_path / "two" / "a.csv"
    assert roots.real(roots.find("inside.csv")) == tmp_path / "two" / "c.csv"


@pytest.mark.parametrize(
    "name",
    ["../outside.csv", "deep/../../outside.csv", "link.csv", "folder", "folder/outside.csv", ".secret/key", "deep/../.secret",
     "loop", "none.csv", "a\0b", "a" * 5000, "/etc/passwd", "/", "~"],
)  # fmt: skip
def test_nothing_else_has_a_name(roots, name):
    with pytest.raises(QueryError, match="is not a file or folder below"):
        roots.find(name)


def test_an_absolute_path_outside_has_none_either(roots, tmp_path):
    with pytest.raises(QueryError, match="is not a file or folder below"):
        roots.find(str(tmp_path / "outside.csv"))
    with pytest.raises(QueryError, match="'link.csv' leads out of the folders that may be read"):
        roots.real(tmp_path / "one" / "link.csv")


def test_files_are_listed_by_names_that_find_them_without_those_that_lead_out(roots, tmp_path):
    listed = [name for name, _ in roots.names()]
    assert listed == ["a.csv", "inside.csv", "deep/b.csv", str(tmp_path / "two" / "a.csv"), "c.csv"]
    assert all(os.path.isfile(roots.find(name)) for name in listed)
    assert list(roots.names("deep")) == [("deep/b.csv", 4)]


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(QueryError, match=r"folder '.*none' of `--files` does not exist"):
        Roots([tmp_path / "none"])
