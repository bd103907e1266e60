"""The maker of predicted shifts: peaks of equivalent atoms, blocks, packing, the card, and how far predictions are off."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import molchord as mc
from molchord.api import SampleError
from molchord.chem import molecule
from molchord.simulation.files import read_contents, read_entries

SCRIPT = Path(__file__).parents[3] / "datasets" / "make_nmr_shifts.py"


@pytest.fixture
def script(monkeypatch):
    """The maker's names, with a text in place of the version of csp5, which is not installed."""
    found = runpy.run_path(str(SCRIPT))
    monkeypatch.setitem(found["predict"].__globals__, "computed_by", lambda: "predicted by atom numbers")
    return found


def numbers(mol, nucleus):
    """Predict as shift of each atom its number in the molecule, plus a hundredth of the nucleus's mass number."""
    if nucleus == "19F":
        raise SampleError("fake", "19F: prediction_out_of_range")
    element = {"13C": "C", "1H": "H"}[nucleus]
    offset = {"13C": 0.13, "1H": 0.01}[nucleus]
    return {atom.GetIdx(): atom.GetIdx() + offset for atom in mol.GetAtoms() if atom.GetSymbol() == element}


def made(script, folder, *smiles, measured=None, limit=None):
    (folder / "list.csv").write_text("\n".join(["smiles", *smiles]) + "\n")
    script["predict"](folder / "list.csv", folder / "work", numbers, None, limit)
    script["pack"](folder / "work", folder / "shifts", measured)
    return folder / "shifts" / "part-00.npz"


def test_equivalent_atoms_are_one_peak_at_their_mean(script, tmp_path):
    part = made(script, tmp_path, "CC(C)O")  # atoms C0 C1 C2 O3, hydrogens 4-6 on C0, 7 on C1, 8-10 on C2, 11 on O3
    [entry] = read_entries(part, script["ARRAYS"])
    assert entry.id == molecule("CC(C)O").key14
    assert entry.arrays["shift_13C"].tolist() == pytest.approx([1.13, 1.13])
    assert entry.arrays["nuclei_13C"].tolist() == [1, 2]
    assert entry.arrays["hydrogens_13C"].tolist() == [1, 3]
    assert entry.arrays["shift_1H"].tolist() == pytest.approx([7.01, 7.01, 11.01])
    assert sorted(entry.arrays["nuclei_1H"].tolist()) == [1, 1, 6]
    assert entry.arrays["shift_19F"].tolist() == []


def test_what_cannot_be_predicted_is_listed_with_its_reason(script, tmp_path):
    part = made(script, tmp_path, "CCO", "CF", "not a SMILES")
    contents = read_contents(part)
    assert contents.ids == (molecule("CCO").key14,)
    assert {entry.smiles: entry.reason.partition(":")[0] for entry in contents.failed} == {
        "CF": "19F",
        "not a SMILES": "RDKit cannot parse the SMILES 'not a SMILES'",
    }
    card = (tmp_path / "shifts.md").read_text()
    assert "**Predicted** NMR shifts of 1 molecules" in card
    assert "| 19F: prediction_out_of_range | 1 |" in card
    assert "2 molecules could not be predicted" in card
    assert "How far off" not in card


def test_the_modality_reads_what_is_written(script, tmp_path):
    made(script, tmp_path, "CCO", "C", "O")
    mc.import_files([tmp_path / "shifts"], tmp_path / "data")
    data = mc.DataSet(tmp_path / "data")
    table = data.table("nmr")
    lists = {
        (smiles, m.columns["nucleus"]): m
        for row, smiles in enumerate(data.smiles())
        for m in map(table.read, table.of(row))
    }
    assert lists.keys() == {("CCO", "13C"), ("CCO", "1H"), ("C", "13C"), ("C", "1H"), ("O", "1H")}
    assert {m.origin for m in lists.values()} == {"computed"}
    assert {m.columns["source"] for m in lists.values()} == {"predicted by atom numbers"}
    assert lists["C", "1H"].arrays["nuclei"].tolist() == [4.0]


def test_molecules_come_in_random_order_the_same_whatever_the_list_s(script, tmp_path):
    smiles = ["C" * n for n in range(1, 9)]
    parts = []
    for name, order in (("a", smiles), ("b", smiles[::-1])):
        (tmp_path / name).mkdir()
        parts.append(read_contents(made(script, tmp_path / name, *order)).ids)
    assert parts[0] == parts[1]
    assert list(parts[0]) not in ([molecule(s).key14 for s in smiles], [molecule(s).key14 for s in smiles[::-1]])


def test_molecules_of_another_list_are_predicted_after_those_of_the_work_folder(script, tmp_path):
    """A set was packed, and the work folder stayed: what is new is not taken for what is there."""
    first = made(script, tmp_path, "C", "CC", "not a molecule")
    (tmp_path / "list.csv").write_text("smiles\nCCC\nCC\nnot a molecule\nCCCC\n")
    script["predict"](tmp_path / "list.csv", tmp_path / "work", numbers, first.parent)
    blocks = [read_contents(path) for path in sorted((tmp_path / "work").iterdir())]
    assert [set(block.ids) for block in blocks] == [
        {molecule(one).key14 for one in names} for names in (("C", "CC"), ("CCC", "CCCC"))
    ]


def test_a_stopped_prediction_continues_with_the_first_block_that_is_missing(script, tmp_path, monkeypatch):
    monkeypatch.setitem(script["predict"].__globals__, "BLOCK", 2)
    made(script, tmp_path, "C", "CC", "CCC", "CCCC", limit=2)
    [first] = (tmp_path / "work").iterdir()
    before = first.stat().st_mtime_ns, first.read_bytes()
    made(script, tmp_path, "C", "CC", "CCC", "CCCC")
    assert (first.stat().st_mtime_ns, first.read_bytes()) == before
    assert len(list((tmp_path / "work").iterdir())) == 2
    parts = sorted((tmp_path / "shifts").iterdir())
    assert [len(read_contents(part).ids) for part in parts] == [2, 2]


def test_a_set_grows_by_one_file_of_what_it_lacks(script, tmp_path):
    made(script, tmp_path, "C", "CC", "CF")
    first = (tmp_path / "shifts" / "part-00.npz").read_bytes()
    (tmp_path / "list.csv").write_text("smiles\nCC\nFC\nCCC\n")
    script["predict"](tmp_path / "list.csv", tmp_path / "more", numbers, tmp_path / "shifts")
    [block] = (tmp_path / "more").iterdir()
    assert read_contents(block).ids == (molecule("CCC").key14,)
    for _ in range(2):  # the second time nothing is new
        script["pack"](tmp_path / "more", tmp_path / "shifts")
    parts = sorted((tmp_path / "shifts").iterdir())
    assert [part.name for part in parts] == ["part-00.npz", "part-01.npz"]
    assert parts[0].read_bytes() == first
    card = (tmp_path / "shifts.md").read_text()
    assert "of 3 molecules" in card
    assert "files: 2;" in card
    assert "| 13C | 3 | 4 |" in card


def test_the_card_says_how_far_predictions_are_off(script, tmp_path):
    lists = [
        {"smiles": "OCC", "nucleus": "13C", "shifts": [3.13, 0.13]},  # predicted 0.13 and 1.13
        {"smiles": "CCO", "nucleus": "13C", "shifts": [90.0, 90.0]},  # one list a molecule: the first
        {"smiles": "CCC", "nucleus": "13C", "shifts": [1.0]},  # not every atom
        {"smiles": "CCCC", "nucleus": "13C", "shifts": [1.0]},  # not predicted
    ]
    measured = tmp_path / "lists.jsonl"
    measured.write_text("\n".join(map(json.dumps, lists)))
    made(script, tmp_path, "CCO", "CCC", measured=measured)
    card = (tmp_path / "shifts.md").read_text()
    # errors 0 and -2
    assert "| 13C | 1 | 2 | 1.00 | 1.00 | 1.80 | 1.00 |" in card


def test_without_csp5_the_maker_says_what_is_missing(tmp_path):
    if "csp5" in sys.modules:
        pytest.skip("csp5 is installed")
    script = runpy.run_path(str(SCRIPT))
    with pytest.raises(ImportError, match="csp5"):
        script["csp5_shifts"](script["conformer"](molecule("C")), "13C")


def test_conformers_are_the_same_each_time(script):
    first, second = (script["conformer"](molecule("CCO")).GetConformer().GetPositions() for _ in range(2))
    np.testing.assert_array_equal(first, second)
