"""Temperatures and confidence factors against plain maximisation in fp64, confidences against a plain softmax."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from molchord.errors import DataError
from molchord.evaluate.calibration import calibrate, confidences, fit_beta, fit_tau, likeness, logit_scorer, logits
from molchord.evaluate.embedded import Embedded, Queries, Spectra, queries_of
from molchord.retrieval.metrics import Members

N, DIM = 30, 6


def unit_rows(rng, count, dim=DIM):
    return torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(count, dim))), dim=1).float()


def noisy(rng, rows, noise):
    return torch.nn.functional.normalize(rows + noise * unit_rows(rng, len(rows)), dim=1)


@pytest.fixture(scope="module")
def embedded():
    """Validation molecules 0 to 19, of which 4 has no candidate; test molecules 20 to 25, the rest trained on."""
    rng = np.random.default_rng(0)
    candidates = unit_rows(rng, N)
    ir = rng.permutation(np.repeat(np.arange(N), rng.integers(0, 3, N)))
    raman = np.arange(0, N, 2)
    present = np.arange(N) != 4
    return Embedded(
        key14=[f"K{i}" for i in range(N)],
        smiles=["C"] * N,
        formula=["CH4"] * N,
        exact_mass=np.full(N, 16.0),
        split=np.array([1] * 20 + [2] * 6 + [0] * 4),
        trained=np.arange(N) >= 26,
        candidates=torch.where(torch.from_numpy(present)[:, None], candidates, torch.nan),
        present=present,
        spectra={
            "ir": Spectra(molecule=ir, vectors=noisy(rng, candidates[torch.from_numpy(ir)], 1.0)),
            "raman": Spectra(molecule=raman, vectors=noisy(rng, candidates[torch.from_numpy(raman)], 1.5)),
        },
        tau={"ir": 0.2, "raman": 0.4},
    )


def log_likelihood(values, truth):
    values = np.asarray(values, dtype=np.float64)
    values = values - values.max(axis=1, keepdims=True)
    return (values[np.arange(len(truth)), truth] - np.log(np.exp(values).sum(axis=1))).mean()


# --- one number


@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("queries", [1, 7, 200])
def test_beta_maximises_the_likelihood_with_its_prior(scale, queries):
    rng = np.random.default_rng(queries)
    values = scale * rng.normal(size=(queries, 12))
    truth = np.where(rng.random(queries) < 0.6, values.argmax(axis=1), rng.integers(0, 12, queries))

    def objective(beta):
        return log_likelihood(beta * values, truth) - math.log(beta) ** 2 / (2 * 10) / queries

    found = fit_beta(torch.from_numpy(values), torch.from_numpy(truth))
    grid = np.exp(np.linspace(math.log(1e-3), math.log(1e3), 801))
    best = grid[np.argmax([objective(beta) for beta in grid])]
    assert found == pytest.approx(best, rel=0.02)
    assert objective(found) >= max(objective(0.999 * found), objective(1.001 * found)) - 1e-12


def test_a_few_right_answers_claim_no_certainty_and_many_more_do():
    def all_right(queries):
        return fit_beta(
            10 * torch.eye(20)[torch.zeros(queries, dtype=torch.int64)], torch.zeros(queries, dtype=torch.int64)
        )

    assert 0.3 < all_right(1) < all_right(10) < all_right(1000) < 5


def test_answers_that_are_always_wrong_make_every_candidate_alike():
    assert fit_beta(torch.tensor([[5.0, 0.0]] * 4000), torch.ones(4000, dtype=torch.int64)) < 0.01


@pytest.mark.parametrize("prior", [None, 0.05, 2.0])
@pytest.mark.parametrize("queries", [3, 300])
def test_tau_maximises_the_likelihood_with_its_prior(prior, queries):
    rng = np.random.default_rng(1)
    candidates = unit_rows(rng, 25)
    truth = torch.from_numpy(rng.integers(0, 25, queries))
    asked = noisy(rng, candidates[truth], 1.2)
    cosines = (asked @ candidates.T).double().numpy()

    def objective(tau):
        pull = 0.0 if prior is None else (math.log(tau) - math.log(prior)) ** 2 / 2 / queries
        return log_likelihood(cosines / tau, truth.numpy()) - pull

    found = fit_tau({"ir": asked}, candidates, truth, prior=None if prior is None else {"ir": prior})["ir"]
    grid = np.exp(np.linspace(math.log(1e-3), math.log(10), 301))
    best = grid[np.argmax([objective(tau) for tau in grid])]
    assert found == pytest.approx(best, rel=0.03)


def test_the_spectrum_that_says_more_gets_the_lower_tau():
    rng = np.random.default_rng(2)
    candidates = unit_rows(rng, 40)
    truth = torch.arange(40)
    found = fit_tau({"good": noisy(rng, candidates, 0.5), "noise": unit_rows(rng, 40)}, candidates, truth)
    assert found["good"] < 0.3 < found["noise"]


@pytest.mark.parametrize("shift", [0, 1])
def test_tau_stays_within_its_range(shift):
    """Perfect queries want none at all, wrong ones an infinite one."""
    rows = torch.eye(DIM)
    found = fit_tau({"ir": rows}, rows, (torch.arange(DIM) + shift) % DIM)["ir"]
    assert 1e-3 - 1e-9 <= found <= 10 + 1e-5
    assert found < 0.1 if shift == 0 else found == pytest.approx(10, rel=0.05)


def test_without_queries_nothing_is_fitted():
    said = "calibration failed: there are no validation queries; calibrate on a split that has spectra"
    none = torch.zeros(0, dtype=torch.int64)
    for fit in (
        lambda: fit_beta(torch.zeros(0, 3), none),
        lambda: fit_tau({"ir": torch.zeros(0, DIM)}, torch.eye(DIM), none),
    ):
        with pytest.raises(DataError) as caught:
            fit()
        assert str(caught.value) == said


# --- logits and confidences


def test_logits_are_weighted_sums_over_what_a_query_has():
    rng = np.random.default_rng(4)
    queries = {"ir": unit_rows(rng, 3), "raman": unit_rows(rng, 3)}
    candidates, has = unit_rows(rng, 7), torch.tensor([True, False, True])
    found = logits(queries, candidates, {"ir": 0.2, "raman": 0.5}, {"raman": has})
    for q in range(3):
        for g in range(7):
            expected = float(queries["ir"][q] @ candidates[g]) / 0.2
            expected += float(queries["raman"][q] @ candidates[g]) / 0.5 if has[q] else 0.0
            assert float(found[q, g]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(DataError, match="the query has no modality; give at least one spectrum"):
        logits({}, candidates, {})


@pytest.mark.parametrize("tau", [None, {"ir": 0.2, "raman": 0.4}])
def test_a_scorer_gives_blocks_of_one_table(embedded, tau):
    given = dataclasses.replace(embedded, tau=tau)
    queries = queries_of(given, ("ir", "raman"), "val")
    score = logit_scorer(given, queries, 0.7)
    whole = 0.7 * logits(queries.vectors(given), given.candidates, tau or {"ir": 1.0, "raman": 1.0})
    torch.testing.assert_close(score(slice(0, len(queries)), slice(0, N)), whole, equal_nan=True)
    torch.testing.assert_close(score(slice(1, 4), torch.tensor([9, 2, 4])), whole[1:4][:, [9, 2, 4]], equal_nan=True)


@pytest.mark.parametrize("at_once", [1, 2, 512])
def test_confidence_is_a_softmax_over_the_members_of_the_pool(at_once):
    rng = np.random.default_rng(5)
    values = 3 * rng.normal(size=(5, 20_000))  # several blocks of candidates
    values[:, 7] = np.nan  # could not be embedded
    values[1, 9000] = 99.0  # not a member
    values[2, 19_999] = 20.0
    member = rng.random(20_000) < 0.5
    member[[7, 19_999]], member[9000] = True, False
    truth = np.array([int(np.nanargmax(np.where(member, row, np.nan))) for row in values])
    truth[0], truth[3] = -1, truth[3] + 1
    table = torch.from_numpy(values)
    found, correct = confidences(
        lambda rows, columns: table[rows, columns], torch.from_numpy(truth), Members(torch.from_numpy(member)), 20_000,
        queries_at_once=at_once,
    )  # fmt: skip
    for q in range(5):
        inside = values[q][member & np.isfinite(values[q])]
        assert found[q] == pytest.approx(np.exp(inside.max()) / np.exp(inside).sum(), rel=1e-9)
    assert correct.tolist() == [False, True, True, False, True]


def test_a_pool_without_candidates_gives_no_confidence():
    table = torch.zeros(2, 4)
    none = Members(torch.zeros(4, dtype=torch.bool))
    found, correct = confidences(lambda rows, columns: table[rows, columns], torch.tensor([0, -1]), none, 4)
    assert found.tolist() == [0.0, 0.0]
    assert correct.tolist() == [False, False]
    found, correct = confidences(lambda rows, columns: table[rows, columns], torch.zeros(0, dtype=torch.int64), none, 4)
    assert (found.shape, correct.shape) == ((0,), (0,))


# --- a whole data set


def subset_logits(embedded, subset, split, members, tau):
    """Logits and truth of the queries of a subset whose molecule is a member."""
    asked = queries_of(embedded, subset, split)
    inside = np.flatnonzero(np.isin(asked.molecule, members))
    kept = Queries(
        subset=subset, molecule=asked.molecule[inside], measurement={m: v[inside] for m, v in asked.measurement.items()}
    )
    values = logits(kept.vectors(embedded), embedded.candidates[torch.from_numpy(members)], tau)
    return values, torch.from_numpy(np.searchsorted(members, kept.molecule))


@pytest.mark.parametrize(
    ("pool", "members"),
    [("all", [*range(4), *range(5, N)]), ("test", [*range(4), *range(5, 20)])],  # the structures of the split
)
def test_beta_is_of_each_number_of_spectra_over_the_pools_members(embedded, pool, members):
    tau, beta = calibrate(embedded, split="val", pool=pool)
    members = np.array(members)
    assert tau == embedded.tau
    assert sorted(beta) == [1, 2]
    for size, subsets in ((1, [("ir",), ("raman",)]), (2, [("ir", "raman")])):
        parts = [subset_logits(embedded, subset, "val", members, tau) for subset in subsets]
        expected = fit_beta(torch.cat([v for v, _ in parts]), torch.cat([t for _, t in parts]))
        assert beta[size] == pytest.approx(expected, rel=1e-6)


def test_temperatures_are_fitted_where_there_are_none_and_kept_otherwise(embedded):
    bare = dataclasses.replace(embedded, tau=None)
    tau, _ = calibrate(bare)
    again, _ = calibrate(bare)
    assert tau == again
    assert sorted(tau) == ["ir", "raman"]
    refitted, _ = calibrate(embedded, refit_tau=True)
    # the prior pulls towards what the loss learned
    assert all(
        abs(math.log(refitted[m] / embedded.tau[m])) <= abs(math.log(tau[m] / embedded.tau[m])) + 1e-6 for m in tau
    )


@pytest.mark.parametrize("pool", ["isomers", "mass:10ppm"])
def test_a_pool_that_differs_by_query_is_refused(embedded, pool):
    with pytest.raises(DataError) as caught:
        calibrate(embedded, pool=pool)
    assert str(caught.value) == (
        f"calibration failed: pool {pool!r} differs by query; allowed: 'all', 'test', 'unseen:N'"
    )


def test_a_split_without_spectra_is_named(embedded):
    none = Spectra(molecule=np.zeros(0, np.int64), vectors=torch.zeros(0, DIM))
    with pytest.raises(DataError) as caught:
        calibrate(dataclasses.replace(embedded, spectra={"ir": none}))
    assert str(caught.value) == ("calibration failed: no molecule of split 'val' has a spectrum; choose another split")


# --- likeness


def test_likeness_is_the_lower_end_of_the_mean_cosines(embedded):
    found = likeness(embedded, split="val", most=0.5, points=4)
    assert set(found) <= {"ir", "raman", "ir + raman"}
    assert "ir" in found
    for name, pairs in found.items():
        subset = tuple(name.split(" + "))
        asked = queries_of(embedded, subset, "val")
        cosines = []
        for q, m in enumerate(asked.molecule):
            if embedded.present[m]:
                weights = [1 / embedded.tau[s] for s in subset]
                own = [
                    float(embedded.spectra[s].vectors[asked.measurement[s][q]] @ embedded.candidates[m]) for s in subset
                ]
                cosines.append(np.average(own, weights=weights))
        cosines = np.sort(cosines)
        assert 1 <= len(pairs) <= 4
        for value, share in pairs:
            no_more_alike = int((cosines <= value + 1e-6).sum())
            assert np.isclose(cosines, value, atol=1e-5).any()
            assert share == pytest.approx((no_more_alike + 1) / (len(cosines) + 1))
            assert share <= 0.5 + 1 / (len(cosines) + 1)
        assert [v for v, _ in pairs] == sorted(v for v, _ in pairs)


def test_few_queries_have_no_lower_end(embedded):
    assert likeness(embedded, most=0.01) == {}
