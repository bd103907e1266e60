"""The hash rule as PROTOCOLS fixes it, scaffolds that never straddle, columns that say nothing twice."""

import hashlib
from collections import Counter

import pytest

from molchord.chemistry import molecule, scaffold
from molchord.data.splits import assign, check_rule, hash_fold, hash_split, named_split, scaffold_split
from molchord.errors import DataError


def test_hash_rule_is_the_published_formula():
    for key in ("QNAYBMKLOCPYGJ", "XLYOFNOQVPJJNP", "BSYNRYMUTXBXSQ"):
        fold = int(hashlib.sha256(("split:" + key).encode()).hexdigest()[:8], 16) % 10
        assert hash_fold(key) == fold
        assert hash_split(key) == {0: "test", 1: "val"}.get(fold, "train")


def test_hash_rule_gives_about_a_tenth_to_test_and_validation():
    counts = Counter(hash_split(f"KEY{i:011d}") for i in range(10_000))
    assert abs(counts["test"] - 1000) < 100
    assert abs(counts["val"] - 1000) < 100
    assert sum(counts.values()) == 10_000


def test_a_scaffold_never_straddles_and_chains_are_spread():
    rings = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccsc1"]
    sides = Counter()
    for ring in rings:
        molecules = [molecule(ring.replace("1", "1", 1) + tail) for tail in ("", "C", "CC", "CCO", "C(=O)O", "N(C)C")]
        assert len({scaffold(m.smiles) for m in molecules}) == 1
        assert len({scaffold_split(m.key14, m.smiles) for m in molecules}) == 1
    for n in range(1, 60):
        chain = molecule("C" * n)
        sides[scaffold_split(chain.key14, chain.smiles)] += 1
        assert scaffold_split(chain.key14, chain.smiles) == hash_split(chain.key14)
    assert set(sides) == {"train", "val", "test"}


@pytest.mark.parametrize(("cell", "split"), [("train", "train"), (" Valid ", "val"), ("validation", "val"), ("", None)])
def test_cells_name_splits(cell, split):
    assert named_split(cell) == split
    assert assign("column:s", "KEY", "C", cell) == split


def test_unknown_cell():
    """split 'tets' is not known; did you mean 'test'?"""
    with pytest.raises(DataError) as caught:
        named_split("tets")
    assert str(caught.value) == test_unknown_cell.__doc__


@pytest.mark.parametrize("rule", ["", "random", "column", "column:", "scaffold:x"])
def test_unknown_rule(rule):
    with pytest.raises(
        DataError, match=f"split rule {rule!r} is not known; allowed: 'hash', 'scaffold', 'column:NAME'"
    ):
        check_rule(rule)
