"""Metrics against loops and numbers worked out by hand, at the edges where a flipped comparison would show."""

import numpy as np
import pytest
import torch

from molchord.errors import DataError
from molchord.retrieval.metrics import (
    KS,
    METRICS,
    TIE,
    Counts,
    Members,
    bootstrap,
    calibration_error,
    expected_metrics,
    mean_by_molecule,
    paired_difference,
    query_metrics,
    tally,
)


def ranked(values, truth, member=None, **blocks):
    values = torch.tensor(values, dtype=torch.float64)
    pool = Members(torch.ones(values.shape[1], dtype=torch.bool) if member is None else torch.tensor(member))
    [counts] = tally(
        lambda rows, columns: values[rows][:, columns], torch.tensor(truth), [pool], values.shape[1], **blocks
    )
    return counts


def test_metrics_are_those_of_published_tables():
    assert KS == (1, 5, 10, 25)
    assert METRICS == ("top1", "top5", "top10", "top25", "mrr", "tanimoto")


@pytest.mark.parametrize(
    ("difference", "above", "level"),
    [
        (0.0, 0, 1),
        (0.5 * TIE, 0, 1),
        (-0.5 * TIE, 0, 1),
        (2 * TIE, 1, 0),
        (-2 * TIE, 0, 0),
        (np.nan, 0, 1),
        (np.inf, 1, 0),
    ],
)
def test_scores_within_a_millionth_are_level_and_what_is_no_number_too(difference, above, level):
    counts = ranked([[0.5, 0.5 + difference]], [0])
    assert (counts.above.tolist(), counts.level.tolist(), counts.size.tolist()) == ([above], [level], [2])
    assert counts.rank.tolist() == [1 + above + level]


def test_the_rival_is_the_first_of_the_best_others_whatever_the_blocks():
    values = [[0.9, 0.3, 0.7, 0.7, np.nan, np.inf], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [np.nan] * 6]
    for columns in (1, 2, 4, 6):
        counts = ranked(values, [0, 5, 0], candidates_at_once=columns, queries_at_once=2)
        assert counts.rival.tolist() == [2, 4, -1], columns


def test_a_truth_outside_of_the_pool_is_a_miss_and_is_not_counted():
    counts = ranked([[0.9, 0.5], [0.9, 0.5], [0.9, 0.5]], [0, 1, -1], member=[False, True])
    assert counts.found.tolist() == [False, True, False]
    assert counts.size.tolist() == [1, 1, 1]
    assert counts.rank.tolist() == [np.inf, 1, np.inf]


def test_no_queries_have_no_counts_and_no_candidates_are_an_error():
    assert ranked(np.zeros((0, 3)), np.zeros(0, dtype=np.int64)).rank.shape == (0,)
    with pytest.raises(DataError, match="evaluation failed: there is no candidate to rank"):
        ranked(np.zeros((1, 0)), [0])


@pytest.mark.parametrize("rank", [1, 2, 5, 6, 10, 11, 25, 26])
def test_a_hit_at_k_is_within_k(rank):
    zero = np.zeros(1, np.int64)
    counts = Counts(above=zero + rank - 1, level=zero, size=zero + 50, found=zero == 0, rival=zero)
    row = query_metrics(counts, np.array([0.4]))[0]
    assert row.tolist() == [*(float(rank <= k) for k in KS), 1 / rank, 1.0 if rank == 1 else 0.4]
    np.testing.assert_allclose(expected_metrics(counts)[0, :-1], row[:-1])


@pytest.mark.parametrize(("above", "level"), [(0, 0), (0, 3), (4, 1), (9, 9), (24, 30), (3, 0)])
def test_expected_metrics_are_the_mean_over_every_place_among_equals(above, level):
    one = np.ones(1, np.int64)
    counts = Counts(above=one * above, level=one * level, size=one * 99, found=one > 0, rival=one)
    places = np.arange(above + 1, above + level + 2)
    expected = [np.mean(places <= k) for k in KS] + [np.mean(1 / places)]
    np.testing.assert_allclose(expected_metrics(counts)[0, :-1], expected)
    missed = Counts(above=one * above, level=one * level, size=one * 99, found=one == 0, rival=one)
    assert expected_metrics(missed)[0, :-1].tolist() == [0.0] * 5


def test_calibration_error_by_its_definition():
    """Guo et al. 2017, eq. 3, bin by bin."""
    rng = np.random.default_rng(1)
    confidence = np.concatenate([rng.random(500), [0.0, 1.0, 1.0]])
    correct = rng.random(503) < confidence**2
    for bins in (1, 7, 15):
        expected = 0.0
        for low in range(bins):
            here = (confidence >= low / bins) & ((confidence < (low + 1) / bins) | (low == bins - 1))
            if here.any():
                expected += here.sum() / 503 * abs(correct[here].mean() - confidence[here].mean())
        assert calibration_error(confidence, correct, bins) == pytest.approx(expected)
    assert calibration_error(confidence, correct) == calibration_error(confidence, correct, 15)
    assert np.isnan(calibration_error(np.zeros(0), np.zeros(0, dtype=bool)))


def test_resampling_depends_on_its_seed_and_on_nothing_else():
    values = np.random.default_rng(2).random((40, 2))
    assert bootstrap(values) == bootstrap(values, seed=0, resamples=1000)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=0)
    molecules = np.arange(40)
    difference = paired_difference((molecules, values), (molecules, values[:, ::-1]), seed=3, resamples=50)
    assert difference == bootstrap(values - values[:, ::-1], seed=3, resamples=50)
    assert difference != paired_difference((molecules, values), (molecules, values[:, ::-1]), seed=4, resamples=50)


def test_an_interval_holds_the_middle_95_per_cent_of_resampled_means():
    """A column of zeros and one 1 in n: the mean of a resample is binomial."""
    values = np.zeros((20, 1))
    values[0] = 1.0
    [interval] = bootstrap(values, resamples=4000)
    draws = np.random.default_rng(5).binomial(20, 1 / 20, 200_000) / 20
    assert interval.value == 0.05
    assert [interval.low, interval.high] == np.percentile(draws, [2.5, 97.5]).tolist()


def test_no_molecules_have_no_metric():
    [interval] = bootstrap(np.zeros((0, 1)))
    assert np.isnan([interval.value, interval.low, interval.high]).all()


def test_each_molecule_counts_once_however_many_spectra_it_has():
    rows, means = mean_by_molecule(np.array([[1.0, 0], [0, 0], [0, 6], [0.5, 1]]), np.array([9, 9, 9, 2]))
    assert rows.tolist() == [2, 9]
    np.testing.assert_allclose(means, [[0.5, 1], [1 / 3, 2]])
