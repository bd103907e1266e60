"""The hash rule as PROTOCOLS fixes it, scaffolds that never straddle, columns that say nothing twice."""

import hashlib
import pickle
from collections import Counter

import pytest

from molchord import from_measurements
from molchord.chem import molecule, scaffold
from molchord.data.info import resplit
from molchord.data.splits import (
    assign,
    check_rule,
    fold_split,
    hash_fold,
    hash_split,
    named_split,
    scaffold_split,
)
from molchord.data.store import DataSet
from molchord.errors import DataError
from molchord.vocabulary import SPLITS


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


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "random",
        "column",
        "column:",
        "scaffold:x",
        "fold:5",
        "fold:",
        "hash:70/15",
        "hash:70/15/20",
        "hash:0/50/50",
        "hash:a/b/c",
    ],
)
def test_unknown_rule(rule):
    with pytest.raises(
        DataError,
        match=f"split rule {rule!r} is not known; allowed: 'hash', 'hash:TRAIN/VAL/TEST' in percent, 'scaffold', "
        "'fold:0' to 'fold:4', 'column:NAME'",
    ):
        check_rule(rule)


def test_shares_in_percent_keep_the_test_molecules_of_the_usual_split_in_the_test():
    keys = [f"KEY{i:011d}" for i in range(4000)]
    sides = [assign("hash:70/15/15", key, "C") for key in keys]
    counts = {side: sides.count(side) / len(keys) for side in ("train", "val", "test")}
    assert counts == pytest.approx({"train": 0.70, "val": 0.15, "test": 0.15}, abs=0.02)
    assert all(side == "test" for key, side in zip(keys, sides, strict=True) if hash_split(key) == "test")
    assert {assign("hash:90/0/10", key, "C") for key in keys if hash_split(key) != "test"} == {"train"}


def test_five_folds_test_each_molecule_once_beside_a_validation_fold():
    keys = [f"KEY{i:011d}" for i in range(2000)]
    for key in keys[:200]:
        sides = [fold_split(key, number) for number in range(5)]
        assert sides.count("test") == 1
        assert sides.index("test") == hash_fold(key) // 2
    for number in range(5):
        folds = {side: {hash_fold(k) for k in keys if fold_split(k, number) == side} for side in ("test", "val")}
        assert folds == {"test": {2 * number, 2 * number + 1}, "val": {(2 * number + 2) % 10}}
        assert assign(f"fold:{number}", keys[0], "C") == fold_split(keys[0], number)


def test_a_data_set_is_seen_by_another_rule_without_a_copy():
    smiles = ["C" * n + "O" for n in range(1, 30)]
    splits = ["" if n % 5 == 0 else "train" for n in range(len(smiles))]
    data = from_measurements(smiles, {}, splits=splits)
    before = (data.path / "molecules.parquet").read_bytes()
    seen = pickle.loads(pickle.dumps(DataSet(data.path, split="fold:3")))
    for row, key in enumerate(seen.keys()):
        code = seen.split[row]
        assert code == 255 if row % 5 == 0 else SPLITS[code] == fold_split(key, 3)
    assert seen.rows("test").size
    assert seen.sha256 == data.sha256
    assert (data.path / "molecules.parquet").read_bytes() == before
    assert resplit(data.path, "fold:3").split[1] == seen.split[1]
    with pytest.raises(DataError, match="split rule 'column:s' needs a table"):
        DataSet(data.path, split="column:s")
    with pytest.raises(DataError, match="'fold:7' is not known"):
        DataSet(data.path, split="fold:7")
