"""Identity, mass, fingerprints, tautomers and scaffolds against RDKit and published values."""

import random
from xml.etree import ElementTree

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import AllChem, rdFingerprintGenerator

from molchord.api import SampleError
from molchord.chem import drawing, molecule, morgan, scaffold, tanimoto, tautomer_key

SMILES = ["CCO", "c1ccccc1C(=O)O", "CC(N)C(=O)O", "O=C1CCCCC1", "C#N", "FC(F)(F)c1ccncc1", "CCCCCCCC", "O"]


@pytest.mark.parametrize(
    ("smiles", "key14", "formula", "mass"),
    [  # InChIKeys and monoisotopic masses as PubChem prints them
        ("CC(=O)Oc1ccccc1C(=O)O", "BSYNRYMUTXBXSQ", "C9H8O4", 180.04225873),
        ("Cn1c(=O)c2c(ncn2C)n(C)c1=O", "RYYVLZVUVIJVGH", "C8H10N4O2", 194.08037557),
        ("O", "XLYOFNOQVPJJNP", "H2O", 18.010564684),
    ],
)
def test_identity_formula_and_mass_are_the_published_ones(smiles, key14, formula, mass):
    found = molecule(smiles)
    assert (found.key14, found.formula) == (key14, formula)
    assert found.exact_mass == pytest.approx(mass, abs=1e-5)


def test_stereo_and_atom_order_do_not_matter():
    one = molecule("C[C@H](N)C(=O)O")
    assert one == molecule("OC(=O)[C@H](C)N") == molecule("NC(C)C(O)=O")
    assert molecule("F/C=C/F") == molecule("F/C=C\\F") == molecule("FC=CF")
    assert "@" not in one.smiles


def test_canonical_smiles_is_a_fixed_point_under_any_atom_order():
    generator = random.Random(0)
    for smiles in SMILES:
        parsed = Chem.MolFromSmiles(smiles)
        for _ in range(5):
            order = list(range(parsed.GetNumAtoms()))
            generator.shuffle(order)
            shuffled = Chem.MolToSmiles(Chem.RenumberAtoms(parsed, order), canonical=False)
            assert molecule(shuffled).smiles == molecule(smiles).smiles
        assert molecule(molecule(smiles).smiles) == molecule(smiles)


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("", "holds no atom"),
        ("not a molecule", "cannot parse the SMILES 'not a molecule'"),
        ("C1CC", "cannot parse"),
        ("C(C)(C)(C)(C)C", "valence for atom # 0 C, 5"),
        ("c1cccc1", "kekulize"),
        ("*", "no InChIKey"),
        ("[2H]OC", "isotope labels"),
        ("C\x00C", "cannot parse"),
    ],
)
def test_what_rdkit_refuses_is_a_sample_error_with_the_reason(smiles, reason, capfd):
    with pytest.raises(SampleError, match=reason) as caught:
        molecule(smiles)
    assert caught.value.id == smiles
    assert capfd.readouterr().err == "", "RDKit's own messages do not reach the terminal"


def test_fingerprints_are_rdkits():
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    bits = np.unpackbits(morgan(SMILES), axis=1)
    assert bits.shape == (len(SMILES), 2048)
    for row, smiles in zip(bits, SMILES, strict=True):
        assert row.tolist() == list(generator.GetFingerprint(Chem.MolFromSmiles(smiles)))


def test_tanimoto_is_rdkits_across_tiles(monkeypatch):
    monkeypatch.setattr("molchord.chem._TILE", 3)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [generator.GetFingerprint(Chem.MolFromSmiles(s)) for s in SMILES]
    wanted = [DataStructs.BulkTanimotoSimilarity(a, prints) for a in prints]
    np.testing.assert_allclose(tanimoto(morgan(SMILES), morgan(SMILES)), wanted, atol=1e-7)
    np.testing.assert_allclose(tanimoto(morgan(SMILES[:2]), morgan(SMILES)), wanted[:2], atol=1e-7)


def test_tanimoto_without_rows_or_bits():
    none, empty = np.zeros((0, 256), np.uint8), np.zeros((1, 256), np.uint8)
    assert tanimoto(none, empty).shape == (0, 1)
    assert tanimoto(empty, none).shape == (1, 0)
    assert tanimoto(empty, empty).tolist() == [[0.0]]
    assert morgan([]).shape == (0, 256)


def test_tautomers_share_a_key_and_other_isomers_do_not():
    keto, enol = "CC(=O)CC(C)=O", "CC(O)=CC(C)=O"
    assert molecule(keto).key14 != molecule(enol).key14, "the InChIKey alone does not merge them"
    assert tautomer_key(keto) == tautomer_key(enol) != tautomer_key("CCC(=O)C(C)=O")


def test_scaffold_keeps_rings_and_linkers():
    assert scaffold("CC(=O)Oc1ccccc1C(=O)O") == "c1ccccc1"
    assert Chem.CanonSmiles(scaffold("Clc1ccc(CCc2ccccn2)cc1")) == Chem.CanonSmiles("c1ccc(CCc2ccccn2)cc1")
    assert scaffold("CCCC") == ""
    with pytest.raises(SampleError):
        scaffold("xyz")


def test_exact_mass_is_the_sum_of_lightest_isotopes():
    for smiles in SMILES:
        full = AllChem.AddHs(Chem.MolFromSmiles(smiles))
        table = Chem.GetPeriodicTable()
        mass = sum(table.GetMostCommonIsotopeMass(atom.GetAtomicNum()) for atom in full.GetAtoms())
        assert molecule(smiles).exact_mass == pytest.approx(mass, abs=1e-6)


def test_drawing_has_every_bond_and_refuses_what_is_no_molecule():
    picture = ElementTree.fromstring(drawing("c1ccccc1", width=100, height=50))
    assert picture.attrib["width"] == "100px"
    bonds = {e.attrib["class"].split()[0] for e in picture.iter() if "bond-" in e.attrib.get("class", "")}
    assert len(bonds) == 6
    with pytest.raises(SampleError):
        drawing("xyz")
