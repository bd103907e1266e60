"""The probability that none of the candidates is the molecule: fitted, told apart, calibrated, shown."""

import dataclasses
import math
import shutil

import numpy as np
import pytest
import torch
from torch.nn import functional

import molchord as mc
from molchord.absence import FEATURES, Absence, Background, first_hit_features
from molchord.cli.output import hit_table
from molchord.errors import RunError
from molchord.evaluate import fitting
from molchord.evaluate.absence import answers, background_of, fit_absence
from molchord.evaluate.calibration import calibrate
from molchord.evaluate.embedded import Embedded, Spectra
from molchord.library.hits import sureness
from molchord.query import query_of
from molchord.search import search
from molchord.testing import MOLECULES as MOLECULES_OF_THE_KIT
from molchord.testing import examples_of, tiny_run

DIM, MOLECULES = 16, 540


def embedded(noise: float, seed: int = 0) -> Embedded:
    """Make molecules whose spectra lie near their own vector, or anywhere; formulas of three molecules each."""
    rng = torch.Generator().manual_seed(seed)
    candidates = functional.normalize(torch.randn(MOLECULES, DIM, generator=rng), dim=1)
    spectra = functional.normalize(candidates + noise * torch.randn(MOLECULES, DIM, generator=rng), dim=1)
    split = np.arange(MOLECULES) % 3
    return Embedded(
        key14=[f"KEY{i}" for i in range(MOLECULES)],
        smiles=["C"] * MOLECULES,
        formula=[f"C{i // 9}" for i in range(MOLECULES)],
        exact_mass=np.array([12.0 * (i // 9) + 100 for i in range(MOLECULES)]),
        split=split,
        trained=split == 0,
        candidates=candidates,
        present=np.ones(MOLECULES, dtype=bool),
        spectra={"ir": Spectra(molecule=np.arange(MOLECULES), vectors=spectra)},
        tau={"ir": 0.1},
    )


def judged(data, narrowed, sizes=(5, 20, 100)):
    """Fit on validation, return the probabilities of none on test queries with what they are of."""
    tau, beta = calibrate(data, refit_tau=True)
    background = background_of(data)
    absence = fit_absence(data, background, tau, beta)["ir"]
    made = answers(data, background, ("ir",), narrowed, tau, beta[1], split="test", sizes=sizes, seed=3)
    return np.array([absence.probability(row, narrowed) for row in made.rows]), made


def auroc(score, positive):
    """Share of pairs in the right order, by brute force."""
    difference = score[positive][:, None] - score[~positive][None]
    return np.mean((difference > 0) + 0.5 * (difference == 0))


@pytest.mark.parametrize("narrowed", ["none", "formula", "mass"])
def test_an_absent_molecule_is_told_where_spectra_tell_molecules_apart(narrowed):
    none, made = judged(embedded(noise=0.2), narrowed)
    assert auroc(none, made.absent) > 0.95


def test_nothing_is_told_where_spectra_are_of_nothing():
    none, made = judged(embedded(noise=50.0), "formula")
    assert auroc(none, made.absent) == pytest.approx(0.5, abs=0.1)
    assert none.mean() == pytest.approx(0.2, abs=0.1)  # what the fit is for: a fifth of the molecules are not listed


@pytest.mark.parametrize("narrowed", ["none", "formula"])
@pytest.mark.parametrize("noise", [0.2, 0.4])
def test_what_is_stated_is_as_often_right_with_a_fifth_of_the_molecules_absent(narrowed, noise):
    none, made = judged(embedded(noise), narrowed)
    weight = np.where(made.absent, 0.2 / made.absent.sum(), 0.8 / (~made.absent).sum())
    for stated, true in ((none, made.absent), ((1 - none) * made.share, made.right)):
        bins = np.minimum((10 * stated).astype(int), 9)
        error = sum(abs((weight * (stated - true))[bins == i].sum()) for i in range(10))
        assert error < 0.08


def test_pools_hold_what_they_say():
    data = embedded(noise=0.2)
    tau, beta = calibrate(data, refit_tau=True)
    background = background_of(data)
    one = answers(data, background, ("ir",), "none", tau, beta[1], split="test", sizes=(1,), seed=0)
    counts = np.exp(one.rows[:, FEATURES.index("log candidates")]).round().astype(int)
    assert set(counts.tolist()) == {1, MOLECULES - 1}
    alone = one.rows[:, FEATURES.index("alone")] == 1
    assert (alone == (counts == 1)).all()
    assert not one.right[one.absent].any()
    same = answers(data, background, ("ir",), "formula", tau, beta[1], split="test", seed=0)
    assert set(np.exp(same.rows[:, 2]).round().astype(int).tolist()) == {8}


def test_the_background_holds_no_molecule_of_validation_or_test_and_leaves_out_the_first_hit():
    data = embedded(noise=0.2)
    background = background_of(data)
    places = [data.key14.index(key) for key in background.key14]
    assert (data.split[places] == 0).all()
    query = torch.randn(DIM)
    every = background.vectors @ query
    torch.testing.assert_close(background.logits(query, background.key14[4]), torch.cat([every[:4], every[5:]]))
    torch.testing.assert_close(background.logits(query, "ANOTHER"), every)


def test_features_are_what_they_are_called():
    behind = torch.tensor([0.0, 1.0, 2.0])
    row = first_hit_features(5.0, 0.7, 20, 0.9, behind)
    above = 5.0 - math.log(sum(math.exp(x) for x in (0, 1, 2)) / 3)
    np.testing.assert_allclose(row, [above, 0.7, math.log(20), math.log(9), 0.0], rtol=1e-6)
    assert first_hit_features(5.0, 0.7, 1, 1.0, behind).tolist()[2:] == [0.0, 0.0, 1.0]
    assert first_hit_features(5.0, 0.7, 2, 1.0, behind)[3] == 10.0  # certain, as far as the softmax can say


def test_too_few_queries_fit_nothing():
    data = embedded(noise=0.2)
    few = dataclasses.replace(data, split=np.where(np.arange(MOLECULES) < 30, 1, 0))
    tau, beta = calibrate(few, refit_tau=True)
    assert fit_absence(few, background_of(few), tau, beta) == {}


# --- in a search -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    """A run that was fitted for one infrared spectrum; the weights are known."""
    run = tiny_run()
    width = run.graph.embedding_dim
    background = Background(key14=("A", "B"), vectors=functional.normalize(torch.ones(2, width), dim=1))
    background.write(tmp_path)
    manifest = run.manifest.model_copy(
        update={
            "absence": {"ir": Absence(weights={"none": [0, 0, 0, 0, 1.0, -1.0], "formula": [0, 0, 0, 0, 0, 2.0]})},
            "beta": {1: 1.0},
            "likeness": {},
            "calibrated_on": {},
            "domain": {},
        }
    )
    return dataclasses.replace(run.embedder, path=tmp_path), manifest, run.library(["CCO", "COC", "CC#N", "CSC"])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("filters", "candidates", "none"),
    [({}, 4, sigmoid(-1)), ({"formula": "C2H6O"}, 2, sigmoid(2)), ({"mass": 41.0265, "ppm": 20.0}, 1, sigmoid(0))],
)
def test_a_search_leaves_the_hits_what_none_of_these_leaves(run, filters, candidates, none):
    embedder, manifest, library = run
    given = examples_of("ir", 1)
    query = query_of(embedder, {"ir": given})
    hits = search(embedder, manifest, library, query, **filters)
    assert hits.candidates == candidates
    factor = sum(hit.probability for hit in hits) / (1 - none)
    assert factor == pytest.approx(1.0, abs=1e-6)
    assert hits.none_of_these == pytest.approx(none)
    (line,) = sureness(hits)
    assert line.startswith(f"none of these: {100 * none:.1f} %")
    assert ("only candidate" in line) == (candidates == 1)


def test_a_run_that_was_not_fitted_for_such_a_query_says_nothing(run):
    embedder, manifest, library = run
    bare = manifest.model_copy(update={"absence": {}})
    hits = search(embedder, bare, library, query_of(embedder, {"ir": examples_of("ir", 1)}))
    assert hits.none_of_these is None
    assert sureness(hits) == []
    assert sum(hit.probability for hit in hits) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("origin", ["measured", "computed"])
def test_what_was_calibrated_on_computed_spectra_is_not_sure_of_measured_ones(run, origin):
    embedder, manifest, library = run
    computed = manifest.model_copy(update={"calibrated_on": {"ir": "computed"}})
    [given] = examples_of("ir", 1)
    given = dataclasses.replace(given, columns={**given.columns, "origin": origin})
    query = query_of(embedder, {"ir": [given]})
    hits = search(embedder, computed, library, query, mass=41.0265, ppm=20.0)
    sure = search(embedder, manifest, library, query, mass=41.0265, ppm=20.0)
    assert hits.none_of_these == sure.none_of_these
    for filters in ({"mass": 41.0265, "ppm": 20.0}, {}):  # one candidate, of which 0.5 is left; several
        hits = search(embedder, computed, library, query, **filters)
        sure = search(embedder, manifest, library, query, **filters)
        chances = [h.probability for h in sure]
        if origin == "measured":
            chances = [None if chance > 0.5 else chance for chance in chances]
        assert [h.probability for h in hits] == chances
        assert hits.uncalibrated == (("ir",) if origin == "measured" else ())
        assert ("not calibrated for measured spectra ('ir')" in "\n".join(sureness(hits))) == (origin == "measured")
        assert ("not calibrated" in hit_table(hits)) == (None in chances)


def test_a_damaged_background_is_named(run, tmp_path):
    embedder, manifest, library = run
    file = tmp_path / "background.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(RunError, match=r"background\.safetensors' cannot be read .*calibrate the run again"):
        search(embedder, manifest, library, query_of(embedder, {"ir": examples_of("ir", 1)}))
    Background(key14=("A",), vectors=torch.ones(2, 4)).write(tmp_path)
    with pytest.raises(RunError, match="has 1 keys for 2 vectors"):
        Background.read(tmp_path)


# --- calibration on another data set ---------------------------------------------------------------------------------


def test_of_another_data_setall_unseen_molecules_but_the_test_split_are_queries():
    data = embedded(noise=0.2)
    trained = np.arange(MOLECULES) < 180
    found = fitting.all_unseen(dataclasses.replace(data, trained=trained))
    train, val, test = (data.split == code for code in range(3))
    np.testing.assert_array_equal(found.in_split("val"), val | (train & ~trained))
    np.testing.assert_array_equal(found.in_split("test"), test)


def test_what_another_data_set_says_nothing_about_stays():
    kept = {"ir": [(0.1, 0.05)], "raman": [(0.2, 0.05)], "ir + raman": [(0.3, 0.05)]}
    weights = {names: Absence(weights={"none": [0.0] * 6}) for names in kept}
    manifest = tiny_run().manifest.model_copy(update={"likeness": kept, "absence": weights, "beta": {1: 2.0}})
    left = fitting.untouched(manifest, {"ir": "measured"})
    assert (set(left.likeness), set(left.absence), left.beta) == ({"raman"}, {"raman"}, {1: 2.0})


def test_a_run_calibrated_on_measured_spectra_states_what_they_say(tmp_path):
    run = mc.Run.load(shutil.copytree(tiny_run().path, tmp_path / "run"))
    assert run.manifest.calibrated_on == {"ir": "computed"}
    given = [dataclasses.replace(one, columns={**one.columns, "origin": "measured"}) for one in examples_of("ir", 16)]
    other = mc.from_measurements(list(MOLECULES_OF_THE_KIT[:16]), {"ir": given}, tmp_path / "measured")
    before = dict(run.manifest.tau)
    run.calibrate(other)
    again = mc.Run.load(run.path)
    assert again.manifest.calibrated_on == {"ir": "measured"}
    assert again.manifest.tau == run.manifest.tau != before
    hits = again.search(again.library(["CCO", "CSC"]), ir=given[:1])
    assert hits.uncalibrated == ()
    assert sum(hit.probability for hit in hits) == pytest.approx(1.0, abs=1e-6)
