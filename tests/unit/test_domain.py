"""The domain of a run: elements and sizes of its training molecules, by spectrum."""

import pytest

from molchord.api import SampleError
from molchord.domain import Domain, domain_of

SEEN = domain_of(["C6H6"] * 150 + ["C2H6O"] * 40 + ["CD4"] + ["C2H5Br"] * 9)


def test_molecules_are_counted_per_element_not_atoms():
    assert SEEN.molecules == 200
    assert SEEN.elements == {"Br": 9, "C": 200, "H": 200, "O": 40}  # deuterium is hydrogen
    assert SEEN.heavy_atoms == (1, 6)


@pytest.mark.parametrize("formula", ["C6H6", "C5H10O", "CH4", "CT4", "CHD3", "C3H9O+"])
def test_molecules_of_these_elements_and_sizes_lack_nothing(formula):
    assert SEEN.lacks(formula) is None


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("CH3Br", "Br, which 9 of 200 training molecules hold"),
        ("C2H5I", "I, which none of 200 training molecules holds"),
        ("C7H8", "7 heavy atoms, and training molecules have 1 to 6"),
        ("H2", "0 heavy atoms, and training molecules have 1 to 6"),
        ("C9H20IBr", "Br, which 9 of 200 training molecules hold"),  # elements come first, in order
    ],
)
def test_what_a_molecule_lacks_is_said(formula, reason):
    assert SEEN.lacks(formula) == reason


def test_sizes_at_the_edge_are_in():
    seen = domain_of(["C2H6", "C3H8"] * 50)
    assert seen.lacks("CH4") == "1 heavy atom, and training molecules have 2 to 3"
    assert seen.lacks("C4H10") is not None
    assert seen.lacks("C3H6") is None


@pytest.mark.parametrize(("held", "rare"), [(0, True), (9, True), (10, False)])
def test_few_is_less_than_ten(held, rare):
    seen = domain_of(["CH3Cl"] * held + ["CH4"] * 100)
    assert (seen.lacks("CH3Cl") is not None) is rare


def test_less_than_a_hundred_molecules_show_nothing():
    assert domain_of(["CH4"] * 99).lacks("C60") is None
    assert domain_of(["CH4"] * 100).lacks("C60") is not None


def test_two_sets_are_joined():
    both = SEEN.joined(domain_of(["C9H20", *["CH3Br"] * 10]))
    assert both == Domain(molecules=200, elements={"Br": 10, "C": 200, "H": 200, "O": 40}, heavy_atoms=(1, 9))
    assert both.lacks("CH3Br") is None
    assert SEEN.joined(SEEN) == SEEN  # trained twice on the same molecules, it has seen no more of them


def test_a_formula_that_cannot_be_read_is_an_error():
    with pytest.raises(SampleError, match="cannot be read"):
        SEEN.lacks("benzene")
