"""Modality and encoder keep the contract, and patterns are those of nature."""

import doctest
import itertools

import numpy as np
import pytest
from rdkit import Chem

from molchord.api import Measurement, Molecule, SampleError
from molchord.testing import checks
from molchord_isotopes import isotope_mlp_network
from molchord_isotopes import isotopes_modality as isotopes
from molchord_isotopes.isotope_mlp import ISOTOPE_MLP
from molchord_isotopes.isotopes import ISOTOPES, IsotopesConfig


@checks(ISOTOPES, ISOTOPE_MLP)
def test_contract(check):
    check()


@pytest.mark.parametrize("module", [isotopes, isotope_mlp_network])
def test_examples_in_docstrings_run(module):
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def modality(**config):
    return ISOTOPES.build(IsotopesConfig(**config), ISOTOPES.kinds[0])


def derived(formula, **config):
    return modality(**config).derive(Molecule(key14="x", smiles="", formula=formula, exact_mass=0.0))


def enumerated(symbols):
    """Return abundance and mean mass by nominal step, from every combination of the atoms' isotopes."""
    table = Chem.GetPeriodicTable()
    choices = []
    for symbol in symbols:
        number = table.GetAtomicNumber(symbol)
        shares = [(a, table.GetAbundanceForIsotope(number, a) / 100) for a in range(number, 3 * number + 1)]
        choices.append([(a, table.GetMassForIsotope(number, a), share) for a, share in shares if share > 0])
    lightest = [min(choice) for choice in choices]
    peaks = {}
    for atoms in itertools.product(*choices):
        step = sum(a for a, _, _ in atoms) - sum(a for a, _, _ in lightest)
        offset = sum(mass for _, mass, _ in atoms) - sum(mass for _, mass, _ in lightest)
        share = np.prod([share for _, _, share in atoms])
        total, moment = peaks.get(step, (0.0, 0.0))
        peaks[step] = (total + share, moment + share * offset)
    return {step: (total, moment / total) for step, (total, moment) in peaks.items()}


@pytest.mark.parametrize("formula", ["CCl4", "C2H6OS", "BBr3", "SnCl2"])
def test_patterns_are_those_of_all_combinations_of_isotopes(formula):
    symbols = [a.GetSymbol() for a in Chem.AddHs(Chem.MolFromSmiles({"CCl4": "ClC(Cl)(Cl)Cl", "C2H6OS": "CS(C)=O",
        "BBr3": "BrB(Br)Br", "SnCl2": "Cl[Sn]Cl"}[formula])).GetAtoms()]  # fmt: skip
    found = isotopes.pattern(formula)
    expected = enumerated(symbols)
    assert found.abundance.sum() == pytest.approx(1.0, abs=1e-3)
    for step, (share, offset) in expected.items():
        assert found.abundance[step] == pytest.approx(share, abs=1e-12)
        assert found.offset[step] == pytest.approx(offset, abs=1e-9)


def test_bromine_comes_in_pairs_and_many_carbons_show_as_m_plus_1():
    bromine = derived("C6H5Br").arrays["abundance"]
    assert bromine[0] == pytest.approx(1.0)
    assert bromine[2] == pytest.approx(0.973, abs=0.01)  # 49.31 to 50.69 %
    fullerene = isotopes.pattern("C60")
    assert fullerene.abundance[1] / fullerene.abundance[0] == pytest.approx(60 * 0.0107 / 0.9893, rel=0.02)


@pytest.mark.parametrize(("formula", "says"), [("", "Hill"), ("c6", "Hill"), ("CXx", "no element"), ("CTc", "stable")])
def test_formulas_without_a_pattern_are_refused(formula, says):
    with pytest.raises(SampleError, match=says):
        isotopes.pattern(formula)


def test_peaks_too_faint_to_be_seen_are_not_seen():
    sample = modality(floor=0.1).transform(derived("CHCl3"), None)
    assert sample.seen.tolist() == [True, False, True, False, True, False, False]
    assert sample.abundance[1] == 0
    assert sample.offset[1] == 0


def test_a_measured_table_gives_the_sample_of_its_molecule(tmp_path):
    computed = derived("CHCl3")
    lines = ["# charge: 2", "# smiles: ClC(Cl)Cl", "mz,abundance"]
    pairs = zip(computed.arrays["offset"], computed.arrays["abundance"], strict=True)
    lines += [f"{58.959 + offset / 2:.5f},{share * 3e6:.0f}" for offset, share in pairs]
    path = tmp_path / "pattern.csv"
    path.write_text("\n".join(lines) + "\n")
    assert modality().can_read(path)
    [reading] = modality().read(path)
    assert reading.smiles == "ClC(Cl)Cl"
    assert reading.measurement.columns == {"origin": "measured", "charge": 2.0}
    got, expected = (modality().transform(m, None) for m in (reading.measurement, computed))
    assert got.abundance == pytest.approx(expected.abundance, abs=1e-4)
    assert got.offset == pytest.approx(expected.offset, abs=1e-4)


@pytest.mark.parametrize(
    "text",
    ["", "offset,abundance\n", "offset,abundance\n0,1\n1\n", "offset,abundance\n0,x\n", "offset,abundance\n0,-1\n",
     "offset,abundance\nnan,1\n", "mz,intensity\n100,1\n", "# charge: 0\nmz,abundance\n100,1\n"],
)  # fmt: skip
def test_what_is_damaged_is_refused(text, tmp_path):
    path = tmp_path / "pattern.csv"
    path.write_text(text)
    with pytest.raises(SampleError) as caught:
        list(modality().read(path))
    assert "\n" not in caught.value.reason


@pytest.mark.parametrize(
    ("offset", "abundance"), [([], []), ([0.0, 1.0], [1.0]), ([np.nan], [1.0]), ([50.0], [1.0]), ([0.0], [0.0])]
)
def test_what_is_no_pattern_makes_no_sample(offset, abundance):
    with pytest.raises(SampleError):
        modality().transform(Measurement(arrays={"offset": np.array(offset), "abundance": np.array(abundance)}), None)


def test_jitter_moves_what_is_seen_alone():
    rng = np.random.default_rng(0)
    still = modality(jitter=None).transform(derived("CHCl3"), rng)
    moved = modality().transform(derived("CHCl3"), rng)
    assert np.array_equal(still.seen, moved.seen)
    assert not np.array_equal(still.abundance, moved.abundance)
    assert (moved.offset[~moved.seen] == 0).all()
