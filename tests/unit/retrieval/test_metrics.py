"""Ranks, figures, intervals and calibration against plain loops and known answers."""

import math

import numpy as np
import pytest
import torch

from molchord.errors import DataError
from molchord.evaluate.calibration import confidences, fit_beta, fit_tau, logits
from molchord.retrieval.metrics import (
    METRICS,
    Interval,
    Members,
    blind_mrr,
    bootstrap,
    calibration_error,
    expected_metrics,
    mean_by_molecule,
    paired_difference,
    paired_tanimoto,
    query_metrics,
    tally,
)
from molchord.retrieval.scores import scores


class Masked:
    """A pool given as a full matrix."""

    def __init__(self, table):
        self.table = table

    def mask(self, queries, candidates):
        return self.table[queries][:, candidates]


def block_of(values):
    return lambda rows, columns: values[rows][:, columns]


def reference_rank(row, true, members):
    """The rank of PROTOCOLS, word by word."""
    if true < 0 or not members[true] or not math.isfinite(row[true]):
        return math.inf
    rank = 1
    for g, value in enumerate(row):
        if g != true and members[g]:
            strictly_below = value < row[true] and not abs(value - row[true]) <= 1e-6
            rank += not strictly_below
    return rank


@pytest.mark.parametrize("columns_at_once", [1, 7, 100])
def test_ranks_of_ties_nan_and_masks_as_plain_loops(columns_at_once):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 5, size=(60, 30)) / 4 + rng.choice([0, 4e-7, -4e-7, 3e-6], size=(60, 30))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[rng.random(values.shape) < 0.05] = np.inf
    values[rng.random(values.shape) < 0.05] = -np.inf
    truth = rng.integers(-1, 30, size=60)
    tables = [np.ones((60, 30), bool), rng.random((60, 30)) < 0.5, np.zeros((60, 30), bool)]
    pools = [Masked(torch.from_numpy(t)) for t in tables]
    counts = tally(
        block_of(torch.from_numpy(values)),
        torch.from_numpy(truth),
        pools,
        30,
        queries_at_once=16,
        candidates_at_once=columns_at_once,
    )
    for table, count in zip(tables, counts, strict=True):
        expected = [reference_rank(values[q], truth[q], table[q]) for q in range(60)]
        assert count.rank.tolist() == expected
        assert count.size.tolist() == table.sum(axis=1).tolist()
        for q in range(60):
            others = [g for g in range(30) if table[q, g] and g != truth[q] and math.isfinite(values[q, g])]
            assert count.rival[q] == (max(others, key=lambda g, q=q: (values[q, g], -g)) if others else -1)


def test_a_true_score_that_is_not_finite_is_a_miss_even_among_equals():
    values = torch.full((2, 4), torch.nan)
    values[1] = -torch.inf
    counts = tally(block_of(values), torch.tensor([0, 0]), [Members(torch.ones(4, dtype=torch.bool))], 4)[0]
    assert counts.rank.tolist() == [math.inf, math.inf]
    assert query_metrics(counts, np.zeros(2))[:, :5].sum() == 0


def test_metrics_of_known_ranks():
    values = torch.zeros(3, 30)
    values[0, 0], values[1, :3] = 1.0, torch.tensor([0.5, 0.9, 0.8])
    values[2, 0] = -1.0
    counts = tally(
        block_of(values), torch.zeros(3, dtype=torch.int64), [Members(torch.ones(30, dtype=torch.bool))], 30
    )[0]
    found = dict(zip(METRICS, query_metrics(counts, np.array([0.2, 0.3, 0.4])).T.tolist(), strict=True))
    assert counts.rank.tolist() == [1, 3, 30]
    assert found == {
        "top1": [1, 0, 0],
        "top5": [1, 1, 0],
        "top10": [1, 1, 0],
        "top25": [1, 1, 0],
        "mrr": pytest.approx([1, 1 / 3, 1 / 30]),
        "tanimoto": [1, 0.3, 0.4],
    }


def test_expected_metrics_are_the_mean_over_random_tie_breaks():
    values = torch.tensor([[0.5, 0.5, 0.5, 0.9, 0.1, 0.5, 0.9]])
    counts = tally(block_of(values), torch.tensor([0]), [Members(torch.ones(7, dtype=torch.bool))], 7)[0]
    ranks = np.array([3, 4, 5, 6])
    expected = [np.mean(ranks <= k) for k in (1, 5, 10, 25)] + [np.mean(1 / ranks)]
    assert expected_metrics(counts)[0, :5].tolist() == pytest.approx(expected)
    missed = tally(block_of(values), torch.tensor([-1]), [Members(torch.ones(7, dtype=torch.bool))], 7)[0]
    assert expected_metrics(missed)[0, :5].tolist() == [0] * 5


def test_no_candidates_is_an_error():
    with pytest.raises(DataError, match="no candidate to rank"):
        tally(block_of(torch.zeros(1, 0)), torch.tensor([0]), [], 0)


def test_molecules_are_averaged_first_and_resampled_whole():
    values = np.array([[1.0], [1.0], [1.0], [0.0]])
    rows, means = mean_by_molecule(values, np.array([4, 4, 4, 2]))
    assert (rows.tolist(), means.tolist()) == ([2, 4], [[0.0], [1.0]])
    interval = bootstrap(means, resamples=200)[0]
    assert interval == Interval(0.5, 0.0, 1.0)


def test_bootstrap_interval_has_the_width_of_theory():
    rng = np.random.default_rng(1)
    values = (rng.random((400, 1)) < 0.3).astype(float)
    share = values.mean()
    interval = bootstrap(values, resamples=1000, seed=3)[0]
    half = 1.96 * math.sqrt(share * (1 - share) / 400)
    assert interval.value == share
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.1)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3)
    nothing = bootstrap(np.zeros((0, 2)))
    assert len(nothing) == 2
    assert math.isnan(nothing[0].value)
    partly = bootstrap(np.array([[1.0, np.nan], [0.0, np.nan]]))
    assert partly[0].value == 0.5
    assert math.isnan(partly[1].low)


def test_paired_difference_is_narrower_than_unpaired_and_needs_the_same_molecules():
    rng = np.random.default_rng(2)
    base = rng.random((200, 1))
    rows = np.arange(200)
    difference = paired_difference((rows, base + 0.05), (rows, base))[0]
    assert difference.low == pytest.approx(0.05)
    assert difference.high == pytest.approx(0.05)
    with pytest.raises(DataError, match="200 and 199 molecules"):
        paired_difference((rows, base), (rows[:-1], base[:-1]))


def test_tanimoto_by_rows_agrees_with_rdkit():
    chem = pytest.importorskip("rdkit.Chem")
    from rdkit import DataStructs
    from rdkit.Chem import rdFingerprintGenerator

    smiles = ["CCO", "c1ccccc1O", "CC(=O)O", "C"]
    made = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [made.GetFingerprint(chem.MolFromSmiles(s)) for s in smiles]
    packed = np.packbits(np.array([list(p) for p in prints], dtype=np.uint8), axis=1)
    for i in range(4):
        expected = [DataStructs.TanimotoSimilarity(prints[i], other) for other in prints]
        assert paired_tanimoto(packed[[i] * 4], packed).tolist() == pytest.approx(expected)


def test_blind_mrr_leaves_out_queries_without_spectra_and_candidates_without_a_vector():
    generator = torch.Generator().manual_seed(0)
    candidates = torch.nn.functional.normalize(torch.randn(30, 8, generator=generator), dim=1)
    queries = {n: torch.nn.functional.normalize(torch.randn(6, 8, generator=generator), dim=1) for n in ("a", "b")}
    present = {"a": torch.tensor([1, 1, 0, 0, 1, 1]).bool(), "b": torch.tensor([1, 0, 0, 1, 1, 0]).bool()}
    candidates[7] = torch.nan
    truth = torch.tensor([3, 1, 2, 9, 7, -1])
    tau = {"a": 0.1, "b": 0.4}
    values = scores(queries, candidates, tau=tau, present=present).double().numpy()
    members = np.isfinite(candidates.numpy()).all(axis=1)
    expected = np.mean([1 / reference_rank(values[q], int(truth[q]), members) for q in (0, 1, 3, 4, 5)])
    assert blind_mrr(queries, present, candidates, truth, tau) == pytest.approx(expected)
    nobody = {n: torch.zeros(6, dtype=torch.bool) for n in queries}
    with pytest.raises(DataError, match="no validation molecule"):
        blind_mrr(queries, nobody, candidates, truth, tau)


# --- calibration


def sampled(count, size, beta, seed):
    """Logits whose true class is drawn from softmax(beta * logits)."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, size, generator=generator)
    return values, torch.multinomial((beta * values).softmax(dim=1), 1, generator=generator)[:, 0]


def test_beta_is_recovered_and_is_the_minimum_of_the_likelihood():
    values, truth = sampled(4000, 20, 2.5, 0)
    beta = fit_beta(values, truth)
    assert beta == pytest.approx(2.5, rel=0.05)
    losses = [
        float(torch.nn.functional.cross_entropy(b * values.double(), truth)) for b in (0.98 * beta, beta, 1.02 * beta)
    ]
    assert losses[1] < min(losses[0], losses[2])
    with pytest.raises(DataError, match="no validation queries"):
        fit_beta(values[:0], truth[:0])


def test_tau_is_recovered_for_each_modality():
    generator = torch.Generator().manual_seed(1)
    candidates = torch.nn.functional.normalize(torch.randn(50, 16, generator=generator), dim=1)
    queries = {n: torch.nn.functional.normalize(torch.randn(1000, 16, generator=generator), dim=1) for n in ("a", "b")}
    tau = {"a": 0.1, "b": 0.4}
    truth = torch.multinomial(logits(queries, candidates, tau).softmax(dim=1), 1, generator=generator)[:, 0]
    fitted = fit_tau(queries, candidates, truth)
    assert fitted == {name: pytest.approx(value, rel=0.25) for name, value in tau.items()}
    without = queries | {"b": torch.zeros(1000, 16)}
    alone = torch.multinomial(logits({"a": queries["a"]}, candidates, tau).softmax(dim=1), 1, generator=generator)[:, 0]
    assert fit_tau(without, candidates, alone)["a"] == pytest.approx(0.1, rel=0.25)
    few = {name: rows[:1] for name, rows in queries.items()}
    held = fit_tau(few, candidates, truth[:1], prior={"a": 0.07, "b": 0.2})
    assert 0.02 < held["a"] < 0.25
    assert 0.05 < held["b"] < 0.8
    with pytest.raises(DataError, match="no validation queries"):
        fit_tau({n: q[:0] for n, q in queries.items()}, candidates, truth[:0])


def test_confidences_are_the_softmax_over_the_pool():
    values, truth = sampled(40, 30, 1.0, 2)
    truth[0] = 0
    table = torch.rand(40, 30, generator=torch.Generator().manual_seed(3)) < 0.5
    table[0] = False
    probability, correct = confidences(block_of(values), truth, Masked(table), 30, queries_at_once=7)
    for q in range(1, 40):
        inside = values[q][table[q]].double().softmax(dim=0)
        assert probability[q] == pytest.approx(float(inside.max()), rel=1e-5)
        assert correct[q] == (int(values[q].where(table[q], -torch.inf).argmax()) == int(truth[q]))
    assert (probability[0], correct[0]) == (0.0, False)


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_a_large_one():
    values, truth = sampled(5000, 20, 1.5, 4)

    def error(beta):
        pool = Members(torch.ones(20, dtype=torch.bool))
        return calibration_error(*confidences(block_of(beta * values), truth, pool, 20))

    assert error(1.5) < 0.03 < 0.2 < error(6.0)
    assert math.isnan(calibration_error(np.zeros(0), np.zeros(0, bool)))
