"""Each of the 37 groups is found in a molecule that has it, and not in one that is like it."""

import pytest

from molchord.api import SampleError
from molchord.chem import molecule
from molchord.errors import PluginError
from molchord.host import Use, build
from molchord_properties.functional_groups import FUNCTIONAL_GROUPS, GROUPS

HAS = {
    "acid anhydride": ("CC(=O)OC(C)=O", "CC(=O)OCC"),
    "acyl halide": ("CC(=O)Cl", "CC(=O)CCl"),
    "alcohol": ("CCO", "COC"),
    "aldehyde": ("CC=O", "CC(C)=O"),
    "alkane": ("CC", "c1ccccc1"),
    "alkene": ("C=C", "c1ccccc1"),
    "alkyne": ("C#C", "CC#N"),
    "amide": ("CC(N)=O", "CCN"),
    "amine": ("CCN", "CC(N)=O"),
    "arene": ("c1ccccc1", "c1ccncc1"),
    "azo compound": ("CN=NC", "CNNC"),
    "carbamate": ("COC(N)=O", "CC(N)=O"),
    "carboxylic acid": ("CC(=O)O", "CC(=O)OC"),
    "enamine": ("C=CN(C)C", "C=CCN"),
    "enol": ("C=C(C)O", "C=CCO"),
    "ester": ("CC(=O)OC", "CC(=O)O"),
    "ether": ("COC", "CCO"),
    "haloalkane": ("CCl", "CC"),
    "hydrazine": ("NN", "N=N"),
    "hydrazone": ("CC=NN", "CC=NC"),
    "imide": ("O=C1CCC(=O)N1", "O=C1CCCN1"),
    "imine": ("CC=NC", "CC#N"),
    "isocyanate": ("CN=C=O", "CN=C=S"),
    "isothiocyanate": ("CN=C=S", "CN=C=O"),
    "ketone": ("CC(C)=O", "CC=O"),
    "nitrile": ("CC#N", "C#C"),
    "phenol": ("Oc1ccccc1", "OCc1ccccc1"),
    "phosphine": ("CP(C)C", "CP(C)(C)=O"),
    "sulfide": ("CSC", "CS"),
    "sulfonamide": ("CS(N)(=O)=O", "CS(C)(=O)=O"),
    "sulfonate": ("COS(C)(=O)=O", "CS(=O)(=O)O"),
    "sulfone": ("CS(C)(=O)=O", "CS(C)=O"),
    "sulfonic acid": ("CS(=O)(=O)O", "COS(C)(=O)=O"),
    "sulfoxide": ("CS(C)=O", "CS(C)(=O)=O"),
    "thial": ("CC=S", "CC(C)=S"),
    "thioamide": ("CC(N)=S", "CC(N)=O"),
    "thiol": ("CS", "CSC"),
}


def test_every_group_is_found_where_it_is_and_not_in_what_is_like_it():
    assert HAS.keys() == GROUPS.keys()
    assert len(HAS) == 37
    groups = FUNCTIONAL_GROUPS.build(FUNCTIONAL_GROUPS.config())
    found = {
        name: tuple(dict(zip(groups.names, groups.of(molecule(smiles)), strict=True))[name] for smiles in pair)
        for name, pair in HAS.items()
    }
    assert found == dict.fromkeys(HAS, (1.0, 0.0))


def test_patterns_of_ones_own_take_the_place_of_the_groups():
    built = build("property", Use("functional_groups", groups={"nitro": "[$([NX3](=O)=O),$([NX3+](=O)[O-])]"}))
    assert built.it.names == ("nitro",)
    assert built.it.of(molecule("C[N+](=O)[O-]")) == [1.0]


def test_a_pattern_that_is_no_smarts_is_named():
    with pytest.raises(SampleError, match=r"RDKit cannot parse the SMARTS '\[C'"):
        build("property", Use("functional_groups", groups={"mine": "[C"}))
    with pytest.raises(PluginError, match="groups"):
        build("property", Use("functional_groups", groups={}))
