"""The public chemistry against RDKit and published values, and that whatever RDKit raises is one error."""

import hashlib
import pickle
import random
from xml.etree import ElementTree

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import AllChem, rdFingerprintGenerator
from rdkit.Chem.rdDistGeom import EmbedMolecule, ETKDGv3

from molchord.api import SampleError
from molchord.chem import (
    MOST_ATOMS,
    bare_match,
    canonical,
    conformer_seed,
    conformers,
    covalent_radius,
    drawing,
    element_counts,
    fingerprint_bits,
    from_inchi,
    from_molblock,
    hill,
    isotope_mass,
    maccs_keys,
    molecule,
    morgan,
    morgan_counts,
    parse,
    pieces,
    scaffold,
    skeleton,
    tanimoto,
    tautomer_key,
    torsion_counts,
    with_hydrogens,
)

UNKEKULIZED = (
    "C=CC1=CC2=C3C(=CC=C4C5=CC=CC6=CC=CC(=C65)C1=C43)C1=CC=CC3=C1C2=C1C=CC(=C)C2=C1C3=CC=C2"  # of a list of polycycles
)
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
        (UNKEKULIZED, "no InChIKey.*kekulize"),
        ("C" * (MOST_ATOMS + 1), f"has {MOST_ATOMS + 1} atoms, and {MOST_ATOMS} are the most"),
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


def test_tanimoto_is_rdkits_in_tiles_too():
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    prints = [generator.GetFingerprint(Chem.MolFromSmiles(s)) for s in SMILES]
    wanted = [DataStructs.BulkTanimotoSimilarity(a, prints) for a in prints]
    np.testing.assert_allclose(tanimoto(morgan(SMILES), morgan(SMILES)), wanted, atol=1e-7)
    many = np.arange(2500) % len(SMILES)  # rows of three tiles
    found = tanimoto(morgan(SMILES)[many], morgan(SMILES))
    np.testing.assert_allclose(found, np.array(wanted)[many], atol=1e-7)
    np.testing.assert_array_equal(tanimoto(morgan(SMILES), morgan(SMILES)[many]), found.T)


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
    assert picture.get("fill") == "none"  # lines are no areas
    assert "currentColor" in drawing("c1ccccc1")
    assert picture.attrib["width"] == "100px"
    bonds = {e.attrib["class"].split()[0] for e in picture.iter() if "bond-" in e.attrib.get("class", "")}
    assert len(bonds) == 6
    with pytest.raises(SampleError):
        drawing("xyz")


# --- one error -------------------------------------------------------------------------------------------------------

MADE_OF_SMILES = [
    parse,
    canonical,
    molecule,
    skeleton,
    scaffold,
    tautomer_key,
    drawing,
    fingerprint_bits,
    lambda s: morgan([s]),
]


@pytest.mark.parametrize("smiles", ["xyz", "C(C)(C)(C)(C)C", "c1cccc1", "", "C" * 5000])
@pytest.mark.parametrize("make", MADE_OF_SMILES)
def test_whatever_is_made_of_a_smiles_refuses_by_one_error(make, smiles, capfd):
    with pytest.raises(SampleError) as caught:
        make(smiles)
    assert caught.value.id == smiles
    assert "\n" not in caught.value.reason
    assert len(caught.value.reason) < 300, "a long SMILES is cut short in the sentence"
    assert capfd.readouterr().err == ""


def test_an_error_names_what_the_caller_calls_it():
    with pytest.raises(SampleError, match="^line 7: RDKit cannot parse the SMILES 'xyz'$"):
        parse("xyz", "line 7")


def test_the_largest_molecule_is_made():
    assert molecule("C" * MOST_ATOMS).formula == f"C{MOST_ATOMS}H{2 * MOST_ATOMS + 2}"


def test_characters_are_not_atoms():
    assert parse("[CH2:1]" * 200 + "[CH3:2]").GetNumAtoms() == 201


def test_atom_maps_are_no_part_of_a_molecule():
    assert molecule("[CH3:1][OH:2]") == molecule("CO")
    assert molecule("[CH3:7][C:3](=[O:1])[O:2][H:9]") == molecule("CC(=O)O")


def test_an_inchi_gives_the_molecule_it_was_made_of():
    for smiles in SMILES:
        inchi = Chem.MolToInchi(Chem.MolFromSmiles(smiles))
        assert molecule(from_inchi(inchi)) == molecule(smiles)
    with pytest.raises(SampleError, match="cannot parse the InChI 'InChI=1S/nonsense'"):
        from_inchi("InChI=1S/nonsense")


@pytest.mark.parametrize("smiles", ["CCO", "C[C@H](N)C(=O)O", "c1ccncc1"])
def test_a_block_of_atoms_and_bonds_gives_the_molecule_that_it_was_written_from(smiles):
    assert molecule(from_molblock(Chem.MolToMolBlock(Chem.MolFromSmiles(smiles)), "a.sdf")) == molecule(smiles)


@pytest.mark.parametrize("block", ["", "no block", Chem.MolToMolBlock(Chem.Mol())])
def test_a_block_that_rdkit_refuses_is_one_error(block):
    with pytest.raises(SampleError, match="block of atoms and bonds") as caught:
        from_molblock(block, "a.sdf")
    assert caught.value.id == "a.sdf"


# --- formulas and graphs ---------------------------------------------------------------------------------------------


def test_a_formula_is_counted_and_put_in_hill_order():
    for smiles in [*SMILES, "[NH4+]", "[Na+].[Cl-]", "OB(O)c1ccccc1"]:
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        symbols = [atom.GetSymbol() for atom in mol.GetAtoms()]
        formula = molecule(smiles).formula
        assert element_counts(formula) == {symbol: symbols.count(symbol) for symbol in symbols}
        assert hill(formula) == formula
    assert hill("OH6C2") == "C2H6O"
    assert hill(" H3CCOO-1 ") == "C2H3O2-1"


@pytest.mark.parametrize("formula", ["", "water", "C2H6o", "C2 H6"])
def test_what_is_no_formula_says_how_one_is_written(formula):
    for read in (element_counts, hill):
        with pytest.raises(SampleError, match="cannot be read; write it such as 'C9H8O4'"):
            read(formula)


def test_pieces_are_the_parts_of_a_salt_and_of_a_cut_bond():
    assert pieces(parse("[Na+].CC(=O)[O-]")) == ((0,), (1, 2, 3, 4))
    assert pieces(parse("CCO"), cut=0) == ((0,), (1, 2))
    assert pieces(parse("C1CC1"), cut=0) == ((0, 1, 2),), "a cut ring stays one piece"


def test_tautomers_share_a_skeleton_and_other_isomers_do_not():
    assert skeleton("CC(=O)CC(C)=O") == skeleton("CC(O)=CC(C)=O")
    assert skeleton("CC(=O)CC(C)=O") != skeleton("CCC(=O)C(C)=O")
    assert skeleton("CCO") != skeleton("CC=O"), "the formula belongs to it"


def test_a_match_is_by_elements_and_bonds_alone():
    acetate = (np.array([6, 6, 8, 8]), np.array([[0, 1], [1, 2], [1, 3]]))
    moved = (np.array([8, 6, 8, 6]), np.array([[1, 0], [1, 2], [1, 3]]))
    found = bare_match(*moved, *acetate)
    assert moved[0][found].tolist() == [6, 6, 8, 8]
    assert found[1] == 1
    assert bare_match(*acetate, np.array([6, 6, 8]), np.array([[0, 1], [1, 2]])) is None, "a part is no match"
    assert bare_match(*acetate, np.array([6, 6, 8, 7]), acetate[1]) is None


def test_numbers_of_elements_are_the_published_ones():
    assert [isotope_mass(z) for z in (1, 6, 35)] == pytest.approx([1.00782503, 12.0, 78.9183376], abs=1e-6)
    assert [covalent_radius(z) for z in (1, 6, 8)] == pytest.approx([0.31, 0.76, 0.66])  # Cordero et al. 2008


# --- conformers ------------------------------------------------------------------------------------------------------


def test_a_conformer_is_rdkits_from_its_seed():
    full = with_hydrogens(parse("CCCCO"))
    found = conformers(full, [5, 6], "butanol")
    for seed, positions in zip((5, 6), found, strict=True):
        theirs, parameters = Chem.AddHs(Chem.MolFromSmiles("CCCCO")), ETKDGv3()
        parameters.randomSeed = seed
        assert EmbedMolecule(theirs, parameters) == 0
        np.testing.assert_array_equal(positions, theirs.GetConformer().GetPositions())
    assert full.GetNumConformers() == 0, "the molecule handed in stays as it is"


def test_a_seed_follows_from_purpose_key_and_number():
    digest = hashlib.sha256(b"conf:VNWKTOKETHGBQD:1").hexdigest()
    assert conformer_seed("conf", "VNWKTOKETHGBQD", 1) == int(digest[:8], 16) // 2 < 2**31
    seeds = {conformer_seed(purpose, "VNWKTOKETHGBQD", i) for purpose in ("conf", "simulate") for i in (None, 0, 1)}
    assert len(seeds) == 6


def test_force_fields_relax_or_refuse():
    full = with_hydrogens(parse("CCCCO"))
    properties = AllChem.MMFFGetMoleculeProperties(full)

    def force(positions):
        shape = Chem.Mol(full)
        shape.AddConformer(Chem.Conformer(full.GetNumAtoms()))
        shape.GetConformer().SetPositions(positions)
        return np.abs(AllChem.MMFFGetMoleculeForceField(shape, properties).CalcGrad()).max()

    raw, mmff, either = (conformers(full, [5], "butanol", relax=r)[0] for r in (None, "mmff", "mmff_or_uff"))
    assert force(raw) > 5
    assert force(mmff) < 0.05
    np.testing.assert_array_equal(mmff, either)
    borane = with_hydrogens(parse("CB(C)C"))
    with pytest.raises(SampleError, match="^borane: MMFF94 has no parameters"):
        conformers(borane, [5], "borane", relax="mmff")
    moved = conformers(borane, [5], "borane", relax="mmff_or_uff") - conformers(borane, [5], "borane")
    assert np.abs(moved).max() > 0.01, "UFF takes what MMFF94 does not"


def test_parts_of_a_salt_stay_apart():
    positions = conformers(with_hydrogens(parse("[Na+].CC(=O)[O-]")), [1], "salt")[0]
    assert np.linalg.norm(positions[1:] - positions[0], axis=1).min() > 9.9


def test_what_has_no_conformer_is_refused():
    with pytest.raises(SampleError, match="^ring: ETKDGv3 finds no conformer"):
        conformers(with_hydrogens(parse("C1#CC1")), [1], "ring")


# --- fingerprints and counts -----------------------------------------------------------------------------------------


def test_one_fingerprint_is_that_of_many():
    assert (np.stack([fingerprint_bits(s) for s in SMILES]) == morgan(SMILES)).all()
    paths = [
        Chem.RDKFingerprint(Chem.MolFromSmiles(s), minPath=1, maxPath=7, fpSize=2048, nBitsPerHash=2) for s in SMILES
    ]
    for smiles, theirs in zip(SMILES, paths, strict=True):
        assert np.unpackbits(fingerprint_bits(smiles, "rdkit")).tolist() == list(theirs)


def test_counts_are_rdkits():
    for smiles in SMILES:
        mol = Chem.MolFromSmiles(smiles)
        environments = AllChem.GetHashedMorganFingerprint(mol, 2, nBits=512).GetNonzeroElements()
        counts = morgan_counts(mol, 2, 512)
        assert {int(i): int(counts[i]) for i in np.flatnonzero(counts)} == environments
        assert maccs_keys(mol).tolist() == list(AllChem.GetMACCSKeysFingerprint(mol))
    assert torsion_counts(parse("CCCCC"), 64).sum() == 2


def test_a_refusal_crosses_process_borders():
    with pytest.raises(SampleError) as caught:
        parse("xyz")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
