"""The split audit by plain loops: similarities in blocks, bins at their edges, tautomers within a limit."""

import numpy as np
import pytest

from molchord.chem import morgan, tanimoto
from molchord.evaluate.audit import BINS, audit_split, nearest_training, top1_by_nearest

KETO, ENOL, OTHER = "CC(=O)CC(C)=O", "CC(O)=CC(C)=O", "CCCC(=O)C=O"  # one formula; the first two are tautomers
PYRIDONE, HYDROXYPYRIDINE = "O=c1cccc[nH]1", "Oc1ccccn1"


def audited(smiles, tested, trained, tautomers=100):
    count = len(smiles)
    return audit_split(
        smiles=smiles, tested=np.isin(np.arange(count), tested), trained=np.isin(np.arange(count), trained),
        nearest=np.zeros(len(tested), np.float32), top1={}, tautomers=tautomers,
    )  # fmt: skip


@pytest.mark.parametrize("at_once", [1, 3, 512])
def test_the_nearest_trained_molecule_is_found_across_blocks(at_once):
    smiles = ["C" * n + end for n in range(1, 8) for end in ("", "O", "N", "C(=O)O", "c1ccccc1")]
    prints = morgan(smiles)
    rng = np.random.default_rng(0)
    tested, trained = rng.random(35) < 0.4, rng.random(35) < 0.5
    found = nearest_training(prints, tested, trained, at_once=at_once)
    similar = tanimoto(prints, prints)
    expected = [similar[i][trained].max() for i in np.flatnonzero(tested)]
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx(expected)
    assert nearest_training(prints, tested & False, trained).shape == (0,)


def test_a_bin_holds_its_lower_end_and_the_middle_one_both():
    nearest = np.array([0.0, 0.399, 0.4, 0.5, 0.6, 0.601, 1.0], np.float32)
    top1 = np.array([1, 0, 1, 1, 0, 0, 1.0])
    tested = np.array([True] * 3 + [False] + [True] * 4)
    molecule = np.array([0, 1, 2, 4, 5, 6, 7])
    assert tuple(top1_by_nearest(molecule, top1, tested, nearest)) == BINS
    assert top1_by_nearest(molecule, top1, tested, nearest) == {
        "< 0.4": (2, 0.5), "0.4-0.6": (3, pytest.approx(2 / 3)), "> 0.6": (2, 0.5),
    }  # fmt: skip
    only = top1_by_nearest(molecule[:1], top1[:1], tested, nearest)
    assert only["< 0.4"] == (1, 1.0)
    assert only["> 0.6"][0] == 0
    assert np.isnan(only["> 0.6"][1])


@pytest.mark.parametrize(
    ("smiles", "tested", "trained", "found"),
    [
        ([KETO, ENOL], [0], [1], 1),
        ([KETO, OTHER], [0], [1], 0),
        ([KETO, ENOL], [0, 1], [], 0),  # both tested, none trained on
        ([KETO, ENOL], [], [0, 1], 0),
        ([KETO, ENOL, OTHER], [0, 2], [1], 1),
        ([KETO, KETO, ENOL], [0, 1], [2], 2),
        (
            ["CCO", KETO, PYRIDONE, ENOL, HYDROXYPYRIDINE, "COC"],
            [0, 1, 2],
            [3, 4, 5],
            2,
        ),  # several groups, some without a pair
        ([KETO, ENOL], [0, 1], [1], 1),  # the one on both sides is no tautomer of itself
        ([KETO, ENOL], [0, 1], [0, 1], 2),
        ([KETO, OTHER], [0, 1], [0, 1], 0),
    ],
)
def test_tautomers_are_counted_among_what_was_tested(smiles, tested, trained, found):
    result = audited(smiles, tested, trained)
    assert (result.tautomers, result.tautomers_unchecked) == (found, 0)
    assert result.overlap == len(set(tested) & set(trained))


@pytest.mark.parametrize(("most", "found", "unchecked"), [(4, 2, 0), (3, 1, 1), (2, 1, 1), (1, 0, 2), (0, 0, 2)])
def test_the_limit_leaves_whole_groups_unchecked_and_says_so(most, found, unchecked):
    smiles = [KETO, ENOL, PYRIDONE, HYDROXYPYRIDINE]
    result = audited(smiles, [0, 2], [1, 3], most)
    assert (result.tautomers, result.tautomers_unchecked) == (found, unchecked)
    assert audited(smiles, [0, 2], [1, 3], None).tautomers is None


def test_a_histogram_has_ten_bins_up_to_one():
    nearest = np.array([0.0, 0.05, 0.1, 0.95, 1.0], np.float32)
    result = audit_split(
        smiles=["C"] * 5, tested=np.ones(5, bool), trained=np.zeros(5, bool), nearest=nearest, top1={}, tautomers=None,
        unknown=3,
    )  # fmt: skip
    assert result.histogram == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (result.unknown, result.overlap) == (3, 0)
    assert all(type(count) is int for count in result.histogram)  # JSON
