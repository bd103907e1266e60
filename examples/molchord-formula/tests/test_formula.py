"""The modality keeps the contract, and formulas are counted as chemists write them."""

import doctest

import pytest
from rdkit import Chem

from molchord.api import Derives, Reading, SampleError
from molchord.testing import checks, molecules
from molchord_formula import composition_modality as composition
from molchord_formula.composition import COMPOSITION, CompositionConfig
from molchord_formula.elements import ELEMENTS


@checks(COMPOSITION)
def test_contract(check):
    check()


def test_examples_in_docstrings_run():
    failed, tried = doctest.testmod(composition)
    assert tried > 0
    assert failed == 0


def modality():
    return COMPOSITION.build(CompositionConfig(), "vector")


def test_every_molecule_is_counted_as_rdkit_does():
    assert isinstance(modality(), Derives)
    for molecule in molecules():
        symbols = [atom.GetSymbol() for atom in Chem.AddHs(Chem.MolFromSmiles(molecule.smiles)).GetAtoms()]
        count = modality().derive(molecule).arrays["count"]
        assert count.tolist() == [symbols.count(element) for element in ELEMENTS]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C9H6O2", {"C": 9, "H": 6, "O": 2}),
        ("CO", {"C": 1, "O": 1}),
        ("Co", {"Co": 1}),
        ("CH3(CH2)4CH3", {"C": 6, "H": 14}),
        ("Si(OCH2CH3)4", {"Si": 1, "O": 4, "C": 8, "H": 20}),
        ("[Fe(C5H5)2]", {"Fe": 1, "C": 10, "H": 10}),
        (" C2H3O2- ", {"C": 2, "H": 3, "O": 2}),
        ("C12H22O11", {"C": 12, "H": 22, "O": 11}),
    ],
)
def test_formulas_as_they_are_written(text, expected):
    assert composition.atoms(text) == expected


@pytest.mark.parametrize(
    "text", ["", "c9h6o2", "C9H6O2)", "(C9H6", "C-9H", "9C", "C0", "C9 H6", "C9999999H", "C9H6O2/2", "+"]
)
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(SampleError, match="formula"):
        composition.atoms(text)


def test_an_element_that_is_not_counted_is_named():
    with pytest.raises(SampleError, match="holds 'Xx', which is not counted; H, B, C"):
        composition.measurement("C2Xx")


def test_files_of_formulas(tmp_path):
    plain, table, broken = tmp_path / "formula.txt", tmp_path / "table.csv", tmp_path / "broken.csv"
    plain.write_text("C9H6O2\n")
    table.write_text("name,formula,smiles\nethanol,C2H6O,CCO\nwater,H2O,\n")
    broken.write_text("formula,smiles\nC2H6O\nnonsense,C\nCH4,C\n")
    assert [modality().can_read(path) for path in (plain, table, broken)] == [False, True, True]
    [query] = modality().read(plain)
    assert query.smiles is None
    assert query.measurement.arrays["count"].tolist() == composition.measurement("C9H6O2").arrays["count"].tolist()
    assert [reading.smiles for reading in modality().read(table)] == ["CCO", None]
    entries = list(modality().read(broken))
    assert [isinstance(entry, Reading) for entry in entries] == [False, False, True]
    assert entries[0].reason == "the row has 1 cells, 2 were expected"


def test_a_query_and_the_molecule_that_it_is_of_give_one_sample():
    ethanol = molecules(1)[0]
    query = modality().transform(composition.measurement("CH3CH2OH"), None)
    assert query.values.tolist() == modality().transform(modality().derive(ethanol), None).values.tolist()
