"""Formulas of fragments, against all formulas there are, and against fragments that are known."""

import itertools

import pytest

from molchord.api import SampleError
from molchord.chem import fragment_formulas, isotope_mass, substructures

ELECTRON = 0.000548579909
NUMBERS = {"C": 6, "H": 1, "N": 7, "O": 8}


@pytest.mark.parametrize(
    ("mz", "formula", "adduct", "first"),
    [
        (138.0662, "C8H10N4O2", "[M+H]+", "C6H8N3O+"),  # caffeine, less methyl isocyanate
        (195.0877, "C8H10N4O2", "[M+H]+", "C8H11N4O2+"),  # its whole ion has the adduct's hydrogen
        (92.0506, "C7H7NO2", "[M-H]-", "C6H6N-"),  # anthranilate, less carbon dioxide
        (126.0105, "C10H11ClN4", "[M+H]+", "C6H5ClN+"),  # acetamiprid's chloropyridylmethyl
        (22.9892, "C6H12O6", "[M+Na]+", "Na+"),
        (77.0386, "C6H6", "[M]+.", "C6H5+"),
    ],
)
def test_a_known_fragment_is_the_first_formula(mz, formula, adduct, first):
    found = fragment_formulas(mz, formula, adduct)[0]
    assert str(found).split()[0] == first
    assert abs(found.ppm) < 10


@pytest.mark.parametrize("mz", [86.0600, 117.0573, 60.0444])
def test_every_formula_within_the_reach_is_found_and_no_other(mz):
    """Leucine and what protonates it, every choice of atoms tried by hand."""
    most = {"C": 6, "H": 14, "N": 1, "O": 2}
    expected = set()
    for counts in itertools.product(*(range(count + 1) for count in most.values())):
        atoms = dict(zip(most, counts, strict=True))
        own = sum(n * isotope_mass(NUMBERS[e]) for e, n in atoms.items()) - ELECTRON
        unsaturation = 2 + 2 * atoms["C"] + atoms["N"] - atoms["H"]
        if any(counts) and unsaturation >= -1 and abs(mz - own) <= 400e-6 * mz:
            expected.add("".join(f"{e}{n if n > 1 else ''}" for e, n in atoms.items() if n))
    found = fragment_formulas(mz, "C6H13NO2", ppm=400)
    assert {one.formula for one in found} == expected
    assert expected
    assert [abs(one.ppm) for one in found] == sorted(abs(one.ppm) for one in found)


def test_a_fragment_has_no_atom_that_the_molecule_lacks():
    assert fragment_formulas(105.0335, "C8H8") == []  # C7H5O+ needs oxygen
    assert fragment_formulas(105.0335, "C8H8O2")[0].formula == "C7H5O"


def test_a_molecule_too_large_to_look_through_has_no_formulas_and_a_wrong_formula_is_refused():
    assert fragment_formulas(500.3, "C90H150N40O50P20S20") == []
    with pytest.raises(SampleError, match="formula 'C8Xq' holds 'Xq', which is not an element"):
        fragment_formulas(105.0335, "C8Xq")


def test_a_pattern_that_is_no_smarts_is_refused_by_name():
    assert substructures("CC(=O)O", ["[CX3]=O", "C#N"]) == (True, False)
    with pytest.raises(SampleError, match=r"RDKit cannot parse the SMARTS '\[CX3'; write it such as"):
        substructures("CCO", ["[CX3"])
