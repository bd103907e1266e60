"""What a list says of its molecules reaches the hits; rows of one molecule are merged, named, and found by either mass."""

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from molchord.chem import molecule
from molchord.data.candidates import Listed
from molchord.errors import QueryError
from molchord.library.build import embed_items
from molchord.library.files import LibraryManifest
from molchord.library.library import Library
from molchord.testing import tiny_run

ACETATE, ACETIC_ACID = 59.0139, 60.0211


@pytest.fixture(scope="module")
def run():
    return tiny_run()


def embedded(run, items, target, block=16):
    manifest = LibraryManifest(run=run.id, candidate=run.candidate, embedding_dim=run.graph.embedding_dim)
    embed_items(run.embedder, items, target, manifest, workers=1, block=block)
    return Library(target)


def query(run):
    return {"ir": torch.from_numpy(run.embed("structure", "CCO")[0])}


LIST = [
    Listed(notation="CCO", name="ethanol", columns={"CAS": "64-17-5", "note": "=cmd|' /C calc'!A0"}),
    Listed(notation="CC(=O)[O-]", name="acetate"),
    Listed(notation="CC(=O)O", columns={"CAS": "64-19-7"}),
    Listed(notation="OCC", name="alcohol"),
    Listed(notation="CBr", name="bromomethane"),
    "CO",
]


@pytest.fixture(scope="module", params=[16, 2, 1], ids="block of {}".format)
def library(request, run, tmp_path_factory):
    return embedded(run, LIST, tmp_path_factory.mktemp("names") / "library", block=request.param)


def test_names_and_columns_reach_the_hits(run, library):
    hits = {hit.smiles: hit for hit in library.search(query(run))}
    assert hits.keys() == {"CCO", "CC(=O)O", "CBr", "CO"}
    ethanol = hits["CCO"]
    assert ethanol.name == "ethanol"
    assert ethanol.columns == {"CAS": "64-17-5", "note": "=cmd|' /C calc'!A0"}
    assert ethanol.merged == ("alcohol",)
    assert (hits["CO"].name, hits["CO"].columns, hits["CO"].merged) == ("", {}, ())


def test_of_an_acid_and_its_anion_the_acid_stays_and_both_masses_and_formulas_find_it(run, library):
    acid = {hit.smiles: hit for hit in library.search(query(run))}["CC(=O)O"]
    assert (acid.name, acid.merged, acid.columns) == ("acetate", (), {"CAS": "64-19-7"})  # the only name that it has
    for limits in ({"mass": ACETIC_ACID}, {"mass": ACETATE}, {"formula": "C2H4O2"}, {"formula": "C2H3O2-"}):
        assert [hit.smiles for hit in library.search(query(run), **limits)] == ["CC(=O)O"], limits
    assert library.search(query(run), mass=ACETATE, da=2.0)[0].smiles == "CC(=O)O"  # once, where both pass
    assert len(library.search(query(run), mass=ACETATE, da=2.0)) == 1


def test_merged_rows_are_listed(library):
    with (library.path / "merged.csv").open(newline="") as file:
        rows = {row["smiles"]: (row["key14"], row["name"], row["formula"]) for row in csv.DictReader(file)}
    assert rows == {
        "CC(=O)[O-]": (molecule("CC(=O)O").key14, "acetate", "C2H3O2-"),
        "CCO": (molecule("CCO").key14, "alcohol", "C2H6O"),
    }
    assert library.manifest.duplicates == 2


def test_a_compacted_library_keeps_names_and_forms(run, tmp_path):
    library = embedded(run, LIST, tmp_path / "library", block=2)
    library.remove([molecule("CBr").key14])
    library.compact()
    again = Library(library.path)
    hits = {hit.smiles: hit for hit in again.search(query(run))}
    assert hits["CCO"].name == "ethanol"
    assert hits["CCO"].columns["CAS"] == "64-17-5"
    assert [hit.smiles for hit in again.search(query(run), mass=ACETATE)] == ["CC(=O)O"]
    again.remove([molecule("CC(=O)O").key14])
    with pytest.raises(QueryError, match="no candidate"):
        again.search(query(run), mass=ACETATE)


def test_only_candidates_of_the_elements_allowed_are_found(run, library):
    assert {hit.smiles for hit in library.search(query(run), elements="C,H,O")} == {"CCO", "CC(=O)O", "CO"}
    assert [hit.smiles for hit in library.search(query(run), elements=["C", "H", "Br"])] == ["CBr"]
    assert [hit.smiles for hit in library.search(query(run), elements="C,H,O", mass=ACETATE)] == ["CC(=O)O"]
    for limits in ({"elements": "C,H"}, {"elements": "C,H", "mass": ACETATE}):
        with pytest.raises(QueryError, match="no candidate"):
            library.search(query(run), **limits)


def test_a_list_of_bare_smiles_makes_the_table_that_it_always_made(run, tmp_path):
    library = embedded(run, ["CCO", "OCC", "CO"], tmp_path / "library")
    names = pq.read_table(library.path / "shard-00000.parquet").column_names
    assert names == ["key14", "smiles", "formula", "exact_mass"]
    assert not (library.path / "merged.csv").exists()  # there is nothing to say but that one was there twice
    assert np.all(library.vectors([0, 1]).isfinite().numpy())


def test_a_damaged_list_of_merged_rows_is_named(run, tmp_path):
    library = embedded(run, LIST, tmp_path / "library")
    (library.path / "merged.csv").write_text("key14,smiles\nA,B\n")
    with pytest.raises(QueryError, match=r"merged\.csv' is damaged"):
        Library(library.path).search(query(run), mass=ACETATE)
