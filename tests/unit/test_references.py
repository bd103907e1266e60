"""Measurements of known molecules beside the candidates: one list, marked, with probabilities where they were fitted."""

import shutil

import numpy as np
import pytest

import molchord as mc
from molchord.api import Measurement
from molchord.chem import molecule
from molchord.cli.output import hit_table
from molchord.errors import DataError, QueryError
from molchord.library.hits import sureness
from molchord.reference_weights import ReferenceWeights, merged_features, weights_for
from molchord.references import identical
from molchord.testing import tiny_data, tiny_run

CHAINS = ["C" * n + end for n in range(1, 8) for end in ("O", "N", "Cl", "C#N", "C=O", "S", "Br", "F")]
KNOWN, OTHERS = CHAINS[::2], CHAINS[1::2]


def measured(run, smiles, seed, *, noise=0.0):
    """A measured spectrum of each molecule, of the modality's own making."""
    rng = np.random.default_rng(seed)
    out = []
    for one in run.modalities["ir"].example([molecule(text) for text in smiles], seed):
        arrays = dict(one.arrays)
        arrays["stick_intensity"] = arrays["stick_intensity"] * np.exp(
            noise * rng.normal(size=len(one.arrays["stick_intensity"]))
        )
        out.append(Measurement(arrays=arrays, columns={**one.columns, "origin": "measured"}))
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of its own, as calibrating writes into it."""
    folder = tmp_path_factory.mktemp("run") / "run"
    shutil.copytree(tiny_run().path, folder)
    return mc.load(folder, device="cpu")


@pytest.fixture(scope="module")
def references(run):
    """Two spectra of every second molecule."""
    entries = [list(pair) for pair in zip(measured(run, KNOWN, 1), measured(run, KNOWN, 2, noise=0.3), strict=True)]
    return mc.from_measurements(KNOWN, {"ir": entries}, splits=["val"] * len(KNOWN))


@pytest.fixture(scope="module")
def library(run):
    return run.library(CHAINS)


@pytest.fixture(scope="module")
def calibrated(run, references, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(run.path, folder)
    fitted = mc.load(folder, device="cpu")
    fitted.manifest.beta = {1: 1.0}
    fitted.calibrate(references, references=True)
    return mc.load(folder, device="cpu")


def test_a_query_that_is_a_reference_itself_finds_itself_first_and_is_nearly_sure(run, references, library):
    run.manifest.beta = {1: 1.0}
    query = measured(run, KNOWN, 1)[4]
    hits = run.search(library, ir=query, k=3, references=references)
    assert (hits[0].smiles, hits[0].reference) == (molecule(KNOWN[4]).smiles, "measured reference")
    assert hits[0].similarities["ir"] == pytest.approx(1.0, abs=1e-4)
    assert hits[0].probability >= 0.98


def test_candidates_with_and_without_references_are_in_one_list_that_adds_up(calibrated, references):
    library = calibrated.library(OTHERS)
    hits = calibrated.search(library, ir=measured(calibrated, KNOWN, 3)[0], k=100, references=references)
    assert {hit.reference for hit in hits} == {"measured reference", "structure only"}
    assert len(hits) == len({hit.key14 for hit in hits}) == len(CHAINS) == hits.candidates
    assert sum(hit.probability for hit in hits) + hits.none_of_these == pytest.approx(1.0, abs=1e-6)
    assert [hit.probability for hit in hits] == sorted((hit.probability for hit in hits), reverse=True)
    assert all(bool(hit.similarities) == (hit.reference != "structure only") for hit in hits)


def test_a_candidate_listed_twice_in_library_and_references_is_one_hit(calibrated, references, library):
    hits = calibrated.search(library, ir=measured(calibrated, KNOWN, 3)[0], k=100, references=references)
    assert len(hits) == len({hit.key14 for hit in hits}) == len(CHAINS) == hits.candidates
    assert sum(hit.probability for hit in hits) + hits.none_of_these == pytest.approx(1.0, abs=1e-6)


def test_references_find_what_the_model_alone_does_not(calibrated, references, library):
    queries = measured(calibrated, KNOWN, 3, noise=0.1)[::2]
    keys = [molecule(text).key14 for text in KNOWN[::2]]
    found = {
        given: np.mean(
            [
                calibrated.search(library, ir=query, k=1, references=given)[0].key14 == key
                for query, key in zip(queries, keys, strict=True)
            ]
        )
        for given in (None, references)
    }
    assert found[references] > found[None] + 0.3


def test_a_molecule_without_a_reference_can_still_come_first(calibrated, references, library):
    """Its neighbours' references, all unlike, fall behind: their molecules are not likelier than by their structure."""
    query = measured(calibrated, OTHERS, 3)[5]
    alone = {hit.key14: hit.rank for hit in calibrated.search(library, ir=query, k=100)}
    merged = calibrated.search(library, ir=query, k=100, references=references)
    without = [hit for hit in merged if hit.reference == "structure only"]
    assert [hit.key14 for hit in without] == sorted((hit.key14 for hit in without), key=alone.__getitem__)


def test_filters_hold_for_references_too(calibrated, references):
    library = calibrated.library(["c1ccccc1"])
    query = measured(calibrated, KNOWN, 3)[0]
    hits = calibrated.search(library, ir=query, formula="C4H10O", k=100, references=references)
    assert {hit.formula for hit in hits} == {"C4H10O"}
    assert hits.candidates == len(hits)


def test_where_no_reference_passes_the_filters_the_library_alone_is_searched(calibrated, references):
    library, query = calibrated.library(["c1ccccc1", "CC#N"]), measured(calibrated, KNOWN, 3)[0]
    alone = calibrated.search(library, ir=query, formula="C6H6")
    beside = calibrated.search(library, ir=query, formula="C6H6", references=references)
    assert [(hit.key14, hit.probability, hit.score) for hit in beside] == [
        (hit.key14, hit.probability, hit.score) for hit in alone
    ]
    with pytest.raises(QueryError, match="passes the filters"):
        calibrated.search(library, ir=query, formula="C99", references=references)


def test_a_filter_reads_no_more_references_than_pass(calibrated, references, library):
    """And finds what a search with all of them read finds."""
    query = measured(calibrated, KNOWN, 3)[0]
    both = calibrated.open_references(references), calibrated.open_references(references)
    calibrated.search(library, ir=query, references=both[1])  # which keeps all
    few, all_ = (calibrated.search(library, ir=query, formula="C4H10O", k=9, references=one) for one in both)
    assert [(hit.key14, hit.reference) for hit in few] == [(hit.key14, hit.reference) for hit in all_]
    assert [hit.probability for hit in few] == pytest.approx([hit.probability for hit in all_], rel=1e-4)


def test_weights_that_were_not_fitted_for_such_queries_state_nothing_above_one_half(run, references, library):
    run.manifest.beta = {1: 1.0}
    hits = run.search(library, ir=measured(run, KNOWN, 3)[0], k=100, references=references)
    assert hits.references_uncalibrated
    assert all(hit.probability is None or hit.probability <= 0.5 for hit in hits)
    assert "not calibrated for these references" in "\n".join(sureness(hits))


def test_the_table_says_by_what_each_hit_was_found(calibrated, references, library):
    hits = calibrated.search(library, ir=measured(calibrated, KNOWN, 3)[0], k=100, references=references)
    table = hit_table(hits)
    assert "found by" in table
    assert "like ir" in table
    assert table.count("measured reference") == len(KNOWN)
    assert table.count("structure only") == len(OTHERS)
    assert "found by" not in hit_table(calibrated.search(library, ir=measured(calibrated, KNOWN, 3)[0]))


def test_searches_of_other_kinds_are_refused_beside_references(calibrated, references, library):
    query = measured(calibrated, KNOWN, 3)[0]
    for wrong in ({"fusion": "gm-half"}, {"index": "exact"}):
        with pytest.raises(QueryError, match=r"leave one of the two out"):
            calibrated.search(library, ir=query, references=references, **wrong)


def test_weights_go_where_the_temperatures_that_they_rest_on_are_fitted_anew(calibrated, tmp_path):
    shutil.copytree(calibrated.path, tmp_path / "run")
    again = mc.load(tmp_path / "run", device="cpu")
    assert again.manifest.references
    again.calibrate(tiny_data())
    assert mc.load(tmp_path / "run", device="cpu").manifest.references == {}


def test_a_library_is_no_reference_and_the_error_says_what_is(run, library):
    with pytest.raises(DataError, match="give a data set, as `molchord data import` writes it"):
        run.open_references(library.path)


def test_single_spectra_fit_no_weights_and_the_error_says_what_does(run):
    single = mc.from_measurements(KNOWN, {"ir": measured(run, KNOWN, 1)}, splits=["val"] * len(KNOWN))
    with pytest.raises(DataError, match="several measurements of a molecule"):
        run.calibrate(single, references=True)


def test_references_of_another_kind_are_refused_by_name(run):
    with pytest.raises(DataError, match="no reference for this run"):
        run.open_references(mc.from_measurements(["CCO"], {}, splits=["val"]))


def test_a_more_similar_reference_never_counts_less(calibrated):
    weights, fitted = weights_for(calibrated.manifest.references["measured"], ["ir"])
    worth = weights.worth("ir", np.linspace(0.5, 1.0, 50))
    assert fitted
    assert worth[-1] > 0 > worth[0]
    assert np.all(np.diff(worth) >= 0)


def test_spectra_fitted_one_by_one_are_put_together_and_said_to_be_so():
    one = ReferenceWeights(logit=0.4, spectra={"ir": (-1.0, 1.0)})
    weights, fitted = weights_for({"ir": one}, ["ir", "raman"])
    assert weights.spectra["ir"] == (-1.0, 1.0)
    assert set(weights.spectra) == {"ir", "raman"}
    assert not fitted


def test_features_without_any_reference_are_those_of_the_structure():
    import torch

    row = merged_features(2.0, 0.5, 10, 0.9, torch.zeros(0), first=np.nan, best=np.nan)
    assert row.shape == (8,)
    assert row[5:].tolist() == [0.0, 0.0, 0.0]
    assert np.isfinite(row).all()


def test_identical_measurements_are_told_from_nearly_identical_ones(run):
    one, other = measured(run, ["CCO"], 1)[0], measured(run, ["CCO"], 2)[0]
    rounded = Measurement(arrays={key: np.asarray(v, dtype=np.float32) for key, v in one.arrays.items()})
    assert identical(one, [other, rounded, one]) == [1, 2]
