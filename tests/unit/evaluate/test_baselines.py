"""Baselines block by block against plain loops; a baseline that is too weak would flatter the model."""

import math

import numpy as np
import pytest
import torch

from molchord.api import Measurement
from molchord.chem import morgan, tanimoto
from molchord.evaluate.baselines import (
    fixed_ranking,
    mass_alone,
    nearest_by_cosine,
    nearest_by_similarity,
    neighbours_of,
    own_similarity,
    peak_coincidence,
    random_counts,
)
from molchord.retrieval.metrics import Counts

BLOCKS = [(slice(0, 5), slice(0, 9)), (slice(1, 3), slice(4, 9)), (slice(4, 5), torch.tensor([8, 0, 3]))]


def check_blocks(scorer, whole):
    """A scorer gives any block as the table has it."""
    for rows, columns in BLOCKS:
        expected = torch.as_tensor(whole)[rows][:, columns]
        torch.testing.assert_close(scorer(rows, columns).to(expected.dtype), expected, equal_nan=True)


def test_a_random_ranking_has_all_others_level():
    counts = Counts(
        above=np.array([3, 0, 0]), level=np.array([0, 2, 0]), size=np.array([9, 1, 0]),
        found=np.array([True, True, False]), rival=np.array([4, -1, -1]),
    )  # fmt: skip
    chance = random_counts(counts)
    assert (chance.above.tolist(), chance.level.tolist(), chance.size.tolist()) == ([0, 0, 0], [8, 0, 0], [9, 1, 0])
    assert (chance.found.tolist(), chance.rival.tolist()) == ([True, True, False], [4, -1, -1])


def test_mass_alone_prefers_the_nearest_on_either_side():
    rng = np.random.default_rng(0)
    mass, measured = 100 + rng.random(9), 100 + rng.random(5)
    check_blocks(mass_alone(mass, measured), [[-abs(m - q) for m in mass] for q in measured])


def test_a_fixed_ranking_is_one_row_for_all_and_keeps_what_has_no_score():
    values = np.array([0.5, np.nan, 3, 2, 1, 0, -1, -2, 9.0])
    scorer = fixed_ranking(values, 5)
    check_blocks(scorer, np.tile(values, (5, 1)))
    assert scorer(slice(3, 8), slice(0, 2)).shape == (2, 2)  # no more queries than there are


def test_neighbours_rank_by_the_mean_similarity_to_their_molecules():
    smiles = ["CCO", "CCN", "CCC", "c1ccccc1", "Cc1ccccc1", "CC(=O)O", "CCCCO", "CS", "C#N"]
    prints = morgan(smiles)
    first, second = np.array([0, 3, -1, 8, 4]), np.array([1, 4, 2, -1, 4])
    similar = tanimoto(prints, prints)
    expected = np.array([
        np.full(9, np.nan) if min(a, b) < 0 else (similar[a] + similar[b]) / 2
        for a, b in zip(first, second, strict=True)
    ])  # fmt: skip
    check_blocks(neighbours_of(prints, [first, second]), expected)
    check_blocks(
        neighbours_of(prints, [second]), np.array([np.full(9, np.nan) if b < 0 else similar[b] for b in second])
    )


def test_the_nearest_spectrum_is_by_angle_not_by_size():
    training = torch.tensor([[100.0, 90.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.5]])
    queries = torch.tensor([[5.0, 0.1], [0.1, 7.0], [1.0, 1.0]])
    assert nearest_by_cosine(queries, training).tolist() == [1, 3, 0]
    assert nearest_by_cosine(queries, training, at_once=1).tolist() == [1, 3, 0]
    empty = nearest_by_cosine(queries[:0], training)
    assert (empty.shape, empty.dtype) == ((0,), np.int64)


class Product:
    """Similar are numbers with a large product; a negative one has no similarity."""

    def similarity(self, query, references):
        values = np.array([float(query.arrays["x"][0] * r.arrays["x"][0]) for r in references])
        return np.where(values >= 0, values, np.nan)


def measurement(value):
    return Measurement(arrays={"x": np.array([value])})


def test_the_nearest_by_similarity_is_found_in_any_block():
    numbers = np.random.default_rng(0).random(2500)
    training = [int(i) for i in np.random.default_rng(1).permutation(2500)[:2100]]  # three blocks
    read = []

    def reading(index):
        read.append(index)
        return measurement(numbers[index])

    best = max(training, key=lambda i: numbers[i])
    found = nearest_by_similarity(Product(), [measurement(2.0), measurement(-1.0)], reading, training)
    assert found.tolist() == [best, -1]
    assert sorted(read) == sorted(training)  # each once
    assert nearest_by_similarity(Product(), [measurement(1.0)], reading, []).tolist() == [-1]


@pytest.mark.parametrize("references", [40, 2500])
def test_own_similarity_is_the_best_of_a_candidates_other_spectra(references):
    rng = np.random.default_rng(2)
    numbers = rng.normal(size=references)
    molecule = rng.integers(0, 9, references)
    queries = rng.integers(0, references, 5)
    usable = np.flatnonzero(molecule != 4)  # molecule 4 may serve no reference
    expected = np.full((5, 9), -np.inf)
    for row, q in enumerate(queries):
        for r in usable:
            value = np.float32(numbers[q] * numbers[r])
            if r != q and value >= 0:
                expected[row, molecule[r]] = max(expected[row, molecule[r]], value)
    scorer = own_similarity(
        Product(),
        lambda i: measurement(numbers[i]),
        queries=queries,
        references=usable,
        molecule=molecule,
        candidates=9,
    )
    check_blocks(scorer, expected.astype(np.float32))


def test_own_similarity_reads_a_block_of_queries_once():
    read = []

    def reading(index):
        read.append(index)
        return measurement(1.0)

    scorer = own_similarity(
        Product(),
        reading,
        queries=np.array([0, 1]),
        references=np.array([0, 1, 2]),
        molecule=np.array([0, 1, 2]),
        candidates=3,
    )
    scorer(slice(0, 1), slice(0, 2))
    once = len(read)
    scorer(slice(0, 1), slice(1, 3))
    assert len(read) == once
    scorer(slice(1, 2), slice(0, 3))
    assert len(read) == 2 * once


def plain(mine, other, width):
    """Cosine of two sums of Gaussians of standard deviation `width`, in closed form."""

    def product(a, b):
        return sum(math.exp(-(((x - y) / width) ** 2) / 4) for x in a for y in b)

    return product(mine, other) / math.sqrt(product(mine, mine) * product(other, other))


@pytest.mark.parametrize("width", [0.5, 3.0])
@pytest.mark.parametrize("apart", [0.0, 0.5, 1.0, 2.0, 12.0])
def test_two_peaks_match_as_far_as_they_overlap(apart, width):
    queries, candidates = {"ir": [np.array([1000.0])]}, {"raman": [np.array([1000.0 + apart])]}
    found = float(peak_coincidence(queries, candidates, width)(slice(0, 1), slice(0, 1)))
    assert found == pytest.approx(plain([1000.0], [1000.0 + apart], width), abs=5e-3)


def test_only_other_modalities_count_and_each_pair_that_is_there_alike():
    a, b, c = np.array([500.0]), np.array([600.0]), np.array([700.0])
    none = np.zeros(0)
    candidates = {"ir": [a, b], "raman": [b, none], "nmr": [none, a]}
    scorer = peak_coincidence({"ir": [a]}, candidates, 2.0)
    assert scorer(slice(0, 1), slice(0, 2)).tolist() == [[0.0, 1.0]]  # its own modality says nothing
    both = peak_coincidence({"ir": [b], "raman": [b]}, {"ir": [a, b], "raman": [b, c]}, 2.0)
    torch.testing.assert_close(both(slice(0, 1), slice(0, 2)), torch.tensor([[0.5, 0.5]]), atol=1e-4, rtol=0)
