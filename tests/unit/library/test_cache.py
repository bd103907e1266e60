"""Lists are embedded once: the second call opens what is kept, and what is damaged is made again."""

import pytest

from molchord.errors import DataError, OutputError, QueryError
from molchord.library import cache
from molchord.library.cache import cache_folder, cached_library
from molchord.testing import tiny_run


@pytest.fixture(scope="module")
def run():
    return tiny_run()


@pytest.fixture
def asked(run, tmp_path, monkeypatch):
    """Open a list's library, and say whether it had to be embedded."""
    times = []
    original = cache.embed_library
    monkeypatch.setattr(cache, "embed_library", lambda *given, **more: times.append(1) or original(*given, **more))

    def ask(source, run_id=None):
        times.clear()
        library = cached_library(run.embedder, source, run=run_id or run.id, cache=tmp_path / "cache")
        return library, bool(times)

    return ask


def test_a_list_is_embedded_once_whatever_its_path(asked, tmp_path):
    (tmp_path / "a.smi").write_text("CCO ethanol\nCO\n")
    library, made = asked(tmp_path / "a.smi")
    assert made
    assert len(library) == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "a.smi").rename(tmp_path / "other" / "a.smi")
    again, made = asked(str(tmp_path / "other" / "a.smi"))
    assert not made
    assert again.path == library.path
    assert asked(iter(["CCO", "CO"]))[1]
    assert not asked(["CCO", "CO"])[1]


def test_another_list_or_another_run_is_embedded_anew(asked, tmp_path):
    (tmp_path / "a.smi").write_text("CCO\n")
    asked(tmp_path / "a.smi")
    assert asked(tmp_path / "a.smi", run_id="another")[1]
    (tmp_path / "a.smi").write_text("CCN\n")
    assert asked(tmp_path / "a.smi")[1]


@pytest.mark.parametrize("name", ["shard-00000.safetensors", "shard-00000.parquet", "manifest.json", "digests.json"])
@pytest.mark.parametrize("harm", ["flipped", "gone"])
def test_what_is_damaged_is_made_again(asked, name, harm):
    library, _ = asked(["CCO", "CO"])
    file = library.path / name
    content = file.read_bytes()
    file.unlink() if harm == "gone" else file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    library, made = asked(["CCO", "CO"])
    assert made
    assert len(library) == 2
    assert not asked(["CCO", "CO"])[1]


def test_a_library_is_opened_as_it_is_and_one_of_another_run_is_refused(asked, run, tmp_path):
    library = run.library(["CCO"], tmp_path / "library")
    opened, made = asked(tmp_path / "library")
    assert not made
    assert opened.path == library.path
    with pytest.raises(QueryError, match="was embedded by run"):
        asked(tmp_path / "library", run_id="another")


def test_a_list_that_is_not_there_or_holds_nothing_leaves_nothing(asked, tmp_path):
    for source, said in ((tmp_path / "gone.smi", "does not exist"), (["C(C"], "no molecule to hold")):
        with pytest.raises(DataError, match=said):
            asked(source)
    assert {path.suffix for path in (tmp_path / "cache" / "libraries").iterdir()} <= {".lock"}


def test_a_place_that_cannot_be_written_is_named_with_the_way_out(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another one with `--cache DIR`"):
        cached_library(run.embedder, ["C"], run=run.id, cache=tmp_path / "file")


def test_the_place_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("MOLCHORD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "molchord"
    monkeypatch.setenv("MOLCHORD_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
