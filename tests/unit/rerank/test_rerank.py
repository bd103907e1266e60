"""Re-ranking: the score and its weights, where computed measurements come from, search and evaluation, the built-in."""

import dataclasses
import json
import shutil
import warnings
from importlib import metadata
from itertools import pairwise

import numpy as np
import pytest
import torch

import molchord as mc
from molchord.api import Array, Candidate, Config, Measurement, SampleError, SimulatorRecord
from molchord.chem import molecule
from molchord.errors import DataError, MolchordError, PluginError, QueryError
from molchord.evaluate.embedded import Embedded, Queries, Spectra, candidate_pool, queries_of
from molchord.evaluate.embedding import embed_dataset, readers
from molchord.evaluate.reranking import Reranked, features_scorer, fit_reranking, reranked_scorer
from molchord.host import Host, Plugin, installed
from molchord.rerank import rerank as module
from molchord.rerank.computed import Computed
from molchord.rerank.rerank import Rerank, Reranking
from molchord.rerank.weights import Weights, WeightsFile, centred, combined_scores, fit_weights
from molchord.retrieval.metrics import tally
from molchord.testing import MOLECULES, examples_of, tiny_run
from molchord_rerankers.simulate_and_match import SIMULATE_AND_MATCH, SimulateAndMatchConfig
from molchord_rerankers.simulate_and_match_reranker import broadened, correlation

STICKS = examples_of("ir", len(MOLECULES))
SPLITS = ["train"] * 8 + ["val"] * 4 + ["test"] * 4
AS_IS = mc.Use("simulate_and_match", scale=[[1000.0, 1.0]])


def curve(sticks, noise=0.0, seed=0, start=500.0, stop=4000.0):
    """A measured curve of computed sticks, drawn without the project's own code."""
    x = np.arange(start, stop, 2.0)
    position, intensity = sticks.arrays["stick_wavenumber"], sticks.arrays["stick_intensity"]
    y = sum(a / (1 + ((x - p) / 12.0) ** 2) for p, a in zip(position, intensity, strict=True))
    y = y / y.max() + np.random.default_rng(seed).normal(0, noise, len(x))
    arrays = {"wavenumber": x.astype(np.float32), "absorbance": y.astype(np.float32)}
    return Measurement(arrays=arrays, columns={"origin": "measured"})


@pytest.fixture(scope="module")
def measured():
    curves = [curve(sticks, 0.02, seed) for seed, sticks in enumerate(STICKS)]
    return mc.from_measurements(MOLECULES, {"ir": curves}, splits=SPLITS)


@pytest.fixture(scope="module")
def cache():
    return mc.from_measurements(MOLECULES, {"ir": STICKS})


@pytest.fixture
def run(tmp_path):
    """A run in a folder of this test alone."""
    shutil.copytree(tiny_run().path, tmp_path / "run")
    return mc.load(tmp_path / "run", device="cpu")


def evaluated(run, data, rerank, **options):
    options = {
        "pools": ["all"],
        "modes": ["blind"],
        "fusions": ["gm-exp"],
        "baselines": False,
        "audit": False,
    } | options
    return run.evaluate(data, rerank=rerank, **options)


# --- the score and its weights ---------------------------------------------------------------------------------------


def by_hand(logits, features, first, weights):
    out = []
    for i, logit in enumerate(logits):
        total = first * logit
        for j, weight in enumerate(weights):
            known = [row[j] for row in features if np.isfinite(row[j])]
            total += weight * (features[i][j] - sum(known) / len(known)) if np.isfinite(features[i][j]) else 0.0
        out.append(total)
    return out


def test_score_agrees_with_the_formula_written_out():
    rng = np.random.default_rng(0)
    logits, features = rng.normal(size=7), rng.normal(size=(7, 3))
    features[2, 0] = features[4, 0] = np.nan
    features[3, 1] = np.inf
    features[:, 2] = np.nan
    weights = Weights(first=0.7, features={"a": 1.5, "b": -2.0, "c": 9.0}, queries=1)
    expected = by_hand(logits, features, 0.7, [1.5, -2.0, 9.0])
    np.testing.assert_allclose(combined_scores(logits, features, weights), expected, rtol=1e-12)


def test_missing_feature_counts_as_the_mean():
    weights = Weights(first=1.0, features={"a": 3.0}, queries=1)
    lacking = combined_scores(np.zeros(3), np.array([[1.0], [np.nan], [3.0]]), weights)
    average = combined_scores(np.zeros(3), np.array([[1.0], [2.0], [3.0]]), weights)
    np.testing.assert_array_equal(lacking, average)


def planted(queries, weights, k=8, seed=0):
    """Queries whose true candidate is drawn by the softmax of the score with these weights."""
    rng = np.random.default_rng(seed)
    logits, features = 2 * rng.normal(size=(queries, k)), rng.normal(size=(queries, k, len(weights) - 1))
    features *= np.array([0.1, 20.0])  # of other sizes, as real ones are
    centre = features - features.mean(axis=1, keepdims=True)
    score = weights[0] * logits + centre @ np.array(weights[1:])
    chance = np.exp(score - score.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    return logits, features, np.array([rng.choice(k, p=p) for p in chance], dtype=np.int64)


def test_fit_recovers_planted_weights():
    logits, features, truth = planted(2000, (0.8, 12.0, -0.05))
    found = fit_weights(logits, features, truth, ["a", "b"])
    assert found.first == pytest.approx(0.8, abs=0.06)
    assert found.features["a"] == pytest.approx(12.0, rel=0.08)
    assert found.features["b"] == pytest.approx(-0.05, rel=0.08)
    assert found.queries == 2000


def test_fit_is_the_maximum_of_the_penalised_likelihood():
    logits, features, truth = planted(60, (1.0, 8.0, 0.02), seed=1)
    features[5, 2, 0] = np.nan
    logits[7, 5:] = -np.inf  # a pool with fewer candidates
    truth[7] = min(truth[7], 4)
    found = fit_weights(logits, features, truth, ["a", "b"])
    there = np.isfinite(logits)
    rows = [centred(np.where(t[:, None], f, np.nan)) for f, t in zip(features, there, strict=True)]
    spread = np.concatenate([r[t] for r, t in zip(rows, there, strict=True)]).std(axis=0)

    def objective(point):
        first, *others = point
        total = (first - 1) ** 2 / 2 + ((np.array(others) * spread) ** 2).sum() / 2
        for row, t, logit, true in zip(rows, there, logits, truth, strict=True):
            score = first * logit[t] + row[t] @ np.array(others)
            total += np.log(np.exp(score).sum()) - score[true]
        return total

    best = np.array([found.first, *found.features.values()])
    low = objective(best)
    for direction in np.eye(3):
        for step in (-1e-3, 1e-3):
            assert objective(best + step * direction * np.array([1.0, *(1 / spread)])) > low


def test_fit_without_a_query_is_refused():
    with pytest.raises(DataError, match="no validation query has its molecule among the first candidates"):
        fit_weights(np.zeros((0, 3)), np.zeros((0, 3, 1)), np.zeros(0, dtype=np.int64), ["a"])


# --- in an evaluation ------------------------------------------------------------------------------------------------


class ByTable:
    """A re-ranker whose features are looked up by key14; a query is known by a number in its measurement."""

    def __init__(self, table):
        self.table = table

    def names(self, modalities):
        return ("first", "second")

    def features(self, query, candidates):
        row = int(query["ir"][0].arrays["number"][0])
        return np.array([self.table[row, int(c.molecule.key14)] for c in candidates])


def scattered(molecules=30, seed=0, split=None):
    generator = torch.Generator().manual_seed(seed)

    def unit(rows):
        return torch.nn.functional.normalize(torch.randn(rows, 4, generator=generator), dim=1)

    return Embedded(
        key14=[str(i) for i in range(molecules)],
        smiles=["C"] * molecules,
        formula=[f"C{i % 3}" for i in range(molecules)],
        exact_mass=np.full(molecules, 100.0),
        split=np.arange(molecules) % 3 if split is None else split,
        trained=np.arange(molecules) % 3 == 0,
        candidates=unit(molecules),
        present=np.arange(molecules) != 4,
        spectra={"ir": Spectra(molecule=np.arange(molecules), vectors=unit(molecules))},
        tau={"ir": 0.2},
    )


def looking(table, k):
    reranking = Reranking(name="table", qualified="lab:table", config=Config(), reranker=ByTable(table), k=k)

    def read(i):
        return [Measurement(arrays={"number": np.array([i])})]

    return reranking, {"ir": read}


def rank_by_hand(embedded, query, members, k, features, weights, beta):
    """Rank of a query's molecule: sort, take k, score, sort again."""
    cosine = (embedded.candidates @ embedded.spectra["ir"].vectors[query]).double().numpy()
    order = sorted(members, key=lambda i: -cosine[i])
    first, rest = order[:k], order[k:]
    score = by_hand([beta * cosine[i] / 0.2 for i in first], [features[query, i] for i in first], *weights)
    again = [i for _, i in sorted(zip(score, first, strict=True), key=lambda pair: -pair[0])]
    return [*again, *rest].index(query) + 1 if query in members else np.inf


@pytest.mark.parametrize("k", [1, 4, 30, 99])
@pytest.mark.parametrize("pool", ["all", "test", "isomers"])
def test_ranks_agree_with_lists_sorted_by_hand(k, pool):
    embedded, rng = scattered(), np.random.default_rng(3)
    table = rng.normal(size=(30, 30, 2))
    table[rng.random(table.shape) < 0.2] = np.nan
    reranking, read = looking(table, k)
    weights = Weights(first=0.6, features={"first": 1.3, "second": -0.4}, queries=1)
    by = Reranked(reranking=reranking, read=read, weights={})
    queries = queries_of(embedded, ("ir",), "test")
    made = candidate_pool(embedded, queries, pool, split="test", seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer = reranked_scorer(embedded, queries, made, by, weights, {1: 1.7})
    counts = tally(scorer, queries.truth(embedded), [made], len(embedded), queries_at_once=3, candidates_at_once=7)[0]
    for row, query in enumerate(queries.molecule.tolist()):
        members = [i for i in range(30) if made.mask(slice(row, row + 1), slice(0, 30))[0, i]]
        expected = rank_by_hand(embedded, query, members, k, table, (0.6, [1.3, -0.4]), 1.7)
        assert counts.rank[row] == expected


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_a_molecule_that_ties_with_one_beyond_the_first_k_is_beyond_them(weight):
    embedded = dataclasses.replace(scattered(60), candidates=torch.ones(60, 4) / 2, present=np.ones(60, bool))
    table = np.zeros((60, 60, 2))
    table[..., 0] = np.eye(60)  # the feature knows the answer
    reranking, read = looking(table, 25)
    queries = queries_of(embedded, ("ir",), "test")
    made = candidate_pool(embedded, queries, "all", split="test", seed=0)
    by = Reranked(reranking=reranking, read=read, weights={})
    weights = Weights(first=1.0, features={"first": weight, "second": 0.0}, queries=1)
    scorer = reranked_scorer(embedded, queries, made, by, weights)
    assert set(tally(scorer, queries.truth(embedded), [made], 60)[0].rank) == {60.0}
    with pytest.raises(DataError, match="no val query is among the first candidates"):
        fit_reranking(embedded, reranking, read, pools=["all"])
    every, read = looking(table, 60)  # none is beyond the first 60, so the feature may decide
    scorer = reranked_scorer(embedded, queries, made, Reranked(reranking=every, read=read, weights={}), weights)
    assert set(tally(scorer, queries.truth(embedded), [made], 60)[0].rank) == {1.0 if weight else 60.0}


# --- the features alone ----------------------------------------------------------------------------------------------


class Holds:
    """Stands in for computed measurements: a data set that holds those of some candidates, and nothing to simulate."""

    failures: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, held):
        self.held = held

    def stored(self, molecules):
        return [{"ir": STICKS[0]} if int(m.key14) in self.held else {} for m in molecules]

    of = stored


@pytest.mark.parametrize("pool", ["all", "isomers"])
def test_features_alone_rank_every_candidate_that_is_computed(pool):
    embedded, rng = scattered(), np.random.default_rng(5)
    table = rng.normal(size=(30, 30, 2))
    table[np.arange(30), np.arange(30), 0] += 1.5
    table[rng.random(table.shape) < 0.1] = np.nan
    held = set(range(30)) - {2, 7, 9}
    reranking, read = looking(table, 5)
    reranking = dataclasses.replace(reranking, computed=Holds(held))
    by = fit_reranking(embedded, reranking, read, pools=[pool], alone=True)
    weights = by.alone[pool]["ir"]
    assert by.left_out == ("table alone: 3 candidates without a computed measurement rank last",)
    queries = queries_of(embedded, ("ir",), "test")
    made = candidate_pool(embedded, queries, pool, split="test", seed=0)
    for chosen in (weights, None):
        scorer = features_scorer(embedded, queries, made, by, chosen)
        found = tally(scorer, queries.truth(embedded), [made], 30, queries_at_once=4, candidates_at_once=7)[0]
        for row, query in enumerate(queries.molecule.tolist()):
            members = [i for i in range(30) if made.mask(slice(row, row + 1), slice(0, 30))[0, i]]
            judged = [i for i in members if i in held]
            if chosen is None:
                score = {i: table[query, i, 0] for i in judged if np.isfinite(table[query, i, 0])}
            else:
                values = by_hand([0.0] * len(judged), table[query, judged], 0.0, [*chosen.features.values()])
                score = dict(zip(judged, values, strict=True))
            mine = score.get(query, -np.inf)
            expected = sum(score.get(i, -np.inf) >= mine - 1e-6 for i in members) if query in members else np.inf
            assert found.rank[row] == expected


def test_weights_of_the_features_alone_are_the_best_for_validation_queries():
    embedded, rng = scattered(), np.random.default_rng(5)
    table = rng.normal(size=(30, 30, 2))
    table[np.arange(30), np.arange(30), 0] += 1.5
    reranking, read = looking(table, 5)
    found = fit_reranking(embedded, reranking, read, pools=["all"], alone=True).alone["all"]["ir"]
    mine = [row for row in np.flatnonzero(embedded.split == 1) if embedded.present[row]]
    there = np.flatnonzero(embedded.present)
    features = table[mine][:, there]
    expected = fit_weights(
        np.zeros(features.shape[:2]), features, np.array([list(there).index(row) for row in mine]), ["first", "second"]
    )
    assert found.queries == len(mine)
    assert found.features == pytest.approx(expected.features, abs=1e-4)
    assert fit_reranking(embedded, reranking, read, pools=["all"]).alone == {"all": {}}


def test_baselines_of_an_evaluation_simulate_nothing(run, measured, cache, monkeypatch):
    plugin, simulator = invented()
    monkeypatch.setattr("molchord.simulation.simulate.build_simulator", lambda host, use: (plugin, simulator))
    found = evaluated(run, measured, Rerank(AS_IS, k=2, simulator="invented"), baselines=True)
    assert {row.system for row in found.rows if "alone" in row.system or "feature" in row.system} == {
        "mass alone", "mass alone (expected)"
    }  # fmt: skip
    assert 0 < len(simulator.asked) < len(MOLECULES)
    monkeypatch.undo()
    found = evaluated(run, measured, Rerank(AS_IS, k=2, computed=cache), baselines=True)
    for system in ("simulate_and_match alone", "simulate_and_match, first feature"):
        row = found.find("ir", system=system)
        assert (row.mode, row.fusion, row.pool_size, row.with_mass) == ("blind", "", 16, False)
        assert row.metrics["top1"].value == 1.0
        assert system in found.summary()


def test_whether_a_candidate_was_trained_on_changes_nothing():
    embedded, table = scattered(), np.random.default_rng(3).normal(size=(30, 30, 2))
    reranking, read = looking(table, 9)
    other = dataclasses.replace(embedded, trained=~embedded.trained)
    fits = [fit_reranking(data, reranking, read, pools=["all"]).weights for data in (embedded, other)]
    assert fits[0] == fits[1]


def test_fit_uses_the_queries_of_validation_alone():
    embedded, table = scattered(), np.random.default_rng(3).normal(size=(30, 30, 2))
    seen = set()
    reranking, read = looking(table, 9)

    def noting(i):
        seen.add(i)
        return read["ir"](i)

    found = fit_reranking(embedded, reranking, {"ir": noting}, pools=["all", "test"], calibration={1: 2.0})
    assert seen == set(np.flatnonzero(embedded.split == 1))
    assert found.weights["all"]["ir"].queries <= 9
    assert found.weights["test"]["ir"].queries == 9  # nine of the ten validation structures fit all but molecule 4
    assert found.system == "model + table, k 9"


def test_what_cannot_be_fitted_is_said():
    embedded = scattered(split=np.zeros(30, dtype=int))
    reranking, read = looking(np.zeros((30, 30, 2)), 9)
    with pytest.raises(DataError, match="re-ranking failed: ir: not re-ranked: split 'val' has no query"):
        fit_reranking(embedded, reranking, read, pools=["all"])


def test_wrong_shape_of_features_names_the_reranker():
    class OneShort:
        def names(self, modalities):
            return ("a",)

        def features(self, query, candidates):
            return np.zeros(len(candidates))

    wrong = Reranking(name="lab:short", qualified="lab:short", config=Config(), reranker=OneShort(), k=3)
    with pytest.raises(PluginError, match=r"re-ranker 'lab:short' returned features of shape \(1,\), but \(1, 1\)"):
        wrong.features({"ir": []}, [molecule("CCO")])


def test_one_candidate_and_one_query():
    embedded = scattered(molecules=1, split=np.array([1]))
    queries = Queries(subset=("ir",), molecule=np.array([0]), measurement={"ir": np.array([0])})
    reranking, read = looking(np.zeros((1, 1, 2)), 5)
    by = fit_reranking(embedded, reranking, read, pools=["all"])
    assert by.weights["all"]["ir"].first == pytest.approx(1.0)
    made = candidate_pool(embedded, queries, "all", split="val", seed=0)
    scorer = reranked_scorer(embedded, queries, made, by, by.weights["all"]["ir"])
    assert tally(scorer, queries.truth(embedded), [made], 1)[0].rank.tolist() == [1.0]


# --- a run: evaluation, then search ----------------------------------------------------------------------------------


def test_evaluation_leaves_the_weights_that_a_search_takes(run, measured, cache, capsys):
    asked = Rerank(AS_IS, k=16, computed=cache)
    found = evaluated(run, measured, asked, out=run.path)
    plain = found.find("ir", system="model")
    again = found.find("ir", system="model + simulate_and_match, k 16")
    assert again.mode == "blind"
    assert not any("flatter" in note for note in found.notes)
    assert again.metrics["top1"].value == 1.0 > plain.metrics["top1"].value
    saved = WeightsFile.read(run.path / "rerank.json")
    assert saved.reranker == "molchord:simulate_and_match"
    assert saved.weights["all"]["ir"].features["ir whole"] > 0
    run.manifest.calibrated_on.clear()  # so that measured queries have their probabilities
    library = run.library(MOLECULES)
    query = curve(STICKS[3], 0.02, 99)
    hits = run.search(library, ir=query, k=5, rerank=asked)
    before = run.search(library, ir=query, k=16)
    assert (hits[0].key14, len(hits)) == (molecule(MOLECULES[3]).key14, 5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert sorted((hit.rerank_score for hit in hits), reverse=True) == [hit.rerank_score for hit in hits]
    assert list(hits[0].features) == ["ir whole", "ir fingerprint", "ir balance"]
    assert not any(hit.proven for hit in hits)
    assert all(hit.proven and hit.rerank_score is None and not hit.features for hit in before)
    every = run.search(library, ir=query, k=16, rerank=asked)
    assert sum(h.probability for h in every) == pytest.approx(sum(h.probability for h in before))
    similar = {hit.key14: hit.score for hit in before}
    assert all(hit.score == pytest.approx(similar[hit.key14]) for hit in every)


def test_weights_lie_in_the_runs_folder_whatever_folder_the_figures_are_in(run, measured, cache, tmp_path):
    asked = Rerank("simulate_and_match", computed=cache)
    evaluated(run, measured, asked)
    assert not (run.path / "rerank.json").exists()  # nothing is written without a folder for figures
    evaluated(run, measured, asked, out=tmp_path / "figures")
    assert not (tmp_path / "figures" / "rerank.json").exists()
    assert run.search(run.library(MOLECULES), ir=curve(STICKS[3]), rerank=asked)[0].rerank_score is not None
    with pytest.raises(MolchordError, match=r"rerank\.json' already exists"):
        evaluated(run, measured, asked, out=tmp_path / "other")
    evaluated(run, measured, asked, out=tmp_path / "other", force=True)


def test_a_query_of_several_measurements_is_compared_with_all_of_them(run, cache):
    twice = [[curve(s, 0.05, seed), curve(s, 0.05, 50 + seed)] for seed, s in enumerate(STICKS)]
    data = mc.from_measurements(MOLECULES, {"ir": twice}, splits=SPLITS)
    asked = Rerank(AS_IS, k=16, computed=cache)
    found = evaluated(run, data, asked, combine=True, out=run.path)
    assert found.find("ir", system="model + simulate_and_match, k 16").queries == 4
    # What an evaluation ranks by is what a search ranks by.
    embedded = embed_dataset(run.embedder, data)
    read = readers(run.embedder, data, embedded.combined())["ir"]
    row = embedded.combined().embedded.spectra["ir"].molecule.tolist().index(13)
    assert [m.arrays["absorbance"].sum() for m in read(row)] == [m.arrays["absorbance"].sum() for m in twice[13]]
    assert len(readers(run.embedder, data, embedded)["ir"](row)) == 1
    mixed = [[curve(s), s] for s in STICKS]  # the second of each is computed
    data = mc.from_measurements(MOLECULES, {"ir": mixed}, splits=SPLITS)
    with pytest.raises(DataError, match="a query of 'ir' is computed itself"):
        evaluated(run, data, asked, combine=True)


def test_hits_beyond_k_keep_their_order(run, measured, cache):
    evaluated(run, measured, Rerank("simulate_and_match", k=4, computed=cache), out=run.path, pools=["test"])
    run.manifest.calibrated_on.clear()  # so that measured queries have their probabilities
    library, query = run.library(MOLECULES), curve(STICKS[3])
    plain = [hit.key14 for hit in run.search(library, ir=query, k=16)]
    again = [
        hit.key14 for hit in run.search(library, ir=query, k=16, rerank=Rerank("simulate_and_match", computed=cache))
    ]
    assert again[4:] == plain[4:]
    assert set(again[:4]) == set(plain[:4])
    alone = run.search(run.library([MOLECULES[3]]), ir=query, rerank=Rerank("simulate_and_match", computed=cache))
    assert [hit.probability for hit in alone] == [pytest.approx(1.0)]


def test_candidates_that_nothing_is_computed_for_are_counted(run, measured, cache):
    half = mc.from_measurements(MOLECULES, {"ir": [s if i % 2 else None for i, s in enumerate(STICKS)]})
    found = evaluated(run, measured, Rerank(AS_IS, k=16, computed=[half]))
    assert any("re-ranking: 8 candidates without a computed measurement count as average" in n for n in found.notes)
    whole = evaluated(run, measured, Rerank(AS_IS, k=16, computed=[half, cache]), out=run.path)
    assert not any("count as average" in note for note in whole.notes)
    with pytest.warns(UserWarning, match="8 of the first 16 candidates have no computed measurement .*as average ones"):
        run.search(run.library(MOLECULES), ir=curve(STICKS[1]), rerank=Rerank(AS_IS, computed=half))


def test_computed_queries_are_refused(run, measured, cache):
    with pytest.raises(DataError, match="a query of 'ir' is computed itself, so that they are its answer"):
        evaluated(run, cache, Rerank("simulate_and_match", computed=cache))
    evaluated(run, measured, Rerank("simulate_and_match", computed=cache), out=run.path)
    with pytest.raises(QueryError, match="is computed itself"):
        run.search(run.library(MOLECULES), ir=STICKS[0], rerank=Rerank("simulate_and_match", computed=cache))


def test_without_fitted_weights_model_and_spectra_count_the_same_and_nothing_is_stated(run, measured, cache):
    library, query = run.library(MOLECULES), curve(STICKS[0])
    with pytest.warns(UserWarning, match="were not fitted for this run"):
        hits = run.search(library, ir=query, k=16, rerank=Rerank("simulate_and_match", computed=cache))
    assert all(hit.probability is None for hit in hits)
    assert [hit.rerank_score for hit in hits] == sorted((hit.rerank_score for hit in hits), reverse=True)
    alone = {hit.key14: hit.rank for hit in run.search(library, ir=query, k=16)}
    assert [hit.key14 for hit in hits] != sorted((hit.key14 for hit in hits), key=alone.__getitem__)


def test_refusals_of_a_search(run, measured, cache):
    library, query = run.library(MOLECULES), curve(STICKS[0])
    asked = Rerank("simulate_and_match", computed=cache)

    def refused(pattern, rerank=asked, **options):
        with pytest.raises(MolchordError, match=pattern):
            run.search(library, ir=query, rerank=rerank, **options)

    evaluated(run, measured, asked, out=run.path)
    refused(
        "re-ranking adds to the logit of mode 'blind' and fusion 'gm-exp', got mode 'blind' and fusion 'gm-half'",
        fusion="gm-half",
    )
    refused("unknown reranker 'simulate_and_mach'; did you mean", Rerank("simulate_and_mach"))
    refused(r"name a data set that holds some \(`computed`\) or a simulator", "simulate_and_match")
    refused("were fitted for `k` 25, not 7", Rerank("simulate_and_match", k=7, computed=cache))
    refused("were fitted for another `width`", Rerank(mc.Use("simulate_and_match", width=9.0), computed=cache))
    refused("unknown simulator 'none'", Rerank("simulate_and_match", simulator="none"))
    refused("nothing' does not exist", Rerank("simulate_and_match", computed=run.path / "nothing"))
    refused("holds no computed measurement of 'ir'", Rerank("simulate_and_match", computed=measured))
    path = run.path / "rerank.json"
    good = json.loads(path.read_text())
    path.write_text(json.dumps(good | {"weights": {"all": {}}}))
    refused("there are no weights to re-rank a query of 'ir'; there are none")
    path.write_text(json.dumps(good | {"format": 2}))
    refused("have format 2, this molchord reads 1")
    path.write_text(json.dumps(good | {"config": {"width": -1}}))
    refused("reranker 'simulate_and_match': `width`")
    for damaged in (path.read_text()[:50], "[]", "{}", json.dumps(good | {"k": "many"})):
        path.write_text(damaged)
        refused("weights .* (are damaged|have format None)")
    weights = {"first": 1.0, "features": {"ir other": 1.0}, "queries": 3}
    path.write_text(json.dumps(good | {"weights": {"all": {"ir": weights}}}))
    refused("now gives features ir whole, ir fingerprint, ir balance, but its weights are of ir other")


def test_refusals_of_an_evaluation(run, measured, cache):
    with pytest.raises(QueryError, match="`k` is 0, but must be a whole number of at least 1"):
        evaluated(run, measured, Rerank("simulate_and_match", k=0, computed=cache))
    with pytest.raises(DataError, match="`rerank` needs mode 'blind' and fusion 'gm-exp'"):
        evaluated(run, measured, Rerank("simulate_and_match", computed=cache), fusions=["gm-half"])
    with pytest.raises(
        PluginError, match="`widht`: unknown key for reranker 'simulate_and_match'; did you mean 'width'"
    ):
        evaluated(run, measured, Rerank(mc.Use("simulate_and_match", widht=1.0), computed=cache))
    evaluated(run, measured, Rerank("simulate_and_match", computed=cache), out=run.path)
    for name in ("evaluation.json", "evaluation.csv", "report.html"):
        (run.path / name).unlink()
    with pytest.raises(MolchordError, match=r"rerank\.json' already exists"):
        evaluated(run, measured, Rerank("simulate_and_match", computed=cache), out=run.path)


def test_command_line_reranks(run, measured, cache, tmp_path, capsys):
    from molchord.cli.main import main

    again = ["--rerank", "simulate_and_match", "--computed", str(cache.path)]
    options = [
        "--data",
        str(measured.path),
        "--pool",
        "all",
        "--mode",
        "blind",
        "--fusion",
        "gm-exp",
        "--rerank-k",
        "16",
    ]
    assert main(["evaluate", str(run.path), *options, *again, "--full"]) == 0
    assert "model + simulate_and_match, k 16" in capsys.readouterr().out
    library = run.library(MOLECULES, tmp_path / "library")
    query = curve(STICKS[2])
    lines = (f"{x:.1f},{y:.5f}" for x, y in zip(*query.arrays.values(), strict=True))
    (tmp_path / "a.csv").write_text("wavenumber (cm-1),absorbance\n" + "\n".join(lines))
    words = ["search", str(run.path), str(library.path), "--ir", str(tmp_path / "a.csv"), "--k", "3"]
    assert main([*words, *again]) == 0
    table = capsys.readouterr().out
    assert "re-ranked" in table
    assert "ir balance" in table
    assert main([*words, *again, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["features"]["ir whole"] is not None
    assert main([*words, "--computed", str(cache.path)]) == 2
    assert "belong to `--rerank NAME`" in capsys.readouterr().err


# --- where computed measurements come from ---------------------------------------------------------------------------


def nodes(run):
    return {"ir": run.graph.modalities["ir"]}


def test_data_sets_give_computed_measurements_alone_and_the_first_one_wins():
    run = tiny_run()
    both = mc.from_measurements(["CCO", "CC#N"], {"ir": [[curve(STICKS[0]), STICKS[0]], curve(STICKS[1])]})
    later = mc.from_measurements(["CCO", "CSC"], {"ir": [STICKS[5], STICKS[6]]})
    source = Computed(nodes(run), run.modalities, [both, later])
    found = source.of([molecule(text) for text in ("CSC", "CCO", "CC#N", "c1ccccc1")])
    np.testing.assert_array_equal(found[1]["ir"].arrays["stick_wavenumber"], STICKS[0].arrays["stick_wavenumber"])
    np.testing.assert_array_equal(found[0]["ir"].arrays["stick_wavenumber"], STICKS[6].arrays["stick_wavenumber"])
    assert found[2] == found[3] == {}
    assert set(source.failures) == {molecule("CC#N").key14, molecule("c1ccccc1").key14}


def test_damaged_data_set_is_named(cache, tmp_path):
    shutil.copytree(cache.path, tmp_path / "broken")
    shard = next((tmp_path / "broken" / "ir").glob("*.safetensors"))
    shard.write_bytes(b"\0" * shard.stat().st_size)
    run = tiny_run()
    source = Computed(nodes(run), run.modalities, [mc.DataSet(tmp_path / "broken")])
    with pytest.raises(DataError, match="broken.*(damaged|cannot be read)"):
        source.of([molecule("CCO")])


class Invented:
    """A simulator that computes the sticks of the test's molecules, and fails for acetonitrile."""

    asked: list[str]

    def __init__(self):
        self.asked = []

    def prepare(self, molecule):
        self.asked.append(molecule.smiles)
        if molecule.smiles == "CC#N":
            raise SampleError(molecule.key14, "no conformer")
        return {"number": np.array(len(molecule.smiles))}

    def compute(self, job):
        return {"number": job["number"]}

    def measurements(self, result):
        return {"ir": STICKS[int(result["number"]) % len(STICKS)], "other": STICKS[0]}

    def prepared_by(self):
        return "by hand"

    def computed_by(self):
        return "by hand"


def invented():
    record = SimulatorRecord(
        name="invented", summary="test", api=1, makes=("ir", "other"), jobs={"number": Array(unit="1")},
        results={"number": Array(unit="1")}, config=Config, build=lambda config: Invented(),
    )  # fmt: skip
    return Plugin("simulator", record, "lab", "1.0"), Invented()


def test_simulator_fills_what_is_missing_once_and_failures_are_kept(cache):
    run = tiny_run()
    plugin, simulator = invented()
    known = mc.from_measurements(["CSC"], {"ir": [STICKS[9]]})
    source = Computed(nodes(run), run.modalities, [known], (plugin, simulator), workers=1)
    asked = [molecule(text) for text in ("CCO", "CC#N", "CSC", "c1ccccc1", "CCO")]
    for _ in range(2):
        found = source.of(asked)
    assert simulator.asked == ["CCO", "CC#N", "c1ccccc1"]
    assert [list(one) for one in found] == [["ir"], [], ["ir"], ["ir"], ["ir"]]
    assert found[0]["ir"] is STICKS[3]
    np.testing.assert_array_equal(found[2]["ir"].arrays["stick_wavenumber"], STICKS[9].arrays["stick_wavenumber"])
    assert source.failures == {molecule("CC#N").key14: "no conformer"}


# --- re-rankers of other packages ------------------------------------------------------------------------------------


def test_reranker_of_another_package(run, measured, tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "lab_rerank-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-rerank\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[molchord]\nlab = lab_rerank\n")
    (site / "lab_rerank.py").write_text(
        "from molchord.api import Config, RerankerRecord, hookimpl\n"
        "class Shortest:\n"
        "    def names(self, modalities):\n"
        "        return ('shortness',)\n"
        "    def features(self, query, candidates):\n"
        "        return [[-len(c.molecule.smiles)] for c in candidates]\n"
        "@hookimpl\n"
        "def molchord_rerankers():\n"
        "    return [RerankerRecord(name='shortest', summary='short SMILES first', api=1, config=Config,\n"
        "                           build=lambda config: Shortest())]\n"
    )
    monkeypatch.syspath_prepend(str(site))
    entries = [*metadata.entry_points(group="molchord"), *next(metadata.distributions(path=[str(site)])).entry_points]
    host = Host.discover(entry_points=entries)
    assert not host.problems
    monkeypatch.setattr(module, "installed", lambda: host)
    found = evaluated(run, measured, "shortest", out=run.path)
    assert found.find("ir", system="model + lab-rerank:shortest, k 25").molecules == 4
    # One that compares with nothing computed may look at computed queries too.
    hits = run.search(run.library(MOLECULES), ir=STICKS[0], rerank="lab-rerank:shortest", k=3)
    assert hits[0].features == {"shortness": -len(hits[0].smiles)}


# --- the built-in one ------------------------------------------------------------------------------------------------


def candidates(count=16):
    return [
        Candidate(molecule=molecule(text), computed={"ir": sticks})
        for text, sticks in zip(MOLECULES[:count], STICKS, strict=False)
    ]


def matcher(**config):
    return SIMULATE_AND_MATCH.build(SimulateAndMatchConfig(**config))


def test_the_right_candidate_matches_best():
    same = matcher(scale=((1000.0, 1.0),))
    for row, sticks in enumerate(STICKS):
        features = same.features({"ir": [curve(sticks)]}, candidates())
        assert features[:, 0].argmax() == row
        assert features[row, 1] > 0.9
        assert features[:, 2].argmax() == row


def test_whole_is_the_correlation_of_powered_curves():
    some = matcher(scale=((1000.0, 0.98),), power=0.5, width=17.0, start=700.0, stop=3500.0)
    query = curve(STICKS[4])
    grid = np.arange(700.0, 3500.1, 4.0)
    y = np.interp(grid, *(array.astype(float) for array in query.arrays.values()))
    y = (y - y.min()) / np.ptp(y)
    for row, candidate in enumerate(candidates(5)):
        arrays = candidate.computed["ir"].arrays
        lines = [
            a / ((grid - 0.98 * p) ** 2 + 17.0**2)
            for p, a in zip(arrays["stick_wavenumber"], arrays["stick_intensity"], strict=True)
        ]
        line = np.sum(lines, axis=0)
        line = (line - line.min()) / np.ptp(line)
        found = some.features({"ir": [query]}, candidates(5))[row]
        assert found[0] == pytest.approx(np.corrcoef(y**0.5, line**0.5)[0, 1], abs=1e-6)
        low = grid < 1500
        assert found[1] == pytest.approx(np.corrcoef(y[low] ** 0.5, line[low] ** 0.5)[0, 1], abs=1e-6)
        ends = [0, 1000, 1500, 2500, 3200, 9999]
        parts = [(grid >= a) & (grid < b) for a, b in pairwise(ends)]
        shares = [[(values**0.5)[part].sum() / (values**0.5).sum() for part in parts] for values in (y, line)]
        assert found[2] == pytest.approx(-np.abs(np.subtract(*shares)).sum(), abs=1e-6)


def lines(position, intensity=None, source=None, **arrays):
    """A candidate with these computed lines."""
    intensity = np.ones(len(position)) if intensity is None else intensity
    given = {"stick_wavenumber": np.float64(position), "stick_intensity": np.float64(intensity), **arrays}
    return Measurement(arrays=given, columns={} if source is None else {"source": source})


def place(reranker, measurement, modality="ir"):
    """Where a measured band must be to match a single computed line, to 4 cm^-1: every 20 first, then about the best."""
    candidate = dataclasses.replace(candidates(1)[0], computed={modality: measurement})
    x = np.arange(500.0, 4000.0)

    def best(tried):
        bands = [Measurement(arrays={"wavenumber": x, "absorbance": 400 / ((x - at) ** 2 + 400)}) for at in tried]
        return tried[np.argmax([reranker.features({modality: [band]}, [candidate])[0, 0] for band in bands])]

    return best(best(np.arange(700.0, 3700.0, 20.0)) + np.arange(-20.0, 21.0, 4.0))


def test_scale_is_linear_between_its_wavenumbers():
    moved = matcher(scale=((1000.0, 0.9), (2000.0, 1.1)))
    assert place(moved, lines([1500.0])) == pytest.approx(1500.0, abs=4)
    assert place(moved, lines([900.0])) == pytest.approx(810.0, abs=4)


@pytest.mark.parametrize(
    ("line", "kind", "source", "expected"),
    [
        (1000.0, None, "gfn2", 989.0),  # between 0.970 at 750 and 0.995 at 1100
        (1000.0, None, None, 989.0),
        (1000.0, None, "aimnet2", 965.0),
        (1000.0, None, "aimnet2 (one member)", 965.0),
        (3100.0, None, "aimnet2", 2960.5),
        (3700.0, None, "aimnet2", 3496.5),
        (3480.0, 1, "aimnet2", 3323.4),  # an alkyne's C-H; propyne's is at 3334
        (3480.0, None, "aimnet2", 3288.6),
    ],
)
def test_by_default_each_simulators_wavenumbers_get_their_own_factors(line, kind, source, expected):
    arrays = {} if kind is None else {"stick_kind": np.uint8([kind])}
    assert place(matcher(), lines([line], source=source, **arrays)) == pytest.approx(expected, abs=5)


def test_by_default_the_too_strong_lines_of_aimnet2_are_weakened_in_the_infrared_alone():
    position, strength = [1500.0, 3700.0], np.array([1.0, 1.0 / 0.55])
    x = np.arange(500.0, 4000.0)
    curve = sum(1 / ((x - p) ** 2 + 400) for p in (1500 * 0.965, 3700 * 0.945))
    query = Measurement(arrays={"wavenumber": x, "absorbance": curve})
    candidate = dataclasses.replace(
        candidates(1)[0],
        computed={name: lines(position, strength, "aimnet2") for name in ("ir", "raman")},
    )
    whole = {m: matcher().features({m: [query]}, [candidate])[0, 0] for m in ("ir", "raman")}
    assert whole["ir"] > 0.999 > whole["raman"]


def test_what_cannot_be_compared_is_nan():
    query = curve(STICKS[0])
    some = matcher()
    bare = dataclasses.replace(candidates(1)[0], computed={})
    dark = Measurement(arrays={"stick_wavenumber": np.array([100.0]), "stick_intensity": np.array([0.0])})
    dark = dataclasses.replace(bare, computed={"ir": dark})
    wrong = dataclasses.replace(bare, computed={"ir": query})
    found = some.features({"ir": [query]}, [*candidates(1), bare, dark, wrong])
    assert np.isfinite(found).all(axis=1).tolist() == [True, False, False, False]
    flat = Measurement(arrays={"wavenumber": np.arange(500.0, 4000.0), "absorbance": np.ones(3500)})
    outside = Measurement(arrays={"wavenumber": np.arange(10.0, 90.0), "absorbance": np.arange(80.0)})
    for useless in (flat, outside, STICKS[0], Measurement(arrays={})):
        assert np.isnan(some.features({"ir": [useless]}, candidates(2))).all()
    assert some.features({"ir": [query], "raman": [query]}, candidates(2)).shape == (2, 6)
    assert np.isnan(some.features({"raman": [query]}, candidates(2))).all()


def test_curves_of_part_of_the_range_and_several_of_them():
    some = matcher(scale=((1000.0, 1.0),))
    upper, lower = curve(STICKS[1], start=1600.0), curve(STICKS[1], stop=1400.0)
    found = some.features({"ir": [upper]}, candidates())
    assert np.isnan(found[:, 1]).all()
    assert found[:, 0].argmax() == 1
    several = some.features({"ir": [lower, STICKS[1], curve(STICKS[1])]}, candidates())
    each = [some.features({"ir": [one]}, candidates()) for one in (lower, curve(STICKS[1]))]
    np.testing.assert_allclose(several, np.mean(each, axis=0))
    turned = Measurement(arrays={name: values[::-1] for name, values in curve(STICKS[1]).arrays.items()})
    np.testing.assert_allclose(some.features({"ir": [turned]}, candidates()), each[1])


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"scale": ((2000.0, 1.0), (1000.0, 1.0))}, "ascending order"),
        ({"scale": ()}, "at least 1 item"),
        ({"fingerprint": 500.0}, "ascending order"),
        ({"power": 0.0}, "greater than 0"),
    ],
)
def test_wrong_configurations(config, sentence):
    with pytest.raises(ValueError, match=sentence):
        SimulateAndMatchConfig(**config)


def test_hook_rerankers():
    plugin = installed().find("reranker", "simulate_and_match")
    assert (plugin.qualified, plugin.record.computed) == ("molchord:simulate_and_match", True)
    assert broadened(np.array([700.0]), np.array([1.0]), np.array([600.0, 700.0, 720.0]), 20.0)[1] == 1.0
    assert np.isnan(correlation(np.ones(3), np.ones((1, 3)), np.ones(3, dtype=bool)))
