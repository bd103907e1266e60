"""Figures of single pairs against plain loops, and the table of all scores."""

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from molchord.errors import OutputExistsError
from molchord.evaluate.embedded import Embedded, Spectra, model_scorer, queries_of
from molchord.evaluate.evaluation import evaluate
from molchord.evaluate.exported import write_scores
from molchord.evaluate.pairs import pair_metrics, told_apart
from molchord.testing import tiny_run


def rounded(seed, centre):
    return np.random.default_rng(seed).normal(centre, 1.0, 60).round(1)  # with ties


def test_areas_are_those_of_plain_loops():
    right, wrong = rounded(0, 1.0), rounded(1, 0.0)
    found = pair_metrics(right, wrong, np.arange(60))
    wins = [(r > w) + 0.5 * (r == w) for r in right for w in wrong]
    assert found.auroc == pytest.approx(sum(wins) / len(wins), abs=1e-12)
    area, before = 0.0, 0.0
    for threshold in sorted({*right, *wrong}, reverse=True):  # all scores from it on are called right
        called, true = (right >= threshold).sum() + (wrong >= threshold).sum(), (right >= threshold).sum()
        area += (true / 60 - before) * true / called
        before = true / 60
    assert found.auprc == pytest.approx(area, abs=1e-12)
    assert found.pairs == 60


def test_the_threshold_of_each_half_is_the_best_of_the_other_half():
    right, wrong = rounded(2, 1.0), rounded(3, 0.0)
    found = pair_metrics(right, wrong, np.arange(60))
    correct = 0
    for side in (0, 1):
        mine, other = slice(side, None, 2), slice(1 - side, None, 2)
        accuracies = {
            t: (right[other] >= t).sum() + (wrong[other] < t).sum() for t in (*right[other], *wrong[other], np.inf)
        }
        threshold = max(accuracies, key=lambda t: (accuracies[t], t))
        correct += (right[mine] >= threshold).sum() + (wrong[mine] < threshold).sum()
    assert found.accuracy == correct / 120


def test_pairs_are_told_apart_perfectly_or_not_at_all():
    one, zero = np.ones(6), np.zeros(6)
    best = pair_metrics(one, zero, np.arange(6))
    assert (best.accuracy, best.auroc, best.auprc) == (1.0, 1.0, 1.0)
    chance = pair_metrics(one, one, np.arange(6))
    assert (chance.accuracy, chance.auroc, chance.auprc) == (0.5, 0.5, 0.5)
    single = pair_metrics(one, zero, np.zeros(6, dtype=np.int64))
    assert single.accuracy == 1.0


def embedded(count=12):
    generator = torch.Generator().manual_seed(1)
    unit = torch.nn.functional.normalize(torch.randn(count, 5, generator=generator), dim=1)
    noisy = torch.nn.functional.normalize(unit + 0.1 * torch.randn(count, 5, generator=generator), dim=1)
    return Embedded(
        key14=[f"K{i}" for i in range(count)], smiles=["C"] * count, formula=["CH4"] * count,
        exact_mass=np.full(count, 16.03), split=np.where(np.arange(count) < 8, 2, 0), trained=np.arange(count) >= 8,
        candidates=unit, present=np.arange(count) != 3,
        spectra={
            "ir": Spectra(molecule=np.arange(count), vectors=unit),
            "raman": Spectra(molecule=np.arange(count), vectors=noisy),
        },
    )  # fmt: skip


def test_a_query_meets_its_own_candidate_and_another_of_its_split():
    given = embedded()
    queries = queries_of(given, ("ir",), "test")
    seen = []

    def scorer(rows, columns):
        seen.append(columns)
        return model_scorer(given, queries, fusion="gm-exp", mode="blind")(rows, columns)

    found = told_apart(scorer, given, queries, "test", seed=0)
    own, other = (columns.numpy() for columns in seen)
    usable = [0, 1, 2, 4, 5, 6, 7]  # the fourth has no candidate
    assert own[usable].tolist() == usable
    assert set(other[usable]) <= set(usable)
    assert not (other[usable] == usable).any()
    assert (found.pairs, found.auroc) == (7, 1.0)
    lone = dataclasses.replace(given, split=np.where(np.arange(12) == 0, 2, 0))
    assert told_apart(scorer, lone, queries_of(lone, ("ir",), "test"), "test", seed=0) is None


def test_an_evaluation_says_how_well_pairs_are_told_apart_beside_top_k():
    found = evaluate(embedded(), pools=["test"], audit=False, fingerprints=np.zeros((12, 1), np.uint8))
    assert list(found.pairs) == ["ir", "raman", "ir + raman"]
    assert "own structure or one other, ir: accuracy" in found.summary()
    assert found.as_dict()["pairs"]["ir"]["auroc"] == found.pairs["ir"].auroc


def test_the_table_holds_every_query_and_candidate_of_the_pool(tmp_path):
    given, path = embedded(), tmp_path / "scores.parquet"
    write_scores(
        path, given, modes=["blind", "library"], fusions=["gm-exp", "published"], pool="test", split="test", seed=0
    )
    table = pq.read_table(path).to_pylist()
    assert len(table) == 3 * 2 * 2 * 8 * 7  # subsets, modes, fusions, queries, candidates
    for subset, mode, fusion in ((("ir",), "blind", "gm-exp"), (("ir", "raman"), "library", "published")):
        rows = [
            row for row in table if (row["spectra"], row["mode"], row["fusion"]) == (" + ".join(subset), mode, fusion)
        ]
        queries = queries_of(given, subset, "test")
        values = model_scorer(given, queries, fusion=fusion, mode=mode)(slice(0, 8), slice(0, 12))
        for row in rows:
            assert row["molecule"] == f"K{queries.molecule[row['query']]}"
            candidate = int(row["candidate"][1:])
            assert row["score"] == pytest.approx(float(values[row["query"], candidate]), rel=1e-6)
        assert {row["candidate"] for row in rows} == {f"K{i}" for i in (0, 1, 2, 4, 5, 6, 7)}


def test_a_run_writes_its_scores_and_keeps_a_file_that_is_there(tmp_path):
    run, options = tiny_run(), {"pools": ["test"], "modes": ["blind"], "fusions": ["gm-exp"], "baselines": False}
    run.evaluate(scores=tmp_path / "s.parquet", audit=False, **options)
    assert pq.read_metadata(tmp_path / "s.parquet").num_rows == 4 * 4
    with pytest.raises(OutputExistsError, match=r"s\.parquet"):
        run.evaluate(scores=tmp_path / "s.parquet", audit=False, **options)
