"""A data set, a run and libraries that molchord 0.1.0 wrote are opened, continued from and searched with the same hits."""

import json
import shutil
from pathlib import Path

import pytest

import molchord as mc
from molchord.testing import examples_of

OLD = Path(__file__).parents[1] / "fixtures" / "from_0_1_0"


@pytest.fixture
def old(tmp_path):
    """A copy, since opening a run's data set may write beside it; the run was trained on a folder of another machine."""
    folder = Path(shutil.copytree(OLD, tmp_path / "old"))
    manifest = json.loads((folder / "run/manifest.json").read_text())
    manifest["data"]["path"] = str(folder / "data")
    (folder / "run/manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_data_set_is_read(old):
    data = mc.DataSet(old / "data")
    assert (len(data), data.stored) == (16, ("ir",))
    assert [len(data.rows(split)) for split in ("train", "val", "test")] == [10, 2, 4]
    assert len(data.table("ir").read(0).arrays["stick_wavenumber"]) > 0


@pytest.mark.parametrize(("library", "expected"), [("library", "search"), ("library-spectra", "spectra")])
def test_a_run_finds_in_a_library_what_it_found(old, library, expected):
    run = mc.load(old / "run", device="cpu")
    wanted = json.loads((old / "expected.json").read_text())[expected]
    hits = run.search(old / library, ir=examples_of("ir", 1)[0], k=5)
    assert [(hit.key14, hit.rank) for hit in hits] == [(key14, rank) for key14, rank, _ in wanted]
    assert [hit.score for hit in hits] == pytest.approx([score for *_, score in wanted], rel=1e-4)


def test_a_run_is_evaluated_realigned_and_embeds_anew(old, tmp_path):
    run = mc.load(old / "run", device="cpu")
    assert run.evaluate(pools=["test"], modes=["blind"], fusions=["gm-exp"]).find("ir", system="model").molecules == 4
    moved = run.realign(old / "data", tmp_path / "moved", epochs=1, progress=False)
    assert moved.graph.modalities.keys() == run.graph.modalities.keys()
    with pytest.raises(mc.MolchordError, match="was embedded by run"):
        moved.search(old / "library", ir=examples_of("ir", 1)[0])
    assert len(moved.library(["CCO", "CC#N"])) == 2


def test_a_library_is_appended_to_and_shrinks(old):
    library = mc.Library(old / "library")
    before = len(library)
    assert library.remove([json.loads((old / "expected.json").read_text())["search"][0][0]]) == 1
    assert len(mc.Library(old / "library")) == before - 1
